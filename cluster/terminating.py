"""Terminating pods with their open connections, and a namespace that is still terminating."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from cluster.live import LiveCluster, Object
from model.values import plural

MAX_PODS_SHOWN = 10
"""Pods that a message names; there may be hundreds."""

HOW_TO_CUT = "Their open connections end by themselves until then. To drop them now: rollout cut"

SYNC_PERIOD = timedelta(minutes=5)
"""How long an empty namespace may remain: its controller checks again after half the grace period of the pods that it
has seen, hours here, or at its next regular check (`--namespace-sync-period` of kube-controller-manager, by default
5 minutes)."""

_PARALLEL = 8
"""Logs that are read at the same time."""

_LOG_LINES = 200
"""SRS logs the number of connections every few seconds, later every half minute; other lines are in between."""


@dataclass(frozen=True)
class OpenConnections:
    """The connections that a draining SRS waits for. at: when it logged the number, in RFC 3339 without fractions."""

    count: int
    at: str

    def __str__(self) -> str:
        """For messages."""
        return f"{plural(self.count, 'connection')} open at {self.at}"


def is_terminating(pod: Object) -> bool:
    """Whether an object has been deleted and still exists."""
    return "deletionTimestamp" in pod["metadata"]


def lost_node(pod: Object) -> str | None:
    """The node of a terminating pod if it does not answer, None for other pods.

    The taint manager deletes the pods of such a node (Kubernetes docs, "Taint based Evictions"), and only its kubelet,
    or the deletion of the node, ends them (Kubernetes docs, "Non-graceful node shutdown").
    """
    conditions: list[Object] = pod.get("status", {}).get("conditions", [])
    by_taint = any(item.get("reason") == "DeletionByTaintManager" for item in conditions)
    return str(pod["spec"]["nodeName"]) if by_taint and is_terminating(pod) else None


def lost_node_hint(pod: Object) -> str:
    """What to do about a terminating pod whose node does not answer, "" for other pods."""
    node = lost_node(pod)
    return f"node {node} does not end it; if that node is lost for good: kubectl delete node {node}" if node else ""


def terminating_pods(live: LiveCluster, selector: str = "") -> list[Object]:
    """The terminating pods with these labels, whatever their owner, sorted by their deadline."""
    return sorted(filter(is_terminating, live.pods(selector)), key=_deadline)


def terminating_message(live: LiveCluster, pods: Sequence[Object], connections: Mapping[str, OpenConnections]) -> str:
    """The terminating pods of the namespace with their open connections, and how to drop these."""
    if not pods:
        return f"no pods are terminating in namespace {live.namespace}"
    verb = "is" if len(pods) == 1 else "are"
    head = f"{plural(len(pods), 'pod')} {verb} terminating in namespace {live.namespace}"
    return f"{describe(head, pods, connections)}\n{HOW_TO_CUT}"


def open_connections(
    live: LiveCluster, pods: Sequence[Object], limit: int | None = MAX_PODS_SHOWN
) -> dict[str, OpenConnections]:
    """The open connections of pods, by pod, from their logs. limit: of the pods, by default those that a message names.

    A draining SRS has closed its HTTP API; its log is the only source.
    """

    def log(name: str) -> str | None:
        return live.log(name, _LOG_LINES)

    names: list[str] = [pod["metadata"]["name"] for pod in pods[:limit]]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        logs = dict(zip(names, pool.map(log, names), strict=True))
    return {name: status for name, text in logs.items() if (status := logged_connections(text or ""))}


def logged_connections(log: str) -> OpenConnections | None:
    """The last number of open connections in an SRS log with the kubelet's timestamps, and its time.

    SRS logs `wait for 3 conns to quit` (ossrs/srs, SrsServer::gracefully_dispose); None if it has not yet.
    """
    found = re.findall(r"^(\S+?)(?:\.\d+)?Z .*wait for (\d+) conns to quit", log, re.MULTILINE)
    if not found:
        return None
    time, count = found[-1]
    return OpenConnections(int(count), f"{time}Z")


def describe(head: str, pods: Sequence[Object], connections: Mapping[str, OpenConnections] | None = None) -> str:
    """A message: `head`, and a line for each pod. connections: by pod."""
    if not pods:
        return head
    lines = [f"{head}:"]
    for pod in sorted(pods, key=_deadline)[:MAX_PODS_SHOWN]:
        name = pod["metadata"]["name"]
        status = (connections or {}).get(name)
        hint = lost_node_hint(pod)
        notes = ", ".join(note for note in (str(status) if status else "", hint) if note)
        lines.append(f"  {name} until {_deadline(pod)} at the latest{f' ({notes})' if notes else ''}")
    if len(pods) > MAX_PODS_SHOWN:
        lines.append(f"  and {len(pods) - MAX_PODS_SHOWN} more, the last one until {max(map(_deadline, pods))}")
    return "\n".join(lines)


def terminating_namespace(live: LiveCluster) -> tuple[int, str] | None:
    """The number of pods that a terminating namespace waits for, and a message; None if it is not terminating."""
    namespace = live.live_namespace()
    if namespace is None or not is_terminating(namespace):
        return None
    pods = live.pods()
    head = f"namespace {live.namespace} is still terminating; "
    if not pods:
        minutes = SYNC_PERIOD.seconds // 60
        return 0, f"{head}its last pod has ended, and Kubernetes removes it within {minutes} minutes"
    message = describe(f"{head}it waits for {plural(len(pods), 'pod')}", pods, open_connections(live, pods))
    return len(pods), f"{message}\n{HOW_TO_CUT}"


def _deadline(pod: Object) -> str:
    # deletionTimestamp is the end of the grace period (Kubernetes API, ObjectMeta).
    return str(pod["metadata"].get("deletionTimestamp") or "?")
