"""The interface of a kind of load balancer: one class a kind, one module a class (`kinds.py` lists them).

Everything that depends on the kind is a member of `LoadBalancer`: the settings (its fields), the Service, the drain
that it keeps, what may change in place, warnings. Nothing else asks of which kind a load balancer is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import AfterValidator, Field, StrictBool, StrictStr, model_validator

from model.config.base import NonEmpty, Settings, matching
from model.config.problems import Problem, RuleError
from model.config.values import DnsLabel, Duration, seconds

if TYPE_CHECKING:
    from model.load_balancers.exposed_service import ExposedService

IDENTITY = "srs/load-balancer"
"""Annotation of a Service: the identity of its load balancer, which later updates compare with the config, and whether
Pulumi refuses to delete it."""

AnnotationKey = Annotated[
    StrictStr,
    matching(
        r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?",
        "the key of an annotation, such as example.com/key",
    ),
]
"""Kubernetes docs, "Annotations", "Syntax and character set"."""

LiveObject = Mapping[str, Any]
"""An object as the API server returns it."""

LiveService = LiveObject


def live_annotations(live: LiveService) -> dict[str, str]:
    """The annotations of a live object."""
    return live["metadata"].get("annotations") or {}


def recorded_identity(live: LiveService) -> dict[str, Any]:
    """The identity in the annotation IDENTITY; empty if there is none, or no JSON object since a change by hand."""
    try:
        recorded = json.loads(live_annotations(live).get(IDENTITY, "{}"))
    except ValueError:
        return {}
    return cast("dict[str, Any]", recorded) if isinstance(recorded, dict) else {}


def between(minimum: timedelta, maximum: timedelta, zero_allowed: bool = False) -> AfterValidator:
    """A duration within bounds; zero_allowed: `0s` is allowed as well and means none."""

    def check(value: timedelta) -> timedelta:
        if not (minimum <= value <= maximum or (zero_allowed and not value)):
            bounds = f"must be {seconds(minimum)}s to {seconds(maximum)}s"
            raise ValueError(bounds + (", or 0s for none" if zero_allowed else ""))
        return value

    return AfterValidator(check)


STREAM_MBITS = 2
"""Mbit/s of a stream, for estimates."""


def viewers(bandwidth: int) -> int:
    """For how many viewers a bandwidth in Mbit/s suffices, about."""
    return bandwidth // STREAM_MBITS


@dataclass(frozen=True)
class DrainLimit:
    """Why a load balancer ends a connection to a terminating pod, and what to do about it.

    cause: "with backend eni". keep: an instruction after which connections last as long as the pod.
    longer: an instruction that raises the limit.
    """

    cause: str
    keep: str
    longer: str


@dataclass(frozen=True)
class Claim:
    """Something that one Service only can have, such as a node port.

    key: of the load balancer's keys, the one that claims it. value: of that key. resources: what is claimed.
    taken: the message, with `{owner}` for the config key of its owner. reason: of the problem.
    """

    key: str
    value: Any
    resources: tuple[tuple[str, int], ...]
    taken: str
    reason: str


class LoadBalancer(Settings):
    """What every kind has. The members have the values of a Service without a load balancer."""

    kind: Any
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

    SERVICE_TYPE: ClassVar[str] = "ClusterIP"
    """`spec.type` of the Service."""
    FOR_ENCODERS: ClassVar[bool] = True
    """Whether it can be a load balancer of its own for encoders."""
    SHAREABLE: ClassVar[bool] = False
    """Whether several Services can have it, each on ports of its own."""
    GATE_PREFIX: ClassVar[str] = ""
    GATE_HINT: ClassVar[str] = ""
    """How its readiness gates begin, and what opens them."""
    CREDENTIALS: ClassVar[tuple[str, ...]] = ()
    """Config keys of a Pulumi provider that are credentials."""
    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {"service": True}
    """The keys that are known to be safe on a Service in use (pydantic's notation of `exclude`); a change of any other
    key is rejected. A changed name is a second Service."""

    # What the load balancer is.

    @property
    def is_exposed(self) -> bool:
        """Whether its Service is reached from outside the cluster."""
        return True

    @property
    def is_external(self) -> bool:
        """Whether a controller of the cluster makes it for the Service."""
        return self.SERVICE_TYPE == "LoadBalancer"

    @property
    def is_on_internet(self) -> bool:
        """Whether everyone on the internet can connect to it, as far as the config says."""
        return False

    @property
    def hides_addresses(self) -> bool:
        """Whether pods see the address of a node as the client's."""
        return False

    @property
    def protected(self) -> bool:
        """Whether Pulumi is to refuse the deletion of the load balancer and its Service."""
        return False

    @property
    def instance_id(self) -> str | None:
        """The id of the existing load balancer that the config names."""
        return None

    @property
    def creates_instance(self) -> bool:
        """Whether the stack creates the load balancer itself, as a resource of the cloud."""
        return False

    @property
    def provider_config(self) -> Mapping[str, str]:
        """Config keys of the provider without which that resource cannot be created, each with an example."""
        return {}

    # The Service.

    @property
    def service_fields(self) -> dict[str, Any]:
        """Fields of the Service's spec in addition to type, selector and ports."""
        return {}

    def service_ports(self, ports: Mapping[str, int]) -> dict[str, int]:
        """The ports of the Service by name. ports: of the pods (of HTTPS, that of the Service)."""
        return dict(ports)

    def node_ports(self, ports: Mapping[str, int]) -> dict[str, int]:
        """Its node ports by name; empty where the cluster selects them."""
        del ports
        return {}

    def controller_annotations(self) -> dict[str, str]:
        """Annotations for the controller that keys of the config decide about."""
        return {}

    def backend_annotations(self, nodes: Mapping[str, str]) -> dict[str, str]:
        """Annotations that limit the backends to nodes with these labels; none for all nodes."""
        del nodes
        return {}

    def instance_annotations(self, instance: Any) -> dict[str, Any]:
        """Annotations that bind a Service to a load balancer. instance: its id, or an Output with it."""
        del instance
        return {}

    def is_own_annotation(self, key: str) -> bool:
        """Whether the stack decides about an annotation of the Service."""
        return key in self.annotations or key in self.controller_annotations()

    def readiness_gate(self, service: str) -> str | None:
        """The condition that a pod needs in addition to its probes until the load balancer has it."""
        del service
        return None

    def url_host(self, service: str, addresses: Mapping[str, str]) -> str:
        """The host in stream URLs. addresses: of the load balancers, by Service."""
        del addresses
        return service

    # What it does to connections.

    @property
    def address_wait(self) -> timedelta | None:
        """How long an update waits for its address; None: it has none."""
        return None

    @property
    def default_deregister(self) -> timedelta | None:
        """The default of `drain.deregister` behind it; None: what kube-proxy needs."""
        return None

    @property
    def max_connection_time(self) -> timedelta | None:
        """How long a connection may outlast the start of its pod's termination, that included; None: as long as the
        pod lets it."""
        return None

    @property
    def bandwidth_limit(self) -> int | None:
        """Its bandwidth in Mbit/s, None if the config does not limit it."""
        return None

    def drain_limit(self, key: str) -> DrainLimit:
        """The reason of `max_connection_time`, where it is not None. key: the config key of the load balancer."""
        raise NotImplementedError

    @property
    def pods_are_backends(self) -> bool:
        """Whether it sends connections to pods, not to nodes, so that it must know each new pod."""
        return False

    @property
    def check_port(self) -> int | None:
        """The port of a pod that it checks, if that is none of the Service's."""
        return None

    @property
    def registration_time(self) -> timedelta:
        """How long a pod that is ready otherwise waits for its readiness gate, at most."""
        return timedelta(0)

    @property
    def health_time(self) -> timedelta:
        """How long a new backend receives no connections, because its first health checks have not passed."""
        return timedelta(0)

    @property
    def needs_serving(self) -> bool:
        """Whether it keeps connections to terminating pods only while they are `serving`."""
        return False

    @property
    def limits_backends(self) -> bool:
        """Whether the backends are nodes that need no pod of the Service, so that labels should limit them."""
        return False

    @property
    def limits_shared_backends(self) -> bool:
        """The same of a further Service on it, whose traffic policy is `Cluster`."""
        return False

    @property
    def stated_nodes(self) -> dict[str, str] | None:
        """The labels of the backends in the config; None: not stated."""
        return None

    def claims(self, ports: Mapping[str, int]) -> Iterator[Claim]:
        """What a Service with these ports needs for itself."""
        del ports
        return iter(())

    def warnings(self, service: "ExposedService", weighted: Sequence[str]) -> Iterator[str]:
        """What may do harm but is the operator's choice, a line each. weighted: releases that have a weight."""
        del service, weighted
        return iter(())

    # What may change.

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change on a Service in use, by config key: all keys but those of SAFE_IN_PLACE."""
        found = self.model_dump(mode="json", by_alias=True, exclude=dict(self.SAFE_IN_PLACE))
        found["annotations"] = {k: v for k, v in self.annotations.items() if not self.is_safe_annotation(k)}
        return found

    def is_safe_change(self, key: str, live: Any, desired: Any) -> bool:
        """Whether a key of the identity may change from the live value to this one. Absent, empty and 0 are equal."""
        del key
        return (live or None) == (desired or None)

    def annotation_problem(self, key: str, value: str) -> str | None:
        """Why an annotation must not be added, by the rules of this kind; None if it may be."""
        del key, value
        return None

    def is_safe_annotation(self, key: str) -> bool:
        """Whether an annotation may change on a Service in use. Nothing reads them on these Services but add-ons."""
        del key
        return True

    def adoption_problems(self, service: "ExposedService", live: LiveService) -> Iterator[Problem]:
        """What the config must state of a live Service that is taken over."""
        del service, live
        return iter(())

    def creation_problems(self, service: "ExposedService") -> Iterator[Problem]:
        """What a new load balancer cannot have; an existing one may."""
        del service
        return iter(())

    def live_problems(self, service: "ExposedService", live: LiveService) -> Iterator[Problem]:
        """Changes of an exposed Service in use that would not do what the config says. live: as it is now."""
        del service, live
        return iter(())

    def live_warnings(self, service: "ExposedService", live: LiveService) -> Iterator[str]:
        """What an update leaves as it is on a Service in use, a line each."""
        del service, live
        return iter(())

    def node_warnings(
        self,
        service: "ExposedService",
        labels: Mapping[str, str],
        nodes: Sequence[LiveObject],
        pods: Sequence[LiveObject],
    ) -> Iterator[str]:
        """What the nodes of the cluster mean where `limits_backends`, a line each.

        labels: of the backends. nodes: all of the cluster. pods: of the Service.
        """
        del service, labels, nodes, pods
        return iter(())

    # The live Service.

    @classmethod
    def recognizes(cls, live: LiveService) -> bool:
        """Whether a live Service has a load balancer of this kind; `kinds.live_kind` asks the kinds in their order."""
        raise NotImplementedError

    @classmethod
    def read_identity(cls, live: LiveService) -> dict[str, Any]:
        """What can be read of the identity, without the annotation IDENTITY, from a Service of this kind."""
        del live
        return {}

    @classmethod
    def live_identity(cls, live: LiveService) -> dict[str, Any]:
        """The identity in the annotation. What it does not have, because kubectl or an earlier version of this program
        has created the Service, or because it was changed by hand, is read from the Service."""
        return cls.read_identity(live) | recorded_identity(live)

    @classmethod
    def live_instance_id(cls, live: LiveService) -> str | None:
        """The id of the load balancer that a live Service names."""
        del live
        return None

    @classmethod
    def live_address_is_elastic(cls, live: LiveService) -> bool:
        """Whether the address of a live Service outlasts its load balancer."""
        del live
        return False

    @classmethod
    def leaving_annotations(cls, live: LiveService) -> dict[str, str]:
        """The annotations by which the controller finds the load balancer that a live Service leaves, until it has
        cleaned up."""
        del live
        return {}

    @classmethod
    def live_nodes(cls, live: LiveService) -> dict[str, str]:
        """The labels that limit the backends of a live Service; empty for all nodes."""
        del live
        return {}

    @model_validator(mode="after")
    def _annotations_are_not_ours(self) -> Self:
        problems: list[Problem] = []
        for key, value in self.annotations.items():
            if key.startswith(("srs/", "pulumi.com/")):
                problems.append(
                    Problem(
                        ("annotations", key), value, "must not be set: the stack sets it", reason="AnnotationOfStack"
                    )
                )
            elif reason := self.annotation_problem(key, value):
                problems.append(Problem(("annotations", key), value, reason, reason="HarmfulAnnotation"))
        if problems:
            raise RuleError(problems)
        return self


DEREGISTER = timedelta(seconds=30)
"""Default deregister time behind a load balancer: its controller must see the change and call an API, and the load
balancer must apply it, where kube-proxy alone takes a second or two (ACK documentation, "Zero-downtime application
deployment": a preStop of 30 s)."""


class ExternalLoadBalancer(LoadBalancer):
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

    SERVICE_TYPE = "LoadBalancer"
    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {
        **LoadBalancer.SAFE_IN_PLACE,
        # For URLs and the engine; no load balancer reads them.
        **dict.fromkeys(("host", "address_timeout", "protect"), True),
    }

    @property
    def protected(self) -> bool:
        """Whether Pulumi is to refuse a deletion."""
        return self.protect

    @property
    def address_wait(self) -> timedelta | None:
        """The key `addressTimeout`."""
        return self.address_timeout

    @property
    def default_deregister(self) -> timedelta | None:
        """See DEREGISTER."""
        return DEREGISTER

    def url_host(self, service: str, addresses: Mapping[str, str]) -> str:
        """The key `host`, or the address."""
        return self.host or addresses.get(service, f"<address of {service}>")
