"""What an update does to exposed Services: changes that would drop their connections, and deletions."""

import json
from collections.abc import Iterator
from typing import cast

from cluster.live import Object
from cluster.state import LiveState
from model.exposed_service import IDENTITY
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
        live_service = state.services.get(service.name)
        live = _identity(live_service) if live_service else {}
        if live.get("kind") in (None, "none"):
            continue  # it has no connections from outside
        for key, desired in service.load_balancer.identity.items():
            if live.get(key, desired) != desired:
                yield Problem(
                    (*service.key, key),
                    desired or None,
                    f"cannot be changed on Service {service.name}, where it is {yaml_text(live[key] or None)}: "
                    f"connections through it would be dropped. {_MOVE_LOAD_BALANCER}",
                )
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


def removed_services(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Exposed Services that exist and are no longer in the config."""
    declared = {service.name for service in settings.exposed_services}
    for name, service in state.services.items():
        if name not in declared and IDENTITY in _annotations(service):
            yield name


def _identity(service: Object) -> dict[str, str]:
    text = _annotations(service).get(IDENTITY)
    if text is None:  # from a version of this program that did not write it
        return {"kind": {"ClusterIP": "none", "NodePort": "nodePort"}.get(service["spec"].get("type", ""), "none")}
    return cast("dict[str, str]", json.loads(text))


def _annotations(service: Object) -> dict[str, str]:
    return service["metadata"].get("annotations") or {}
