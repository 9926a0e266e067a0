"""What an update does to exposed Services: changes that would drop their connections, and deletions.

A change is safe in place only if its key is in `LoadBalancer.SAFE_IN_PLACE`. Everything else needs a second Service
next to the first.
"""

from collections.abc import Iterator, Mapping, Sequence

from cluster.live import Object
from cluster.state import LiveState
from model.config.problems import Problem, UpdateWarning
from model.config.stack import StackSettings
from model.config.stack_rules import former_path
from model.config.values import plural, yaml_text
from model.load_balancers.exposed_service import ExposedService
from model.load_balancers.interface import IDENTITY, LoadBalancer, live_annotations, recorded_identity
from model.load_balancers.kinds import leaving_annotations, live_kind
from model.names import EDGE_APP, HLS, HTTPS_PORT, ORIGIN, RTMP_PORT

_MOVE_LOAD_BALANCER = (
    "Move the existing load balancer to srs:formerLoadBalancer, give the new one a `service` name of its own, and "
    "remove formerLoadBalancer when it has no users any more"
)
_MOVE_PUBLISH = (
    "Move `to` and `loadBalancer` as they are to srs:publish.former, give the new load balancer a `service` "
    "name of its own, and remove publish.former when no encoder uses it any more"
)
_KEEP_FORMER = "It must stay as it is until it is removed"


def load_balancer_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Changes of a load balancer that would drop the connections through it, and deletions that would fail."""
    for service in settings.exposed_services:
        live = state.services.get(service.name)
        if state.known and (live is None or live["spec"].get("type") != service.load_balancer.SERVICE_TYPE):
            yield from service.load_balancer.creation_problems(service)
        if live:
            yield from service.load_balancer.live_problems(service, live)
            yield from identity_problems(service, live, _alternative(service))
            yield from _target_problems(service, live)
            yield from _backend_problems(service, live)
    yield from _removal_problems(settings, state)
    yield from _port_problems(settings, state)
    yield from _shared_clb_problems(settings, state)


def identity_problems(service: ExposedService, live: Object, alternative: str) -> Iterator[Problem]:
    """Another load balancer than the live Service has. alternative: a sentence, the end of the message."""
    identity = live_kind(live).live_identity(live)
    if identity["kind"] == "none":
        return  # it has no connections from outside
    for key, desired in service.load_balancer.identity.items():
        if key in identity and not service.load_balancer.is_safe_change(key, identity[key], desired):
            yield Problem(
                (*service.key, key),
                desired or None,
                f"cannot be changed on Service {service.name}, where it is {yaml_text(identity[key] or None)}: "
                f"connections through it would be dropped. {alternative}",
                reason="LoadBalancerInUse",
            )


def load_balancer_warnings(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Deletions, and nodes that carry connections although they do not have to."""
    for name in removed_services(settings, state):
        yield UpdateWarning(
            f"Service {name} will be deleted, with its load balancer and all connections through it", "DeletesService"
        )
    yield from _port_warnings(settings, state)
    for service in settings.exposed_services:
        if live := state.services.get(service.name):
            yield from service.load_balancer.live_warnings(service, live)
    by_id = [service for service in settings.exposed_services if service.load_balancer.instance_id]
    if by_id and state.known and state.other_services is None:
        yield UpdateWarning(
            f"{by_id[0].config_key}.id: whether a foreign Service uses this CLB cannot be checked: the user of the "
            "kubeconfig must not list the Services of all namespaces",
            "ListenersAreUnknown",
        )
    nodes = backend_nodes(settings, state)
    for service in settings.exposed_services:
        if not service.load_balancer.limits_backends:
            continue
        found, pods = nodes[service.name], _node_selector(settings, service)
        own_pods = [pod for pod in state.pods if (pod["metadata"].get("labels") or {}).get("app") == service.app]
        yield from service.load_balancer.node_warnings(service, found, state.nodes or (), own_pods)
        if not found and service.load_balancer.stated_nodes != {}:
            yield UpdateWarning(
                f"{service.config_key}: every node of the cluster carries its connections, and drops them when it "
                "becomes NotReady or is removed; backendNodes limits them to stable nodes"
                + (f", on a new Service only. {_alternative(service)}" if service.name in state.services else ""),
                "AllNodesAreBackends",
            )
        elif service.load_balancer.stated_nodes is None and found != pods:
            yield UpdateWarning(
                f"{service.config_key}: connections still go through nodes with {_labels(found)}, while its pods run "
                f"on nodes with {_labels(pods)}. Keep the former nodes: their removal drops the connections through "
                f"them. {_alternative(service)}",
                "FormerNodesAreBackends",
            )


def removed_services(settings: StackSettings, state: LiveState) -> Iterator[str]:
    """Exposed Services that exist and are no longer in the config."""
    declared = {service.name for service in settings.exposed_services}
    for name, service in state.services.items():
        exposed = IDENTITY in live_annotations(service) or service["spec"].get("type") in ("LoadBalancer", "NodePort")
        if name not in declared and exposed and not _serves_hls(service):
            yield name


