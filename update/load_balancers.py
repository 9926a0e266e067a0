"""What an update does to exposed Services: changes that would drop their connections, and deletions.

A change is safe in place only if its key is in `SAFE_IN_PLACE` (model/settings/load_balancer.py). Everything else needs
a second Service next to the first.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from cluster.live import Object
from cluster.state import LiveState
from model import alibaba
from model.alibaba import BACKEND_TYPE, LEGACY_PREFIX, NLB_CLASS, PREFIX
from model.exposed_service import IDENTITY, ExposedService
from model.names import EDGE_APP, HLS, HTTP_PORT, HTTPS_PORT, ORIGIN, RTMP_PORT, STACK_ANNOTATION
from model.problems import Problem
from model.settings.load_balancer import CloudLoadBalancer, SlbLoadBalancer
from model.settings.stack import StackSettings, former_path
from model.values import plural, yaml_text

_MOVE_LOAD_BALANCER = (
    "Move the existing load balancer to srs:formerLoadBalancer, give the new one another `service` name, and "
    "remove formerLoadBalancer when nobody uses it any more"
)
_MOVE_PUBLISH = (
    "Move `to` and `loadBalancer` as they are to srs:publish.former, give the new load balancer another `service` "
    "name, and remove publish.former when no encoder uses it any more"
)
_KEEP_FORMER = "It must stay as it is until it is removed"

_UNKNOWN = "an EIP"
"""An EIP of a Service that an earlier version of this program has created: its charge type is unknown."""


def load_balancer_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Changes of a load balancer that would drop the connections through it, and deletions that would fail."""
    for service in settings.exposed_services:
        if live := state.services.get(service.name):
            yield from identity_problems(service, live, _alternative(service))
            yield from _target_problems(service, live)
            yield from _backend_problems(service, live)
    yield from _removal_problems(settings, state)
    yield from _port_problems(settings, state)
    yield from _shared_clb_problems(settings, state)


def identity_problems(service: ExposedService, live: Object, alternative: str) -> Iterator[Problem]:
    """Another load balancer than the live Service has. alternative: a sentence, the end of the message."""
    identity = _identity(live)
    if identity["kind"] == "none":
        return  # it has no connections from outside
    for key, desired in service.load_balancer.identity.items():
        if key in identity and not _is_safe(key, identity[key], desired):
            yield Problem(
                (*service.key, key),
                desired or None,
                f"cannot be changed on Service {service.name}, where it is {yaml_text(identity[key] or None)}: "
                f"connections through it would be dropped. {alternative}",
            )


