"""`kind: slb`: a Classic Load Balancer (CLB) of Alibaba Cloud; "slb" is its former name."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StrictBool, StrictStr, model_validator
from pydantic.alias_generators import to_camel

from model.config.base import Settings, matching
from model.config.problems import Problem, RuleError
from model.config.values import Duration, plural, seconds
from model.load_balancers.alibaba import (
    BACKEND_TYPE,
    LEGACY_PREFIX,
    MAX_CONNECTION_TIMEOUT,
    MAX_TIMEOUT_TEXT,
    PREFIX,
    SHARED_KEYS,
    AlibabaLoadBalancer,
    ConnectionTimeout,
    VswitchId,
    annotation_name,
    live_annotation,
    prefixed,
)
from model.load_balancers.interface import STREAM_MBITS, Claim, LiveService, between, live_annotations, viewers
from model.names import STACK_ANNOTATION

if TYPE_CHECKING:
    from model.load_balancers.exposed_service import ExposedService

REUSED_TAG = "kubernetes.reused.by.user"
"""The controller puts this tag, with the value `true`, on a CLB that a Service names by id (clbv1/loadbalancer.go,
`Update`). The stack sets it itself: otherwise each update would remove what the controller has added."""

OWN_TAGS = ("kubernetes.do.not.delete", "ack.aliyun.com")
"""Tags of a CLB that the controller created itself; it refuses to bind a Service by id to a CLB that has one
(clbv1/model_applier.go, `isLoadBalancerReusable`)."""

MAX_TAGS = 10
"""Tags on one CLB (Terraform provider, `alicloud_slb_load_balancer`; clbv1/loadbalancer.go, `MaxLBTagNum`)."""


FINALIZER = "service.k8s.alibaba/resources"
"""The finalizer of a Service that the controller has not cleaned up yet (pkg/controller/helper/service_utils.go)."""


ClbId = Annotated[StrictStr, matching(r"lb-[a-z0-9]{4,}", "the id of a CLB, such as lb-2ze1x2y3z4")]
ResourceGroupId = Annotated[
    StrictStr, matching(r"rg-[a-z0-9]{4,}", "the id of a resource group, such as rg-acfmz7u4wxy")
]
BandwidthPackageId = Annotated[
    StrictStr, matching(r"cbwp-[a-z0-9]{4,}", "the id of a bandwidth plan (CBWP), such as cbwp-2ze1x2y3z4")
]
ClbName = Annotated[
    StrictStr, matching(r"[\w.-]{1,80}", "a name of at most 80 letters, digits, '-', '.' and '_', such as srs-edge")
]
"""CLB API, `CreateLoadBalancer`."""

Spec = Literal[
    "slb.s1.small", "slb.s2.small", "slb.s2.medium", "slb.s3.small", "slb.s3.medium", "slb.s3.large", "slb.s4.large"
]
"""Guaranteed-performance specifications (Terraform provider, `alicloud_slb_load_balancer`)."""


def tag_problems(tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Tags that the CLB API (`TagResources`) or the controller (OWN_TAGS) rejects, with the reason."""
    for key in tags:
        if key in OWN_TAGS:
            yield key, "must not be set: the controller rejects a CLB with this tag, which marks those that it created"
        elif key == REUSED_TAG:
            yield key, "must not be set: the stack sets it"
        elif not key or len(key) > 64 or re.match(r"aliyun|acs:|.*https?://", key):
            yield key, "must have a key of 1 to 64 characters without `http://`, beginning with neither aliyun nor acs:"


