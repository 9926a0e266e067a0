"""`rollout destroy`: pulumi destroy, and then what is still terminating."""

import argparse
import subprocess

from cluster.terminating import open_connections, terminating_message, terminating_pods
from rollout.command import Context, Exit, Verb


def run(context: Context, _arguments: argparse.Namespace) -> int:
    """Destroy the stack."""
    live = context.live  # while there is a stack file that leads to it
    yes = ["--yes"] if context.yes else []
    if subprocess.run(["pulumi", "destroy", "--stack", context.stack_name, *yes], check=False).returncode:
        return Exit.FAILED  # pulumi has printed why
    pods = terminating_pods(live)
    print(terminating_message(live, pods, open_connections(live, pods)))
    return Exit.DONE


VERB = Verb(
    "destroy",
    "pulumi destroy, and then what is still terminating",
    "Runs `pulumi destroy`, which asks, and lists the pods that are still terminating: edges drain their "
    "connections also then.",
    run,
    asks=True,
)
