"""`kind: nlb`: a Network Load Balancer (NLB) of Alibaba Cloud."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StrictStr, model_validator

from model.config.base import matching
from model.config.problems import Problem, RuleError, UpdateWarning
from model.config.values import seconds
from model.load_balancers.alibaba import (
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
from model.load_balancers.interface import LiveService

if TYPE_CHECKING:
    from model.load_balancers.exposed_service import ExposedService

NLB_CLASS = "alibabacloud.com/nlb"
"""`spec.loadBalancerClass` of a Service with an NLB (pkg/controller/helper/service_utils.go); the field is
immutable."""

Zone = Annotated[StrictStr, matching(r"[a-z]{2,3}(-[a-z0-9]+)+", "a zone, such as cn-beijing-h")]

_KEYS: Mapping[str, str] = {
    **SHARED_KEYS,
    "id": "the controller, which creates the NLB",
    "zone-maps": "the key zoneMaps",
    "idle-timeout": "the key idleTimeout",
    "additional-resource-tags": "the key tags",
}
"""Annotations about an NLB, without their prefix, and who decides about them."""


class NlbLoadBalancer(AlibabaLoadBalancer):
    """A Network Load Balancer (NLB) of Alibaba Cloud: the cluster's controller creates it for the Service.

    It needs Kubernetes 1.24 and cloud controller manager 2.5. It is deleted with its Service.
    """

    kind: Literal["nlb"]
    zone_maps: dict[Zone, VswitchId] = Field(
        min_length=2, description="The vswitch that gives the NLB its address, for each of at least two zones."
    )
    idle_timeout: ConnectionTimeout = Field(
        default=MAX_CONNECTION_TIMEOUT,
        description=f"How long a connection without data is kept, `10s` to {MAX_TIMEOUT_TEXT}.",
    )

    KEYS = _KEYS
    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {**AlibabaLoadBalancer.SAFE_IN_PLACE, "idle_timeout": True}

    def annotation_problem(self, key: str, value: str) -> str | None:
        """Also access control, which the controller sets on the listeners of a CLB only (nlbv2/listeners.go)."""
        if annotation_name(key).startswith("acl-"):
            return (
                "has no effect on an NLB, to which everyone could connect; restrict it with the annotation "
                f"{PREFIX}security-group-ids, or use a CLB (kind: slb)"
            )
        return super().annotation_problem(key, value)

    def warnings(self, service: "ExposedService", weighted: Sequence[str]) -> Iterator[str]:
        """Also addresses of zones without an edge."""
        yield from super().warnings(service, weighted)
        if "off" in (self.annotations.get(f"{prefix}cross-zone-enabled") for prefix in (PREFIX, LEGACY_PREFIX)):
            yield UpdateWarning(
                f"{service.config_key}: with cross-zone-enabled off, the address of a zone has no backend while no pod "
                "runs in that zone",
                "ZonesWithoutBackends",
            )

    def live_warnings(self, service: "ExposedService", live: LiveService) -> Iterator[str]:
        """The controller compares tags only while the annotation has one (nlbv2/loadbalancer.go, `Update`)."""
        if not self.tags and (tags := live_annotation(live, "additional-resource-tags")):
            yield UpdateWarning(
                f"{service.config_key}.tags: the last tags stay on the NLB, because its controller does not remove "
                f"them: {tags}. Remove them in the console",
                "TagsStay",
            )

    @property
    def service_fields(self) -> dict[str, Any]:
        """Also the class."""
        return {**super().service_fields, "loadBalancerClass": NLB_CLASS}

    def controller_annotations(self) -> dict[str, str]:
        """See `AlibabaLoadBalancer`, and nlbv2/loadbalancer.go, listeners.go, server_groups.go.

        The health check's annotations count only with `health-check-flag`; an NLB's idle timeout has another name than
        a CLB's.
        """
        annotations = {
            "zone-maps": ",".join(f"{zone}:{vswitch}" for zone, vswitch in sorted(self.zone_maps.items())),
            "idle-timeout": str(seconds(self.idle_timeout)),
            "health-check-flag": "on",
        }
        if self.tags:
            annotations["additional-resource-tags"] = ",".join(f"{k}={v}" for k, v in sorted(self.tags.items()))
        return {**super().controller_annotations(), **prefixed(annotations)}

    @classmethod
    def recognizes(cls, live: LiveService) -> bool:
        """By its class."""
        return live["spec"].get("type") == "LoadBalancer" and live["spec"].get("loadBalancerClass") == NLB_CLASS

    @classmethod
    def read_identity(cls, live: LiveService) -> dict[str, Any]:
        """What the annotations say."""
        found = {"kind": "nlb", **super().read_identity(live)}
        if zones := live_annotation(live, "zone-maps"):
            found["zoneMaps"] = dict(zone.split(":")[:2] for zone in zones.split(","))
        return found

    @model_validator(mode="after")
    def _tags_can_be_annotated(self) -> Self:
        problems = [
            Problem(
                ("tags", key),
                value,
                "must contain neither ',' nor '=': they separate tags in the annotation",
                reason="InvalidTag",
            )
            for key, value in self.tags.items()
            if re.search("[,=]", key + value)
        ]
        if problems:
            raise RuleError(problems)
        return self
