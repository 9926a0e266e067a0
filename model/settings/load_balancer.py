"""`srs:loadBalancer` and `srs:formerLoadBalancer`: one model for each kind, with the rules between its keys."""

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr, model_validator
from pydantic.alias_generators import to_camel

from model import alibaba
from model.base import NonEmpty, Port, Settings, matching
from model.names import HTTP_PORT, RTMP_PORT
from model.problems import Problem, RuleError
from model.settings.pods import LabelKey, LabelValue
from model.values import DnsLabel, Duration, seconds

NodePort = Annotated[int, Field(strict=True, ge=30000, le=32767)]
"""The default range of `--service-node-port-range` (Kubernetes docs, "Type: NodePort")."""


def _between(minimum: timedelta, maximum: timedelta, zero_allowed: bool = False) -> AfterValidator:
    """A duration within bounds; zero_allowed: `0s` is allowed as well and means none."""

    def check(value: timedelta) -> timedelta:
        if not (minimum <= value <= maximum or (zero_allowed and not value)):
            bounds = f"must be {seconds(minimum)}s to {seconds(maximum)}s"
            raise ValueError(bounds + (", or 0s for none" if zero_allowed else ""))
        return value

    return AfterValidator(check)


ClbId = Annotated[StrictStr, matching(r"lb-[a-z0-9]{4,}", "the id of a CLB, such as lb-2ze1x2y3z4")]
VswitchId = Annotated[StrictStr, matching(r"vsw-[a-z0-9]{4,}", "the id of a vswitch, such as vsw-2ze1x2y3z4")]
ResourceGroupId = Annotated[
    StrictStr, matching(r"rg-[a-z0-9]{4,}", "the id of a resource group, such as rg-acfmz7u4wxy")
]
Zone = Annotated[StrictStr, matching(r"[a-z]{2,3}(-[a-z0-9]+)+", "a zone, such as cn-beijing-h")]
ClbName = Annotated[
    StrictStr, matching(r"[\w.-]{1,80}", "a name of at most 80 letters, digits, '-', '.' and '_', such as srs-edge")
]
"""CLB API, `CreateLoadBalancer`."""

Spec = Literal[
    "slb.s1.small", "slb.s2.small", "slb.s2.medium", "slb.s3.small", "slb.s3.medium", "slb.s3.large", "slb.s4.large"
]
"""Guaranteed-performance specifications (Terraform provider, `alicloud_slb_load_balancer`)."""

_MAX = f"`{seconds(alibaba.MAX_CONNECTION_TIMEOUT)}s`"

ConnectionTimeout = Annotated[Duration, _between(timedelta(seconds=10), alibaba.MAX_CONNECTION_TIMEOUT)]


AnnotationKey = Annotated[
    StrictStr,
    matching(
        r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?",
        "the key of an annotation, such as example.com/key",
    ),
]
"""Kubernetes docs, "Annotations", "Syntax and character set"."""


SAFE_IN_PLACE: Any = {
    # Names and outputs; no load balancer reads them.
    "service": True,  # another name is another Service
    "host": True,
    "address_timeout": True,
    "protect": True,
    # The controller sets these attributes of a listener or of its server group, which stay (clbv1/listeners.go,
    # `tcp.Update`: SetLoadBalancerTCPListenerAttribute; nlbv2/listeners.go, server_groups.go).
    "scheduler": True,
    "connection_drain": True,
    "established_timeout": True,
    "idle_timeout": True,
    "persistence_timeout": True,
    "health_check": True,
    # Compared with the live Service: more nodes are safe, fewer are not (update/load_balancers.py).
    "backend_nodes": True,
    # A statement of the operator; and a restriction, which drops those whom it is to exclude.
    "drain_ceiling": True,
    "source_ranges": True,
    # The provider sets these attributes of a CLB or an EIP without replacing it (resource_alicloud_slb_load_balancer.go
    # and resource_alicloud_eip_address.go: not ForceNew).
    "name": True,
    "tags": True,
    "instance_charge_type": True,
    "spec": True,
    "internet_charge_type": True,
    "bandwidth": True,
    "delete_protection": True,
    "modification_protection": True,
    "eip": {"bandwidth"},  # not its charge type, which is ForceNew: another address
}
"""The keys that are known to be safe on a Service in use. A change of any other key is rejected (update/plan.py)."""


