"""What stands in front of the edges, as settings: one model for each kind, with the rules between its keys."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from model import alibaba
from model.base import NodePort, NonEmpty, Settings, Switch, Text
from model.names import EDGE_APP, HTTP_PORT, RTMP_PORT
from model.problems import Problem, RuleBroken
from model.values import DnsLabel, Duration, format_duration, seconds


def _between(least: str, most: str, or_none: bool = False) -> AfterValidator:
    """A duration within bounds, which are whole seconds; or_none: `0s` is allowed as well and means none."""
    low, high = int(least.removesuffix("s")), int(most.removesuffix("s"))

    def check(value: timedelta) -> timedelta:
        if not (low <= seconds(value) <= high or (or_none and not value)):
            raise ValueError(f"must be {least} to {most}" + (", or 0s for none" if or_none else ""))
        return value

    return AfterValidator(check)


def _like(pattern: str, words: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {words}")
        return value

    return AfterValidator(check)


ClbId = Annotated[Text, _like(r"lb-[a-z0-9]{4,}", "the id of a CLB, such as lb-2ze1x2y3z4")]
VswitchId = Annotated[Text, _like(r"vsw-[a-z0-9]{4,}", "the id of a vswitch, such as vsw-2ze1x2y3z4")]
Zone = Annotated[Text, _like(r"[a-z]{2,3}(-[a-z0-9]+)+", "a zone, such as cn-beijing-h")]
ClbName = Annotated[
    Text, _like(r"[\w.-]{1,80}", "a name of at most 80 letters, digits, '-', '.' and '_', such as srs-edge")
]
"""CLB API, `CreateLoadBalancer`."""

Spec = Literal[
    "slb.s1.small", "slb.s2.small", "slb.s2.medium", "slb.s3.small", "slb.s3.medium", "slb.s3.large", "slb.s4.large"
]
"""Guaranteed-performance specifications (Terraform provider, `alicloud_slb_load_balancer`)."""


class ServiceSettings(Settings):
    """What all kinds have."""

    service: DnsLabel | None = Field(
        default=None,
        description="Name of the Service; default: `srs-edge-service`, for publishing `srs-publish-service`. "
        "A load balancer that replaces another one needs a name of its own.",
    )


class NoLoadBalancer(ServiceSettings):
    """The edge Service is of type ClusterIP: it is reached from inside the cluster, or by an own Ingress."""

    kind: Literal["none"]

    host: None = None

    @property
    def identity(self) -> dict[str, str]:
        """What cannot change on a Service that is in use, by config key: a change would cut connections."""
        return {"kind": self.kind}


class NodePortLoadBalancer(ServiceSettings):
    """The edge Service is of type NodePort: viewers, or a load balancer of one's own, connect to the nodes."""

    kind: Literal["nodePort"]
    rtmp_port: NodePort = Field(default=31935, description="Node port for RTMP.")
    http_port: NodePort = Field(default=30080, description="Node port for HTTP-FLV.")
    host: NonEmpty | None = Field(
        default=None,
        description="Host name or address for the URLs in the stack's outputs; changes nothing else.",
    )

    @property
    def identity(self) -> dict[str, str]:
        """What cannot change on a Service that is in use, by config key: a change would cut connections."""
        return {"kind": self.kind}

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.rtmp_port == self.http_port:
            raise RuleBroken([Problem(("httpPort",), self.http_port, "must differ from rtmpPort")])
        return self


class HealthCheckSettings(Settings):
    """How the load balancer checks its backends, by TCP connections."""

    interval: Annotated[Duration, _between("1s", "50s")] = Field(
        default=timedelta(seconds=2), description="Time between two checks, `1s` to `50s`."
    )
    timeout: Annotated[Duration, _between("1s", "300s")] = Field(
        default=timedelta(seconds=5), description="Time after which a check has failed, `1s` to `300s`."
    )
    healthy_threshold: Annotated[int, Field(strict=True, ge=2, le=10)] = Field(
        default=3, description="Checks in a row that make a backend healthy."
    )
    unhealthy_threshold: Annotated[int, Field(strict=True, ge=2, le=10)] = Field(
        default=3, description="Failed checks in a row that make a backend unhealthy."
    )

    def rendered(self, backend: alibaba.Backend) -> alibaba.HealthCheck:
        """As the annotations have it.

        Of a pod, the HTTP port is checked for both listeners: SRS logs a warning for every bare connection to its
        RTMP port, which also holds up the end of a drain, and it opens and closes both ports together. A node has
        a port per listener.
        """
        port = HTTP_PORT if backend == "eni" else None
        return alibaba.HealthCheck(
            seconds(self.interval), seconds(self.timeout), self.healthy_threshold, self.unhealthy_threshold, port
        )


