"""`rollout draining`: the terminating pods."""

import argparse

from cluster.terminating import open_connections, terminating_message, terminating_pods
from rollout.command import Context, Exit, Verb


def run(context: Context, _arguments: argparse.Namespace) -> int:
    """List the terminating pods."""
    pods = terminating_pods(context.live)
    connections = open_connections(context.live, pods)
    data = [
        {
            "pod": pod["metadata"]["name"],
            "until": pod["metadata"]["deletionTimestamp"],
            "connections": found.count if (found := connections.get(pod["metadata"]["name"])) else None,
        }
        for pod in pods
    ]
    context.result(data, terminating_message(context.live, pods, connections))
    return Exit.DONE


VERB = Verb(
    "draining",
    "terminating pods, their open connections, their deadlines",
    "Lists the terminating pods of the stack's namespace, with the connections that SRS still waits for and the "
    "time at which the last of them is dropped.",
    run,
    json="A list of `pod`, `until` (when it is killed) and `connections` (null until SRS has logged them).",
)