class ServiceSettings(Settings):
    """What all kinds have."""

    service: DnsLabel | None = Field(
        default=None,
        description="Name of the Service; default: `srs-edge-service`, for publishing `srs-publish-service`. "
        "A load balancer that replaces another one needs its own name.",
    )
    annotations: dict[AnnotationKey, StrictStr] = Field(
        default_factory=dict,
        description="More annotations of the Service, for what its controller supports and no key of the stack config "
        "sets. An annotation that the stack sets is rejected.",
    )

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change on a Service in use, by config key: all keys but those of SAFE_IN_PLACE."""
        found = self.model_dump(mode="json", by_alias=True, exclude=SAFE_IN_PLACE)
        found["annotations"] = {k: v for k, v in self.annotations.items() if not self.is_safe_annotation(k)}
        return found

    @property
    def protected(self) -> bool:
        """Whether Pulumi is to refuse the deletion of the load balancer and its Service."""
        return False

    def annotation_problem(self, key: str) -> str | None:
        """Why an annotation must not be added, by the rules of this kind; None if it may be."""
        del key
        return None

    def is_safe_annotation(self, key: str) -> bool:
        """Whether an annotation may change on a Service in use. Nothing reads them on these Services but add-ons."""
        del key
        return True

    @model_validator(mode="after")
    def _annotations_are_not_ours(self) -> Self:
        problems: list[Problem] = []
        for key, value in self.annotations.items():
            if key.startswith(("srs/", "pulumi.com/")):
                problems.append(Problem(("annotations", key), value, "must not be set: the stack sets it"))
            elif reason := self.annotation_problem(key):
                problems.append(Problem(("annotations", key), value, reason))
        if problems:
            raise RuleError(problems)
        return self


class NoLoadBalancer(ServiceSettings):
    """The edge Service is of type ClusterIP: it is reached from inside the cluster, or through your own Ingress."""

    kind: Literal["none"]

    host: None = None
    is_on_internet: ClassVar[bool] = False
    hides_addresses: ClassVar[bool] = False


class NodePortLoadBalancer(ServiceSettings):
    """The edge Service is of type NodePort: viewers, or your own load balancer, connect to the nodes."""

    kind: Literal["nodePort"]
    rtmp_port: NodePort = Field(default=31935, description="Node port for RTMP.")
    http_port: NodePort = Field(default=30080, description="Node port for HTTP-FLV.")
    https_port: NodePort = Field(default=30443, description="Node port for HTTP-FLV with HTTPS, with `srs:tls`.")
    host: NonEmpty | None = Field(
        default=None,
        description="Host name or address for the URLs in the stack's outputs; changes nothing else.",
    )

    is_on_internet: ClassVar[bool] = False  # as far as the config says
    hides_addresses: ClassVar[bool] = True

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.rtmp_port == self.http_port:
            raise RuleError([Problem(("httpPort",), self.http_port, "must differ from rtmpPort")])
        return self


class HealthCheckSettings(Settings):
    """How the load balancer checks its backends, by TCP connections."""

    interval: Annotated[Duration, _between(timedelta(seconds=1), timedelta(seconds=50))] = Field(
        default=timedelta(seconds=2), description="Time between two checks, `1s` to `50s`."
    )
    timeout: Annotated[Duration, _between(timedelta(seconds=1), timedelta(seconds=300))] = Field(
        default=timedelta(seconds=5), description="Time after which a check has failed, `1s` to `300s`."
    )
    healthy_threshold: Annotated[int, Field(strict=True, ge=2, le=10)] = Field(
        default=3, description="Successful checks in a row that make a backend healthy."
    )
    unhealthy_threshold: Annotated[int, Field(strict=True, ge=2, le=10)] = Field(
        default=3, description="Failed checks in a row that make a backend unhealthy."
    )

    def for_backend(self, backend: alibaba.Backend) -> alibaba.HealthCheck:
        """The check as the annotations need it.

        Of a pod, the HTTP port is checked for both listeners: SRS logs a warning for every bare connection to its
        RTMP port, which also delays the end of a drain, and it opens and closes both ports together. A node has
        one port per listener.
        """
        port = HTTP_PORT if backend == "eni" else None
        return alibaba.HealthCheck(
            seconds(self.interval), seconds(self.timeout), self.healthy_threshold, self.unhealthy_threshold, port
        )


class EipSettings(Settings):
    """An elastic IP address."""

    bandwidth: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(description="Peak bandwidth in Mbit/s.")
    charge_type: Literal["PayByTraffic", "PayByBandwidth"] = Field(
        default="PayByTraffic", description="Billing by traffic, or by bandwidth."
    )


class ExternalLoadBalancer(ServiceSettings):
    """A load balancer that a controller of the cluster makes for a Service of type LoadBalancer."""

    address_timeout: Duration = Field(
        default=timedelta(minutes=5),
        description="An update fails when the Service has no address of the load balancer after this time.",
    )
    host: NonEmpty | None = Field(
        default=None,
        description="Host name for the URLs in the stack's outputs; default: the address. Changes nothing else.",
    )
    protect: StrictBool = Field(
        default=True,
        description="Whether Pulumi refuses to delete the load balancer, its addresses and the Service.",
    )

    @property
    def protected(self) -> bool:
        """Whether Pulumi is to refuse a deletion."""
        return self.protect

    @property
    def max_connection_time(self) -> timedelta | None:
        """How long a connection may outlast the start of its pod's termination, that included; None: as long as the
        pod lets it."""
        raise NotImplementedError


class CloudLoadBalancer(ExternalLoadBalancer):
    """What both kinds of load balancer of Alibaba Cloud have."""

    address_type: Literal["internet", "intranet"] = Field(
        description="Whether it has an address on the internet or in the VPC. It cannot be changed later."
    )
    backend: alibaba.Backend = Field(
        default="ecs",
        description="Where it sends connections: to nodes (`ecs`, which forward them), or to pods (`eni`, Terway "
        "only). With `eni` no connection outlasts the start of its pod's termination by more than `connectionDrain`.",
    )
    external_traffic_policy: alibaba.TrafficPolicy = Field(
        default="Cluster",
        description="With `ecs`: whether all nodes accept connections (`Cluster`; pods see a node's address as the "
        "client's), or only nodes with a ready edge (`Local`; connections through a node that loses its last ready "
        "edge are dropped after `connectionDrain`).",
    )
    backend_nodes: dict[LabelKey, LabelValue] | None = Field(
        default=None,
        description="With `ecs` and `Cluster`: labels of the nodes that accept connections, `{}` for all nodes. They "
        "should be stable: a node that becomes NotReady or is removed drops the connections through it. Default: the "
        "`nodeSelector` of the edges (of the origins, where it leads to them). A Service in use keeps its nodes; more "
        "can be added, with fewer labels.",
    )
    scheduler: alibaba.Scheduler = Field(default="wrr", description="How it selects a backend.")
    connection_drain: Annotated[
        Duration, _between(timedelta(seconds=10), alibaba.MAX_CONNECTION_TIMEOUT, zero_allowed=True)
    ] = Field(
        default=alibaba.MAX_CONNECTION_TIMEOUT,
        description=f"How long connections to a removed backend may last, `10s` to {_MAX}; `0s` drops them at once.",
    )
    health_check: HealthCheckSettings = Field(default_factory=HealthCheckSettings, description="Health check.")
    tags: dict[NonEmpty, StrictStr] = Field(default_factory=dict, description="Tags of the load balancer.")

    @property
    def max_connection_time(self) -> timedelta | None:
        """See `alibaba.max_connection_time`."""
        return alibaba.max_connection_time(self.backend, self.external_traffic_policy, self.connection_drain)

    @property
    def is_on_internet(self) -> bool:
        """Whether everyone on the internet can connect to it."""
        return self.address_type == "internet"

    @property
    def hides_addresses(self) -> bool:
        """Whether pods see the address of a node as the client's."""
        return self.backend == "ecs" and self.external_traffic_policy == "Cluster"

    @property
    def limits_backends(self) -> bool:
        """See `alibaba.limits_backends`."""
        return alibaba.limits_backends(self.backend, self.external_traffic_policy)

    def is_safe_annotation(self, key: str) -> bool:
        """See `alibaba.is_safe_annotation`."""
        return alibaba.is_safe_annotation(key)

    @model_validator(mode="after")
    def _policy_fits_backend(self) -> Self:
        if self.backend == "eni" and self.external_traffic_policy == "Local":
            raise RuleError(
                [
                    Problem(
                        ("externalTrafficPolicy",),
                        self.external_traffic_policy,
                        "has no effect with backend eni, where no node forwards; leave it out, or use backend ecs",
                    )
                ]
            )
        if self.backend_nodes is not None and not self.limits_backends:
            raise RuleError(
                [
                    Problem(
                        ("backendNodes",),
                        self.backend_nodes,
                        "can only be set with backend ecs and externalTrafficPolicy Cluster; otherwise the backends "
                        "are the pods, or their nodes",
                    )
                ]
            )
        return self


