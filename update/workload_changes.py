"""What an update does to each workload: whether it rolls and why, scales, is created or deleted."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, cast

from cluster.live import Object, ready_replicas
from cluster.state import LiveState
from model import workloads
from model.conf_file import ConfFile
from model.pods import to_manifest
from model.settings.stack import StackSettings
from model.values import format_duration, natural_key, plural
from model.workload_specs import change_cause, demo_spec, edge_spec, hls_spec, origin_spec
from model.workloads import Workload
from update.apply import Change, applied, apply_changes, unseen_changes
from update.revisions import cannot_drain, outdated_pods

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
    ready: pods that are ready now. terminated: those of them that this update terminates.
    dropped: those of these that cannot drain, because of the SRS version that they run. reasons: why it rolls, a line
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
    """Those that the provider does not see (`update.apply.unseen_changes`)."""

    @property
    def rolls(self) -> bool:
        """Whether its running pods are replaced."""
        return self.action == "roll"


def workload_changes(settings: StackSettings, state: LiveState) -> tuple[WorkloadChange, ...]:
    """What an update does to each workload: edges in natural order, then origins, HLS, demo, then removed ones."""
    return (*_declared(settings, state), *_removed(settings, state))


def _declared(settings: StackSettings, state: LiveState) -> Iterator[WorkloadChange]:
    for release in sorted(settings.edge.releases, key=natural_key):
        metadata = {"annotations": {"kubernetes.io/change-cause": change_cause(settings, release)}}
        yield _change(
            workloads.edges(settings, release),
            {"metadata": metadata, "spec": to_manifest(edge_spec(settings, release))},
            settings,
            state,
            settings.edge_conf(release),
        )
    yield _change(
        workloads.origins(settings), {"spec": to_manifest(origin_spec(settings))}, settings, state, settings.origin_conf
    )
    if settings.hls.enabled:
        yield _change(workloads.hls(settings), {"spec": to_manifest(hls_spec(settings))}, settings, state)
    if settings.demo.enabled:
        yield _change(workloads.demo(settings), {"spec": to_manifest(demo_spec(settings))}, settings, state)


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
        dropped=ready if cannot_drain(live["spec"]["template"], settings) else 0,
        grace_seconds=grace_seconds(live),
    )


def _change(
    workload: Workload, desired: Object, settings: StackSettings, state: LiveState, conf: ConfFile | None = None
) -> WorkloadChange:
    after = int(desired["spec"]["replicas"])
    live = state.get(workload.kind, workload.name)
    if live is None:
        return _created(workload, after, state)
    changes = apply_changes(desired, live)
    template = [change for change in changes if change.path[:2] == ("spec", "template")]
    outdated = outdated_pods(workload, live, applied(live, template)["spec"]["template"], state, settings)
    before, ready = _replicas(live), ready_replicas(live)
    action: Action = "none"
    if (
        not desired["spec"].get("paused")
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
    dropped = removed if cannot_drain(live["spec"]["template"], settings) else 0
    conf_diff: tuple[str, ...] = ()
    if template and conf:
        earlier = settings.redact(conf.without_secrets(state.confs.get(workload.name, "")))
        conf_diff = tuple(_conf_diff(earlier, conf.shown))
    reasons = tuple(dict.fromkeys(_reason(change, bool(conf_diff)) for change in template))
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
        tuple(str(change) for change in changes),
        tuple(unseen_changes(changes)),
    )


def _created(workload: Workload, after: int, state: LiveState) -> WorkloadChange:
    """A new workload; it replaces pods that are left of a deleted one (`--cascade=orphan`)."""
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
    """Whether a new workload replaces a pod: a StatefulSet takes over pods by their labels and names, a Deployment the
    ReplicaSets, of which the pods are."""
    metadata = pod["metadata"]
    key, _, value = workload.selector.partition("=")
    if metadata["labels"].get(key) != value:
        return False
    if workload.kind == "StatefulSet":
        return not metadata.get("ownerReferences") and metadata["name"].rpartition("-")[0] == workload.name
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
        return f"image {change.before} -> {change.after}"
    if path == ("spec", "terminationGracePeriodSeconds"):
        return f"grace period {_duration(change.before)} -> {_duration(change.after)}"
    return field_change


def _duration(grace: Any) -> str:
    return format_duration(timedelta(seconds=int(grace or 30)))


def _conf_diff(before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return (line for line in lines if not line.startswith(("---", "+++", "@@")))


def _replicas(live: Object) -> int:
    return int(live["spec"].get("replicas", 1))


def _pods(live: Object) -> int:
    return int(live.get("status", {}).get("replicas", 0))


def grace_seconds(live: Object) -> int:
    """The grace period of a workload's pods."""
    return _pod_grace(live["spec"]["template"]["spec"])


def _pod_grace(pod: dict[str, Any]) -> int:
    return int(cast("int", pod.get("terminationGracePeriodSeconds", 30)))
