"""When a rollout is complete, and why one is not.

The provider can wait for a Deployment too, but only in the update that changes the object (so the update after an
interrupted one would continue at once), it cannot skip a paused rollout, and it does not report why a pod cannot be
scheduled. The rules for "complete" are those of `kubectl rollout status`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.aborted import is_aborted
from cluster.live import LiveCluster, Object, owned_by
from cluster.terminating import is_draining, is_running, is_terminating, lost_node_hint
from model.config.values import plural
from model.desired.workloads import Workload
from model.load_balancers.kinds import gate_hint

STUCK_REASONS = {
    "CrashLoopBackOff",
    # The image (kubernetes, pkg/kubelet/images/types.go).
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "ImageInspectError",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    # The container (pkg/kubelet/kuberuntime/kuberuntime_container.go, pkg/kubelet/container/sync_result.go).
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
    "RunContainerError",
    "StartError",
    "ContainerCannotRun",
    # The pod (pkg/kubelet/container/sync_result.go); ContainerCreating and PodInitializing are not among them.
    "ConfigPodSandboxError",
    "CreatePodSandboxError",
}
"""Reasons of a waiting or terminated container that rarely recover: the kubelet tries again and again, with the same
result."""

MESSAGE_LENGTH = 400
"""Characters of a container's termination message that are shown; the last ones contain the reason."""


@dataclass(frozen=True)
class RolloutStatus:
    """Progress of a rollout.

    available, desired: pods of the new revision. complete: nothing is left to wait for.
    reasons: why pods are not ready, a line each. stuck: names of pods that rarely recover.
    ready: names of the ready pods of the new revision; of edge releases also if it is complete.
    all_ready: whether nothing is left to wait for but the time that pods must be ready; of StatefulSets only.
    replaces: number of pods of earlier revisions, which it replaces; of Deployments only. paused: of Deployments only.
    aborted: whether its pods were taken out of rotation (`cluster/aborted.py`).
    version: of the Deployment that was read.
    """

    complete: bool
    available: int
    desired: int
    reasons: tuple[str, ...] = ()
    stuck: frozenset[str] = frozenset()
    ready: tuple[str, ...] = ()
    all_ready: bool = False
    replaces: int = 0
    paused: bool = False
    aborted: bool = False
    version: str = ""


def rollout_status(live: LiveCluster, workload: Workload, awaited: frozenset[str] | None = None) -> RolloutStatus:
    """Read the progress of a rollout. awaited: of a StatefulSet, only these pods. Raises UnreachableError."""
    if workload.kind == "StatefulSet":
        stateful_set = live.stateful_set(workload.name)
        if stateful_set is None:
            return RolloutStatus(False, 0, 1, (f"{workload.kind} {workload.name} does not exist",))
        found = live.pods(workload.selector)
        status = stateful_set_status(stateful_set, found)
        if status.complete or (awaited is not None and awaited <= set(status.ready)):
            return status
        creator = workload.name
        names = stateful_set_names(stateful_set) if awaited is None else awaited
        pods = [pod for pod in found if not is_terminating(pod) and _is_newest(pod, stateful_set)]
        ready = tuple(sorted(pod["metadata"]["name"] for pod in pods if pod_reason(pod) is None))
        # A pod has the name of its predecessor, and must wait for it.
        pods += [pod for pod in found if is_terminating(pod) and pod["metadata"]["name"] in names]
        if awaited is not None:
            pods = [pod for pod in pods if pod["metadata"]["name"] in awaited]
    else:
        deployment = live.deployment(workload.name)
        if deployment is None:
            return RolloutStatus(False, 0, 1, (f"{workload.kind} {workload.name} does not exist",))
        status = deployment_status(deployment)
        if status.complete and (workload.release is None or not status.desired):
            return status
        # Before the controller has seen the change, the newest ReplicaSet is the one of the old revision.
        newest = _newest(deployment, live.replica_sets(workload.selector)) if is_observed(deployment) else None
        revision = f"pod-template-hash={newest['metadata']['labels']['pod-template-hash']}" if newest else ""
        creator = newest["metadata"]["name"] if newest else workload.name
        selector = f"{workload.selector},{revision}"
        pods = [pod for pod in live.pods(selector) if not is_terminating(pod)] if revision else []
        ready = tuple(sorted(pod["metadata"]["name"] for pod in pods if pod_reason(pod) is None))
        if status.complete:
            return replace(status, ready=ready)
    reasons = {pod["metadata"]["name"]: reason for pod in pods if (reason := pod_reason(pod))}
    for pod_name, reason in reasons.items():
        if reason.startswith("ContainerCreating") and (warnings := live.warnings(pod_name)):
            reasons[pod_name] = f"{reason}: {warnings[-1]}"
    # `availableReplicas` of a Deployment includes pods of older revisions.
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


