"""The update plan: what an update rejects, warns about, does to each workload, and in which order.

Pure: settings and live state in, plan out. The program carries it out (`update/run.py`) and a preview prints it
(`update/report.py`). Nothing else decides or describes an update.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from kubernetes.utils.quantity import parse_quantity

from cluster.aborted import is_aborted
from cluster.state import LiveState, is_bound
from model import workloads
from model.names import HLS_CLAIM, edge_deployment
from model.problems import Problem
from model.settings.stack import StackSettings
from model.values import format_duration, natural_key, plural
from model.workloads import Workload
from update.adoption import adoption_problems, adoption_warnings, port_names
from update.autoscaling import autoscaler_problems, autoscaler_warnings
from update.cluster_problems import cluster_problems, cluster_warnings
from update.load_balancers import backend_nodes, load_balancer_problems, load_balancer_warnings
from update.order import Step, foreign_edges, ready_edges, steps, trims
from update.ownership import (
    Binding,
    binding_problems,
    foreign_objects,
    namespace_problems,
    object_problems,
    own_state,
)
from update.workload_changes import WorkloadChange, workload_changes

MAX_DEVIATION = 10
"""Percentage points between the desired and the actual share of a release, above which a plan warns."""


@dataclass(frozen=True)
class UpdatePlan:
    """What an update does.

    rejections: what cannot be done safely; nothing is changed if there are any. warnings: consequences, a line each.
    changes: of each workload. trims: see `update.order.trims`. steps: in order; after the last one, all declared
    workloads but the paused ones are awaited. paused: workloads that nothing waits for. binding: of the stack.
    ready_edges: by release, before the update. foreign_edges: ready edges of others behind the same Service, by
    Deployment. port_names: see `update.adoption.port_names`. backend_nodes: see `update.load_balancers.backend_nodes`.
    """

    binding: Binding
    rejections: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    changes: tuple[WorkloadChange, ...] = ()
    trims: dict[str, int] = field(default_factory=dict[str, int])
    steps: tuple[Step, ...] = ()
    paused: tuple[Workload, ...] = ()
    ready_edges: Mapping[str, int] = field(default_factory=dict[str, int])
    foreign_edges: Mapping[str, int] = field(default_factory=dict[str, int])
    port_names: Mapping[str, Mapping[int, str]] = field(default_factory=dict[str, Mapping[int, str]])
    backend_nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])


def plan(settings: StackSettings, state: LiveState, stack: str, bound: Binding | None) -> UpdatePlan:
    """Plan the update from the live state to the settings.

    stack: organization/project/stack. bound: the binding of the last update, None before the first one.
    """
    problems = list(binding_problems(settings, state, bound))
    foreign = list(foreign_objects(settings, state, stack))
    if state.known and not problems:
        problems += namespace_problems(settings, state, stack)
        problems += object_problems(settings, foreign)
        problems += adoption_problems(settings, state, foreign)
    if problems:  # the live objects are not this stack's, and say nothing about it
        return UpdatePlan(bound or Binding.of(settings, state), tuple(problems))
    own = own_state(settings, state, stack)
    changes = workload_changes(settings, own)
    return UpdatePlan(
        binding=Binding.of(settings, state, bound),
        rejections=(*cluster_problems(settings, state), *_rejections(settings, own, changes)),
        warnings=(
            *cluster_warnings(state),
            *adoption_warnings(settings, state, foreign),
            *_warnings(settings, own, changes),
        ),
        changes=changes,
        trims=trims(changes),
        steps=tuple(steps(settings, own)),
        paused=tuple(
            workloads.edges(settings, name) for name, release in settings.edge.releases.items() if release.paused
        ),
        ready_edges=ready_edges(own),
        foreign_edges=foreign_edges(state, own),
        port_names=port_names(settings, own),
        backend_nodes=backend_nodes(settings, own),
    )


def _rejections(settings: StackSettings, state: LiveState, changes: tuple[WorkloadChange, ...]) -> Iterator[Problem]:
    yield from _aborted_problems(settings, state, changes)
    yield from _paused_problems(settings, state)
    yield from _paused_order_problems(settings, state)
    yield from load_balancer_problems(settings, state)
    yield from _claim_problems(settings, state)
    yield from autoscaler_problems(settings, state)
    yield from _timeout_problems(settings, changes)


def _aborted_problems(
    settings: StackSettings, state: LiveState, changes: tuple[WorkloadChange, ...]
) -> Iterator[Problem]:
    """A release that `rollout abort` has taken out of rotation, and that the update would bring back unchanged."""
    for change in changes:
        release, live = change.workload.release, state.edges.get(change.workload.name)
        if release is None or live is None or not is_aborted(live) or not change.after:
            continue
        if not any(name.startswith("spec.template.") for name in change.fields):
            yield Problem(
                ("edge", "releases", release, "weight"),
                settings.edge.releases[release].weight,
                "must be 0, because the release was aborted and receives no new viewers (`rollout abort`). Or change "
                f"its image or its config, or take it back: rollout resume --release {release}",
            )


def _paused_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    for name, release in settings.edge.releases.items():
        if not release.paused or not state.known:
            continue
        path = ("edge", "releases", name, "paused")
        deployment = state.edges.get(edge_deployment(name))
        desired = settings.edge.shares[name].replicas
        if deployment is None:
            yield Problem(path, True, "must be false on a release that does not exist yet: it would have no pods")
        elif (live := deployment["spec"].get("replicas", 1)) != desired:
            yield Problem(
                path,
                True,
                f"must not be combined with a change of the release's replicas (now {live}, desired {desired}): "
                "Kubernetes would distribute the change over the old and the new pods; make one change after the other",
            )


def _paused_order_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Ready edges that would be removed while a paused release, which nothing waits for, cannot replace them."""
    desired = {release: share.replicas for release, share in settings.edge.shares.items()}
    ready = ready_edges(state)
    missing = {
        name: desired[name] - ready.get(name, 0)
        for name, release in settings.edge.releases.items()
        if release.paused and desired[name] > ready.get(name, 0)
    }
    losing = [name for name in ready if ready[name] > desired.get(name, 0)]
    after = sum(desired.values()) - sum(missing.values())
    if losing and after < min(sum(ready.values()), sum(desired.values())):
        for name in missing:
            yield Problem(
                ("edge", "releases", name, "paused"),
                True,
                f"must be false while only {ready.get(name, 0)} of {desired[name]} edges are ready: ready edges of "
                f"{', '.join(sorted(losing, key=natural_key))} would be removed before others replace them",
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
        )
    if parse_quantity(settings.hls.size) < parse_quantity(live_size):
        yield Problem(("hls", "size"), settings.hls.size, f"must be at least {live_size}: a volume cannot shrink")
    elif parse_quantity(settings.hls.size) > parse_quantity(live_size) and state.claim_expandable is False:
        yield Problem(
            ("hls", "size"),
            settings.hls.size,
            f"must stay {live_size}: storage class {live_class} does not allow volume expansion",
        )