_KEYS: Mapping[str, str] = {
    **SHARED_KEYS,
    "id": "the stack, or the key id",
    "force-override-listeners": "the stack",
    "name": "the key name",
    "vswitch-id": "the key vswitchId",
    "instance-charge-type": "the key instanceChargeType",
    "spec": "the key spec",
    "charge-type": "the key internetChargeType",
    "bandwidth": "the key bandwidth",
    "external-ip-type": "the key eip",
    "delete-protection": "the key deleteProtection",
    "modification-protection": "the key modificationProtection",
    "established-timeout": "the key establishedTimeout",
    "persistence-timeout": "the key persistenceTimeout",
    "additional-resource-tags": "the key tags",
    "resource-group-id": "the key resourceGroupId",
    # What the controller only compares on a CLB that it did not create (clbv1/loadbalancer.go, `Update`).
    **dict.fromkeys(("master-zoneid", "slave-zoneid", "ip-version", "network-type", "ip"), "the CLB itself"),
}
"""Annotations about a CLB, without their prefix, and who decides about them."""

_UNKNOWN_EIP = "an EIP"
"""An EIP of a Service that an earlier version of this program has created: its charge type is unknown."""


class EipSettings(Settings):
    """An elastic IP address."""

    bandwidth: Annotated[int, Field(strict=True, ge=1)] = Field(
        description="Peak bandwidth in Mbit/s, at most 200 with PayByTraffic and 500 with PayByBandwidth; 200 are "
        "about 100 viewers of a stream of 2 Mbit/s."
    )
    charge_type: Literal["PayByTraffic", "PayByBandwidth"] = Field(
        default="PayByTraffic", description="Billing by traffic, or by bandwidth."
    )
    bandwidth_package: BandwidthPackageId | None = Field(
        default=None,
        description="An existing bandwidth plan (CBWP, Internet Shared Bandwidth) that the address is added to. Then "
        "the plan limits and bills the bandwidth, instead of `bandwidth` and `chargeType`.",
    )

    @model_validator(mode="after")
    def _bandwidth_can_be_allocated(self) -> Self:
        maximum = MAX_EIP_BANDWIDTH[self.charge_type]
        if self.bandwidth > maximum:
            allowed = (
                f"must be at most {maximum} with {self.charge_type} ({MAX_EIP_BANDWIDTH['PayByBandwidth']} with "
                f"PayByBandwidth), which are about {plural(viewers(maximum), 'viewer')} of a stream of {STREAM_MBITS} "
                "Mbit/s. For more, use a CLB with addressType: internet, which has no such limit; set "
                "eip.bandwidthPackage, a bandwidth plan (CBWP) that the EIP is added to (an NLB has the annotation "
                "bandwidth-package-id for that); or use several load balancers"
            )
            raise RuleError([Problem(("bandwidth",), self.bandwidth, allowed, reason="EipBandwidthTooHigh")])
        return self


MAX_EIP_BANDWIDTH: Mapping[str, int] = {"PayByTraffic": 200, "PayByBandwidth": 500}
"""Mbit/s of an EIP with pay-as-you-go (API `AllocateEipAddress`, parameter Bandwidth)."""


