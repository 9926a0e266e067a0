"""`rollout draining`: the terminating pods."""

import argparse

from cluster.terminating import OpenConnections, Publishers, open_connections, terminating_message, terminating_pods
from rollout.command import Context, Exit, Verb


def run(context: Context, _arguments: argparse.Namespace) -> int:
    """List the terminating pods."""
    pods = terminating_pods(context.live)
    connections = open_connections(context.live, pods)
    data = [
        {
            "pod": pod["metadata"]["name"],
            "until": pod["metadata"]["deletionTimestamp"],
            "connections": found.count if isinstance(found, OpenConnections) else None,
            "publishers": found.count if isinstance(found, Publishers) else None,
        }
        for pod in pods
        for found in [connections.get(pod["metadata"]["name"])]
    ]
    context.result(data, terminating_message(context.live, pods, connections))
    return Exit.DONE


VERB = Verb(
    "draining",
    "terminating pods, what they wait for, their deadlines",
    "Lists the terminating pods of the stack's namespace, with the connections that edges, and the publishers that "
    "origins still wait for, and the time at which the last of them is dropped.",
    run,
    json="A list of `pod`, `until` (when it is killed), `connections` (of edges; null until SRS has "
    "logged them) and `publishers` (of origins; null if SRS does not answer).",
)