class EipSettings(Settings):
    """An elastic IP address."""

    bandwidth: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(description="Peak bandwidth in Mbit/s.")
    charge_type: Literal["PayByTraffic", "PayByBandwidth"] = Field(
        default="PayByTraffic", description="What is paid for: traffic, or the bandwidth."
    )


class CloudLoadBalancer(ServiceSettings):
    """What both kinds of load balancer of Alibaba Cloud have."""

    address_type: Literal["internet", "intranet"] = Field(
        description="Whether it has an address on the internet or in the VPC. It cannot be changed later."
    )
    backend: alibaba.Backend = Field(
        default="ecs",
        description="What it sends connections to: nodes (`ecs`, which forward them), or pods (`eni`, Terway only). "
        "With `eni` no connection outlasts its pod's end by more than `connectionDrain`.",
    )
    external_traffic_policy: alibaba.TrafficPolicy = Field(
        default="Cluster",
        description="With `ecs`: whether all nodes take connections (`Cluster`; pods see a node's address as the "
        "client's), or those with a ready edge (`Local`; a node that loses its last one cuts after `connectionDrain`).",
    )
    scheduler: alibaba.Scheduler = Field(default="wrr", description="How it chooses a backend.")
    connection_drain: Annotated[Duration, _between("10s", "900s", or_none=True)] = Field(
        default=alibaba.LONGEST_CONNECTION_DRAIN,
        description="How long connections to a backend that was removed may last, `10s` to "
        "`900s`; `0s` cuts them at once.",
    )
    health_check: HealthCheckSettings = Field(default_factory=HealthCheckSettings, description="Health check.")
    address_timeout: Duration = Field(
        default=timedelta(minutes=5),
        description="`up` fails when the Service has no address of the load balancer after this time.",
    )
    host: NonEmpty | None = Field(
        default=None,
        description="Host name for the URLs in the stack's outputs; default: the address. Changes nothing else.",
    )
    tags: dict[NonEmpty, Text] = Field(default_factory=dict, description="Tags of the load balancer.")
    protect: Switch = Field(
        default=True,
        description="Whether Pulumi refuses to delete the load balancer, its addresses and the Service.",
    )

    @property
    def protected(self) -> bool:
        """Whether Pulumi is to refuse a deletion."""
        return self.protect

    @property
    def longest_connection(self) -> timedelta | None:
        """See `alibaba.longest_connection`."""
        return alibaba.longest_connection(self.backend, self.external_traffic_policy, self.connection_drain)

    @property
    def shared_identity(self) -> dict[str, str]:
        """The part of `identity` that both kinds have."""
        return {
            "addressType": self.address_type,
            "backend": self.backend,
            "externalTrafficPolicy": self.external_traffic_policy,
        }

    @model_validator(mode="after")
    def _policy_fits_backend(self) -> Self:
        if self.backend == "eni" and self.external_traffic_policy == "Local":
            raise RuleBroken(
                [
                    Problem(
                        ("externalTrafficPolicy",),
                        self.external_traffic_policy,
                        "has no effect with backend eni, where no node forwards; leave it out, or take backend ecs",
                    )
                ]
            )
        return self


