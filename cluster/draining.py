"""What still drains: pods that are going, their open connections as SRS last said, and when they end at the latest."""

import re
from collections.abc import Mapping, Sequence

from cluster.live import LiveCluster, Object

SHOWN = 10
"""Pods that are named; there may be hundreds."""

HOW_TO_CUT = "Their open connections end by themselves until then. To cut them now: python -m rollout cut"

_LOG_LINES = 200
"""SRS tells every few seconds, then half-minutes, how many connections it waits for; other lines stand between."""


def draining(live: LiveCluster, selector: str = "") -> list[Object]:
    """The pods with these labels that are going, whatever they belonged to, the first to end first."""
    going = [pod for pod in live.pods(selector) if "deletionTimestamp" in pod["metadata"]]
    return sorted(going, key=_until)


def tell(live: LiveCluster) -> str:
    """Say what drains in the namespace, with each pod's own last words on it, and how to cut it."""
    pods = draining(live)
    told = describe(f"{len(pods)} pods drain in namespace {live.namespace}", pods, words(live, pods))
    return f"{told}\n{HOW_TO_CUT}" if pods else told


def words(live: LiveCluster, pods: Sequence[Object]) -> dict[str, str]:
    """How many connections each of the pods that are shown last said it has, by pod; a draining SRS answers no API."""
    said: dict[str, str] = {}
    for pod in pods[:SHOWN]:
        name = pod["metadata"]["name"]
        if connections := open_connections(live.log(name, _LOG_LINES)):
            said[name] = connections
    return said


def open_connections(log: str) -> str | None:
    """The last number of open connections in an SRS log with the kubelet's timestamps, and when it was written.

    SRS writes `wait for 3 conns to quit` (ossrs/srs, SrsServer::gracefully_dispose); None if it did not yet.
    """
    found = re.findall(r"^(\S+?)(?:\.\d+)?Z .*wait for (\d+) conns to quit", log, re.MULTILINE)
    if not found:
        return None
    when, count = found[-1]
    return f"{count} connections open at {when}Z"


def describe(head: str, pods: Sequence[Object], said: Mapping[str, str] | None = None) -> str:
    """The message: `head`, and a line for each pod."""
    if not pods:
        return head
    lines = [f"{head}:"]
    for pod in sorted(pods, key=_until)[:SHOWN]:
        name = pod["metadata"]["name"]
        connections = (said or {}).get(name)
        lines.append(f"  {name} until {_until(pod)} at the latest{f' ({connections})' if connections else ''}")
    if len(pods) > SHOWN:
        lines.append(f"  and {len(pods) - SHOWN} more, the last one until {max(map(_until, pods))}")
    return "\n".join(lines)


def _until(pod: Object) -> str:
    # deletionTimestamp is when the grace ends (Kubernetes API, ObjectMeta).
    return str(pod["metadata"].get("deletionTimestamp") or "?")
