"""`rollout cut`: end terminating edges at once, with all their connections."""

import argparse
import sys
import time

from cluster.live import LiveCluster
from cluster.terminating import describe, open_connections, terminating_pods
from model.names import EDGE_PODS, edge_run
from model.values import plural
from rollout.command import Context, Exit, Verb
from rollout.cut import cut

CUT_TIMEOUT = 60.0
"""Seconds for the pods to end: SRS takes up to 5, the kubelet some more."""

POLL_INTERVAL = 0.5
"""Seconds between two polls."""


def run(context: Context, arguments: argparse.Namespace) -> int:
    """End the terminating edges of one release or of all."""
    live, release = context.live, arguments.release
    pods = terminating_pods(live, EDGE_PODS + (f",run={edge_run(release)}" if release else ""))
    of_release = f" of release {release}" if release else ""
    if not pods:
        context.result(
            {"ended": [], "failed": {}}, f"no edges{of_release} are terminating in namespace {live.namespace}"
        )
        return Exit.DONE
    names = [pod["metadata"]["name"] for pod in pods]
    edges = f"{plural(len(names), 'edge')}{of_release}"
    head = f"{edges} {'is' if len(names) == 1 else 'are'} terminating in namespace {live.namespace}"
    context.report(describe(head, pods, open_connections(live, pods)))
    context.confirm("Drop all their connections now?")
    failures = {name: f"could not be signalled: {reason}" for name, reason in cut(live, names).items()}
    for name in _wait_for_deletion(live, set(names) - failures.keys()):
        failures[name] = f"still exists {CUT_TIMEOUT:.0f} s after SIGINT"
    for name, reason in sorted(failures.items()):
        print(f"error: {name} {reason}", file=sys.stderr)
    ended = [name for name in names if name not in failures]
    context.result({"ended": ended, "failed": failures}, f"{len(ended)} of {plural(len(names), 'edge')} ended")
    return Exit.FAILED if failures else Exit.DONE


def _wait_for_deletion(live: LiveCluster, names: set[str]) -> set[str]:
    """Wait until pods are deleted; returns those that still exist after CUT_TIMEOUT."""
    deadline = time.monotonic() + CUT_TIMEOUT
    while remaining := names & {pod["metadata"]["name"] for pod in live.pods()}:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_INTERVAL)
    return remaining


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", help="only edges of this release")


VERB = Verb(
    "cut",
    "end terminating edges at once, with all their connections",
    "Lists the terminating edges, asks, and ends them: their connections are dropped. SRS quits on SIGINT, which "
    "is sent inside of each pod; the user of the kubeconfig needs `create` on `pods/exec`.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`ended`: names of pods. `failed`: reasons by pod.",
    asks=True,
)
