"""The state of the live cluster that decides the order of an update, and what may not be asked of it now."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from cluster.live import LiveCluster, Object
from model.names import EDGE_APP, ORIGIN, config_hash, edge_deployment
from model.problems import Problem
from model.settings import StackSettings
from model.settings.load_balancer import IDENTITY


@dataclass(frozen=True)
class LiveState:
    """The origins' StatefulSet, the releases' Deployments and the Services as they are; empty where there are none."""

    origins: Object | None = None
    edges: Mapping[str, Object] = field(default_factory=dict[str, Object])
    """Deployments by name."""
    services: Mapping[str, Object] = field(default_factory=dict[str, Object])
    """Services by name."""

    @property
    def origin_replicas(self) -> int:
        """Wanted replicas of the live StatefulSet; 0 if there is none."""
        return int(self.origins["spec"].get("replicas", 1)) if self.origins else 0

    def ready(self, settings: StackSettings) -> dict[str, int]:
        """Ready replicas of each release's live Deployment."""
        return {
            release: self.edges[name].get("status", {}).get("readyReplicas", 0)
            for release in settings.edge.releases
            if (name := edge_deployment(release)) in self.edges
        }


def address(service: Object | None) -> str | None:
    """The address or host name that a load balancer has given a Service, None if it has none yet."""
    status = service.get("status", {}) if service else {}
    given = cast("list[dict[str, str]]", status.get("loadBalancer", {}).get("ingress") or [])
    return next((each.get("ip") or each.get("hostname") for each in given), None)


def read_state(live: LiveCluster) -> LiveState:
    """Read the state. Raises Unreachable."""
    # The shared label stands on the pods, so the Deployments are found by the label that all objects have.
    return LiveState(
        origins=live.stateful_set(ORIGIN),
        edges={
            name: deployment
            for name, deployment in live.deployments("app.kubernetes.io/part-of=srs").items()
            if deployment["spec"]["template"]["metadata"].get("labels", {}).get("app") == EDGE_APP
        },
        services=live.services("app.kubernetes.io/part-of=srs"),
    )


def refusals(settings: StackSettings, state: LiveState) -> list[Problem]:
    """What the config asks for and this cluster cannot do now."""
    problems: list[Problem] = []
    for release, this in settings.edge.releases.items():
        if not this.paused:
            continue
        path = ("edge", "releases", release, "paused")
        deployment = state.edges.get(edge_deployment(release))
        wanted = settings.edge.shares[release].replicas
        if deployment is None:
            problems.append(
                Problem(path, True, "must be false on a release that does not exist yet: it would get no pods")
            )
        elif (now := deployment["spec"].get("replicas", 1)) != wanted:
            problems.append(
                Problem(
                    path,
                    True,
                    f"must not come together with a change of the release's replicas (now {now}, wanted {wanted}): "
                    "Kubernetes would spread the change over the old and the new pods; do one after the other",
                )
            )
    return [*problems, *_front_problems(settings, state)]


def _front_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Changes of a load balancer that would cut those who are connected through it."""
    for front in settings.fronts:
        service = state.services.get(front.service)
        now = _identity(service) if service else {}
        if now.get("kind") in (None, "none"):
            continue  # nobody outside is connected through it
        for key, wanted in front.load_balancer.identity.items():
            if now.get(key, wanted) != wanted:
                yield Problem(
                    (*front.key, key),
                    wanted or None,
                    f"cannot be changed on Service {front.service}, where it is {now[key] or None!r}: connections "
                    f"through it would be cut. {_WAY}",
                )
    front = settings.front
    if front.service not in state.services:
        named = {each.service for each in settings.fronts}
        for name, service in state.services.items():
            if name not in named and IDENTITY in _annotations(service) and _selects_edges(service):
                yield Problem(
                    (*front.key, "service"),
                    front.service,
                    f"is a new Service, and {name} would go with all connections through it. {_WAY}",
                )


_WAY = (
    "Move the load balancer that is there to srs:formerLoadBalancer, give the new one another `service` name, and "
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


def removed(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Services from outside that are there and in the config no more."""
    named = {front.service for front in settings.fronts}
    return (name for name, service in state.services.items() if name not in named and IDENTITY in _annotations(service))


def consequences(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """What an operator should know before this is done, a line each."""
    for release, share in settings.edge.shares.items():
        if share.off > 10:
            yield (
                f"release {release} gets {share.replicas} of {settings.edge.replicas} edges, {share.real:.0f} % of new "
                f"viewers, {share.off:.0f} points off the wished {share.wished:.0f} %; more edges come closer"
            )
    yield from settings.warnings()
    for name in removed(settings, state):
        yield f"Service {name} goes, with its load balancer and all connections through it"
    if state.origins is None:
        return
    if state.origin_replicas != settings.origin.replicas:
        first = "origins first" if state.origin_replicas < settings.origin.replicas else "edges first"
        yield (
            f"the number of origins changes from {state.origin_replicas} to {settings.origin.replicas} ({first}): "
            "the origins restart one by one, and every release rolls, because edges name the origins"
        )
    elif _changed(state.origins, settings.origin.image, f"{ORIGIN}-{config_hash(settings.origin_conf)}"):
        yield (
            "the origins change and restart one by one: each drops its publishers once, which reconnect; "
            "viewers stay connected and see a few seconds of silence"
        )


def _changed(workload: Object, image: str, config: str) -> bool:
    pod = workload["spec"]["template"]["spec"]
    configs = [volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume]
    return bool(pod["containers"][0]["image"] != image or config not in configs)
