"""The update plan: what an update rejects, warns about, declares and awaits, and in which order.

Pure: settings and live state in, plan out. The program carries it out (`update/run.py`) and a preview prints it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from cluster.live import Object
from cluster.state import LiveState
from model import workloads
from model.exposed_service import IDENTITY
from model.names import EDGE_APP, ORIGIN, config_hash, edge_deployment
from model.problems import Problem
from model.settings.stack import StackSettings
from model.values import natural_key
from model.workloads import Workload

MAX_DEVIATION = 10
"""Percentage points between the desired and the actual share of a release, above which a plan warns."""


@dataclass(frozen=True)
class Step:
    """Workloads that are declared together. awaited: those that must be ready before the next step."""

    declare: tuple[Workload, ...]
    awaited: tuple[Workload, ...] = ()


@dataclass(frozen=True)
class UpdatePlan:
    """What an update does.

    rejections: what this cluster cannot do now; nothing is changed if there are any. warnings: consequences, a line
    each. steps: in order; after the last one, all declared workloads but the paused ones are awaited.
    paused: workloads that nothing waits for.
    """

    rejections: tuple[Problem, ...]
    warnings: tuple[str, ...]
    steps: tuple[Step, ...]
    paused: tuple[Workload, ...] = ()


def plan(settings: StackSettings, state: LiveState) -> UpdatePlan:
    """Plan the update from the live state to the settings."""
    return UpdatePlan(
        rejections=tuple(_rejections(settings, state)),
        warnings=tuple(_warnings(settings, state)),
        steps=tuple(_steps(settings, state)),
        paused=tuple(
            workloads.edges(settings, name) for name, release in settings.edge.releases.items() if release.paused
        ),
    )


def _steps(settings: StackSettings, state: LiveState) -> Iterator[Step]:
    """The order: a ready edge is removed only after its replacement is ready, and edges never name a missing origin."""
    origins = workloads.origins(settings)
    extras = [
        *([workloads.hls(settings)] if settings.hls.enabled else []),
        *([workloads.demo(settings)] if settings.demo.enabled else []),
    ]
    fewer_origins = settings.origin.replicas < state.origin_replicas
    more_origins = 0 < state.origin_replicas < settings.origin.replicas
    yield Step((*extras, *([] if fewer_origins else [origins])), (origins,) if more_origins else ())
    first, last, scale_up = edge_order(
        {release: share.replicas for release, share in settings.edge.shares.items()}, ready_edges(state)
    )
    edges = {release: workloads.edges(settings, release) for release in settings.edge.releases}
    unpaused = {release: edge for release, edge in edges.items() if not settings.edge.releases[release].paused}
    yield Step(
        tuple(edges[release] for release in first),
        tuple(unpaused[release] for release in scale_up if release in unpaused) if last else (),
    )
    yield Step(tuple(edges[release] for release in last), tuple(unpaused.values()) if fewer_origins else ())
    if fewer_origins:
        yield Step((origins,))


def edge_order(desired: Mapping[str, int], ready: Mapping[str, int]) -> tuple[list[str], list[str], list[str]]:
    """The order in which the releases are updated.

    desired: replicas of each release in the config. ready: ready replicas of each live Deployment, also of releases
    that the config removes. Desired replicas of the live Deployments do not count: after a failed update those pods
    may not exist.

    Returns the releases that are updated immediately, those that lose ready edges and are updated last, and the ones
    among the first that must be ready before the last may be updated. If there are more ready edges than desired
    ones, that many may be removed immediately.
    """
    names = sorted(desired, key=natural_key)
    shrinking = [name for name in names if desired[name] < ready.get(name, 0)]
    removals = sum(ready[name] - desired[name] for name in shrinking)
    surplus = sum(ready.values()) - sum(desired.values())
    scale_up = [name for name in names if desired[name] > ready.get(name, 0)]
    last = shrinking if removals > surplus and scale_up else []
    return [name for name in names if name not in last], last, scale_up


def ready_edges(state: LiveState) -> dict[str, int]:
    """Ready edges of each release, also of those that the config removes."""
    return {
        name.removeprefix("srs-edge-").removesuffix("-deploy"): deployment.get("status", {}).get("readyReplicas", 0)
        for name, deployment in state.edges.items()
    }


def _rejections(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    for name, release in settings.edge.releases.items():
        if not release.paused:
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
    yield from _load_balancer_rejections(settings, state)


def _load_balancer_rejections(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Changes of a load balancer that would drop the connections through it."""
    for service in settings.exposed_services:
        live_service = state.services.get(service.name)
        live = _identity(live_service) if live_service else {}
        if live.get("kind") in (None, "none"):
            continue  # it has no connections from outside
        for key, desired in service.load_balancer.identity.items():
            if live.get(key, desired) != desired:
                yield Problem(
                    (*service.key, key),
                    desired or None,
                    f"cannot be changed on Service {service.name}, where it is {live[key] or None!r}: connections "
                    f"through it would be dropped. {_MOVE_LOAD_BALANCER}",
                )
    edge_service = settings.edge_service
    if edge_service.name not in state.services:
        declared = {service.name for service in settings.exposed_services}
        for name, live_service in state.services.items():
            if name not in declared and IDENTITY in _annotations(live_service) and _selects_edges(live_service):
                yield Problem(
                    (*edge_service.key, "service"),
                    edge_service.name,
                    f"is a new Service, and {name} would be deleted with all connections through it. "
                    f"{_MOVE_LOAD_BALANCER}",
                )


