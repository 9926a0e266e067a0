"""`rollout destroy`: what will happen to connections, pulumi destroy, and then what is still terminating."""

import argparse
import subprocess
from collections.abc import Sequence
from datetime import timedelta

from cluster.live import Object
from cluster.terminating import open_connections, terminating_message, terminating_pods
from model.config.values import format_duration, plural
from model.names import ORIGIN, SRS_PODS
from rollout.command import Context, Exit, Verb
from rollout.edges.signals import end


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Destroy the stack."""
    live = context.live  # while there is a stack file that leads to it
    context.report(announcement(live.pods(SRS_PODS), arguments.cut))
    yes = ["--yes"] if context.yes else []
    if subprocess.run(["pulumi", "destroy", "--stack", context.stack_name, *yes], check=False).returncode:
        return Exit.FAILED  # pulumi has printed why
    failures: dict[str, str] = {}
    if arguments.cut:
        failures = end(live, terminating_pods(live, SRS_PODS))
        for name, reason in failures.items():
            context.report(f"error: {name} {reason}")
    pods = terminating_pods(live)
    print(terminating_message(live, pods, open_connections(live, pods)))
    return Exit.FAILED if failures else Exit.DONE


def announcement(pods: Sequence[Object], cut: bool) -> str:
    """What a destroy does to viewers and encoders. pods: edges and origins. cut: whether they are ended at once."""
    origins = [pod for pod in pods if pod["metadata"]["labels"]["app"] == ORIGIN]
    count = f"{plural(len(pods) - len(origins), 'edge')} and {plural(len(origins), 'origin')}"
    if cut:
        return f"{count} will be deleted, and all their viewers and encoders disconnected."
    seconds = max((int(pod["spec"].get("terminationGracePeriodSeconds", 30)) for pod in pods), default=0)
    return (
        f"{count} will drain, for up to {format_duration(timedelta(seconds=seconds))}: no new connection is accepted, "
        "and viewers and encoders stay connected until they leave. The viewers of a stream have no media when its "
        "encoder has left. Until the last pod has ended, the namespace remains, and `pulumi up` does not create it "
        "again. To disconnect them instead: --cut, or later `rollout cut`."
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cut", action="store_true", help="disconnect all viewers and encoders, instead of a drain")


VERB = Verb(
    "destroy",
    "pulumi destroy, and then what is still terminating",
    "Says what happens to connections, runs `pulumi destroy`, which asks, and lists the pods that are still "
    "terminating: edges and origins drain also then, so viewers have media until their encoder leaves. With `--cut` "
    "they are ended, as by `rollout cut`, and the next `pulumi up` need not wait.",
    run,
    _add_arguments,
    asks=True,
)
