"""When a rollout is complete, and why one is not.

The provider can wait for a Deployment too, but it waits only in the up that changes the object (so the up
after a killed one would go on at once), cannot wait for a held one, and does not tell why a pod cannot be
scheduled. The rules for "complete" are those of `kubectl rollout status`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.live import LiveCluster, Object

Kind = Literal["Deployment", "StatefulSet"]

HOPELESS = {
    "CrashLoopBackOff",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
}
"""Reasons of a waiting container that seldom go away by themselves."""

MESSAGE_LENGTH = 400
"""Characters of a pod's own words that are shown; the last ones say why it ended."""


@dataclass(frozen=True)
class Workload:
    """What is rolled out.

    title: what an operator calls it. selector: the labels of its pods.
    """

    kind: Kind
    name: str
    selector: str
    title: str


@dataclass(frozen=True)
class Progress:
    """How far a rollout is.

    available, wanted: pods of the new revision. complete: nothing is left to wait for.
    reasons: what keeps pods from being ready, a line each. hopeless: pods whose reason seldom goes away.
    """

    complete: bool
    available: int
    wanted: int
    reasons: tuple[str, ...] = ()
    hopeless: frozenset[str] = frozenset()


def observe(live: LiveCluster, workload: Workload) -> Progress:
    """Read how far a rollout is."""
    if workload.kind == "StatefulSet":
        stateful_set = live.stateful_set(workload.name)
        if stateful_set is None:
            return Progress(False, 0, 1, (f"{workload.kind} {workload.name} is not there",))
        progress = stateful_set_progress(stateful_set)
        revision = f"controller-revision-hash={stateful_set.get('status', {}).get('updateRevision')}"
    else:
        deployment = live.deployment(workload.name)
        if deployment is None:
            return Progress(False, 0, 1, (f"{workload.kind} {workload.name} is not there",))
        progress = deployment_progress(deployment)
        revision = "" if progress.complete else _new_revision(deployment, live.replica_sets(workload.selector))
    if progress.complete:
        return progress
    pods = [pod for pod in live.pods(f"{workload.selector},{revision}") if not _is_going(pod)] if revision else []
    if workload.kind == "StatefulSet":  # a pod takes the name of its predecessor, and has to wait for it
        pods += [pod for pod in live.pods(workload.selector) if _is_going(pod)]
    stuck = {pod["metadata"]["name"]: reason for pod in pods if (reason := pod_reason(pod))}
    for name, reason in stuck.items():
        if reason.startswith("ContainerCreating") and (warnings := live.warnings(name)):
            stuck[name] = f"{reason}: {warnings[-1]}"
    return Progress(
        False,
        progress.available,
        progress.wanted,
        (*progress.reasons, *(f"pod {name}: {reason}" for name, reason in sorted(stuck.items()))),
        frozenset(name for name, reason in stuck.items() if reason.split(":")[0] in HOPELESS),
    )


def deployment_progress(deployment: Object) -> Progress:
    """How far a Deployment is, by its own status."""
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    complete = seen and updated == wanted == status.get("replicas", 0) == available
    failures = tuple(
        f"{condition.get('reason')}: {condition.get('message')}"
        for condition in status.get("conditions", [])
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True"
    )
    return Progress(complete, min(updated, available) if seen else 0, wanted, failures)


def stateful_set_progress(stateful_set: Object) -> Progress:
    """How far a StatefulSet is, by its own status."""
    wanted = stateful_set["spec"].get("replicas", 1)
    status = stateful_set.get("status", {})
    seen = status.get("observedGeneration", 0) >= stateful_set["metadata"]["generation"]
    current = status.get("currentRevision") == status.get("updateRevision")
    updated = status.get("updatedReplicas", wanted if current else 0)
    available = status.get("availableReplicas", 0)
    complete = seen and current and updated == wanted == available == status.get("replicas", 0)
    return Progress(complete, min(updated, available) if seen else 0, wanted)


def pod_reason(pod: Object) -> str | None:
    """Why a pod is not ready, in its own words; None if it is."""
    if until := pod["metadata"].get("deletionTimestamp"):
        return f"Terminating: until {until} at the latest"
    status = pod.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}".rstrip(": ")
    if conditions.get("Ready", {}).get("status") == "True":
        return None
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if reason := _container_reason(container):
            return reason
    return f"{status.get('phase', 'Pending')}: not ready yet"


def _is_going(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _container_reason(container: Object) -> str | None:
    state = container.get("state", {})
    waiting = state.get("waiting")
    terminated = state.get("terminated") or (waiting and container.get("lastState", {}).get("terminated"))
    if terminated and (not waiting or waiting.get("reason") == "CrashLoopBackOff"):
        reason = (waiting or terminated).get("reason", "Error")
        words = (terminated.get("message") or "").strip()[-MESSAGE_LENGTH:]
        restarts = f"exit code {terminated.get('exitCode')}, {container.get('restartCount', 0)} restarts"
        return f"{reason}: {restarts}{': ' + words if words else ''}"
    if waiting:
        return ": ".join(part for part in (waiting.get("reason"), waiting.get("message")) if part)
    return None


def _new_revision(deployment: Object, replica_sets: Sequence[Object]) -> str:
    """The label of the newest ReplicaSet's pods, empty if there is none yet."""
    uid = deployment["metadata"]["uid"]
    own = [
        each
        for each in replica_sets
        if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", []))
    ]
    if not own:
        return ""
    newest = max(own, key=lambda each: int(each["metadata"]["annotations"].get("deployment.kubernetes.io/revision", 0)))
    return f"pod-template-hash={newest['metadata']['labels']['pod-template-hash']}"
