"""`kind: service`: a Service of type LoadBalancer for a controller whose rules the program does not know."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, model_validator

from model.config.base import Port
from model.config.problems import Problem, RuleError, UpdateWarning
from model.config.values import Duration
from model.load_balancers.interface import AnnotationKey, DrainLimit, ExternalLoadBalancer, LiveService
from model.names import EDGE_APP, HTTP_PORT, RTMP_PORT

if TYPE_CHECKING:
    from model.load_balancers.exposed_service import ExposedService


def _cidr(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError("must be a range of addresses, such as 203.0.113.0/24") from None


def _drain_ceiling(value: Any) -> Any:
    if value is None:
        raise ValueError("must be a duration such as 5m, or none")
    return None if value == "none" else value


class ServiceLoadBalancer(ExternalLoadBalancer):
    """A Service of type LoadBalancer, for the controller of any other cloud, or of a cluster on bare metal.

    docs/load-balancers.md has what is known of AWS, GKE, Tencent TKE, MetalLB, kube-vip and k3s. The key `annotations`
    is for what they support.
    """

    kind: Literal["service"]
    drain_ceiling: Annotated[Duration | None, BeforeValidator(_drain_ceiling)] = Field(
        description="How long it keeps connections to a pod that terminates, from the start of the termination on; "
        "`none`: as long as the pod does. A drain that is longer is rejected (docs/load-balancers.md)."
    )
    load_balancer_class: AnnotationKey | None = Field(
        default=None,
        description="Class of the load balancer (`loadBalancerClass`), if the cluster has several controllers. It "
        "cannot be changed later.",
    )
    external_traffic_policy: Literal["Cluster", "Local"] = Field(
        default="Cluster",
        description="Whether all nodes accept connections (`Cluster`; pods see a node's address as the client's), or "
        "only nodes with a ready edge (`Local`).",
    )
    rtmp_port: Port = Field(default=RTMP_PORT, description="Port of the load balancer for RTMP.")
    http_port: Port = Field(default=HTTP_PORT, description="Port of the load balancer for HTTP-FLV.")
    source_ranges: list[Annotated[StrictStr, AfterValidator(_cidr)]] = Field(
        default_factory=list[str],
        description="Addresses that may connect, such as `203.0.113.0/24`, where the controller supports it; default: "
        "all.",
    )

    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {
        **ExternalLoadBalancer.SAFE_IN_PLACE,
        # A statement of the operator; and a restriction, which drops those whom it is to exclude.
        **dict.fromkeys(("drain_ceiling", "source_ranges"), True),
    }

    @property
    def max_connection_time(self) -> timedelta | None:
        """What the operator states."""
        return self.drain_ceiling

    def drain_limit(self, key: str) -> DrainLimit:
        """By its drainCeiling."""
        keep = "let the load balancer keep connections longer, and state it in drainCeiling"
        return DrainLimit("by its drainCeiling", keep, f"raise {key}.drainCeiling")

    @property
    def hides_addresses(self) -> bool:
        """Whether pods see the address of a node as the client's; a controller may preserve it nevertheless."""
        return self.external_traffic_policy == "Cluster"

    @property
    def service_fields(self) -> dict[str, Any]:
        """Traffic policy, class and source ranges."""
        fields: dict[str, Any] = {"externalTrafficPolicy": self.external_traffic_policy}
        if self.load_balancer_class is not None:
            fields["loadBalancerClass"] = self.load_balancer_class
        if self.source_ranges:
            fields["loadBalancerSourceRanges"] = list(self.source_ranges)
        return fields

    def service_ports(self, ports: Mapping[str, int]) -> dict[str, int]:
        """The ports of RTMP and HTTP-FLV in the config."""
        chosen = {"rtmp": self.rtmp_port, "http": self.http_port}
        return {name: chosen.get(name, port) for name, port in ports.items()}

    def warnings(self, service: "ExposedService", weighted: Sequence[str]) -> Iterator[str]:
        """Shares by node, and publishing without a restriction."""
        key = service.config_key
        if service.app == EDGE_APP and len(weighted) > 1 and self.external_traffic_policy == "Local":
            yield UpdateWarning(
                f"{key}: with externalTrafficPolicy Local, most load balancers send each node as many viewers as any "
                f"other; the shares of {', '.join(weighted)} will not match their weights where nodes have different "
                "numbers of edges",
                "SharesAreDistorted",
            )
        if "http" not in service.ports and not self.source_ranges:
            yield UpdateWarning(f"{key} has no sourceRanges: everyone who can reach it can publish", "PublishingIsOpen")

    def is_safe_annotation(self, key: str) -> bool:
        """None is known to be: it depends on the controller."""
        del key
        return False

    def annotation_problem(self, key: str, value: str) -> str | None:
        """SRS closes a connection that begins with a header of the PROXY protocol."""
        del value
        return "must not be set: SRS does not understand the PROXY protocol" if "proxy-protocol" in key else None

    @classmethod
    def recognizes(cls, live: LiveService) -> bool:
        """Every Service of this type that no other kind has recognized."""
        return live["spec"].get("type") == "LoadBalancer"

    @classmethod
    def read_identity(cls, live: LiveService) -> dict[str, Any]:
        """What the spec says."""
        spec = live["spec"]
        targets = {port.get("targetPort"): port["port"] for port in spec.get("ports", [])}
        return {
            "kind": "service",
            "loadBalancerClass": spec.get("loadBalancerClass"),
            "externalTrafficPolicy": str(spec.get("externalTrafficPolicy", "Cluster")),
            "rtmpPort": targets.get(RTMP_PORT, RTMP_PORT),
            "httpPort": targets.get(HTTP_PORT, HTTP_PORT),
        }

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.rtmp_port == self.http_port:
            raise RuleError([Problem(("httpPort",), self.http_port, "must differ from rtmpPort", reason="PortInUse")])
        return self