class SlbLoadBalancer(CloudLoadBalancer):
    """A Classic Load Balancer (CLB) of Alibaba Cloud: the stack creates it, or uses an existing one by `id`."""

    kind: Literal["slb"]
    id: ClbId | None = Field(
        default=None,
        description="An existing CLB. Without it the stack creates one. Listeners on the Service's ports are "
        "overwritten.",
    )
    name: ClbName | None = Field(default=None, description="Name of the CLB; default: namespace and Service.")
    vswitch_id: VswitchId | None = Field(
        default=None, description="The vswitch that gives an `intranet` CLB its address. It cannot be changed later."
    )
    instance_charge_type: Literal["PayByCLCU", "PayBySpec"] = Field(
        default="PayByCLCU", description="Billing by capacity used, or by specification."
    )
    spec: Spec | None = Field(default=None, description="The specification, with PayBySpec.")
    internet_charge_type: Literal["PayByTraffic", "PayByBandwidth"] = Field(
        default="PayByTraffic", description="Of an `internet` CLB: billing by traffic, or by bandwidth."
    )
    bandwidth: Annotated[int, Field(strict=True, ge=1, le=5120)] | None = Field(
        default=None, description="Bandwidth in Mbit/s, with PayByBandwidth."
    )
    resource_group_id: ResourceGroupId | None = Field(
        default=None, description="Resource group of the CLB and its EIP. It cannot be changed later."
    )
    eip: EipSettings | None = Field(default=None, description="An elastic IP address for an `intranet` CLB.")
    delete_protection: StrictBool = Field(
        default=True, description="Whether the API refuses to delete the CLB (and its EIP); Pulumi then does so, too."
    )
    modification_protection: StrictBool = Field(
        default=True, description="Whether the console refuses to change the CLB."
    )
    established_timeout: ConnectionTimeout = Field(
        default=alibaba.MAX_CONNECTION_TIMEOUT,
        description=f"How long a connection without data is kept, `10s` to {_MAX}.",
    )
    persistence_timeout: Annotated[Duration, _between(timedelta(0), timedelta(seconds=3600))] = Field(
        default=timedelta(0),
        description="How long a client's address is kept on its backend, at most `3600s`; `0s`: not at all.",
    )

    def annotation_problem(self, key: str) -> str | None:
        """See `alibaba.annotation_problem`."""
        return alibaba.annotation_problem(key, alibaba.CLB_KEYS)

    @property
    def is_on_internet(self) -> bool:
        """Whether everyone on the internet can connect to it: it, or its elastic IP address, is there."""
        return super().is_on_internet or self.eip is not None

    @property
    def protected(self) -> bool:
        """Also where the API would refuse it: a destroy must not stop after it has deleted the address."""
        return self.protect or (self.id is None and self.delete_protection)

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if problems := list(self._problems_of_existing() if self.id else self._problems_of_new()):
            raise RuleError(problems)
        return self

    def _problems_of_existing(self) -> Iterator[Problem]:
        for name in _ONLY_FOR_NEW_CLB:
            if name in self.model_fields_set:
                value: Any = getattr(self, name)
                yield Problem((to_camel(name),), value, "must not be set together with id: that CLB exists already")

    def _problems_of_new(self) -> Iterator[Problem]:
        """What the API ignores, or rejects only when it is called (a preview makes no call)."""
        intranet = self.address_type == "intranet"
        if intranet and self.vswitch_id is None:
            yield Problem(("vswitchId",), None, "must name the vswitch that gives an intranet CLB its address")
        if not intranet and self.vswitch_id is not None:
            yield Problem(("vswitchId",), self.vswitch_id, "has no effect on an internet CLB; leave it out")
        if not intranet and self.eip is not None:
            yield Problem(
                ("eip",), self.eip, "can only be set for an intranet CLB: an internet CLB has its own address"
            )
        by_spec = self.instance_charge_type == "PayBySpec"
        if by_spec and self.spec is None:
            yield Problem(("spec",), None, "must be set with PayBySpec, such as slb.s2.small")
        if not by_spec and self.spec is not None:
            yield Problem(("spec",), self.spec, "has no effect with PayByCLCU; set instanceChargeType: PayBySpec")
        if intranet and "internet_charge_type" in self.model_fields_set:
            yield Problem(
                ("internetChargeType",), self.internet_charge_type, "has no effect on an intranet CLB; leave it out"
            )
        by_bandwidth = not intranet and self.internet_charge_type == "PayByBandwidth"
        if by_bandwidth and self.bandwidth is None:
            yield Problem(("bandwidth",), None, "must be set with PayByBandwidth, in Mbit/s")
        if not by_bandwidth and self.bandwidth is not None:
            yield Problem(
                ("bandwidth",),
                self.bandwidth,
                "has an effect only on an internet CLB with PayByBandwidth; leave it out",
            )
        for key, reason in alibaba.tag_problems(self.tags):
            yield Problem(("tags", key), self.tags[key], reason)
        if len(self.tags) >= alibaba.MAX_TAGS:
            yield Problem(
                ("tags",),
                self.tags,
                f"must be at most {alibaba.MAX_TAGS - 1} tags: a CLB has at most {alibaba.MAX_TAGS}, and one is the "
                "controller's",
            )