class ClbLoadBalancer(AlibabaLoadBalancer):
    """A Classic Load Balancer (CLB) of Alibaba Cloud: the stack creates it, or uses an existing one by `id`."""

    kind: Literal["slb"]
    id: ClbId | None = Field(
        default=None,
        description="An existing CLB. Without it the stack creates one. Listeners of TCP on the Service's ports are "
        "overwritten, also where the id or `addressType` is wrong. One of IPv6 needs the annotation "
        "`…-loadbalancer-ip-version: ipv6`.",
    )
    name: ClbName | None = Field(default=None, description="Name of the CLB; default: namespace and Service.")
    vswitch_id: VswitchId | None = Field(
        default=None, description="The vswitch that gives an `intranet` CLB its address. It cannot be changed later."
    )
    instance_charge_type: Literal["PayByCLCU", "PayBySpec"] = Field(
        default="PayByCLCU",
        description="Billing by capacity used, or by specification (only of a CLB that was created before June 2025).",
    )
    spec: Spec | None = Field(default=None, description="The specification, with PayBySpec.")
    internet_charge_type: Literal["PayByTraffic", "PayByBandwidth"] = Field(
        default="PayByTraffic",
        description="Billing of an `internet` CLB: by traffic, or by bandwidth (PayBySpec only).",
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
        default=MAX_CONNECTION_TIMEOUT,
        description=f"How long a connection without data is kept, `10s` to {MAX_TIMEOUT_TEXT}.",
    )
    persistence_timeout: Annotated[Duration, between(timedelta(0), timedelta(seconds=3600))] = Field(
        default=timedelta(0),
        description="How long a client's address is kept on its backend, at most `3600s`; `0s`: not at all.",
    )

    KEYS = _KEYS
    SHAREABLE = True
    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {
        **AlibabaLoadBalancer.SAFE_IN_PLACE,
        # Attributes of a listener or of its server group, see there.
        **dict.fromkeys(("established_timeout", "persistence_timeout"), True),
        # The provider sets these attributes of a CLB or an EIP without replacing it
        # (resource_alicloud_slb_load_balancer.go and resource_alicloud_eip_address.go: not ForceNew).
        **dict.fromkeys(("name", "instance_charge_type", "spec", "internet_charge_type", "bandwidth"), True),
        **dict.fromkeys(("delete_protection", "modification_protection"), True),
        # Not its charge type, which is ForceNew: another address. With another bandwidth plan the address is in none
        # for a moment, and has its own bandwidth (resource_alicloud_common_bandwidth_package_attachment.go).
        "eip": {"bandwidth", "bandwidth_package"},
    }

    @property
    def is_on_internet(self) -> bool:
        """Whether everyone on the internet can connect to it: it, or its elastic IP address, is there."""
        return super().is_on_internet or self.eip is not None

    @property
    def protected(self) -> bool:
        """Also where the API would refuse it: a destroy must not stop after it has deleted the address."""
        return self.protect or (self.id is None and self.delete_protection)

    @property
    def instance_id(self) -> str | None:
        """The key `id`."""
        return self.id

    @property
    def creates_instance(self) -> bool:
        """Without an id."""
        return self.id is None

    @property
    def provider_config(self) -> Mapping[str, str]:
        """The provider would read the region from the environment: the same stack config would create another CLB."""
        return {"alicloud:region": "cn-beijing"} if self.creates_instance else {}

    @property
    def persistence(self) -> timedelta:
        """The key `persistenceTimeout`."""
        return self.persistence_timeout

    def controller_annotations(self) -> dict[str, str]:
        """See `AlibabaLoadBalancer`, and clbv1/listeners.go, `buildListenerFromServicePort`.

        Without `force-override-listeners` the controller would not touch the listeners of a CLB that it did not create.
        """
        annotations = {
            "force-override-listeners": "true",
            "established-timeout": str(seconds(self.established_timeout)),
            "persistence-timeout": str(seconds(self.persistence_timeout)),
            "health-check-switch": "on",
        }
        if self.eip:
            # The Service's address is then the EIP, not the CLB's.
            annotations["external-ip-type"] = "eip"
        return {**super().controller_annotations(), **prefixed(annotations)}

    def instance_annotations(self, instance: Any) -> dict[str, Any]:
        """The annotation `id`."""
        return {f"{PREFIX}id": instance}

    def is_own_annotation(self, key: str) -> bool:
        """Also the id of the CLB."""
        return super().is_own_annotation(key) or key == f"{PREFIX}id"

    @property
    def bandwidth_limit(self) -> int | None:
        """The bandwidth of its EIP, or its own, in Mbit/s; that of a bandwidth plan is unknown."""
        if self.eip is None:
            return self.bandwidth
        return self.eip.bandwidth if self.eip.bandwidth_package is None else None

    def annotation_problem(self, key: str, value: str) -> str | None:
        """Also what only an existing CLB, or only one that the stack creates, must not have.

        The controller takes a CLB without the annotation `ip-version` for one of IPv4, and rejects an existing one of
        IPv6 (clbv1/loadbalancer.go, `equalsAddressIPVersion`).
        """
        name = annotation_name(key)
        if name == "ip-version" and self.id is not None:
            return None if value in ("ipv4", "ipv6") else "must be ipv4 or ipv6, as the CLB is"
        if name == "hostname" and self.creates_instance:
            return "must not be set: updates wait for the address of the CLB in the status of the Service; use host"
        return super().annotation_problem(key, value)

    def creation_problems(self, service: "ExposedService") -> Iterator[Problem]:
        """Billing that cannot be chosen for a new CLB since June 1, 2025; PayByBandwidth was part of PayBySpec.

        (Alibaba Cloud, "Modify the configurations of a pay-as-you-go instance", doc-detail/127268.)
        """
        if not self.creates_instance:
            return
        chosen = {"instanceChargeType": self.instance_charge_type, "internetChargeType": self.internet_charge_type}
        for key, value in chosen.items():
            if value in ("PayBySpec", "PayByBandwidth"):
                yield Problem(
                    (*service.key, key),
                    value,
                    "cannot be chosen for a new CLB since June 2025, and the API would reject it; leave it out (and "
                    "spec or bandwidth with it): the CLB is billed by PayByCLCU and PayByTraffic",
                    reason="DiscontinuedBilling",
                )

    def live_problems(self, service: "ExposedService", live: LiveService) -> Iterator[Problem]:
        """Access control that stays on: an absent annotation changes nothing (clbv1/listeners.go, `AclStatus`)."""
        names = {annotation_name(key) for key in self.annotations}
        if (live_annotation(live, "acl-status") or "").lower() == "on" and "acl-status" not in names:
            key = f"{PREFIX}acl-status"
            yield Problem(
                (*service.key, "annotations", key),
                None,
                f"must not be removed from Service {service.name} while it is on: access control would stay on. Set "
                "it to off, run `pulumi up`, and remove it after that",
                reason="AccessControlStaysOn",
            )

    def claims(self, ports: Mapping[str, int]) -> Iterator[Claim]:
        """The listeners of an existing CLB."""
        if self.id is not None:
            taken = "is already the CLB of {owner}, and a listener of a CLB leads to one Service only"
            yield Claim("id", self.id, tuple((self.id, port) for port in ports.values()), taken, "ListenerInUse")

    def is_safe_change(self, key: str, live: Any, desired: Any) -> bool:
        """Also an EIP more: the CLB keeps its own address."""
        more = key == "eip" and (not live or (live == _UNKNOWN_EIP and bool(desired)))
        return more or super().is_safe_change(key, live, desired)

    @classmethod
    def leaving_annotations(cls, live: LiveService) -> dict[str, str]:
        """The id of the CLB, and the leave to change its listeners.

        A Service that is not of type LoadBalancer any more keeps its listeners and server groups for good if it does
        not name its CLB, or does not let the controller change listeners (clbv1/loadbalancer.go, `Find`, and
        model_applier.go, `Apply`). They would lead to a node port that the API server may give to another Service.
        """
        if live["spec"].get("type") != "LoadBalancer" and FINALIZER not in live["metadata"].get("finalizers", []):
            return {}
        names = ("id", "force-override-listeners")
        return {key: value for key, value in live_annotations(live).items() if annotation_name(key) in names}

    @classmethod
    def live_address_is_elastic(cls, live: LiveService) -> bool:
        """Whether the address is that of an EIP."""
        return live_annotation(live, "external-ip-type") == "eip"

    @classmethod
    def recognizes(cls, live: LiveService) -> bool:
        """A Service without a class whose annotations are the controller's, or one that the stack did not create."""
        spec, annotations = live["spec"], live_annotations(live)
        if spec.get("type") != "LoadBalancer" or spec.get("loadBalancerClass"):
            return False
        known = any(key.startswith((PREFIX, LEGACY_PREFIX, BACKEND_TYPE)) for key in annotations)
        return known or STACK_ANNOTATION not in annotations

    @classmethod
    def read_identity(cls, live: LiveService) -> dict[str, Any]:
        """What the annotations say."""
        eip = _UNKNOWN_EIP if cls.live_address_is_elastic(live) else None
        found = {"kind": "slb", **super().read_identity(live), "eip": eip}
        if STACK_ANNOTATION not in live_annotations(live):
            found["id"] = live_annotation(live, "id")  # of the stack's own one, its creator is unknown
        return found

    @model_validator(mode="after")
    def _access_control_is_complete(self) -> Self:
        """With `on` the API needs an id and a type; without a status the controller ignores both."""
        found = {annotation_name(key): (key, value) for key, value in self.annotations.items()}
        acl = {name: item for name, item in found.items() if name in ("acl-status", "acl-type", "acl-id")}
        if not acl:
            return self
        status_key, status = acl.get("acl-status", (f"{PREFIX}acl-status", None))
        missing = [name for name in ("acl-id", "acl-type") if name not in acl]
        allowed = ""
        if status is None:
            allowed = f"must be set with {', '.join(sorted(acl))}: without it everyone can connect"
        elif status not in ("on", "off"):
            allowed = "must be on or off"
        elif status == "on" and missing:
            allowed = f"needs {' and '.join(missing)}, whom it is to exclude"
        if allowed:
            path = ("annotations", status_key)
            raise RuleError([Problem(path, status, allowed, reason="AccessControlIncomplete")])
        return self

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if problems := list(self._problems_of_existing() if self.id else self._problems_of_new()):
            raise RuleError(problems)
        return self

    def _problems_of_existing(self) -> Iterator[Problem]:
        for name in _ONLY_FOR_NEW_CLB:
            if name in self.model_fields_set:
                value: Any = getattr(self, name)
                yield Problem(
                    (to_camel(name),),
                    value,
                    "must not be set together with id: that CLB exists already",
                    reason="KeyOfCreatedClb",
                )

    def _problems_of_new(self) -> Iterator[Problem]:
        """What the API ignores, or rejects only when it is called (a preview makes no call)."""
        intranet = self.address_type == "intranet"
        if intranet and self.vswitch_id is None:
            yield Problem(
                ("vswitchId",),
                None,
                "must name the vswitch that gives an intranet CLB its address",
                reason="MissingKey",
            )
        if not intranet and self.vswitch_id is not None:
            yield Problem(
                ("vswitchId",),
                self.vswitch_id,
                "has no effect on an internet CLB; leave it out",
                reason="KeyWithoutEffect",
            )
        if not intranet and self.eip is not None:
            yield Problem(
                ("eip",),
                self.eip,
                "can only be set for an intranet CLB: an internet CLB has its own address",
                reason="KeyWithoutEffect",
            )
        by_spec = self.instance_charge_type == "PayBySpec"
        if by_spec and self.spec is None:
            yield Problem(("spec",), None, "must be set with PayBySpec, such as slb.s2.small", reason="MissingKey")
        if not by_spec and self.spec is not None:
            yield Problem(("spec",), self.spec, "has no effect with PayByCLCU; leave it out", reason="KeyWithoutEffect")
        if intranet and "internet_charge_type" in self.model_fields_set:
            yield Problem(
                ("internetChargeType",),
                self.internet_charge_type,
                "has no effect on an intranet CLB; leave it out",
                reason="KeyWithoutEffect",
            )
        by_bandwidth = not intranet and self.internet_charge_type == "PayByBandwidth"
        if by_bandwidth and self.bandwidth is None:
            yield Problem(("bandwidth",), None, "must be set with PayByBandwidth, in Mbit/s", reason="MissingKey")
        if not by_bandwidth and self.bandwidth is not None:
            yield Problem(
                ("bandwidth",),
                self.bandwidth,
                "has an effect only on an internet CLB with PayByBandwidth; leave it out",
                reason="KeyWithoutEffect",
            )
        for key, reason in tag_problems(self.tags):
            yield Problem(("tags", key), self.tags[key], reason, reason="InvalidTag")
        if len(self.tags) >= MAX_TAGS:
            yield Problem(
                ("tags",),
                self.tags,
                f"must be at most {MAX_TAGS - 1} tags: a CLB has at most {MAX_TAGS}, and one is the controller's",
                reason="TooManyTags",
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
