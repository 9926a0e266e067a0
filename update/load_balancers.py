"""What an update does to exposed Services: changes that would drop their connections, and deletions."""

import json
from collections.abc import Iterator
from typing import cast

from cluster.live import Object
from cluster.state import LiveState
from model.alibaba import BACKEND_TYPE, LEGACY_PREFIX, NLB_CLASS, PREFIX
from model.exposed_service import IDENTITY, ExposedService
from model.names import EDGE_APP
from model.problems import Problem
from model.settings.stack import StackSettings
from model.values import yaml_text

_MOVE_LOAD_BALANCER = (
    "Move the existing load balancer to srs:formerLoadBalancer, give the new one another `service` name, and "
    "remove formerLoadBalancer when nobody uses it any more"
)


def load_balancer_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Changes of a load balancer that would drop the connections through it."""
    for service in settings.exposed_services:
        if live := state.services.get(service.name):
            yield from identity_problems(service, live, _MOVE_LOAD_BALANCER)
    edge_service = settings.edge_service
    if edge_service.name not in state.services:
        for name in removed_services(settings, state):
            if state.services[name]["spec"].get("selector", {}).get("app") == EDGE_APP:
                yield Problem(
                    (*edge_service.key, "service"),
                    edge_service.name,
                    f"is a new Service, and {name} would be deleted with all connections through it. "
                    f"{_MOVE_LOAD_BALANCER}",
                )


def identity_problems(service: ExposedService, live: Object, alternative: str) -> Iterator[Problem]:
    """Another load balancer than the live Service has. alternative: a sentence, the end of the message."""
    identity = _identity(live)
    if identity["kind"] == "none":
        return  # it has no connections from outside
    for key, desired in service.load_balancer.identity.items():
        if identity.get(key, desired) != desired:
            yield Problem(
                (*service.key, key),
                desired or None,
                f"cannot be changed on Service {service.name}, where it is {yaml_text(identity[key] or None)}: "
                f"connections through it would be dropped. {alternative}",
            )


def removed_services(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Exposed Services that exist and are no longer in the config."""
    declared = {service.name for service in settings.exposed_services}
    for name, service in state.services.items():
        if name not in declared and IDENTITY in _annotations(service):
            yield name


def _identity(service: Object) -> dict[str, str]:
    """The identity in the annotation. Without one: what can be read from a Service that kubectl has created, or an
    earlier version of this program."""
    annotations, spec = _annotations(service), service["spec"]
    if text := annotations.get(IDENTITY):
        return cast("dict[str, str]", json.loads(text))
    if spec.get("type") != "LoadBalancer":
        return {"kind": "nodePort" if spec.get("type") == "NodePort" else "none"}
    found = {
        "kind": "nlb" if spec.get("loadBalancerClass") == NLB_CLASS else "slb",
        "addressType": _annotation(service, "address-type") or "internet",
        "externalTrafficPolicy": str(spec.get("externalTrafficPolicy", "Cluster")),
    }
    if backend := annotations.get(BACKEND_TYPE):  # the default depends on the cluster
        found["backend"] = backend
    if found["kind"] == "slb":
        found["id"] = _annotation(service, "id") or ""
    return found


def _annotation(service: Object, suffix: str) -> str | None:
    annotations = _annotations(service)
    return annotations.get(f"{PREFIX}{suffix}") or annotations.get(f"{LEGACY_PREFIX}{suffix}")


def _annotations(service: Object) -> dict[str, str]:
    return service["metadata"].get("annotations") or {}
