"""What still drains: pods that are going, their open connections as SRS last said, and when they end at the latest."""

import re
from collections.abc import Mapping, Sequence

from cluster.live import LiveCluster, Object

SHOWN = 10
"""Pods that are named; there may be hundreds."""

_LOG_LINES = 200
"""SRS tells every few seconds, then half-minutes, how many connections it waits for; other lines stand between."""


def draining(live: LiveCluster) -> list[Object]:
    """The pods of the namespace that are going, whatever they belonged to, the first to end first."""
    going = [pod for pod in live.pods() if "deletionTimestamp" in pod["metadata"]]
    return sorted(going, key=_until)


def tell(live: LiveCluster) -> str:
    """Say what drains in the namespace, with each pod's own last words on it."""
    pods = draining(live)
    return describe(f"{len(pods)} pods drain in namespace {live.namespace}", live.namespace, pods, words(live, pods))


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


def describe(head: str, namespace: str, pods: Sequence[Object], said: Mapping[str, str] | None = None) -> str:
    """The message: `head`, a line for each pod, and how to let go of them."""
    if not pods:
        return head
    lines = [f"{head}:"]
    for pod in sorted(pods, key=_until)[:SHOWN]:
        name = pod["metadata"]["name"]
        connections = (said or {}).get(name)
        lines.append(f"  {name} until {_until(pod)} at the latest{f' ({connections})' if connections else ''}")
    if len(pods) > SHOWN:
        lines.append(f"  and {len(pods) - SHOWN} more, the last one until {max(map(_until, pods))}")
    # Neither --force nor --now ends an SRS that drains already (seen: kubelet 1.34, containerd 1.6).
    let_go = f"kubectl -n {namespace} delete pod --all --grace-period=0 --force"
    lines.append(
        "Their open connections end by themselves until then. To let the namespace go now, while nodes may serve them "
        f"on unseen: {let_go}"
    )
    return "\n".join(lines)


def _until(pod: Object) -> str:
    # deletionTimestamp is when the grace ends (Kubernetes API, ObjectMeta).
    return str(pod["metadata"].get("deletionTimestamp") or "?")
