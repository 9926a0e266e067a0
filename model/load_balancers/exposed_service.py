"""Services that are reached from outside the cluster, and the rules that hold between them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from model.config.problems import Problem, UpdateWarning, config_path
from model.config.values import format_duration, plural
from model.load_balancers.interface import IDENTITY, STREAM_MBITS, LoadBalancer, viewers
from model.names import EDGE_APP, HTTP_PORT, HTTPS_PORT, RTMP_PORT, service_port_names
from model.srs.conf import DEFAULT_VHOST, SrsConf, has_rules_by_address, open_vhosts

FORMER = "-former"
"""The end of the name of a port that is being replaced."""

ADDRESS = "srs/address"
"""Annotation of a Service whose CLB the stack has created: the address that its status must have. The controller reads
an address only when a Service changes (clbv1/event_handler.go, `needUpdate`), and this annotation changes with it."""


@dataclass(frozen=True)
class ExposedService:
    """A Service together with its load balancer.

    key: where its load balancer is in the stack config. app: the `app` label that it selects. ports: by name.
    former: whether it is being replaced.
    """

    key: tuple[str, ...]
    name: str
    load_balancer: LoadBalancer
    app: str = EDGE_APP
    ports: Mapping[str, int] = field(default_factory=lambda: {"rtmp": RTMP_PORT, "http": HTTP_PORT})
    former: bool = False

    @property
    def service_ports(self) -> dict[str, int]:
        """The ports of the Service by name; `ports` are those of the pods, except that of HTTPS."""
        return self.load_balancer.service_ports(self.ports)

    @property
    def node_ports(self) -> dict[str, int]:
        """Its node ports by name; empty where the cluster selects them."""
        return self.load_balancer.node_ports(self.ports)

    @property
    def config_key(self) -> str:
        """The key as messages name it."""
        return config_path(self.key)

    @property
    def identity(self) -> str:
        """Value of the annotation IDENTITY."""
        load_balancer = self.load_balancer
        return json.dumps({**load_balancer.identity, "protected": load_balancer.protected}, sort_keys=True)

    @property
    def limits_drain(self) -> bool:
        """Whether it ends connections sooner than their pods would."""
        return self.load_balancer.max_connection_time is not None


def service_manifest(
    exposed: ExposedService, port_names: Mapping[int, str], backend_nodes: Mapping[str, str]
) -> dict[str, Any]:
    """The Service as plain data, except what all objects of a stack have (namespace, labels and annotations).

    port_names: of ports that keep their live name. backend_nodes: labels that limit the backends.
    A load balancer that the stack creates adds `LoadBalancer.instance_annotations` and ADDRESS, which only the engine
    knows.
    """
    annotations = service_annotations(exposed.load_balancer, backend_nodes) | {IDENTITY: exposed.identity}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": exposed.name, "labels": {"app": exposed.app}, "annotations": annotations},
        "spec": {
            "type": exposed.load_balancer.SERVICE_TYPE,
            "selector": {"app": exposed.app},
            "ports": _ports(exposed, port_names),
            **exposed.load_balancer.service_fields,
        },
    }


def service_annotations(load_balancer: LoadBalancer, backend_nodes: Mapping[str, str]) -> dict[str, str]:
    """The annotations of a Service for the controller of its load balancer, which needs them when it is created.

    The annotations of the config, and what other keys decide. backend_nodes: labels that limit the backends.
    """
    annotations = {**load_balancer.annotations, **load_balancer.controller_annotations()}
    annotations |= load_balancer.backend_annotations(backend_nodes)
    if load_balancer.instance_id is not None:
        annotations |= load_balancer.instance_annotations(load_balancer.instance_id)
    return annotations


def _ports(exposed: ExposedService, port_names: Mapping[int, str]) -> list[dict[str, Any]]:
    protocols = {port: name.removesuffix(FORMER) for name, port in exposed.service_ports.items()}
    names = service_port_names(protocols, port_names)
    ports: dict[str, dict[str, Any]] = {
        # The port's number: pods that the stack has not created have no named ports.
        name: {
            "name": names[exposed.service_ports[name]],
            "port": exposed.service_ports[name],
            "targetPort": HTTPS_PORT if name.startswith("https") else port,
            "protocol": "TCP",
        }
        for name, port in exposed.ports.items()
    }
    for name, node_port in exposed.node_ports.items():
        ports[name]["nodePort"] = node_port
    return list(ports.values())


def drain_problems(
    services: Sequence[ExposedService], deregister: timedelta, timeout: timedelta, path: tuple[str, ...]
) -> Iterator[Problem]:
    """A drain in the config that a load balancer cannot keep (see `LoadBalancer.max_connection_time`)."""
    for service in services:
        limit = service.load_balancer.max_connection_time
        if not service.limits_drain or limit is None or deregister + timeout <= limit:
            continue
        key, shown = service.config_key, format_duration(limit)
        reason = service.load_balancer.drain_limit(key)
        shorter = limit - deregister
        alternative = (
            f"set drain.timeout to at most {format_duration(shorter)}, which drops longer streams"
            if shorter > deregister
            else f"{reason.longer} and shorten drain.timeout accordingly"
        )
        yield Problem(
            path,
            timeout,
            f"is longer than {key} can keep: {reason.cause} it ends a connection {shown} after the pod started to "
            f"terminate (drain.deregister, {format_duration(deregister)}, included). Either {reason.keep}; or "
            f"{alternative}",
            reason="DrainExceedsLoadBalancer",
        )


def conflicts(services: Sequence[ExposedService], reserved: Mapping[str, str]) -> Iterator[Problem]:
    """Services of one name, and what two load balancers claim, such as a node port.

    reserved: names of other Services, and the part of the stack that each belongs to.
    """
    owners = dict(reserved)
    claimed: dict[tuple[str, int], str] = {}
    for service in services:
        key = service.config_key
        if owner := owners.get(service.name):
            yield Problem(
                (*service.key, "service"),
                service.name,
                f"is already the Service of {owner}; use a name of its own",
                reason="ServiceNameInUse",
            )
        owners[service.name] = key
        for claim in service.load_balancer.claims(service.ports):
            if owner := next((claimed[resource] for resource in claim.resources if resource in claimed), None):
                yield Problem(
                    (*service.key, claim.key), claim.value, claim.taken.format(owner=owner), reason=claim.reason
                )
            claimed |= dict.fromkeys(claim.resources, key)


UNUSED_CONNECTIONS = 10
"""How many times as many connections as viewers by bandwidth the edges must accept for a warning."""


def bandwidth_warnings(services: Sequence[ExposedService], connections: int) -> Iterator[str]:
    """A bandwidth that suffices for far fewer viewers than the edges accept. connections: of all edges together."""
    for service in services:
        limit = service.load_balancer.bandwidth_limit
        if service.app == EDGE_APP and limit is not None and viewers(limit) * UNUSED_CONNECTIONS <= connections:
            yield UpdateWarning(
                f"{service.config_key}: {limit} Mbit/s suffice for about {plural(viewers(limit), 'viewer')} of a "
                f"stream of {STREAM_MBITS} Mbit/s, while the edges accept {plural(connections, 'connection')}",
                "BandwidthLimitsViewers",
            )


def conf_warnings(conf: SrsConf, services: Sequence[ExposedService]) -> Iterator[str]:
    """What an srs.conf allows to the clients of Services that lead to it, a line each."""
    public = [service.config_key for service in services if service.load_balancer.is_on_internet]
    hidden = [service.config_key for service in services if service.load_balancer.hides_addresses]
    if public and (vhosts := open_vhosts(conf)):
        names = "" if vhosts == [DEFAULT_VHOST] else f" in vhost {', '.join(vhosts)}"
        yield UpdateWarning(
            f"everyone on the internet can publish{names}, through {', '.join(public)} (see srs:publish)",
            "PublishingIsOpen",
        )
    if hidden and has_rules_by_address(conf):
        yield UpdateWarning(
            f"security of srs.conf allows or denies by address, but behind {', '.join(hidden)} SRS sees the "
            "address of a node as every client's",
            "AddressesAreHidden",
        )