class SlbLoadBalancer(CloudLoadBalancer):
    """A Classic Load Balancer (CLB) of Alibaba Cloud: the stack makes it, or finds it by `id`."""

    kind: Literal["slb"]
    id: ClbId | None = Field(
        default=None,
        description="An existing CLB, made by hand or elsewhere. Without it the stack makes one. Listeners on the "
        "Service's ports are overwritten.",
    )
    name: ClbName | None = Field(default=None, description="Name of the CLB; default: namespace and Service.")
    vswitch_id: VswitchId | None = Field(
        default=None, description="The vswitch that gives an `intranet` CLB its address. It cannot be changed later."
    )
    instance_charge_type: Literal["PayByCLCU", "PayBySpec"] = Field(
        default="PayByCLCU", description="What is paid for: capacity used, or the specification."
    )
    spec: Spec | None = Field(default=None, description="The specification, with PayBySpec.")
    internet_charge_type: Literal["PayByTraffic", "PayByBandwidth"] = Field(
        default="PayByTraffic", description="Of an `internet` CLB: what is paid for, traffic or the bandwidth."
    )
    bandwidth: Annotated[int, Field(strict=True, ge=1, le=5120)] | None = Field(
        default=None, description="Bandwidth in Mbit/s, with PayByBandwidth."
    )
    eip: EipSettings | None = Field(default=None, description="An elastic IP address for an `intranet` CLB.")
    delete_protection: Switch = Field(
        default=True, description="Whether the API refuses to delete the CLB (and its EIP); Pulumi then does so, too."
    )
    modification_protection: Switch = Field(default=True, description="Whether the console refuses to change the CLB.")
    established_timeout: Annotated[Duration, _between("10s", "900s")] = Field(
        default=timedelta(seconds=900), description="How long a connection without data is kept, `10s` to `900s`."
    )
    persistence_timeout: Annotated[Duration, _between("0s", "3600s")] = Field(
        default=timedelta(0),
        description="How long a client's address is kept on its backend, at most `3600s`; `0s`: not at all.",
    )

    @property
    def identity(self) -> dict[str, str]:
        """What cannot change on a Service that is in use (clbv1/model_applier.go refuses another id), by config key."""
        return {"kind": self.kind, **self.shared_identity, "id": self.id or "", "vswitchId": self.vswitch_id or ""}

    @property
    def protected(self) -> bool:
        """Also where the API would refuse it: the address is then the last thing that a destroy may stop at."""
        return self.protect or (self.id is None and self.delete_protection)

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if problems := list(self._with_id() if self.id else self._made_here()):
            raise RuleBroken(problems)
        return self

    def _with_id(self) -> Iterator[Problem]:
        for name in _OF_A_NEW_CLB:
            if name in self.model_fields_set:
                value: Any = getattr(self, name)
                yield Problem((to_camel(name),), value, "must not be given together with id: that CLB is there already")

    def _made_here(self) -> Iterator[Problem]:
        """What the API ignores or refuses only once it is asked (a preview asks nothing)."""
        intranet = self.address_type == "intranet"
        if intranet and self.vswitch_id is None:
            yield Problem(("vswitchId",), None, "must name the vswitch that gives an intranet CLB its address")
        if not intranet and self.vswitch_id is not None:
            yield Problem(("vswitchId",), self.vswitch_id, "has no effect on an internet CLB; leave it out")
        if not intranet and self.eip is not None:
            yield Problem(
                ("eip",), self.eip, "can only be given to an intranet CLB: an internet CLB has an address of its own"
            )
        by_spec = self.instance_charge_type == "PayBySpec"
        if by_spec and self.spec is None:
            yield Problem(("spec",), None, "must be given with PayBySpec, such as slb.s2.small")
        if not by_spec and self.spec is not None:
            yield Problem(("spec",), self.spec, "has no effect with PayByCLCU; set instanceChargeType: PayBySpec")
        if intranet and "internet_charge_type" in self.model_fields_set:
            yield Problem(
                ("internetChargeType",), self.internet_charge_type, "has no effect on an intranet CLB; leave it out"
            )
        by_bandwidth = not intranet and self.internet_charge_type == "PayByBandwidth"
        if by_bandwidth and self.bandwidth is None:
            yield Problem(("bandwidth",), None, "must be given with PayByBandwidth, in Mbit/s")
        if not by_bandwidth and self.bandwidth is not None:
            yield Problem(
                ("bandwidth",),
                self.bandwidth,
                "has an effect only on an internet CLB with PayByBandwidth; leave it out",
            )
        for key, reason in alibaba.tag_problems(self.tags):
            yield Problem(("tags", key), self.tags[key], reason)
        if len(self.tags) >= alibaba.MOST_TAGS:
            yield Problem(
                ("tags",), self.tags, f"must be at most {alibaba.MOST_TAGS - 1} tags: a CLB has at most "
                f"{alibaba.MOST_TAGS}, one is the controller's"
            )  # fmt: skip


