"""Terminating pods with their open connections, and a namespace that is still terminating."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from cluster.live import PARALLEL, LiveCluster, Object
from cluster.srs_api import streams
from model.config.values import plural
from model.names import origin_ordinal

MAX_PODS_SHOWN = 10
"""Pods that a message names; there may be hundreds."""

HOW_TO_CUT = "Their open connections end by themselves until then. To drop them now: rollout cut"

HOW_TO_UNBLOCK = (
    "An object with a finalizer stays until the controller of the finalizer removes it: start that controller, or "
    "remove the finalizer by hand. Discovery fails while the server of an aggregated API is down"
)

_BLOCKING = (
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
)
"""Conditions of a namespace. Not NamespaceContentRemaining, which is true of each one that has just lost its pods."""

SYNC_PERIOD = timedelta(minutes=5)
"""How long an empty namespace may remain: its controller checks again after half the grace period of the pods that it
has seen, hours here, or at its next regular check (`--namespace-sync-period` of kube-controller-manager, by default
5 minutes)."""

_LOG_LINES = 200
"""SRS logs the number of connections every few seconds, later every half minute; other lines are in between."""


@dataclass(frozen=True)
class OpenConnections:
    """The connections that a draining SRS waits for. at: when it logged the number, in RFC 3339 without fractions."""

    count: int
    at: str

    def __str__(self) -> str:
        """The text for messages."""
        return f"{plural(self.count, 'connection')} open at {self.at}"


def is_terminating(pod: Object) -> bool:
    """Whether an object has been deleted and still exists."""
    return "deletionTimestamp" in pod["metadata"]


@dataclass(frozen=True)
class Publishers:
    """The publishers that a draining origin waits for."""

    count: int

    def __str__(self) -> str:
        """The text for messages."""
        return plural(self.count, "publisher")


def is_running(pod: Object) -> bool:
    """Whether a container of a pod runs; a pod without one has no connections, and ends at once when deleted."""
    statuses: list[Object] = pod.get("status", {}).get("containerStatuses", [])
    return any("running" in status.get("state", {}) for status in statuses)


def is_draining(pod: Object) -> bool:
    """Whether a pod is terminating and still runs."""
    return is_terminating(pod) and is_running(pod)


def lost_node(pod: Object) -> str | None:
    """The node of a terminating pod if it does not answer, None for other pods.

    The taint manager deletes the pods of such a node (Kubernetes docs, "Taint based Evictions"), and only its kubelet,
    or the deletion of the node, ends them (Kubernetes docs, "Non-graceful node shutdown").
    """
    conditions: list[Object] = pod.get("status", {}).get("conditions", [])
    by_taint = any(item.get("reason") == "DeletionByTaintManager" for item in conditions)
    return pod["spec"].get("nodeName") if by_taint and is_terminating(pod) else None


def lost_node_hint(pod: Object) -> str:
    """What to do about a terminating pod whose node does not answer, "" for other pods."""
    node = lost_node(pod)
    return f"node {node} does not end it; if that node is lost for good: kubectl delete node {node}" if node else ""


def terminating_pods(live: LiveCluster, selector: str = "") -> list[Object]:
    """The terminating pods with these labels, whatever their owner, sorted by their deadline."""
    return sorted(filter(is_terminating, live.pods(selector)), key=_deadline)


def terminating_message(
    live: LiveCluster, pods: Sequence[Object], connections: Mapping[str, OpenConnections | Publishers]
) -> str:
    """The terminating pods of the namespace with their open connections, and how to drop these."""
    if not pods:
        return f"no pods are terminating in namespace {live.namespace}"
    verb = "is" if len(pods) == 1 else "are"
    head = f"{plural(len(pods), 'pod')} {verb} terminating in namespace {live.namespace}"
    return f"{describe(head, pods, connections)}\n{HOW_TO_CUT}"


def open_connections(
    live: LiveCluster, pods: Sequence[Object], limit: int | None = MAX_PODS_SHOWN
) -> dict[str, OpenConnections | Publishers]:
    """What pods wait for, by pod. limit: of the pods, by default those that a message names.

    Edges: their open connections, from their logs, because a draining SRS has closed its HTTP API. Origins: their
    publishers, from their API, which they keep until their last publisher has left.
    """
    origins = [pod["metadata"]["name"] for pod in pods[:limit] if origin_ordinal(pod["metadata"]["name"]) is not None]
    found = streams(live, origins) if origins else {}
    publishers = {name: Publishers(sum(stream.published for stream in items)) for name, items in found.items()}

    def log(name: str) -> str | None:
        return live.log(name, _LOG_LINES)

    names: list[str] = [name for pod in pods[:limit] if (name := pod["metadata"]["name"]) not in origins]
    with ThreadPoolExecutor(PARALLEL) as pool:
        logs = dict(zip(names, pool.map(log, names), strict=True))
    logged = {name: status for name, text in logs.items() if (status := logged_connections(text or ""))}
    return {**logged, **publishers}


def logged_connections(log: str) -> OpenConnections | None:
    """The last number of open connections in an SRS log with the kubelet's timestamps, and its time.

    SRS logs `wait for 3 conns to quit` (ossrs/srs, SrsServer::gracefully_dispose); None if it has not yet.
    """
    found = re.findall(r"^(\S+?)(?:\.\d+)?Z .*wait for (\d+) conns to quit", log, re.MULTILINE)
    if not found:
        return None
    time, count = found[-1]
    return OpenConnections(int(count), f"{time}Z")


def describe(
    head: str, pods: Sequence[Object], connections: Mapping[str, OpenConnections | Publishers] | None = None
) -> str:
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
        message = f"{head}its last pod has ended, and Kubernetes removes it within {minutes} minutes"
        if blocks := _blocks(namespace):
            message = "\n".join([f"{message}, unless this stays so:", *blocks, HOW_TO_UNBLOCK])
        return 0, message
    message = describe(f"{head}it waits for {plural(len(pods), 'pod')}", pods, open_connections(live, pods))
    return len(pods), f"{message}\n{HOW_TO_CUT}"


def _blocks(namespace: Object) -> list[str]:
    """What keeps a terminating namespace without pods, as its controller has last seen it, a line each.

    (kubernetes, pkg/controller/namespace/deletion/status_condition_utils.go.)
    """
    conditions: list[Object] = namespace.get("status", {}).get("conditions", [])
    found = [condition for condition in conditions if condition["status"] == "True"]
    return [f"  {condition['message']}" for condition in found if condition["type"] in _BLOCKING]


def _deadline(pod: Object) -> str:
    # deletionTimestamp is the end of the grace period (Kubernetes API, ObjectMeta).
    return str(pod["metadata"].get("deletionTimestamp") or "?")
