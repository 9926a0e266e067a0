"""When a rollout is complete, and why one is not.

The provider can wait for a Deployment too, but only in the update that changes the object (so the update after an
interrupted one would continue at once), it cannot skip a paused rollout, and it does not report why a pod cannot be
scheduled. The rules for "complete" are those of `kubectl rollout status`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.aborted import is_aborted
from cluster.live import LiveCluster, Object, owned_by
from cluster.terminating import is_terminating, lost_node_hint
from model.values import plural
from model.workloads import Workload

STUCK_REASONS = {
    "CrashLoopBackOff",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
}
"""Reasons of a waiting container that rarely recover."""

MESSAGE_LENGTH = 400
"""Characters of a container's termination message that are shown; the last ones contain the reason."""


@dataclass(frozen=True)
class RolloutStatus:
    """Progress of a rollout.

    available, desired: pods of the new revision. complete: nothing is left to wait for.
    reasons: why pods are not ready, a line each. stuck: names of pods that rarely recover.
    ready: names of the ready pods of the new revision; of edge releases also if it is complete.
    replaces: number of pods of earlier revisions, which it replaces; of Deployments only. paused: of Deployments only.
    aborted: whether its pods were taken out of rotation (`cluster/aborted.py`).
    """

    complete: bool
    available: int
    desired: int
    reasons: tuple[str, ...] = ()
    stuck: frozenset[str] = frozenset()
    ready: tuple[str, ...] = ()
    replaces: int = 0
    paused: bool = False
    aborted: bool = False


def rollout_status(live: LiveCluster, workload: Workload) -> RolloutStatus:
    """Read the progress of a rollout. Raises UnreachableError."""
    if workload.kind == "StatefulSet":
        stateful_set = live.stateful_set(workload.name)
        if stateful_set is None:
            return RolloutStatus(False, 0, 1, (f"{workload.kind} {workload.name} does not exist",))
        status = stateful_set_status(stateful_set)
        if status.complete:
            return status
        revision = f"controller-revision-hash={stateful_set.get('status', {}).get('updateRevision')}"
        creator = workload.name
    else:
        deployment = live.deployment(workload.name)
        if deployment is None:
            return RolloutStatus(False, 0, 1, (f"{workload.kind} {workload.name} does not exist",))
        status = deployment_status(deployment)
        if status.complete and (workload.release is None or not status.desired):
            return status
        # Before the controller has seen the change, the newest ReplicaSet is the one of the old revision.
        newest = _newest(deployment, live.replica_sets(workload.selector)) if _is_observed(deployment) else None
        revision = f"pod-template-hash={newest['metadata']['labels']['pod-template-hash']}" if newest else ""
        creator = newest["metadata"]["name"] if newest else workload.name
    pods = [pod for pod in live.pods(f"{workload.selector},{revision}") if not is_terminating(pod)] if revision else []
    ready = tuple(sorted(pod["metadata"]["name"] for pod in pods if pod_reason(pod) is None))
    if status.complete:
        return replace(status, ready=ready)
    if workload.kind == "StatefulSet":  # a pod has the name of its predecessor, and must wait for it
        pods += [pod for pod in live.pods(workload.selector) if is_terminating(pod)]
    reasons = {pod["metadata"]["name"]: reason for pod in pods if (reason := pod_reason(pod))}
    for pod_name, reason in reasons.items():
        if reason.startswith("ContainerCreating") and (warnings := live.warnings(pod_name)):
            reasons[pod_name] = f"{reason}: {warnings[-1]}"
    # Of a Deployment, `availableReplicas` includes pods of older revisions.
    failures = list(status.reasons)
    if not failures and len(pods) < status.desired:
        # Why pods are not created, such as a quota or an admission webhook: StatefulSets report it only in events
        # (kubernetes/kubernetes #108837).
        failures = [f"FailedCreate: {event}" for event in live.warnings(creator)[-1:] if "create" in event]
    return replace(
        status,
        available=min(status.available, len(ready)),
        reasons=(*failures, *(f"pod {pod_name}: {reason}" for pod_name, reason in sorted(reasons.items()))),
        stuck=frozenset(pod_name for pod_name, reason in reasons.items() if reason.split(":")[0] in STUCK_REASONS),
        ready=ready,
    )


def _is_observed(workload: Object) -> bool:
    """Whether the controller has seen the last change of a workload."""
    return bool(workload.get("status", {}).get("observedGeneration", 0) >= workload["metadata"]["generation"])


def deployment_status(deployment: Object) -> RolloutStatus:
    """Progress of a Deployment, by its own status."""
    desired = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    observed = _is_observed(deployment)
    complete = observed and updated == desired == status.get("replicas", 0) == available
    failures = tuple(
        f"{condition.get('reason')}: {condition.get('message')}"
        for condition in status.get("conditions", [])
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True"
    )
    return RolloutStatus(
        complete,
        min(updated, available) if observed else 0,
        desired,
        failures,
        replaces=status.get("replicas", 0) - updated if observed else 0,
        paused=bool(deployment["spec"].get("paused")),
        aborted=is_aborted(deployment),
    )


def stateful_set_status(stateful_set: Object) -> RolloutStatus:
    """Progress of a StatefulSet, by its own status."""
    desired = stateful_set["spec"].get("replicas", 1)
    status = stateful_set.get("status", {})
    observed = _is_observed(stateful_set)
    current = status.get("currentRevision") == status.get("updateRevision")
    updated = status.get("updatedReplicas", desired if current else 0)
    available = status.get("availableReplicas", 0)
    complete = observed and current and updated == desired == available == status.get("replicas", 0)
    return RolloutStatus(complete, min(updated, available) if observed else 0, desired)


def pod_reason(pod: Object) -> str | None:
    """Why a pod is not ready, from its status; None if it is."""
    if deadline := pod["metadata"].get("deletionTimestamp"):
        hint = lost_node_hint(pod)
        return f"Terminating: until {deadline} at the latest{f'; {hint}' if hint else ''}"
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


def _container_reason(container: Object) -> str | None:
    state = container.get("state", {})
    waiting = state.get("waiting")
    terminated = state.get("terminated") or (waiting and container.get("lastState", {}).get("terminated"))
    if terminated and (not waiting or waiting.get("reason") == "CrashLoopBackOff"):
        reason = (waiting or terminated).get("reason", "Error")
        message = (terminated.get("message") or "").strip()[-MESSAGE_LENGTH:]
        restarts = f"exit code {terminated.get('exitCode')}, {plural(container.get('restartCount', 0), 'restart')}"
        return f"{reason}: {restarts}{': ' + message if message else ''}"
    if waiting:
        return ": ".join(part for part in (waiting.get("reason"), waiting.get("message")) if part)
    return None


def _newest(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The newest ReplicaSet of a Deployment, None if there is none yet."""
    owned = owned_by(deployment, replica_sets)
    return max(
        owned,
        key=lambda replica_set: int(replica_set["metadata"]["annotations"].get("deployment.kubernetes.io/revision", 0)),
        default=None,
    )