_OF_A_NEW_CLB = (
    "name",
    "vswitch_id",
    "instance_charge_type",
    "spec",
    "internet_charge_type",
    "bandwidth",
    "eip",
    "tags",
    "delete_protection",
    "modification_protection",
)


class NlbLoadBalancer(CloudLoadBalancer):
    """A Network Load Balancer (NLB) of Alibaba Cloud: the cluster's controller makes it for the Service.

    It needs Kubernetes 1.24 and cloud controller manager 2.5. It goes with its Service.
    """

    kind: Literal["nlb"]
    zone_maps: dict[Zone, VswitchId] = Field(
        min_length=2, description="The vswitch that gives the NLB its address, for each of at least two zones."
    )
    idle_timeout: Annotated[Duration, _between("10s", "900s")] = Field(
        default=timedelta(seconds=900), description="How long a connection without data is kept, `10s` to `900s`."
    )

    @property
    def identity(self) -> dict[str, str]:
        """What cannot change on a Service that is in use, by config key."""
        return {"kind": self.kind, **self.shared_identity}

    @model_validator(mode="after")
    def _tags_can_be_written(self) -> Self:
        broken = [
            Problem(("tags", key), value, "must have neither ',' nor '=' in it: the annotation separates tags by them")
            for key, value in self.tags.items()
            if re.search("[,=]", key + value)
        ]
        if broken:
            raise RuleBroken(broken)
        return self


AnyLoadBalancer = NoLoadBalancer | NodePortLoadBalancer | SlbLoadBalancer | NlbLoadBalancer
LoadBalancerSettings = Annotated[AnyLoadBalancer, Field(discriminator="kind")]


class PublishSettings(Settings):
    """Where encoders publish to, if not through the load balancer of the viewers."""

    to: Literal["edges", "origins"] = Field(
        default="edges",
        description="Where this load balancer leads. An origin that changes drops its publishers, an edge drains.",
    )
    load_balancer: Annotated[NoLoadBalancer | SlbLoadBalancer | NlbLoadBalancer, Field(discriminator="kind")] = Field(
        default=NoLoadBalancer(kind="none"),
        description="A load balancer for RTMP alone. With `kind: none` encoders publish through that of the viewers.",
    )


def annotations(load_balancer: AnyLoadBalancer) -> dict[str, str]:
    """Annotations of the Service for a load balancer of Alibaba Cloud, except a CLB's id; none for other kinds."""
    match load_balancer:
        case SlbLoadBalancer():
            return alibaba.clb_annotations(
                address_type=load_balancer.address_type,
                backend=load_balancer.backend,
                scheduler=load_balancer.scheduler,
                connection_drain=load_balancer.connection_drain,
                established_timeout=load_balancer.established_timeout,
                persistence=load_balancer.persistence_timeout,
                check=load_balancer.health_check.rendered(load_balancer.backend),
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
                check=load_balancer.health_check.rendered(load_balancer.backend),
                tags=load_balancer.tags,
            )
        case _:
            return {}


IDENTITY = "srs/load-balancer"
"""Annotation of a Service: the identity of its load balancer, by which a later up knows what it would change."""


@dataclass(frozen=True)
class Front:
    """A Service with what stands before it.

    key: where its load balancer is in the stack config. app: the `app` label that it selects. ports: by name.
    """

    key: tuple[str, ...]
    service: str
    load_balancer: AnyLoadBalancer
    app: str = EDGE_APP
    ports: Mapping[str, int] = field(default_factory=lambda: {"rtmp": RTMP_PORT, "http": HTTP_PORT})

    @property
    def identity(self) -> str:
        """Value of the annotation IDENTITY."""
        return json.dumps(self.load_balancer.identity, sort_keys=True)

    @property
    def limits_drain(self) -> bool:
        """Whether it ends connections to edges sooner than their pods would."""
        lb = self.load_balancer
        return self.app == EDGE_APP and isinstance(lb, CloudLoadBalancer) and lb.longest_connection is not None