_MOVE_LOAD_BALANCER = (
    "Move the existing load balancer to srs:formerLoadBalancer, give the new one another `service` name, and "
    "remove formerLoadBalancer when nobody uses it any more"
)


def _identity(service: Object) -> dict[str, str]:
    text = _annotations(service).get(IDENTITY)
    if text is None:  # from a version of this program that did not write it
        return {"kind": {"ClusterIP": "none", "NodePort": "nodePort"}.get(service["spec"].get("type", ""), "none")}
    return cast("dict[str, str]", json.loads(text))


def _annotations(service: Object) -> dict[str, str]:
    return service["metadata"].get("annotations") or {}


def _selects_edges(service: Object) -> bool:
    return bool(service["spec"].get("selector", {}).get("app") == EDGE_APP)


def _removed_services(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Exposed Services that exist and are no longer in the config."""
    declared = {service.name for service in settings.exposed_services}
    for name, service in state.services.items():
        if name not in declared and IDENTITY in _annotations(service):
            yield name


def _warnings(settings: StackSettings, state: LiveState) -> Iterator[str]:
    for release, share in settings.edge.shares.items():
        if share.deviation > MAX_DEVIATION:
            yield (
                f"release {release} gets {share.replicas} of {settings.edge.replicas} edges, {share.actual:.0f} % of "
                f"new viewers, {share.deviation:.0f} points from the desired {share.desired:.0f} %; more edges come "
                "closer"
            )
    yield from settings.warnings()
    for name in _removed_services(settings, state):
        yield f"Service {name} will be deleted, with its load balancer and all connections through it"
    if state.origins is None:
        return
    if state.origin_replicas != settings.origin.replicas:
        order = "origins first" if state.origin_replicas < settings.origin.replicas else "edges first"
        yield (
            f"the number of origins changes from {state.origin_replicas} to {settings.origin.replicas} ({order}): "
            "the origins restart one by one, and every release rolls, because edges name the origins"
        )
    elif _is_changed(state.origins, settings.origin.image, f"{ORIGIN}-{config_hash(settings.origin_conf)}"):
        yield (
            "the origins restart one by one: each drops its publishers once, which reconnect; "
            "viewers stay connected and have no media for a few seconds"
        )


def _is_changed(workload: Object, image: str, config: str) -> bool:
    pod = workload["spec"]["template"]["spec"]
    configs = [volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume]
    return bool(pod["containers"][0]["image"] != image or config not in configs)