def load_balancer_warnings(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Deletions, and nodes that carry connections although they do not have to."""
    for name in removed_services(settings, state):
        yield f"Service {name} will be deleted, with its load balancer and all connections through it"
    yield from _port_warnings(settings, state)
    by_id = [
        service
        for service in settings.exposed_services
        if isinstance(service.load_balancer, SlbLoadBalancer) and service.load_balancer.id
    ]
    if by_id and state.known and state.other_services is None:
        yield (
            f"{by_id[0].config_key}.id: whether another Service uses this CLB cannot be checked: the user of the "
            "kubeconfig must not list the Services of all namespaces"
        )
    nodes = backend_nodes(settings, state)
    for service in settings.exposed_services:
        if not isinstance(service.load_balancer, CloudLoadBalancer) or not service.load_balancer.limits_backends:
            continue
        found, pods = nodes.get(service.name, {}), _node_selector(settings, service)
        if not found and service.load_balancer.backend_nodes != {}:
            yield (
                f"{service.config_key}: every node of the cluster carries its connections, and drops them when it "
                "becomes NotReady or is removed; backendNodes limits them to stable nodes"
                + (f", on a new Service only. {_alternative(service)}" if service.name in state.services else "")
            )
        elif service.load_balancer.backend_nodes is None and found != pods:
            yield (
                f"{service.config_key}: connections still go through nodes with {_labels(found)}, while its pods run "
                f"on nodes with {_labels(pods)}. Keep the former nodes: their removal drops the connections through "
                f"them. {_alternative(service)}"
            )


def removed_services(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Exposed Services that exist and are no longer in the config."""
    declared = {service.name for service in settings.exposed_services}
    for name, service in state.services.items():
        exposed = IDENTITY in _annotations(service) or service["spec"].get("type") in ("LoadBalancer", "NodePort")
        if name not in declared and exposed and not _serves_hls(service):
            yield name


def backend_nodes(settings: StackSettings, state: LiveState) -> dict[str, dict[str, str]]:
    """The labels that limit the backends of each Service (`alibaba.backend_label`), by its name.

    Those of the config. Without them a Service in use keeps what it has, because fewer nodes would drop connections;
    a new one gets the labels of the nodes that its pods run on.
    """
    found: dict[str, dict[str, str]] = {}
    for service in settings.exposed_services:
        load_balancer = service.load_balancer
        if isinstance(load_balancer, CloudLoadBalancer) and load_balancer.limits_backends:
            default = _node_selector(settings, service)
            found[service.name] = _backend_nodes(load_balancer, state.services.get(service.name), default)
    for name, service in settings.hls_services.items():
        load_balancer = cast("CloudLoadBalancer", service.load_balancer)
        if load_balancer.backend == "ecs":  # its own traffic policy is Cluster
            found[name] = _backend_nodes(load_balancer, state.services.get(name), dict(settings.edge.node_selector))
    return found


def _backend_nodes(load_balancer: CloudLoadBalancer, live: Object | None, default: dict[str, str]) -> dict[str, str]:
    if load_balancer.backend_nodes is not None:
        return dict(load_balancer.backend_nodes)
    if live and live["spec"].get("type") == "LoadBalancer":
        return alibaba.backend_nodes(_annotations(live))
    return default


def _node_selector(settings: StackSettings, service: ExposedService) -> dict[str, str]:
    return dict((settings.edge if service.app == EDGE_APP else settings.origin).node_selector)


def _alternative(service: ExposedService) -> str:
    if service.former:
        return _KEEP_FORMER
    return _MOVE_PUBLISH if service.key[0] == "publish" else _MOVE_LOAD_BALANCER


def _target_problems(service: ExposedService, live: Object) -> Iterator[Problem]:
    targets = {EDGE_APP: "edges", ORIGIN: "origins"}
    app = (live["spec"].get("selector") or {}).get("app")
    if service.key[0] == "publish" and app in targets and app != service.app:
        yield Problem(
            (*service.key[:-1], "to"),
            targets[service.app],
            f"cannot be changed on Service {service.name}, which leads to the {targets[app]}: connections through it "
            f"would be dropped. {_alternative(service)}",
        )


def _backend_problems(service: ExposedService, live: Object) -> Iterator[Problem]:
    """Labels that would remove nodes from the backends of a Service in use."""
    load_balancer = service.load_balancer
    if not isinstance(load_balancer, CloudLoadBalancer) or live["spec"].get("type") != "LoadBalancer":
        return
    desired, current = load_balancer.backend_nodes, alibaba.backend_nodes(_annotations(live))
    if desired is not None and not desired.items() <= current.items():
        yield Problem(
            (*service.key, "backendNodes"),
            desired,
            f"would remove nodes from the backends of Service {service.name}, which are {_labels(current)}: "
            f"connections through them would be dropped. {_alternative(service)}",
        )


def _labels(nodes: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(nodes.items())) or "any labels"


def _removal_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    for name in removed_services(settings, state):
        live = state.services[name]
        publishes = {port["port"] for port in live["spec"].get("ports", [])} == {RTMP_PORT}
        successor = settings.publish_service if publishes else settings.edge_service
        if successor and successor.name not in state.services:
            yield Problem(
                (*successor.key, "service"),
                successor.name,
                f"is a new Service, and {name} would be deleted with all connections through it. "
                f"{_alternative(successor)}",
            )
        elif json.loads(_annotations(live).get(IDENTITY, "{}")).get("protected"):
            path = ("publish", "former") if publishes else ("formerLoadBalancer",)
            yield Problem(
                path,
                None,
                f"must still have the load balancer of Service {name}, which is protected. Set its protect and its "
                "deleteProtection to false there, run `pulumi up`, and remove it after that",
            )


def _port_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """A port of a Service in use that would be closed for another one."""
    for path, (port, former) in settings.replaceable_ports.items():
        names = list(settings.hls_services) if path[0] == "hls" else _edge_services(settings)
        for name in names:
            live = _ports(state.services.get(name), https=path != ("hls", "port"))
            closed = [number for number in live if number not in (port, former)]
            if closed and port is not None and port not in live:
                yield Problem(
                    path,
                    port,
                    f"cannot replace port {closed[0]} of Service {name}, whose URLs would stop working. Set "
                    f"{'.'.join(former_path(path))}: {closed[0]}, which opens the new port next to it, and remove it "
                    "when nobody uses it",
                )


def _edge_services(settings: StackSettings) -> list[str]:
    """Those that serve viewers."""
    return [service.name for service in settings.exposed_services if "http" in service.ports]


def _shared_clb_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Listeners that a Service of another namespace has on the same CLB.

    With `force-override-listeners` both Services would overwrite them again and again (clbv1/listeners.go,
    `buildActionsForListeners`). Services of other clusters cannot be seen.
    """
    others: dict[tuple[str, int], str] = {}
    for other in state.other_services or ():
        meta = other["metadata"]
        if clb := _annotation(other, "id"):
            owner = f"{meta['namespace']}/{meta['name']}"
            others |= {(clb, port["port"]): owner for port in other["spec"].get("ports", [])}
    for service in settings.exposed_services:
        if not isinstance(service.load_balancer, SlbLoadBalancer):
            continue
        live = state.services.get(service.name)
        clb = service.load_balancer.id or (_annotation(live, "id") if live else None) or ""
        used = {path: others[clb, port] for path, port in _listeners(settings, service) if (clb, port) in others}
        for path, owner in used.items():
            yield Problem(
                path,
                clb,
                f"is already used by Service {owner} (namespace/name) on the same port: a listener of a CLB leads to "
                "one Service only. Use another CLB",
            )


def _listeners(settings: StackSettings, service: ExposedService) -> Iterator[tuple[tuple[str, ...], int]]:
    """The ports of a CLB that a Service and that of HLS use, with the config key to blame."""
    yield from (((*service.key, "id"), port) for port in service.ports.values())
    if service in settings.hls_services.values():
        yield from ((("hls", "port"), port) for port in settings.hls.ports)


def _port_warnings(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Ports that an update closes."""
    for name, service in state.services.items():
        if _serves_hls(service):
            if settings.hls.enabled:  # else the plan has a warning
                live = [port for https in (False, True) for port in _ports(service, https=https)]
                desired = settings.hls.ports if name in settings.hls_services else []
                yield from _closed("HLS is", name, live, desired)
        elif name in _edge_services(settings):
            yield from _closed("HTTPS is", name, _ports(service, https=True), settings.tls.ports)


def _closed(what: str, service: str, live: list[int], desired: Sequence[int]) -> Iterator[str]:
    if closed := [port for port in live if port not in desired]:
        numbers = ", ".join(map(str, closed))
        yield f"{what} not served any more on {plural(len(closed), 'port')} of Service {service}: {numbers}"


def _ports(service: Object | None, *, https: bool) -> list[int]:
    """The ports of a Service that lead to HTTPS, or the others; of HLS, those of a load balancer."""
    if service is None or (_serves_hls(service) and service["spec"].get("type") != "LoadBalancer"):
        return []
    ports = service["spec"].get("ports", [])
    return [port["port"] for port in ports if (port.get("targetPort") == HTTPS_PORT) is https]


def _serves_hls(service: Object) -> bool:
    return (service["spec"].get("selector") or {}).get("app") == HLS


def _is_safe(key: str, live: Any, desired: Any) -> bool:
    if (live or None) == (desired or None):
        return True
    # An EIP more: the CLB keeps its own address.
    return key == "eip" and (not live or (live == _UNKNOWN and bool(desired)))


def _identity(service: Object) -> dict[str, Any]:
    """The identity in the annotation. What it does not have, because kubectl or an earlier version of this program has
    created the Service, or because somebody has removed it, is read from the Service."""
    annotations, spec = _annotations(service), service["spec"]
    recorded: dict[str, Any] = json.loads(annotations.get(IDENTITY, "{}"))
    if spec.get("type") != "LoadBalancer":
        found: dict[str, Any] = {"kind": "nodePort" if spec.get("type") == "NodePort" else "none"}
        ports = {port["port"]: port.get("nodePort") for port in spec.get("ports", [])}
        if found["kind"] == "nodePort" and STACK_ANNOTATION in annotations:
            found |= {"rtmpPort": ports.get(RTMP_PORT), "httpPort": ports.get(HTTP_PORT)}
        found |= recorded
        if not _ports(service, https=True):
            found.pop("httpsPort", None)  # nobody uses it yet
        return found
    by_class = spec.get("loadBalancerClass")
    of_alibaba = any(key.startswith((PREFIX, LEGACY_PREFIX, BACKEND_TYPE)) for key in annotations)
    if by_class != NLB_CLASS and (by_class or (STACK_ANNOTATION in annotations and not of_alibaba)):
        targets = {port.get("targetPort"): port["port"] for port in spec.get("ports", [])}
        found = {
            "kind": "service",
            "loadBalancerClass": by_class,
            "externalTrafficPolicy": str(spec.get("externalTrafficPolicy", "Cluster")),
            "rtmpPort": targets.get(RTMP_PORT, RTMP_PORT),
            "httpPort": targets.get(HTTP_PORT, HTTP_PORT),
        }
        return found | recorded
    found = {
        "kind": "nlb" if by_class == NLB_CLASS else "slb",
        "addressType": _annotation(service, "address-type") or "internet",
        "externalTrafficPolicy": str(spec.get("externalTrafficPolicy", "Cluster")),
        "eip": _UNKNOWN if _annotation(service, "external-ip-type") == "eip" else None,
    }
    if backend := annotations.get(BACKEND_TYPE):  # the default depends on the cluster
        found["backend"] = backend
    if zones := _annotation(service, "zone-maps"):
        found["zoneMaps"] = dict(zone.split(":")[:2] for zone in zones.split(","))
    if found["kind"] == "slb" and STACK_ANNOTATION not in annotations:
        found["id"] = _annotation(service, "id")  # of the stack's own one nobody knows who has created it
    return found | recorded


def _annotation(service: Object, suffix: str) -> str | None:
    annotations = _annotations(service)
    return annotations.get(f"{PREFIX}{suffix}") or annotations.get(f"{LEGACY_PREFIX}{suffix}")


def _annotations(service: Object) -> dict[str, str]:
    return service["metadata"].get("annotations") or {}
