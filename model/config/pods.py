"""Settings that several kinds of pods share: placement, resources, srs.conf and the SRS image."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, cast

from kubernetes.utils.quantity import parse_quantity
from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, StrictStr, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel

from model.config.base import NonEmpty, Port, Settings
from model.config.pod_patch import Affinity, PodPatch
from model.config.problems import Problem, RuleError
from model.config.values import (
    LABEL_KEY,
    LABEL_VALUE,
    READABLE,
    UNREADABLE,
    CpuQuantity,
    Duration,
    Image,
    MemoryQuantity,
    Subdomain,
    format_duration,
    is_label_value,
    is_qualified_name,
    parse_image,
)
from model.srs.conf import Additions, SrsConf
from model.srs.versions import Version, check_supported, parse_version

MAX_TEXT = 100_000
"""Bytes of a text, or of the annotations of a pod, in the stack config, all of which fits into 128 KiB (`MAX_CONFIG`).
Kubernetes would allow 256 KiB of annotations (apimachinery, `TotalAnnotationSizeLimitB`)."""

MAX_CONF = 150_000
"""Bytes of the file of an srs.conf: a ConfigMap has at most 1 MiB, and the preview shows what changes."""


def _label(value: str) -> str:
    if not is_qualified_name(value):
        raise ValueError(LABEL_KEY)
    return value


def _annotation(value: str) -> str:
    if not is_qualified_name(value):
        raise ValueError("must be the key of an annotation, such as example.com/key")
    return value


def _annotations(values: dict[str, str]) -> dict[str, str]:
    if sum(len(f"{key}{value}".encode()) for key, value in values.items()) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} bytes in all")
    return values


def _label_value(value: str) -> str:
    if not is_label_value(value):
        raise ValueError(LABEL_VALUE)
    return value


LabelKey = Annotated[NonEmpty, AfterValidator(_label)]
AnnotationKey = Annotated[NonEmpty, AfterValidator(_annotation)]
LabelValue = Annotated[StrictStr, AfterValidator(_label_value)]


class Toleration(Settings):
    """A node taint that pods tolerate."""

    key: LabelKey = Field(description="Key of the taint.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="Whether the taint's value must be `value`, or may be any."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; default: all of them."
    )
    toleration_seconds: Duration | None = Field(
        default=None,
        description="How long pods stay on a node that gets the taint, with NoExecute; default: as long as it has it.",
    )

    @model_validator(mode="after")
    def _value_fits_operator(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise RuleError(
                [Problem(("value",), self.value, "must be left out with operator Exists", reason="TolerationValue")]
            )
        if self.operator == "Equal" and self.value is None:
            raise RuleError(
                [Problem(("value",), None, "must be set with Equal; or use operator: Exists", reason="TolerationValue")]
            )
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise RuleError(
                [
                    Problem(
                        ("tolerationSeconds",),
                        self.toleration_seconds,
                        "needs effect NoExecute",
                        reason="TolerationSecondsWithoutNoExecute",
                    )
                ]
            )
        return self


class Placement(Settings):
    """Which nodes pods may run on, and what schedules them."""

    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that a node must have to run them."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list[Toleration], description="Node taints that they tolerate."
    )
    affinity: Affinity = Field(
        default_factory=dict[str, Any],
        description="Affinity to nodes and pods, in the notation of Kubernetes (`nodeAffinity`, `podAffinity`, "
        "`podAntiAffinity`).",
    )
    priority_class: Subdomain | None = Field(
        default=None,
        description="Priority class. Pods of a higher class preempt pods of a lower one, whose connections are "
        "dropped: give pods that serve a class above all other pods on their nodes.",
    )
    scheduler_name: Subdomain | None = Field(default=None, description="Scheduler; default: that of the cluster.")


class Resources(Settings):
    """Requests and limits of a container."""

    cpu: CpuQuantity = Field(default="100m", description="CPU request, in cores.")
    memory: MemoryQuantity = Field(default="256Mi", description="Memory request and limit, in bytes.")
    cpu_limit: CpuQuantity | None = Field(
        default=None,
        description="CPU limit, in cores. Only where a ResourceQuota demands one: throttling stalls every viewer of "
        "that pod.",
    )

    @model_validator(mode="after")
    def _limit_is_not_below_request(self) -> Self:
        if self.cpu_limit is not None and parse_quantity(self.cpu_limit) < parse_quantity(self.cpu):
            raise RuleError(
                [
                    Problem(
                        ("cpuLimit",),
                        self.cpu_limit,
                        f"must be at least cpu ({self.cpu})",
                        reason="CpuLimitBelowRequest",
                    )
                ]
            )
        return self


class PodSettings(Settings):
    """What an operator adds to the pods of SRS."""

    pod_annotations: Annotated[dict[AnnotationKey, StrictStr], AfterValidator(_annotations)] = Field(
        default_factory=dict[str, str], description="More annotations of the pods."
    )
    pod_patch: PodPatch = Field(
        default_factory=dict[str, Any],
        description="More of the pod template, in the notation of Kubernetes and merged by name: labels, volumes, "
        "containers beside `srs`, and `env` and `volumeMounts` of `srs`. A patch that would break the drain is "
        "rejected (docs/operations.md).",
    )


@dataclass(frozen=True)
class ConfText:
    """The value of `srs.conf`. file: the path that it was read from, "" if the text is in the stack config."""

    text: str = ""
    file: str = ""


def is_path(value: str) -> bool:
    """Whether a value of `srs.conf` is the path of a file: a text has a ';', a '{' or several lines."""
    return bool(value.strip()) and not re.search(r"[;{\n]", value)


def _conf_text(value: Any, info: ValidationInfo) -> ConfText:
    if isinstance(value, ConfText):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text in SRS's syntax, or the path of a file")
    if not is_path(value):
        return ConfText(value)
    files = cast("dict[str, Mapping[str, str]]", info.context or {}).get("files", {})
    if value not in files:
        raise ValueError(
            "is not the path of a file that can be read, relative to the stack file; nor a text in SRS's syntax, in "
            "which each directive ends with ';'"
        )
    return ConfText(files[value], value)


def _limited_conf(value: ConfText) -> ConfText:
    _limited(value.text, MAX_CONF if value.file else MAX_TEXT)
    if UNREADABLE.search(value.text):
        raise ValueError(READABLE)
    return value


def _limited(text: str, limit: int = MAX_TEXT) -> str:
    if len(text.encode()) > limit:
        raise ValueError(f"must have at most {limit} bytes")
    return text


Directives = Annotated[StrictStr, AfterValidator(_limited)]


def _conf_source(value: ConfText) -> str:
    return value.file or value.text


class SrsSettings(Settings):
    """What can be set in an srs.conf besides what the program writes itself."""

    max_connections: Port = Field(
        default=1000, description="Connections that one SRS accepts; needs an open-files limit slightly above."
    )
    conf: Annotated[
        ConfText, PlainValidator(_conf_text), AfterValidator(_limited_conf), PlainSerializer(_conf_source)
    ] = Field(
        default=ConfText(),
        description="An srs.conf in SRS's syntax: a text, or the path of a file, relative to the stack file. It is "
        "merged with what the program writes itself, and may have vhosts.",
    )
    directives: Directives = Field(
        default="", description="More directives for the top level of srs.conf, in SRS's syntax."
    )
    vhost_directives: Directives = Field(
        default="", description="More directives for `vhost __defaultVhost__`, in SRS's syntax."
    )

    @property
    def additions(self) -> Additions:
        """The texts that are added to srs.conf."""
        return Additions(self.conf.text, self.directives, self.vhost_directives)

    def problems(self, conf: SrsConf, key: str = "srs") -> Iterator[Problem]:
        """What is wrong in the texts, each with its line. conf: rendered with them. key: of these settings."""
        for finding in conf.findings:
            text: str = self.additions.texts()[finding.source]
            value = (text.split("\n")[finding.line - 1 : finding.line] or [""])[0].strip()
            file = f"{self.conf.file}, " if finding.source == "conf" and self.conf.file else ""
            yield Problem(
                (key, to_camel(finding.source)),
                value,
                f"{finding.message} ({file}line {finding.line})",
                reason=finding.reason,
            )


class ImageSettings(Settings):
    """An SRS image and the version in it."""

    image: Image = Field(description="SRS image with a tag that names a version, or with a digest and `version`.")
    version: NonEmpty | None = Field(
        default=None,
        description="SRS version in the image, such as 4.0.6; needed where the tag does not name it.",
    )

    @model_validator(mode="after")
    def _version_is_known(self) -> Self:
        reference = parse_image(self.image)
        if self.version is not None:
            path, value, version = "version", self.version, parse_version(self.version)
            unknown = "must be an SRS version such as 4.0.6"
        else:
            path, value, version = "image", self.image, parse_version(reference.tag or "")
            unknown = (
                "has no tag that names one SRS version (such as v4.0.6), and the content of srs.conf depends "
                "on the version; use such a tag, or set `version`"
            )
        if version is None:
            raise RuleError([Problem((path,), value, unknown, reason="UnknownVersion")])
        try:
            check_supported(version)
        except ValueError as error:
            raise RuleError([Problem((path,), value, str(error), reason="UnsupportedVersion")]) from error
        return self

    @property
    def srs_version(self) -> Version:
        """The SRS version in the image."""
        version = parse_version(self.version or parse_image(self.image).tag or "")
        assert version is not None  # checked above
        return version


def rollout_timeout_problems(
    min_ready: timedelta, rollout_timeout: timedelta, warm_up: timedelta = timedelta()
) -> list[Problem]:
    """A rollout timeout that ends before one pod can be available.

    A pod is available after warmUp and minReady; the API server rejects a Deployment whose progress deadline is not
    later than minReady (Kubernetes docs, "Progress Deadline Seconds").
    """
    if rollout_timeout > warm_up + min_ready:
        return []
    minimum = f"warmUp and minReady together ({format_duration(warm_up + min_ready)})"
    if not warm_up:
        minimum = f"minReady ({format_duration(min_ready)})"
    return [
        Problem(("rolloutTimeout",), rollout_timeout, f"must be longer than {minimum}", reason="RolloutTimeoutTooShort")
    ]
