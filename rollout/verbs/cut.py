"""`rollout cut`: end terminating edges and origins at once, with all their connections."""

import argparse

from cluster.terminating import describe, open_connections, terminating_pods
from model.config.values import plural
from model.names import EDGE_PODS, SRS_PODS, edge_run
from rollout.command import Context, Exit, Verb
from rollout.edges.signals import end


def run(context: Context, arguments: argparse.Namespace) -> int:
    """End the terminating edges of one release, or all terminating edges and origins."""
    live, release = context.live, arguments.release
    pods = terminating_pods(live, f"{EDGE_PODS},run={edge_run(release)}" if release else SRS_PODS)
    noun = "edge" if release else "pod"
    of_release = f" of release {release}" if release else ""
    if not pods:
        context.result(
            {"ended": [], "failed": {}}, f"no {noun}s{of_release} are terminating in namespace {live.namespace}"
        )
        return Exit.DONE
    names = [pod["metadata"]["name"] for pod in pods]
    pods_of = f"{plural(len(names), noun)}{of_release}"
    head = f"{pods_of} {'is' if len(names) == 1 else 'are'} terminating in namespace {live.namespace}"
    context.report(describe(head, pods, open_connections(live, pods)))
    context.confirm("Drop all their connections now?")
    failures = end(live, pods)
    for name, reason in failures.items():
        context.report(f"error: {name} {reason}")
    ended = [name for name in names if name not in failures]
    context.result({"ended": ended, "failed": failures}, f"{len(ended)} of {plural(len(names), noun)} ended")
    return Exit.FAILED if failures else Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", help="only edges of this release")


VERB = Verb(
    "cut",
    "end terminating edges and origins at once, with all their connections",
    "Lists the terminating edges and origins, asks, and ends them: their connections are dropped. SRS quits on SIGINT, "
    "which is sent inside of each pod; the user of the kubeconfig needs `create` on `pods/exec`.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`ended`: names of pods. `failed`: reasons by pod.",
    asks=True,
)
