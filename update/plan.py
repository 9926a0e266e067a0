"""The update plan: what an update rejects, warns about, does to each workload, and in which order.

Pure: settings and live state in, plan out. The program carries it out (`update/run.py`) and a preview prints it
(`update/plan_text.py`). Nothing else decides or describes an update.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from kubernetes.utils.quantity import parse_quantity

from cluster.aborted import is_aborted, is_update_aborted
from cluster.state import LiveState, is_bound
from model.config.problems import Problem, UpdateWarning
from model.config.stack import StackSettings
from model.config.stack_warnings import config_warnings
from model.config.values import format_duration, natural_key, plural
from model.desired.render import Desired
from model.desired.workloads import Workload
from model.names import EDGE_APP, HLS_CLAIM, edge_deployment
from update.adoption import adoption_problems, adoption_warnings
from update.autoscaling import LiveAutoscaler, autoscaler_problems, autoscaler_warnings, retired
from update.changed_pods import changed_pod_warnings
from update.cluster_problems import cluster_problems, cluster_warnings
from update.load_balancers import load_balancer_problems, load_balancer_warnings
from update.object_changes import ObjectChange, object_changes
from update.open_run import open_run_problems
from update.order import Step, awaited, early_scale_downs, foreign_edges, ready_edges, steps, unready_pods
from update.origin_revisions import NO_ORIGINS, OriginPlan, origin_plan, origin_problems, origin_warnings
from update.ownership import (
    Binding,
    binding_problems,
    foreign_objects,
    namespace_problems,
    object_problems,
    own_state,
    stack_names,
)
from update.workload_changes import WorkloadChange, workload_changes

MAX_DEVIATION = 10
"""Percentage points between the desired and the actual share of a release, above which a plan warns."""


@dataclass(frozen=True)
class UpdatePlan:
    """What an update does.

    rejections: what cannot be done safely; nothing is changed if there are any. warnings: consequences, a line
    each. changes: of each workload. objects: of every other object. early_scale_downs: see
    `update.order.early_scale_downs`. steps: in order. paused: workloads that nothing waits for. awaited: after the
    last step, see `update.order.awaited`. binding: of the stack. ready_edges: by release, before the update.
    foreign_edges: ready foreign edges behind the same Service, by Deployment.
    retired: see `update.autoscaling.retired`. origins: see `update.origin_revisions`.
    taken_back: Deployments of aborted releases that the update brings back as they were.
    pause_at: numbers of ready new edges at which the rolling update of a release is paused, for a `rollout run`.
    """

    binding: Binding
    rejections: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    changes: tuple[WorkloadChange, ...] = ()
    objects: tuple[ObjectChange, ...] = ()
    early_scale_downs: dict[str, int] = field(default_factory=dict[str, int])
    steps: tuple[Step, ...] = ()
    paused: tuple[Workload, ...] = ()
    awaited: tuple[Workload, ...] = ()
    ready_edges: Mapping[str, int] = field(default_factory=dict[str, int])
    foreign_edges: Mapping[str, int] = field(default_factory=dict[str, int])
    retired: tuple[LiveAutoscaler, ...] = ()
    origins: OriginPlan = NO_ORIGINS
    taken_back: tuple[str, ...] = ()
    pause_at: Mapping[Workload, int] = field(default_factory=dict[Workload, int])


def plan(desired: Desired, state: LiveState, bound: Binding | None, run_token: str = "") -> UpdatePlan:
    """Plan the update from the live state to the desired one.

    bound: the binding of the last update, None before the first one. run_token: of the open `rollout run` that this
    update belongs to, "" for none.
    """
    settings, stacks = desired.settings, stack_names(desired, bound)
    problems = list(binding_problems(settings, state, bound))
    foreign = list(foreign_objects(desired, state, stacks))
    if state.known and not problems:
        problems += namespace_problems(settings, state, stacks)
        problems += object_problems(settings, foreign)
        problems += adoption_problems(desired, state, foreign)
    if problems:  # the live objects are not this stack's, and say nothing about it
        return UpdatePlan(bound or Binding.of(desired, state), tuple(problems))
    own = own_state(desired, state, stacks)
    origins = origin_plan(desired, own)
    desired = desired.with_origins_from(origins.start)
    changes = workload_changes(desired, own, origins)
    paused = tuple(desired.edges(name) for name, release in settings.edge.releases.items() if release.paused)
    waits = tuple(awaited(changes, own, paused))
    back = tuple(_taken_back(own, changes))
    # The abort of a run gives its release the earlier share again.
    run = own.run if own.run is not None and run_token == own.run.token else None
    by_abort = run is not None and bool(run.aborted_by)
    return UpdatePlan(
        binding=Binding.of(desired, state, bound),
        rejections=(
            *cluster_problems(desired, state),
            *open_run_problems(changes, state.run, run_token),
            *autoscaler_problems(desired, own, stacks),
            *origin_problems(settings, origins),
            *(() if by_abort else _aborted_problems(settings, own, back)),
            *_rejections(desired, own, changes),
        ),
        warnings=(
            *cluster_warnings(state, origins.names),
            *changed_pod_warnings(state),
            *adoption_warnings(desired, state, foreign),
            *autoscaler_warnings(desired, own),
            *origin_warnings(settings, origins, {name for pods in state.lost.values() for name in pods}),
            *_warnings(desired, own, changes),
            *unready_pods(changes, own, (*waits, *paused)),
        ),
        changes=changes,
        objects=object_changes(desired, own),
        early_scale_downs=early_scale_downs(changes),
        steps=tuple(steps(desired, own)),
        paused=paused,
        awaited=waits,
        ready_edges=ready_edges(own),
        foreign_edges=foreign_edges(state, own),
        retired=tuple(retired(desired, own, stacks)),
        origins=origins,
        taken_back=tuple(change.workload.name for change in back),
        pause_at={desired.edges(run.release): run.pause_at} if run and run.pause_at and not run.aborted_by else {},
    )


def _rejections(desired: Desired, state: LiveState, changes: tuple[WorkloadChange, ...]) -> Iterator[Problem]:
    settings = desired.settings
    yield from _paused_problems(desired, state)
    yield from _paused_order_problems(desired, state)
    yield from load_balancer_problems(settings, state)
    yield from _claim_problems(settings, state)
    yield from _timeout_problems(settings, changes)


def _taken_back(state: LiveState, changes: tuple[WorkloadChange, ...]) -> Iterator[WorkloadChange]:
    """A release that `rollout abort` has taken out of rotation, and that the update would bring back unchanged."""
    for change in changes:
        live = state.edges.get(change.workload.name)
        if live is None or not is_aborted(live) or not change.after:
            continue
        if not any(name.startswith("spec.template.") for name in change.fields):
            yield change


def _aborted_problems(settings: StackSettings, state: LiveState, back: tuple[WorkloadChange, ...]) -> Iterator[Problem]:
    for change in back:
        release = change.workload.release
        assert release is not None
        if is_update_aborted(state.edges[change.workload.name]):
            yield Problem(
                ("edge", "releases", release, "image"),
                settings.edge.releases[release].image,
                "must change, or another setting of the release, because its update was aborted (`rollout abort`): "
                f"restore the earlier ones, or continue the update: rollout resume --release {release}",
                reason="AbortedUpdate",
            )
        else:
            yield Problem(
                ("edge", "releases", release, "weight"),
                settings.edge.releases[release].weight,
                "must be 0, because the release was aborted and receives no new viewers (`rollout abort`). Or change "
                f"its image or its config, or take it back: rollout resume --release {release}",
                reason="AbortedRelease",
            )


def _paused_problems(desired: Desired, state: LiveState) -> Iterator[Problem]:
    for name, release in desired.settings.edge.releases.items():
        if not release.paused or not state.known:
            continue
        path = ("edge", "releases", name, "paused")
        deployment = state.edges.get(edge_deployment(name))
        replicas = desired.shares[name].replicas
        if deployment is None:
            yield Problem(
                path,
                True,
                "must be false on a release that does not exist yet: it would have no pods",
                reason="PausedReleaseIsNew",
            )
        elif (live := deployment["spec"]["replicas"]) != replicas:
            yield Problem(
                path,
                True,
                f"must not be combined with a change of the release's replicas (now {live}, desired {replicas}): "
                "Kubernetes would distribute the change over the old and the new pods; make one change after the other",
                reason="PausedReleaseScales",
            )


def _paused_order_problems(desired: Desired, state: LiveState) -> Iterator[Problem]:
    """Ready edges that would be removed while a paused release, which nothing waits for, cannot replace them."""
    replicas = {release: share.replicas for release, share in desired.shares.items()}
    ready = ready_edges(state)
    missing = {
        name: replicas[name] - ready.get(name, 0)
        for name, release in desired.settings.edge.releases.items()
        if release.paused and replicas[name] > ready.get(name, 0)
    }
    losing = [name for name in ready if ready[name] > replicas.get(name, 0)]
    after = sum(replicas.values()) - sum(missing.values())
    if losing and after < min(sum(ready.values()), sum(replicas.values())):
        for name in missing:
            yield Problem(
                ("edge", "releases", name, "paused"),
                True,
                f"must be false while only {ready.get(name, 0)} of {replicas[name]} edges are ready: ready edges of "
                f"{', '.join(sorted(losing, key=natural_key))} would be removed before other edges replace them",
                reason="PausedReleaseReplacesEdges",
            )


def _claim_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """A change of the HLS volume that would delete the recordings, or that the API server rejects.

    The class of a claim is immutable: the provider would replace the claim and with it the origins that mount it
    (pulumi-kubernetes #1665). A claim cannot shrink (Kubernetes docs, "Expanding Persistent Volumes Claims").
    """
    claim = state.get("PersistentVolumeClaim", HLS_CLAIM)
    if claim is None or not settings.hls.enabled:
        return
    live_class, live_size = claim["spec"].get("storageClassName"), claim["spec"]["resources"]["requests"]["storage"]
    if live_class != settings.hls.storage_class:
        alternative = (
            "another claim would lose the recordings and restart all origins. For another class, create another stack "
            "and move the streams to it"
            if is_bound(claim)
            else f"it has no volume yet. Delete it: kubectl -n {settings.kubernetes.namespace} delete pvc {HLS_CLAIM}"
        )
        yield Problem(
            ("hls", "storageClass"),
            settings.hls.storage_class,
            f"must stay {live_class!r}: the class of claim {HLS_CLAIM} is immutable, and {alternative}",
            reason="StorageClassIsImmutable",
        )
    if parse_quantity(settings.hls.size) < parse_quantity(live_size):
        yield Problem(
            ("hls", "size"),
            settings.hls.size,
            f"must be at least {live_size}: a volume cannot shrink",
            reason="VolumeShrinks",
        )
    elif parse_quantity(settings.hls.size) > parse_quantity(live_size) and state.claim_expandable is False:
        yield Problem(
            ("hls", "size"),
            settings.hls.size,
            f"must stay {live_size}: storage class {live_class} does not allow volume expansion",
            reason="VolumeNotExpandable",
        )


def _timeout_problems(settings: StackSettings, changes: tuple[WorkloadChange, ...]) -> Iterator[Problem]:
    """A rolling update that cannot complete within its timeout, by arithmetic."""
    edge, origin = settings.edge, settings.origin
    for change in changes:
        is_origin = change.workload.kind == "StatefulSet"
        if not change.rolls or not change.after or not (is_origin or change.workload.release):
            continue
        if is_origin:
            batches = 2  # one origin, which is checked, then the others
            needed = batches * origin.min_ready
            path, timeout = ("origin", "rolloutTimeout"), origin.rollout_timeout
        else:
            batches = math.ceil(change.after / edge.surge(change.after))
            needed = batches * (edge.warm_up + edge.min_ready + settings.registration_time)
            path, timeout = ("edge", "rolloutTimeout"), edge.rollout_timeout
        if timeout <= needed:
            yield Problem(
                path,
                timeout,
                f"is too short: the {plural(batches, 'batch')} of the rolling update of {change.workload.title} take "
                f"more than {format_duration(needed)}",
                reason="RolloutTimeoutTooShort",
            )


def _warnings(desired: Desired, state: LiveState, changes: tuple[WorkloadChange, ...]) -> Iterator[str]:
    settings = desired.settings
    edges = sum(share.replicas for share in desired.shares.values())
    for release, share in desired.shares.items():
        if share.deviation > MAX_DEVIATION:
            yield UpdateWarning(
                f"release {release} gets {share.replicas} of {edges} edges, {share.actual:.0f} % of "
                f"new viewers, {share.deviation:.0f} points from the desired {share.desired:.0f} %; more edges come "
                "closer",
                "ShareDeviates",
            )
    yield from config_warnings(settings)
    if not state.cluster_uid and state.known:
        yield UpdateWarning(
            "the identity of the cluster cannot be checked: the user of the kubeconfig must not read namespace "
            "kube-system",
            "ClusterNotIdentified",
        )
    if state.run_unknown:
        yield UpdateWarning(
            f"it cannot be checked whether a rollout run is open: {state.run_unknown}",
            "RolloutRunUnknown",
        )
    yield from load_balancer_warnings(settings, state)
    yield from _exclusive_warnings(settings, state)
    for change in changes:
        yield from _change_warnings(settings, change)
    if not settings.hls.enabled and state.get("PersistentVolumeClaim", HLS_CLAIM):
        yield UpdateWarning(
            f"HLS is disabled, and its URL stops working; claim {HLS_CLAIM} stays with its recordings. To delete them: "
            f"kubectl -n {settings.kubernetes.namespace} delete pvc {HLS_CLAIM}",
            "RecordingsStay",
        )


def _exclusive_warnings(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Encoders that publish through edges which are going to reject them."""
    accepting = [name for name, conf in state.confs.items() if name in state.edges and "deny publish all" not in conf]
    if settings.publish.exclusive and settings.publish_service and accepting:
        edges = ", ".join(service.name for service in settings.exposed_services if service.app == EDGE_APP)
        yield UpdateWarning(
            f"srs:publish.exclusive: new edges reject encoders. Those that publish through {edges} have to use "
            f"Service {settings.publish_service.name} before their edge is replaced",
            "EdgesRejectEncoders",
        )


def _change_warnings(settings: StackSettings, change: WorkloadChange) -> Iterator[str]:
    if change.workload.release is None:
        return
    if change.dropped:
        yield UpdateWarning(
            f"{change.workload.title}: the connections of {plural(change.dropped, 'edge')} are dropped, because their "
            "SRS version cannot drain (ossrs/srs #3805)",
            "CannotDrain",
        )
    if change.rolls and change.grace_seconds < settings.edge.drain.grace_seconds:
        yield UpdateWarning(
            f"{change.workload.title}: connections that are open now keep the old limit of "
            f"{format_duration(timedelta(seconds=change.grace_seconds))}, because a running pod keeps its grace period",
            "OldGracePeriod",
        )
