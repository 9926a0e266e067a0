"""Autoscalers of the stack, and foreign ones.

With `srs:edge.autoscaling` the live fleet has the size that its autoscalers have set, and every update starts from it:
the weights divide the live total. A release keeps its replicas as long as its weight does.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cluster.fleet import declared_share, fleet_size, is_own
from cluster.live import Object
from cluster.state import LiveState
from model.config.autoscaling import NEEDED_API
from model.config.edge import EdgeSettings
from model.config.problems import ABSENT, Problem, UpdateWarning
from model.config.values import natural_key, plural
from model.desired import workloads
from model.desired.autoscalers import bounds, share
from model.desired.render import Desired
from model.desired.replicas import apportion
from model.names import STACK_ANNOTATION

AUTOSCALERS: tuple[Literal["HorizontalPodAutoscaler", "ScaledObject"], ...] = (
    "HorizontalPodAutoscaler",
    "ScaledObject",
)
"""The kinds of autoscalers; KEDA makes one of the first kind for each of the second one."""

_COMMANDS = {"HorizontalPodAutoscaler": "hpa"}
"""How kubectl calls a kind, where that is not its name in small letters."""


@dataclass(frozen=True)
class Fleet:
    """A live fleet. edges: how many it has, within minimum and maximum; None for a new or a fixed one.

    replicas: of the releases, if they keep them, because their weights are the same.
    """

    edges: int | None = None
    replicas: Mapping[str, int] = field(default_factory=dict[str, int])


def live_fleet(edge: EdgeSettings, state: LiveState, stacks: Collection[str], known: int | None = None) -> Fleet:
    """The live fleet of a stack with autoscaling. stacks: its names; edges of other stacks are no part of the fleet.

    known: its size when the running update began.

    The replicas cannot just be left out of the Deployments: a field that a server-side apply no longer has is removed,
    and the default is one replica (Kubernetes docs, "Server-Side Apply", "Transferring ownership").
    """
    scaling, weights = edge.autoscaling, edge.weights
    live = {
        workloads.release_of(name): deployment
        for name, deployment in state.edges.items()
        if is_own(deployment, lambda owner: owner in stacks)
    }
    size = fleet_size(live.values(), known)
    if scaling is None or size is None:
        return Fleet()
    declared = {name: share(weights, name) for name, weight in weights.items() if weight}
    if {name: part for name, item in live.items() if (part := declared_share(item)) != 0} != declared:
        return Fleet(scaling.clamp(size))
    # The weights have not changed: no edge of one release replaces one of another.
    allowed = bounds(scaling, weights, apportion(scaling.clamp(size), weights))
    kept = {name: min(max(_replicas(live[name]), allowed[name].start), allowed[name].stop - 1) for name in declared}
    return Fleet(scaling.clamp(sum(kept.values())), kept)


@dataclass(frozen=True)
class LiveAutoscaler:
    """A live autoscaler on the edges of a release. owner: kind and name of what makes it, if anything does."""

    kind: Literal["HorizontalPodAutoscaler", "ScaledObject"]
    name: str
    release: str
    owner: tuple[str, str] | None
    stack: str | None


def live_autoscalers(state: LiveState) -> Iterator[LiveAutoscaler]:
    """The autoscalers on edges, in natural order of the releases; ScaledObjects last."""
    found: list[LiveAutoscaler] = []
    edges = state.edges
    for kind in AUTOSCALERS:
        for name, item in state.objects.get(kind, {}).items():
            spec: Object = item.get("spec") or {}
            target: Object = spec.get("scaleTargetRef") or {}
            if target.get("kind", "Deployment") != "Deployment" or target.get("name") not in edges:
                continue
            owners: list[Object] = item["metadata"].get("ownerReferences") or []
            owner = next(((str(own["kind"]), str(own["name"])) for own in owners), None)
            found.append(LiveAutoscaler(kind, name, workloads.release_of(target["name"]), owner, _stack_of(item)))
    yield from sorted(found, key=lambda item: (natural_key(item.release), item.kind))


def autoscaler_problems(desired: Desired, state: LiveState, stacks: Collection[str]) -> Iterator[Problem]:
    """Foreign autoscalers on the edges, and what the stack's own ones need and the cluster does not have.

    A foreign one and the weights would both set the replicas, again and again (argo-rollouts #2857).
    """
    settings = desired.settings
    # An autoscaler that another object makes is made again when it is deleted. A ScaledObject comes after what KEDA
    # makes of it, and stands for both.
    foreign = {(item.release, item.owner or (item.kind, item.name)): item for item in live_autoscalers(state)}
    for (release, (kind, name)), item in foreign.items():
        if item.stack in stacks:
            continue
        made = f", which makes {item.kind} {item.name}," if item.owner else ""
        alternative = (
            "the stack's own autoscalers set the replicas"
            if settings.edge.autoscaling
            else "edge.replicas and the weights decide. Or set edge.autoscaling instead of edge.replicas, and the "
            "stack declares autoscalers"
        )
        command = f"kubectl -n {settings.kubernetes.namespace} delete {_COMMANDS.get(kind, kind.lower())} {name}"
        yield Problem(
            ("edge", "autoscaling"),
            settings.edge.autoscaling or ABSENT,
            f"conflicts with {kind} {name}{made} on the edges of release {release}: delete it ({command}), and "
            f"{alternative}",
            reason="ForeignAutoscaler",
        )
    scaling = settings.edge.autoscaling
    if scaling is None or not state.known or state.api_groups is None:
        return
    group, provider = NEEDED_API[scaling.metric]
    if group not in state.api_groups:
        others = [metric for metric, (other, _) in NEEDED_API.items() if other in state.api_groups]
        alternative = f", or use metric {' or '.join(others)}" if others else ""
        yield Problem(
            ("edge", "autoscaling", "metric"),
            scaling.metric,
            f"needs the API {group}, which the cluster does not have: install {provider}{alternative}",
            reason="MetricsApiMissing",
        )


def autoscaler_warnings(desired: Desired, state: LiveState) -> Iterator[str]:
    """Autoscalers of the stack that do not work, and a fleet that can become no larger."""
    scaling = desired.settings.edge.autoscaling
    if scaling is None:
        return
    for name, item in state.objects.get("HorizontalPodAutoscaler", {}).items():
        target = item["spec"]["scaleTargetRef"]
        if target["name"] not in state.edges or int(state.edges[target["name"]]["spec"]["replicas"]) == 0:
            continue
        for condition in item.get("status", {}).get("conditions", []):
            if condition["type"] in ("ScalingActive", "AbleToScale") and condition["status"] == "False":
                yield UpdateWarning(
                    f"HorizontalPodAutoscaler {name} does not scale release {workloads.release_of(target['name'])}: "
                    f"{condition.get('message') or condition.get('reason')}; its edges stay as many as they are",
                    "AutoscalerInactive",
                )
    if state.edges and (desired.kept.edges or 0) >= scaling.maximum > scaling.minimum:
        yield UpdateWarning(
            f"the fleet has its maximum of {plural(scaling.maximum, 'edge')}: with more viewers, edges become full; "
            "raise edge.autoscaling.maximum",
            "FleetAtMaximum",
        )


def retired(desired: Desired, state: LiveState, stacks: Collection[str]) -> list[LiveAutoscaler]:
    """The stack's own autoscalers on declared releases that the config has no longer.

    They must be deleted before the Deployment gets the replicas that the config wants, and not at the end as everything
    else: until then they would set other replicas, KEDA would start an edge of a release without a weight, and it would
    reject its second autoscaler of a Deployment.
    """
    return [
        item
        for item in live_autoscalers(state)
        if item.stack in stacks and item.release in desired.releases and (item.kind, item.name) not in desired.objects
    ]


def _stack_of(item: Object) -> str | None:
    annotations: Mapping[str, str] = item["metadata"].get("annotations") or {}
    return annotations.get(STACK_ANNOTATION)


def _replicas(deployment: Object) -> int:
    return int(deployment["spec"]["replicas"])
