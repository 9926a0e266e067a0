"""`kind: nodePort`: a Service of type NodePort."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from model.config.base import NonEmpty
from model.config.problems import Problem, RuleError
from model.load_balancers.interface import Claim, LiveService, LoadBalancer, live_annotations
from model.names import HTTP_PORT, HTTPS_PORT, RTMP_PORT, STACK_ANNOTATION

NodePort = Annotated[int, Field(strict=True, ge=30000, le=32767)]
"""The default range of `--service-node-port-range` (Kubernetes docs, "Type: NodePort")."""


class NodePortLoadBalancer(LoadBalancer):
    """The edge Service is of type NodePort: viewers, or your own load balancer, connect to the nodes."""

    kind: Literal["nodePort"]
    rtmp_port: NodePort = Field(default=31935, description="Node port for RTMP.")
    http_port: NodePort = Field(default=30080, description="Node port for HTTP-FLV.")
    https_port: NodePort = Field(default=30443, description="Node port for HTTP-FLV with HTTPS, with `srs:tls`.")
    host: NonEmpty | None = Field(
        default=None,
        description="Host name or address for the URLs in the stack's outputs; changes nothing else.",
    )

    SERVICE_TYPE = "NodePort"
    FOR_ENCODERS = False
    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {**LoadBalancer.SAFE_IN_PLACE, "host": True}

    @property
    def hides_addresses(self) -> bool:
        """A node forwards with its own address, because `externalTrafficPolicy` is Cluster."""
        return True

    def node_ports(self, ports: Mapping[str, int]) -> dict[str, int]:
        """The node ports of the config."""
        chosen = {"rtmp": self.rtmp_port, "http": self.http_port, "https": self.https_port}
        return {name: chosen[name] for name in ports if name in chosen}

    def claims(self, ports: Mapping[str, int]) -> Iterator[Claim]:
        """Each node port."""
        for name, port in self.node_ports(ports).items():
            yield Claim(
                f"{name}Port", port, (("node port", port),), "is already a node port of {owner}", "NodePortInUse"
            )

    def url_host(self, service: str, addresses: Mapping[str, str]) -> str:
        """The key `host`."""
        del service, addresses
        return self.host or "<address of a node>"

    @classmethod
    def recognizes(cls, live: LiveService) -> bool:
        """By its type."""
        return live["spec"].get("type") == "NodePort"

    @classmethod
    def read_identity(cls, live: LiveService) -> dict[str, Any]:
        """The node ports of a Service of the stack; those of a foreign one are compared port by port."""
        found: dict[str, Any] = {"kind": "nodePort"}
        if STACK_ANNOTATION in live_annotations(live):
            ports = {port["port"]: port.get("nodePort") for port in live["spec"].get("ports", [])}
            found |= {"rtmpPort": ports.get(RTMP_PORT), "httpPort": ports.get(HTTP_PORT)}
        return found

    @classmethod
    def live_identity(cls, live: LiveService) -> dict[str, Any]:
        """The identity, without the node port of HTTPS while the Service has none: it has no users."""
        found = super().live_identity(live)
        if not any(port.get("targetPort") == HTTPS_PORT for port in live["spec"].get("ports", [])):
            found.pop("httpsPort", None)
        return found

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.rtmp_port == self.http_port:
            raise RuleError([Problem(("httpPort",), self.http_port, "must differ from rtmpPort", reason="PortInUse")])
        return self
