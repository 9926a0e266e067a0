"""What an update does to each workload: whether it rolls and why, scales, is created or deleted."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from cluster.live import Object, ready_replicas
from cluster.state import LiveState
from model.config.stack import StackSettings
from model.config.values import format_duration, natural_key, plural
from model.desired import workloads
from model.desired.origin_drain import REVISION_ANNOTATION
from model.desired.render import Desired
from model.desired.workloads import Workload
from update.object_changes import metadata_differences
from update.origin_revisions import OriginPlan
from update.prediction import Change, admitted, applied, apply_changes, masked, unseen_changes
from update.revisions import drops_connections, outdated_pods

CONF_CHANGES = "srs.conf"
"""The reason of a rolling update whose srs.conf changes."""

SECRET_CHANGES = "a secret of srs.conf"
"""The reason of a rolling update that changes nothing else in srs.conf."""

Action = Literal["create", "roll", "scale", "update", "delete", "none"]


@dataclass(frozen=True)
class WorkloadChange:
    """What an update does to a workload.

    action: `roll` replaces its pods, `update` changes the object without touching pods. before, after: desired
    replicas. peak: the largest number of its pods at the same time, ready or not, without those that terminate already.
    A Deployment that rolls and scales up at once scales up its old ReplicaSet first (kubernetes,
    pkg/controller/deployment/sync.go, `isScalingEvent` and `scale`).
    ready: pods that are ready now. terminated: ready pods that this update terminates.
    dropped: terminated pods that cannot drain, because of the SRS version that they run. reasons: why it rolls, a line
    each. conf_diff: unified diff of its srs.conf, line by line. grace_seconds: the grace period of its running pods.
    """

    workload: Workload
    action: Action
    before: int
    after: int
    peak: int
    ready: int = 0
    terminated: int = 0
    dropped: int = 0
    reasons: tuple[str, ...] = ()
    conf_diff: tuple[str, ...] = ()
    grace_seconds: int = 0
    fields: tuple[str, ...] = field(default=())
    """All changed fields, a line each."""
    unseen: tuple[Change, ...] = ()
    """The changes that the provider does not see (`update.prediction.unseen_changes`)."""
    changes: tuple[Change, ...] = ()
    """All changed fields; secret values are not masked."""

    @property
    def rolls(self) -> bool:
        """Whether its running pods are replaced."""
        return self.action == "roll"


def workload_changes(desired: Desired, state: LiveState, origins: OriginPlan) -> tuple[WorkloadChange, ...]:
    """What an update does to each workload: edges in natural order, then origins, HLS, demo, then removed ones."""
    declared = (
        _origin_change(workload, item.compared, desired, state, origins)
        if workload.kind == "StatefulSet"
        else _change(workload, item.compared, desired, state)
        for workload, item in desired.workloads.items()
    )
    return (*declared, *_removed(desired.settings, state))


def _origin_change(
    workload: Workload, manifest: Object, desired: Desired, state: LiveState, plan: OriginPlan
) -> WorkloadChange:
    live = state.origins
    after = int(manifest["spec"]["replicas"])
    change = WorkloadChange(
        workload,
        "create",
        0,
        after,
        plan.peak,
        len(plan.ready),
        terminated=len(plan.ready & plan.removed.keys()),
        dropped=len(plan.ready & set(plan.dropped)),
        grace_seconds=max(plan.removed.values(), default=0),
    )
    if live is None:
        if not plan.live:
            return change
        left = plural(len(plan.removed), "pod")
        reasons = (f"{left} of a deleted {workload.kind} {workload.name}, which will be replaced",)
        return replace(change, action="roll", before=len(plan.removed), reasons=reasons)
    before = _replicas(live)
    changes, by_hand = _field_changes(workload, manifest, live, state)
    shown, reasons, conf_diff = _reasons(workload, changes, desired, state)
    action: Action = "none"
    if plan.fresh and (plan.removed or before == after):
        action = "roll"
    elif before != after:
        action = "scale"
    elif changes:
        action = "update"
    if action == "roll" and not reasons:
        count = plural(len(plan.removed or plan.fresh), "origin")
        if not plan.removed:
            reasons = (f"{count} without a pod that runs",)
        elif before == after:
            reasons = (f"{count} of an earlier revision",)
        else:
            reasons = (f"{count} under other names: earlier origins still drain under those next to them",)
    return replace(
        change,
        action=action,
        before=before,
        reasons=reasons,
        conf_diff=conf_diff,
        fields=tuple(str(item) for item in shown),
        unseen=(*unseen_changes(changes), *by_hand),
        changes=tuple(changes),
    )


def _removed(settings: StackSettings, state: LiveState) -> Iterator[WorkloadChange]:
    for name in sorted(state.edges, key=natural_key):
        release = workloads.release_of(name)
        if release not in settings.edge.releases:
            yield _deleted(workloads.edges(settings, release), state.edges[name], settings)
    for workload, enabled in (
        (workloads.hls(settings), settings.hls.enabled),
        (workloads.demo(settings), settings.demo.enabled),
    ):
        if not enabled and (live := state.get("Deployment", workload.name)):
            yield _deleted(workload, live, settings)


def _deleted(workload: Workload, live: Object, settings: StackSettings) -> WorkloadChange:
    ready = ready_replicas(live)
    return WorkloadChange(
        workload,
        "delete",
        _replicas(live),
        0,
        max(_replicas(live), _pods(live)),
        ready,
        terminated=ready,
        dropped=ready if drops_connections(live["spec"]["template"], settings) else 0,
        grace_seconds=grace_seconds(live),
    )


def _change(workload: Workload, manifest: Object, desired: Desired, state: LiveState) -> WorkloadChange:
    settings = desired.settings
    after = int(manifest["spec"]["replicas"])
    live = state.get(workload.kind, workload.name)
    if live is None:
        return _created(workload, after, state)
    changes, by_hand = _field_changes(workload, manifest, live, state)
    template = [change for change in changes if change.path[:2] == ("spec", "template")]
    outdated = outdated_pods(live, applied(live, template)["spec"]["template"], state, settings)
    before, ready = _replicas(live), ready_replicas(live)
    action: Action = "none"
    if (
        not manifest["spec"].get("paused")
        and before
        and after
        and (outdated.pods or (template and not outdated.current))
    ):
        action = "roll"
    elif before != after:
        action = "scale"
    elif changes:
        action = "update"
    removed = max(0, ready - after)
    dropped = removed if drops_connections(live["spec"]["template"], settings) else 0
    shown, reasons, conf_diff = _reasons(workload, changes, desired, state)
    if action == "roll" and not reasons:
        reasons = (f"{plural(outdated.pods, 'pod')} of an earlier revision",)
    return WorkloadChange(
        workload,
        action,
        before,
        after,
        max(_pods(live), outdated.pods + max(0, after - before) + after if action == "roll" else max(before, after)),
        ready,
        max(removed, outdated.ready) if action == "roll" else removed,
        max(dropped, outdated.dropped) if action == "roll" else dropped,
        reasons,
        conf_diff,
        grace_seconds(live),
        tuple(str(change) for change in shown),
        (*unseen_changes(changes), *by_hand),
        tuple(changes),
    )


def _field_changes(
    workload: Workload, manifest: Object, live: Object, state: LiveState
) -> tuple[list[Change], list[Change]]:
    """All changes of a live workload, and of them those of labels and annotations that were added by hand."""
    stored = state.admission.stored.get((workload.kind, workload.name))
    added = [change for change in metadata_differences(manifest["metadata"], live) if change.after is None]
    changes = admitted([*apply_changes(manifest, live), *added], live, stored)
    return changes, [change for change in added if change in changes]


def _reasons(
    workload: Workload, changes: Sequence[Change], desired: Desired, state: LiveState
) -> tuple[list[Change], tuple[str, ...], tuple[str, ...]]:
    """The changes without secrets, why those of the pod template roll a workload, and the diff of its srs.conf."""
    conf = desired.conf(workload)
    conf_diff: tuple[str, ...] = ()
    if conf and any(change.path[:2] == ("spec", "template") for change in changes):
        earlier = desired.confs.redact(conf.without_secrets(state.confs.get(workload.name, "")))
        conf_diff = tuple(_conf_diff(earlier, conf.shown))
    key = "edge" if workload.release is not None else "origin" if conf else ""
    shown = [masked(change) if key in desired.settings.secret_keys else change for change in changes]
    template = [
        change for change in shown if change.path[:2] == ("spec", "template") and change.path[-1] != REVISION_ANNOTATION
    ]
    return shown, tuple(dict.fromkeys(_reason(change, bool(conf_diff)) for change in template)), conf_diff


def _created(workload: Workload, after: int, state: LiveState) -> WorkloadChange:
    """A new Deployment; it replaces pods that are left of a deleted one (`--cascade=orphan`)."""
    pods = [pod for pod in state.pods if _left_of(pod, workload)]
    if not pods:
        return WorkloadChange(workload, "create", 0, after, peak=after)
    return WorkloadChange(
        workload,
        "roll",
        len(pods),
        after,
        peak=len(pods) + after,
        ready=len(pods),
        terminated=len(pods),
        reasons=(f"{plural(len(pods), 'pod')} of a deleted {workload.kind} {workload.name}, which will be replaced",),
        grace_seconds=max(_pod_grace(pod["spec"]) for pod in pods),
    )


def _left_of(pod: Object, workload: Workload) -> bool:
    """Whether a new Deployment replaces a pod: it takes over the ReplicaSets, of which the pods are."""
    metadata = pod["metadata"]
    key, _, value = workload.selector.partition("=")
    if metadata["labels"].get(key) != value:
        return False
    owners = [owner["name"].rpartition("-")[0] for owner in metadata.get("ownerReferences", [])]
    return workload.name in owners


def _reason(change: Change, conf_changes: bool) -> str:
    """Why a changed field of the pod template rolls a workload, in the operator's words."""
    path = change.path[2:]
    field_change = str(replace(change, path=path[1:] if path[0] == "spec" else path))
    if "config" in path and "secret" in path and not conf_changes:
        return SECRET_CHANGES
    if conf_changes and "config" in path and ("configMap" in path or "secret" in path):
        return CONF_CHANGES
    if change.manager:
        return field_change
    if path[-1] == "image":
        return f"image {change.before} -> {change.after}{change.cause}"
    if path == ("spec", "terminationGracePeriodSeconds"):
        return f"grace period {_duration(change.before)} -> {_duration(change.after)}{change.cause}"
    return field_change


def _duration(grace: Any) -> str:
    return format_duration(timedelta(seconds=int(grace)))


def _conf_diff(before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    return (line for line in lines if not line.startswith(("---", "+++", "@@")))


def _replicas(live: Object) -> int:
    return int(live["spec"]["replicas"])


def _pods(live: Object) -> int:
    return int(live.get("status", {}).get("replicas", 0))


def grace_seconds(live: Object) -> int:
    """The grace period of a workload's pods."""
    return _pod_grace(live["spec"]["template"]["spec"])


def _pod_grace(pod: dict[str, Any]) -> int:
    return int(pod["terminationGracePeriodSeconds"])