def backend_nodes(settings: StackSettings, state: LiveState) -> dict[str, dict[str, str]]:
    """The labels that limit the backends of each Service (`LoadBalancer.backend_annotations`), by its name.

    From the config. Without them a Service in use keeps what it has, because fewer nodes would drop connections;
    a new one gets the labels of the nodes that its pods run on.
    """
    found: dict[str, dict[str, str]] = {}
    for service in settings.exposed_services:
        if service.load_balancer.limits_backends:
            default = _node_selector(settings, service)
            found[service.name] = _backend_nodes(service.load_balancer, state.services.get(service.name), default)
    for name, service in settings.hls_services.items():
        if service.load_balancer.limits_shared_backends:
            default = dict(settings.edge.node_selector)
            found[name] = _backend_nodes(service.load_balancer, state.services.get(name), default)
    return found


def service_leaving_annotations(settings: StackSettings, state: LiveState) -> dict[str, dict[str, str]]:
    """What the Service of HLS keeps when it leaves its CLB and stays, by its name.

    See `LoadBalancer.leaving_annotations`.
    """
    found = {
        name: leaving_annotations(live)
        for name, live in state.services.items()
        if _serves_hls(live) and name not in settings.hls_services
    }
    return {name: annotations for name, annotations in found.items() if annotations}


def _backend_nodes(load_balancer: LoadBalancer, live: Object | None, default: dict[str, str]) -> dict[str, str]:
    if load_balancer.stated_nodes is not None:
        return dict(load_balancer.stated_nodes)
    if live and live["spec"].get("type") == "LoadBalancer":
        return load_balancer.live_nodes(live)
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
            reason="LoadBalancerInUse",
        )


def _backend_problems(service: ExposedService, live: Object) -> Iterator[Problem]:
    """Labels that would remove nodes from the backends of a Service in use."""
    load_balancer = service.load_balancer
    if live["spec"].get("type") != "LoadBalancer":
        return
    desired, current = load_balancer.stated_nodes, load_balancer.live_nodes(live)
    if desired is not None and not desired.items() <= current.items():
        yield Problem(
            (*service.key, "backendNodes"),
            desired,
            f"would remove nodes from the backends of Service {service.name}, which are {_labels(current)}: "
            f"connections through them would be dropped. {_alternative(service)}",
            reason="BackendNodesInUse",
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
                reason="ServiceInUse",
            )
        elif recorded_identity(live).get("protected"):
            path = ("publish", "former") if publishes else ("formerLoadBalancer",)
            yield Problem(
                path,
                None,
                f"must still have the load balancer of Service {name}, which is protected. Set its protect and its "
                "deleteProtection to false there, run `pulumi up`, and remove it after that",
                reason="LoadBalancerIsProtected",
            )


def _port_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """A port of a Service in use that would be closed for a new one."""
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
                    "when it has no users",
                    reason="PortInUse",
                )


def _edge_services(settings: StackSettings) -> list[str]:
    """The names of the exposed Services that serve viewers."""
    return [service.name for service in settings.exposed_services if "http" in service.ports]


def _shared_clb_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """Listeners that a Service of another namespace has on the same CLB.

    With `force-override-listeners` the last change of one of them wins, and the other keeps its address without its
    connections, until it changes (clbv1/model_applier.go, `Apply`: listeners are read only when the hash of the Service
    has changed). Services of other clusters cannot be seen.
    """
    for service in settings.exposed_services:
        load_balancer = service.load_balancer
        if not load_balancer.SHAREABLE:
            continue
        others: dict[tuple[str | None, int], str] = {}
        for other in state.other_services or ():
            meta = other["metadata"]
            if other["spec"].get("type") == "LoadBalancer" and (clb := load_balancer.live_instance_id(other)):
                owner = f"{meta['namespace']}/{meta['name']}"
                others |= {(clb, port["port"]): owner for port in other["spec"]["ports"]}
        live = state.services.get(service.name)
        clb = load_balancer.instance_id or (load_balancer.live_instance_id(live) if live else None)
        used = {path: others[clb, port] for path, port in _listeners(settings, service) if (clb, port) in others}
        for path, owner in used.items():
            yield Problem(
                path,
                clb,
                f"is already used by Service {owner} (namespace/name) on the same port: a listener of a CLB leads to "
                "one Service only. Use a CLB of its own",
                reason="ListenerInUse",
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
        ports = plural(len(closed), "port")
        yield UpdateWarning(f"{what} not served any more on {ports} of Service {service}: {numbers}", "ClosesPort")


def _ports(service: Object | None, *, https: bool) -> list[int]:
    """The ports of a Service that lead to HTTPS, or the other ones; for HLS, only the ports of a load balancer."""
    if service is None or (_serves_hls(service) and service["spec"].get("type") != "LoadBalancer"):
        return []
    ports = service["spec"].get("ports", [])
    return [port["port"] for port in ports if (port.get("targetPort") == HTTPS_PORT) is https]


def _serves_hls(service: Object) -> bool:
    return (service["spec"].get("selector") or {}).get("app") == HLS