_ONLY_FOR_NEW_CLB = (
    "name",
    "vswitch_id",
    "instance_charge_type",
    "spec",
    "internet_charge_type",
    "bandwidth",
    "resource_group_id",
    "eip",
    "tags",
    "delete_protection",
    "modification_protection",
)


class NlbLoadBalancer(CloudLoadBalancer):
    """A Network Load Balancer (NLB) of Alibaba Cloud: the cluster's controller creates it for the Service.

    It needs Kubernetes 1.24 and cloud controller manager 2.5. It is deleted with its Service.
    """

    kind: Literal["nlb"]
    zone_maps: dict[Zone, VswitchId] = Field(
        min_length=2, description="The vswitch that gives the NLB its address, for each of at least two zones."
    )
    idle_timeout: ConnectionTimeout = Field(
        default=alibaba.MAX_CONNECTION_TIMEOUT,
        description=f"How long a connection without data is kept, `10s` to {_MAX}.",
    )

    def annotation_problem(self, key: str) -> str | None:
        """See `alibaba.annotation_problem`."""
        return alibaba.annotation_problem(key, alibaba.NLB_KEYS)

    @model_validator(mode="after")
    def _tags_can_be_annotated(self) -> Self:
        problems = [
            Problem(("tags", key), value, "must contain neither ',' nor '=': they separate tags in the annotation")
            for key, value in self.tags.items()
            if re.search("[,=]", key + value)
        ]
        if problems:
            raise RuleError(problems)
        return self


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
    external_traffic_policy: alibaba.TrafficPolicy = Field(
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

    @property
    def max_connection_time(self) -> timedelta | None:
        """What the operator states."""
        return self.drain_ceiling

    is_on_internet: ClassVar[bool] = False  # as far as the config says

    @property
    def hides_addresses(self) -> bool:
        """Whether pods see the address of a node as the client's; a controller may preserve it nevertheless."""
        return self.external_traffic_policy == "Cluster"

    def is_safe_annotation(self, key: str) -> bool:
        """None is known to be: it depends on the controller."""
        del key
        return False

    def annotation_problem(self, key: str) -> str | None:
        """SRS closes a connection that begins with a header of the PROXY protocol."""
        return "must not be set: SRS does not understand the PROXY protocol" if "proxy-protocol" in key else None

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.rtmp_port == self.http_port:
            raise RuleError([Problem(("httpPort",), self.http_port, "must differ from rtmpPort")])
        return self


AnyLoadBalancer = NoLoadBalancer | NodePortLoadBalancer | SlbLoadBalancer | NlbLoadBalancer | ServiceLoadBalancer
LoadBalancerSettings = Annotated[AnyLoadBalancer, Field(discriminator="kind")]


def annotations(load_balancer: AnyLoadBalancer) -> dict[str, str]:
    """Annotations of the Service except a CLB's id: those of the config, and those that other keys decide about."""
    return {**load_balancer.annotations, **_controller_annotations(load_balancer)}


def _controller_annotations(load_balancer: AnyLoadBalancer) -> dict[str, str]:
    match load_balancer:
        case SlbLoadBalancer():
            return alibaba.clb_annotations(
                address_type=load_balancer.address_type,
                backend=load_balancer.backend,
                scheduler=load_balancer.scheduler,
                connection_drain=load_balancer.connection_drain,
                established_timeout=load_balancer.established_timeout,
                persistence=load_balancer.persistence_timeout,
                check=load_balancer.health_check.for_backend(load_balancer.backend),
                eip=load_balancer.eip is not None,
            )
        case NlbLoadBalancer():
            return alibaba.nlb_annotations(
                address_type=load_balancer.address_type,
                zone_maps=load_balancer.zone_maps,
                backend=load_balancer.backend,
                scheduler=load_balancer.scheduler,
                connection_drain=load_balancer.connection_drain,
                idle_timeout=load_balancer.idle_timeout,
                check=load_balancer.health_check.for_backend(load_balancer.backend),
                tags=load_balancer.tags,
            )
        case _:
            return {}
