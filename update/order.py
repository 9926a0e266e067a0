"""The order of an update: which workloads are declared together, and what must be ready before the next ones."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.aborted import is_out_of_rotation
from cluster.live import Object, ready_replicas
from cluster.rollout_status import pod_reason
from cluster.state import LiveState, is_bound
from model.config.problems import UpdateWarning
from model.config.values import natural_key, plural
from model.desired.render import Desired
from model.desired.workloads import Workload, release_of
from model.names import HLS_CLAIM
from update.workload_changes import WorkloadChange


@dataclass(frozen=True)
class Step:
    """Workloads that are declared together. awaited: those that must be ready before the next step.

    claim: whether the claim of HLS must be bound before the next step.
    """

    declare: tuple[Workload, ...]
    awaited: tuple[Workload, ...] = ()
    claim: bool = False


def steps(desired: Desired, state: LiveState) -> Iterator[Step]:
    """The order: a ready edge is removed only after its replacement is ready. Everything else is declared at once.

    Except that no origin waits for a claim that is never bound: nginx comes first then, whose pods are also what a
    storage class with WaitForFirstConsumer waits for.
    """
    edges = {workload.release: workload for workload in desired.workloads if workload.release is not None}
    releases = desired.settings.edge.releases
    others = [workload for workload in desired.workloads if workload.release is None]
    nginx = [workload for workload in others if workload in desired.workloads_of(desired.hls)]
    if nginx and not is_bound(state.get("PersistentVolumeClaim", HLS_CLAIM)):
        yield Step(tuple(nginx), claim=True)
    others = [workload for workload in others if workload not in nginx]
    first, last, scale_up = edge_order(
        {release: share.replicas for release, share in desired.shares.items()},
        ready_edges(state),
        size_may_change=desired.settings.edge.autoscaling is not None,
    )
    yield Step(
        (
            *others,
            *(edges[release] for release in first),
        ),
        tuple(edges[release] for release in scale_up if not releases[release].paused) if last else (),
    )
    if last:
        yield Step(tuple(edges[release] for release in last))


def edge_order(
    desired: Mapping[str, int], ready: Mapping[str, int], size_may_change: bool = False
) -> tuple[list[str], list[str], list[str]]:
    """The order in which the releases are updated.

    desired: replicas of each release in the config. ready: ready replicas of each live Deployment, also of releases
    that the config removes. Desired replicas of the live Deployments do not count: after a failed update those pods
    may not exist. size_may_change: whether autoscalers may want another number of edges by the time of the last step.

    Returns the releases that are updated immediately, those that lose ready edges and are updated last, and the ones
    among the first that must be ready before the last may be updated. If there are more ready edges than desired
    ones, that many may be removed immediately, if that number stays.
    """
    names = sorted(desired, key=natural_key)
    shrinking = [name for name in names if desired[name] < ready.get(name, 0)]
    removals = sum(ready[name] - desired[name] for name in shrinking)
    surplus = sum(ready.values()) - sum(desired.values())
    scale_up = [name for name in names if desired[name] > ready.get(name, 0)]
    last = shrinking if size_may_change or (removals > surplus and scale_up) else []
    return [name for name in names if name not in last], last, scale_up


def ready_edges(state: LiveState) -> dict[str, int]:
    """Ready edges of each release, also of those that the config removes; none of a release that is out of rotation."""
    return {
        release_of(name): 0 if is_out_of_rotation(deployment) else ready_replicas(deployment)
        for name, deployment in state.edges.items()
    }


def foreign_edges(state: LiveState, own: LiveState) -> dict[str, int]:
    """Ready edges of foreign Deployments, which the edge Service selects as well.

    They are no capacity for the order of an update: their owner may remove them at any time.
    """
    return {name: ready_replicas(deployment) for name, deployment in state.edges.items() if name not in own.edges}


def early_scale_downs(changes: tuple[WorkloadChange, ...]) -> dict[str, int]:
    """Deployments of edges that lose pods which are not ready, before anything else; their replicas after that.

    Such pods have no viewers, but hold capacity that the replacements need: crashing pods of a bad release on a full
    node pool or under a quota would otherwise block the rollback. Ready pods are removed in the order of the steps.
    """
    return {
        change.workload.name: max(change.after, change.ready)
        for change in changes
        if change.workload.release is not None and max(change.after, change.ready) < change.before
    }


def awaited(changes: Sequence[WorkloadChange], state: LiveState, paused: Collection[Workload]) -> Iterator[Workload]:
    """Workloads that must be complete at the end of an update: those whose pods it changes, those whose last rollout
    has never been complete, and the releases that replace ready edges of a deleted one.

    A pod that has become unready since then is no fault of this update, and would make every update fail.
    """
    ready = ready_edges(state)
    releases = {change.workload.release: change for change in changes if change.workload.release is not None}
    deleted = sum(ready[name] for name, change in releases.items() if change.action == "delete")
    surplus = sum(ready.values()) - sum(change.after for change in releases.values())
    for change in changes:
        release = change.workload.release
        replaces = release is not None and 0 < deleted > surplus and ready.get(release, 0) < change.after
        live = state.get(change.workload.kind, change.workload.name)
        if change.action == "delete" or change.workload in paused:
            continue
        if replaces or change.action in ("roll", "scale") or live is None or not was_complete(live):
            yield change.workload


def was_complete(live: Object) -> bool:
    """Whether the last rollout of a workload has been complete at some time.

    A Deployment keeps the reason of its condition until its pod template changes (kubernetes,
    pkg/controller/deployment/progress.go, `syncRolloutStatus`).
    """
    status = live.get("status", {})
    if live["spec"].get("updateStrategy", {}).get("type") == "OnDelete":  # its `currentRevision` never changes
        return bool(status.get("updatedReplicas", 0) >= live["spec"]["replicas"])
    if "currentRevision" in status:  # a StatefulSet
        return status.get("currentRevision") == status.get("updateRevision")
    return any(condition.get("reason") == "NewReplicaSetAvailable" for condition in status.get("conditions", []))


def unready_pods(changes: Sequence[WorkloadChange], state: LiveState, excluded: Collection[Workload]) -> Iterator[str]:
    """Warnings of pods that are not ready, and that an update does not wait for."""
    for change in changes:
        if change.action == "delete" or change.workload in excluded:
            continue
        key, _, value = change.workload.selector.partition("=")
        reasons = [
            f"{pod['metadata']['name']} ({reason})"
            for pod in state.pods
            if pod["metadata"]["labels"].get(key) == value and (reason := pod_reason(pod))
        ]
        if reasons:
            yield UpdateWarning(
                f"{change.workload.title}: {plural(len(reasons), 'pod')} not ready before this update, which does not "
                f"wait for {'it' if len(reasons) == 1 else 'them'}: {', '.join(sorted(reasons))}",
                "PodsNotReady",
            )
