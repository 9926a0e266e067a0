"""Services that are reached from outside the cluster, and the rules that hold between them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from model import alibaba
from model.names import EDGE_APP, HTTP_PORT, RTMP_PORT
from model.problems import Problem, config_path
from model.settings.load_balancer import (
    AnyLoadBalancer,
    CloudLoadBalancer,
    ExternalLoadBalancer,
    NodePortLoadBalancer,
    ServiceLoadBalancer,
    SlbLoadBalancer,
)
from model.srs_conf import DEFAULT_VHOST, SrsConf, has_rules_by_address, open_vhosts
from model.values import format_duration, seconds

IDENTITY = "srs/load-balancer"
"""Annotation of a Service: the identity of its load balancer, which later updates compare with the config, and whether
Pulumi refuses to delete it."""

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
    load_balancer: AnyLoadBalancer
    app: str = EDGE_APP
    ports: Mapping[str, int] = field(default_factory=lambda: {"rtmp": RTMP_PORT, "http": HTTP_PORT})
    former: bool = False

    @property
    def service_ports(self) -> dict[str, int]:
        """The ports of the Service by name; `ports` are those of the pods, except that of HTTPS."""
        match self.load_balancer:
            case ServiceLoadBalancer(rtmp_port=rtmp, http_port=http):
                chosen = {"rtmp": rtmp, "http": http}
                return {name: chosen.get(name, port) for name, port in self.ports.items()}
            case _:
                return dict(self.ports)

    @property
    def node_ports(self) -> dict[str, int]:
        """Its node ports by name; empty where the cluster chooses them."""
        match self.load_balancer:
            case NodePortLoadBalancer(rtmp_port=rtmp, http_port=http, https_port=https):
                ports = {"rtmp": rtmp, "http": http, "https": https}
                return {name: ports[name] for name in self.ports if name in ports}
            case _:
                return {}

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
        """Whether it ends connections to edges sooner than their pods would."""
        load_balancer = self.load_balancer
        return (
            self.app == EDGE_APP
            and isinstance(load_balancer, ExternalLoadBalancer)
            and load_balancer.max_connection_time is not None
        )


def drain_problems(
    services: Sequence[ExposedService], deregister: timedelta, timeout: timedelta, path: tuple[str, ...]
) -> Iterator[Problem]:
    """A drain in the config that a load balancer cannot keep (see `ExternalLoadBalancer.max_connection_time`)."""
    for service in services:
        load_balancer = service.load_balancer
        if not service.limits_drain or not isinstance(load_balancer, ExternalLoadBalancer):
            continue
        limit = load_balancer.max_connection_time
        assert limit is not None
        if deregister + timeout <= limit:
            continue
        key, shown = service.config_key, format_duration(limit)
        shorter = limit - deregister
        if isinstance(load_balancer, CloudLoadBalancer):
            reason = "backend eni" if load_balancer.backend == "eni" else "externalTrafficPolicy Local"
            end = f"with {reason} it ends a connection {shown}"
            keep = (
                f"set {key}.backend: ecs and externalTrafficPolicy: Cluster, which keep connections as long as the pod"
            )
            longer = f"raise {key}.connectionDrain (at most {seconds(alibaba.MAX_CONNECTION_TIMEOUT)}s)"
        else:
            end = f"by its drainCeiling it ends a connection {shown}"
            keep = "let the load balancer keep connections longer, and state it in drainCeiling"
            longer = f"raise {key}.drainCeiling"
        alternative = (
            f"set drain.timeout to at most {format_duration(shorter)}, which drops longer streams"
            if shorter > deregister
            else f"{longer} and shorten drain.timeout accordingly"
        )
        yield Problem(
            path,
            timeout,
            f"is longer than {key} can keep: {end} after the pod started to terminate (drain.deregister, "
            f"{format_duration(deregister)}, included). Either {keep}; or {alternative}",
        )


def conflicts(services: Sequence[ExposedService], reserved: Mapping[str, str]) -> Iterator[Problem]:
    """Services of one name, and listeners and node ports of two Services.

    reserved: names of other Services, and the part of the stack that each belongs to.
    """
    owners = dict(reserved)
    listeners: dict[tuple[str, int], str] = {}
    node_ports: dict[int, str] = {}
    for service in services:
        key, load_balancer = service.config_key, service.load_balancer
        if owner := owners.get(service.name):
            yield Problem(
                (*service.key, "service"), service.name, f"is already the Service of {owner}; use another name"
            )
        owners[service.name] = key
        match load_balancer:
            case SlbLoadBalancer(id=str() as clb):
                wanted = [(clb, port) for port in service.ports.values()]
                if owner := next((listeners[listener] for listener in wanted if listener in listeners), None):
                    yield Problem(
                        (*service.key, "id"),
                        clb,
                        f"is already the CLB of {owner}, and a listener of a CLB leads to one Service only",
                    )
                listeners |= dict.fromkeys(wanted, key)
            case NodePortLoadBalancer():
                for name, port in service.node_ports.items():
                    if owner := node_ports.get(port):
                        yield Problem((*service.key, f"{name}Port"), port, f"is already a node port of {owner}")
                    node_ports[port] = key
            case _:
                pass


def warnings(service: ExposedService, weighted: Sequence[str]) -> Iterator[str]:
    """What may do harm but is the operator's choice, a line each. weighted: releases that have a weight."""
    load_balancer, key = service.load_balancer, service.config_key
    if isinstance(load_balancer, ServiceLoadBalancer):
        if service.app == EDGE_APP and len(weighted) > 1 and load_balancer.external_traffic_policy == "Local":
            yield (
                f"{key}: with externalTrafficPolicy Local, most load balancers send each node as many viewers as any "
                f"other; the shares of {', '.join(weighted)} will not match their weights where nodes have different "
                "numbers of edges"
            )
        if "http" not in service.ports and not load_balancer.source_ranges:
            yield f"{key} has no sourceRanges: everyone who can reach it can publish"
    if not isinstance(load_balancer, CloudLoadBalancer):
        return
    if service.app == EDGE_APP and len(weighted) > 1:
        persistence = load_balancer.persistence_timeout if isinstance(load_balancer, SlbLoadBalancer) else timedelta(0)
        for distortion in alibaba.canary_distortions(
            load_balancer.backend, load_balancer.external_traffic_policy, load_balancer.scheduler, persistence
        ):
            yield f"{key}: {distortion}; the shares of {', '.join(weighted)} will not match their weights"
    if service.limits_drain and not load_balancer.connection_drain:
        yield f"{key}: without connectionDrain, every update of an edge drops its connections at once"


def conf_warnings(conf: SrsConf, services: Sequence[ExposedService]) -> Iterator[str]:
    """What an srs.conf allows to the clients of Services that lead to it, a line each."""
    public = [service.config_key for service in services if service.load_balancer.is_on_internet]
    hidden = [service.config_key for service in services if service.load_balancer.hides_addresses]
    if public and (vhosts := open_vhosts(conf)):
        names = "" if vhosts == [DEFAULT_VHOST] else f" in vhost {', '.join(vhosts)}"
        yield f"everyone on the internet can publish{names}, through {', '.join(public)} (see srs:publish)"
    if hidden and has_rules_by_address(conf):
        yield (
            f"security of srs.conf allows or denies by address, but behind {', '.join(hidden)} SRS sees the "
            "address of a node as every client's"
        )