def is_observed(workload: Object) -> bool:
    """Whether the controller has seen the last change of a workload."""
    return bool(workload.get("status", {}).get("observedGeneration", 0) >= workload["metadata"]["generation"])


def deployment_status(deployment: Object) -> RolloutStatus:
    """Progress of a Deployment, by its own status."""
    desired = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    observed = is_observed(deployment)
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
        version=deployment["metadata"].get("resourceVersion", ""),
    )


def stateful_set_status(stateful_set: Object, pods: Sequence[Object]) -> RolloutStatus:
    """Progress of a StatefulSet with the strategy OnDelete. pods: all with its labels.

    One that drains keeps its name until its connections have ended, so that it is replaced only then; nothing waits for
    it, if another pod is available.
    """
    desired = stateful_set["spec"].get("replicas", 1)
    status = stateful_set.get("status", {})
    observed = is_observed(stateful_set)
    names = stateful_set_names(stateful_set)
    serving = [pod for pod in pods if not is_terminating(pod)]
    updated = [pod for pod in serving if _is_newest(pod, stateful_set)]
    ready = [pod for pod in updated if pod["metadata"]["name"] in names and pod_reason(pod) is None]
    draining = [pod for pod in pods if pod["metadata"]["name"] in names and is_draining(pod)]
    # The status does not say which pods are available; those that are ready are, if as many pods are. It may be older
    # than the pods: one that knows of no ready pod yet says nothing about how long they have been ready.
    settled = len(ready) <= status.get("readyReplicas", 0) <= status.get("availableReplicas", 0)
    available = len(ready) if observed and settled else min(len(ready), status.get("availableReplicas", 0))
    expected = max(min(desired, 1), desired - len(draining))
    replaces = len(serving) - len([pod for pod in updated if pod["metadata"]["name"] in names])
    all_ready = observed and not replaces and len(ready) >= expected
    return RolloutStatus(
        all_ready and settled and available >= expected,
        available if observed else 0,
        desired,
        ready=tuple(sorted(pod["metadata"]["name"] for pod in ready)),
        all_ready=all_ready,
        replaces=replaces,
    )


def stateful_set_ordinals(stateful_set: Object) -> range:
    """The ordinals of the pods that a StatefulSet has."""
    first: dict[str, int] = stateful_set["spec"].get("ordinals") or {}
    start = first.get("start", 0)
    return range(start, start + int(stateful_set["spec"].get("replicas", 1)))


def stateful_set_names(stateful_set: Object) -> frozenset[str]:
    """The names of the pods that a StatefulSet has."""
    name = stateful_set["metadata"]["name"]
    return frozenset(f"{name}-{number}" for number in stateful_set_ordinals(stateful_set))


def dead_pods(stateful_set: Object, pods: Sequence[Object]) -> list[Object]:
    """Pods of earlier revisions that hold a name of a StatefulSet with the strategy OnDelete, and do not run."""
    names = stateful_set_names(stateful_set)
    if not is_observed(stateful_set):
        return []
    return [
        pod
        for pod in pods
        if pod["metadata"]["name"] in names
        and not is_terminating(pod)
        and not _is_newest(pod, stateful_set)
        and not is_running(pod)
    ]


def _is_newest(pod: Object, stateful_set: Object) -> bool:
    """Whether a pod is of the newest revision of its StatefulSet, by the label that this one adds."""
    revision: str | None = stateful_set.get("status", {}).get("updateRevision")
    return bool(pod["metadata"]["labels"].get("controller-revision-hash") == revision)


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
    if closed := _closed_gate(pod, conditions):
        return closed
    return f"{status.get('phase', 'Pending')}: not ready yet"


def _closed_gate(pod: Object, conditions: Mapping[str, Object]) -> str | None:
    """The readiness gate that a pod with ready containers waits for."""
    if conditions.get("ContainersReady", {}).get("status") != "True":
        return None
    for gate in pod.get("spec", {}).get("readinessGates", []):
        condition = conditions.get(gate["conditionType"], {})
        if condition.get("status") != "True":
            details = ": ".join(part for part in (condition.get("reason"), condition.get("message")) if part)
            parts = (gate["conditionType"], details, gate_hint(gate["conditionType"]))
            return f"ReadinessGatesNotReady: {'; '.join(part for part in parts if part)}"
    return None


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


def _revision(replica_set: Object) -> int:
    annotations: dict[str, str] = replica_set["metadata"].get("annotations") or {}
    revision = annotations.get("deployment.kubernetes.io/revision", "")
    return int(revision) if revision.isdecimal() else 0


def _newest(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The newest ReplicaSet of a Deployment, None if there is none yet."""
    owned = owned_by(deployment, replica_sets)
    return max(
        owned,
        key=_revision,
        default=None,
    )