def drain_problems(
    fronts: Sequence[Front], deregister: timedelta, timeout: timedelta, path: tuple[str, ...]
) -> Iterator[Problem]:
    """The drain that the config promises and a load balancer cannot keep (see `alibaba.longest_connection`)."""
    for front in fronts:
        lb = front.load_balancer
        if not front.limits_drain or not isinstance(lb, CloudLoadBalancer):
            continue
        limit = lb.longest_connection
        assert limit is not None
        if deregister + timeout <= limit:
            continue
        where = "with backend eni" if lb.backend == "eni" else "with externalTrafficPolicy Local"
        key = ".".join(front.key)
        longest = limit - deregister
        shorter = (
            f"make drain.timeout at most {format_duration(longest)}, and longer streams are cut then"
            if longest > deregister
            else f"raise {key}.connectionDrain (at most 900s) and shorten drain.timeout accordingly"
        )
        yield Problem(
            path,
            timeout,
            f"is longer than {key} can keep: {where} it ends a connection {format_duration(limit)} after the pod has "
            f"turned terminating (drain.deregister, {format_duration(deregister)}, included). Either set "
            f"{key}.backend: ecs and externalTrafficPolicy: Cluster, which keep connections as long as the pod; "
            f"or {shorter}",
        )


def clashes(fronts: Sequence[Front], taken: Mapping[str, str]) -> Iterator[Problem]:
    """Services of one name, and listeners and node ports that two Services want. taken: other Services, and whose."""
    services = dict(taken)
    listeners: dict[tuple[str, int], str] = {}
    node_ports: dict[int, str] = {}
    for front in fronts:
        key, load_balancer = ".".join(front.key), front.load_balancer
        if other := services.get(front.service):
            yield Problem(
                (*front.key, "service"), front.service, f"is the Service of {other} already; it needs a name of its own"
            )
        services[front.service] = key
        match load_balancer:
            case SlbLoadBalancer(id=str() as clb):
                wanted = [(clb, port) for port in front.ports.values()]
                if other := next((listeners[each] for each in wanted if each in listeners), None):
                    yield Problem(
                        (*front.key, "id"),
                        clb,
                        f"is the CLB of {other} already, and a listener of a CLB leads to one Service only",
                    )
                listeners |= dict.fromkeys(wanted, key)
            case NodePortLoadBalancer():
                ports = {"rtmpPort": load_balancer.rtmp_port, "httpPort": load_balancer.http_port}
                for name, port in ports.items():
                    if other := node_ports.get(port):
                        yield Problem((*front.key, name), port, f"is a node port of {other} already")
                node_ports |= dict.fromkeys(ports.values(), key)
            case _:
                pass


def warnings(front: Front, served: Sequence[str]) -> Iterator[str]:
    """What may hurt but is the operator's choice, a line each. served: releases that have a weight."""
    load_balancer, key = front.load_balancer, ".".join(front.key)
    if not isinstance(load_balancer, CloudLoadBalancer):
        return
    if front.app == EDGE_APP and len(served) > 1:
        persistence = load_balancer.persistence_timeout if isinstance(load_balancer, SlbLoadBalancer) else timedelta(0)
        for distortion in alibaba.canary_distortions(
            load_balancer.backend, load_balancer.external_traffic_policy, load_balancer.scheduler, persistence
        ):
            yield f"{key}: {distortion}; the shares of {', '.join(served)} will not be what the weights say"
    if front.limits_drain and not load_balancer.connection_drain:
        yield f"{key}: without connectionDrain, every change of an edge cuts its connections at once"
    if "http" not in front.ports and load_balancer.address_type == "internet":
        yield f"{key} has an address on the internet: whoever knows it can publish"