def _timeout_problems(settings: StackSettings, changes: tuple[WorkloadChange, ...]) -> Iterator[Problem]:
    """A rolling update that cannot complete within its timeout, by arithmetic."""
    edge, origin = settings.edge, settings.origin
    for change in changes:
        if not change.rolls:
            continue
        if change.workload.release is not None:
            surge = edge.surge(change.after)
            batches = math.ceil(change.after / surge) if surge else 0
            needed = batches * (edge.warm_up + edge.min_ready)
            path, timeout = ("edge", "rolloutTimeout"), edge.rollout_timeout
        elif change.workload.kind == "StatefulSet":
            batches = change.after
            needed = batches * origin.min_ready
            path, timeout = ("origin", "rolloutTimeout"), origin.rollout_timeout
        else:
            continue
        if timeout <= needed:
            yield Problem(
                path,
                timeout,
                f"is too short: {change.workload.title} rolls in {batches} batches, which take more than "
                f"{format_duration(needed)}",
            )


def _warnings(settings: StackSettings, state: LiveState, changes: tuple[WorkloadChange, ...]) -> Iterator[str]:
    autoscaled = any(release.autoscaled for release in settings.edge.releases.values())
    for release, share in settings.edge.shares.items():
        if share.deviation > MAX_DEVIATION and not autoscaled:
            yield (
                f"release {release} gets {share.replicas} of {settings.edge.replicas} edges, {share.actual:.0f} % of "
                f"new viewers, {share.deviation:.0f} points from the desired {share.desired:.0f} %; more edges come "
                "closer"
            )
    yield from settings.warnings()
    if not state.cluster_uid and state.known:
        yield (
            "the identity of the cluster cannot be checked: the user of the kubeconfig must not read namespace "
            "kube-system"
        )
    yield from autoscaler_warnings(settings, state)
    yield from load_balancer_warnings(settings, state)
    for change in changes:
        yield from _change_warnings(settings, state, change)
    if not settings.hls.enabled and state.get("PersistentVolumeClaim", HLS_CLAIM):
        yield (
            f"HLS is disabled, and its URL stops working; claim {HLS_CLAIM} stays with its recordings. To delete them: "
            f"kubectl -n {settings.kubernetes.namespace} delete pvc {HLS_CLAIM}"
        )


def _change_warnings(settings: StackSettings, state: LiveState, change: WorkloadChange) -> Iterator[str]:
    if change.workload.kind == "StatefulSet":
        hls = ", but HLS players have to be started again (docs/hls.md)" if settings.hls.enabled else ""
        if state.origins is not None and change.before != change.after:
            yield (
                f"the origins restart one by one, because each knows all others and their number changes from "
                f"{change.before} to {change.after}; each drops its publishers once, and they reconnect{hls}"
            )
        elif change.rolls:
            yield (
                "the origins restart one by one; each drops its publishers once, and they reconnect; viewers stay "
                f"connected and have no media for a few seconds{hls}"
            )
        return
    if change.workload.release is None:
        return
    if change.dropped:
        yield (
            f"{change.workload.title}: the connections of {plural(change.dropped, 'edge')} are dropped, because their "
            "SRS version cannot drain (ossrs/srs #3805)"
        )
    if change.rolls and change.grace_seconds < settings.edge.drain.grace_seconds:
        yield (
            f"{change.workload.title}: connections that are open now keep the old limit of "
            f"{format_duration(timedelta(seconds=change.grace_seconds))}, because a running pod keeps its grace period"
        )
