"""What stands in front of the edges: their Service, of the kind that the config asks for."""

import pulumi
from pulumi_kubernetes.core.v1 import Service, ServicePortArgsDict, ServiceSpecArgsDict

from components.manifest import metadata
from model.names import EDGE_APP, EDGE_SERVICE, HTTP_PORT, RTMP_PORT
from model.settings import LoadBalancerSettings, NodePortLoadBalancer, NoLoadBalancer


class LoadBalancer(pulumi.ComponentResource):
    """The edge Service. It selects the pods of all releases and offers RTMP and HTTP-FLV, never the HTTP API."""

    service: Service
    urls: dict[str, str]
    """URLs for publishing (`publish`) and playing (`rtmp`, `flv`) the stream `live/livestream`."""

    def __init__(
        self,
        name: str,
        settings: LoadBalancerSettings,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("srs:edge:LoadBalancer", name, {}, opts)
        self.service = Service(
            EDGE_SERVICE,
            metadata=metadata(EDGE_SERVICE, namespace, {"app": EDGE_APP}),
            spec=_spec(settings),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.urls = urls(settings)
        self.register_outputs({})


def _spec(settings: LoadBalancerSettings) -> ServiceSpecArgsDict:
    rtmp: ServicePortArgsDict = {"name": "rtmp", "port": RTMP_PORT, "target_port": "rtmp", "protocol": "TCP"}
    http: ServicePortArgsDict = {"name": "http", "port": HTTP_PORT, "target_port": "http", "protocol": "TCP"}
    match settings:
        case NoLoadBalancer():
            kind = "ClusterIP"
        case NodePortLoadBalancer():
            kind = "NodePort"
            rtmp["node_port"] = settings.rtmp_port
            http["node_port"] = settings.http_port
    return {"type": kind, "selector": {"app": EDGE_APP}, "ports": [rtmp, http]}


def urls(settings: LoadBalancerSettings) -> dict[str, str]:
    """Where the stream `live/livestream` is published to and played from."""
    match settings:
        case NoLoadBalancer():
            host, rtmp, http = EDGE_SERVICE, RTMP_PORT, HTTP_PORT
        case NodePortLoadBalancer():
            host, rtmp, http = settings.host or "<address of a node>", settings.rtmp_port, settings.http_port
    return {
        "publish": f"rtmp://{host}:{rtmp}/live/livestream",
        "rtmp": f"rtmp://{host}:{rtmp}/live/livestream",
        "flv": f"http://{host}:{http}/live/livestream.flv",
    }
