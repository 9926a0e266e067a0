"""An exposed Service, with the load balancer of the kind in the config."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pulumi
from pulumi_kubernetes.core.v1 import Service, ServicePortArgsDict, ServiceSpecArgsDict

from components.manifest import metadata
from model.alibaba import NLB_CLASS, PREFIX, backend_label
from model.exposed_service import ADDRESS, FORMER, IDENTITY, ExposedService
from model.names import HLS, HTTPS_PORT, service_port_names
from model.settings.load_balancer import (
    AnyLoadBalancer,
    NlbLoadBalancer,
    NodePortLoadBalancer,
    NoLoadBalancer,
    ServiceLoadBalancer,
    SlbLoadBalancer,
    annotations,
)
from model.settings.stack import StackSettings

if TYPE_CHECKING:
    from components.clb import Clb


class LoadBalancer(pulumi.ComponentResource):
    """A Service that is reached from outside the cluster, with its load balancer.

    The edge Service selects the pods of all releases and serves RTMP and HTTP-FLV, never the HTTP API.
    """

    exposed: ExposedService
    service: Service
    clb_id: pulumi.Input[str] | None
    """Id of the CLB, None for other kinds."""

    def __init__(
        self,
        name: str,
        exposed: ExposedService,
        namespace: pulumi.Input[str],
        title: str,
        port_names: Mapping[int, str],
        backend_nodes: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """title: the name of a CLB where the settings have none. port_names: of ports that keep their live name.
        backend_nodes: labels that limit the backends."""
        super().__init__("srs:edge:LoadBalancer", name, {}, opts)
        self.exposed = exposed
        load_balancer = exposed.load_balancer
        # The CLB that the stack creates. Not declared above: Pulumi would import its module to evaluate the type.
        self.clb = _clb(exposed.name, load_balancer, title, self)
        self.clb_id = self.clb.id if self.clb else getattr(load_balancer, "id", None)
        bound = self.bind(backend_nodes) | {IDENTITY: exposed.identity}
        self.service = Service(
            exposed.name,
            metadata=metadata(exposed.name, namespace, {"app": exposed.app}, bound),
            spec=_spec(exposed, port_names),
            opts=pulumi.ResourceOptions(parent=self, protect=load_balancer.protected),
        )
        self.register_outputs({})

    def bind(self, backend_nodes: Mapping[str, str]) -> dict[str, pulumi.Input[str]]:
        """Annotations of a Service on this load balancer; the controller needs them when the Service is created.

        backend_nodes: labels that limit the backends.
        """
        bound: dict[str, pulumi.Input[str]] = {
            **annotations(self.exposed.load_balancer),
            **backend_label(backend_nodes),
        }
        if self.clb_id is not None:
            bound[f"{PREFIX}id"] = self.clb_id
        if self.clb:
            bound[ADDRESS] = self.clb.address
        return bound


def _clb(service: str, load_balancer: AnyLoadBalancer, title: str, parent: pulumi.Resource) -> "Clb | None":
    if not isinstance(load_balancer, SlbLoadBalancer) or load_balancer.id is not None:
        return None
    from components.clb import Clb  # only where a CLB is declared: the import takes half a second

    return Clb(f"{service}-clb", load_balancer, title, pulumi.ResourceOptions(parent=parent))


def _spec(exposed: ExposedService, port_names: Mapping[int, str]) -> ServiceSpecArgsDict:
    protocols = {port: name.removesuffix(FORMER) for name, port in exposed.service_ports.items()}
    names = service_port_names(protocols, port_names)
    ports: dict[str, ServicePortArgsDict] = {
        # The port's number: pods that others have created have no named ports.
        name: {
            "name": names[exposed.service_ports[name]],
            "port": exposed.service_ports[name],
            "target_port": HTTPS_PORT if name.startswith("https") else port,
            "protocol": "TCP",
        }
        for name, port in exposed.ports.items()
    }
    spec: ServiceSpecArgsDict = {"type": "ClusterIP", "selector": {"app": exposed.app}, "ports": list(ports.values())}
    match exposed.load_balancer:
        case NoLoadBalancer():
            pass
        case NodePortLoadBalancer():
            spec["type"] = "NodePort"
            for name, node_port in exposed.node_ports.items():
                ports[name]["node_port"] = node_port
        case (SlbLoadBalancer() | NlbLoadBalancer() | ServiceLoadBalancer()) as external:
            spec["type"] = "LoadBalancer"
            spec["external_traffic_policy"] = external.external_traffic_policy
            if isinstance(external, NlbLoadBalancer):
                spec["load_balancer_class"] = NLB_CLASS
            if isinstance(external, ServiceLoadBalancer):
                if external.load_balancer_class is not None:
                    spec["load_balancer_class"] = external.load_balancer_class
                if external.source_ranges:
                    spec["load_balancer_source_ranges"] = list(external.source_ranges)
    return spec


def urls(settings: StackSettings, addresses: Mapping[str, str]) -> dict[str, str]:
    """Where the stream `live/livestream` is published to (`publish`) and played from (`rtmp`, `flv`; `hls` if it is
    enabled; `httpsFlv` and `httpsHls` with TLS).

    addresses: of the load balancers, by Service name.
    """
    play = settings.edge_service
    publish = settings.publish_service or play
    encoder, viewer = _host(publish, addresses), _host(play, addresses)
    ports = {**play.service_ports, **play.node_ports}
    publish_port = {**publish.service_ports, **publish.node_ports}["rtmp"]
    found = {
        "publish": f"rtmp://{encoder}:{publish_port}/live/livestream",
        "rtmp": f"rtmp://{viewer}:{ports['rtmp']}/live/livestream",
        "flv": f"http://{viewer}:{ports['http']}/live/livestream.flv",
    }
    if "https" in ports:
        found["httpsFlv"] = f"https://{_authority(viewer, ports['https'], 443)}/live/livestream.flv"
    on_clb = next(iter(settings.hls_services.values()), None)
    host = _host(on_clb, addresses) if on_clb else f"{HLS}-service"  # without a port, only inside the cluster
    for name, port in settings.hls_ports.items():
        key = "hls" if name == "http" else "httpsHls"
        found[key] = f"{name}://{_authority(host, port, {'http': 80, 'https': 443}[name])}/live/livestream.m3u8"
    return found


def _authority(host: str, port: int, default: int) -> str:
    """Host and port of a URL, without the default port of its scheme."""
    return host if port == default else f"{host}:{port}"


def _host(exposed: ExposedService, addresses: Mapping[str, str]) -> str:
    match exposed.load_balancer:
        case NoLoadBalancer():
            return exposed.name
        case NodePortLoadBalancer(host=host):
            return host or "<address of a node>"
        case SlbLoadBalancer(host=host) | NlbLoadBalancer(host=host) | ServiceLoadBalancer(host=host):
            return host or addresses.get(exposed.name, f"<address of {exposed.name}>")
