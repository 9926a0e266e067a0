"""`srs:edge.autoscaling`: the size of the fleet follows its load."""

import re
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from kubernetes.utils.quantity import parse_quantity
from pydantic import Field, model_validator

from model.config.base import EdgeCount, NonEmpty, Settings, matching
from model.config.pods import LabelKey, LabelValue
from model.config.problems import REDACTED, Problem, RuleError
from model.config.values import Duration, LoadQuantity, Subdomain

Metric = Literal["cpu", "connections", "external"]

NEEDED_API: dict[Metric, tuple[str, str]] = {
    "cpu": ("metrics.k8s.io", "metrics-server"),
    "connections": ("keda.sh", "KEDA"),
    "external": ("external.metrics.k8s.io", "a metrics adapter such as prometheus-adapter"),
}
"""By metric: the API group that the cluster needs, and what usually provides it."""

MAX_WINDOW = timedelta(hours=1)
"""Kubernetes allows no longer stabilization window (API reference, HPAScalingRules)."""

MAX_STEP = timedelta(minutes=30)
"""Kubernetes allows no longer period of a scaling policy (API reference, HPAScalingPolicy)."""

ONE_CORE = Decimal(1)
"""SRS uses one thread: an edge that needs a whole core is full."""

_KEYS: dict[str, Metric] = {
    "prometheus": "connections",
    "query": "connections",
    "authentication": "connections",
    "external_metric": "external",
    "external_labels": "external",
}
"""The metric that a key belongs to."""

_QUOTED = re.compile(r""""(\\.|[^"\\\n])*"|'(\\.|[^'\\\n])*'|`[^`]*`""")


def _is_one_expression(query: str) -> bool:
    """Whether a PromQL query stays what it is as the argument of a function (`model/desired/autoscalers.py`).

    Not a parser: Prometheus checks the rest, and its answer is an error of the autoscaler.
    """
    rest, brackets = _QUOTED.sub('""', query), list[str]()
    for character in rest.replace('""', " "):
        if character in "([{":
            brackets.append({"(": ")", "[": "]", "{": "}"}[character])
        elif character in ")]}":
            if not brackets or brackets.pop() != character:
                return False
        elif character in "#\"'`" or (character == "," and not brackets):
            return False
    return not brackets and bool(rest.strip())


_metric = matching(r"(?!\.{1,2}$)[^/%\x00-\x20\x7f]+", "the name of a metric, without spaces, '/' and '%'")
"""Kubernetes rejects other names (pkg/apis/autoscaling/validation, `ValidatePathSegmentName`)."""


class ScaleInSettings(Settings):
    """How a fleet becomes smaller."""

    window: Duration = Field(
        default=timedelta(hours=1),
        description="The fleet becomes smaller only as its load of this time allows, at most `1h`.",
    )
    step: Duration = Field(
        default=timedelta(minutes=2),
        description="Time between two edges that the fleet loses, of all releases together, `1s` to `30m`.",
    )

    @model_validator(mode="after")
    def _kubernetes_allows(self) -> Self:
        problems: list[Problem] = []
        if self.window > MAX_WINDOW:
            problems.append(
                Problem(("window",), self.window, "must be at most 1h, as in Kubernetes", reason="ScaleInWindow")
            )
        if not timedelta(seconds=1) <= self.step <= MAX_STEP:
            problems.append(
                Problem(("step",), self.step, "must be from 1s to 30m, as in Kubernetes", reason="ScaleInStep")
            )
        if problems:
            raise RuleError(problems)
        return self


class AutoscalingSettings(Settings):
    """The fleet of edges has the size that its load needs. The stack declares one autoscaler for each release."""

    minimum: EdgeCount = Field(description="Smallest number of edges, all releases together.")
    maximum: EdgeCount = Field(description="Largest number of edges, all releases together.")
    metric: Metric = Field(
        description="What the fleet is scaled on: `connections` of the whole fleet, from Prometheus by KEDA; "
        "`external`, an external metric of the whole fleet; or `cpu` of each release, from metrics-server, which "
        "does not keep the shares of releases between updates (docs/autoscaling.md)."
    )
    target: LoadQuantity = Field(
        description="Load of one edge that the fleet is sized for: connections (or units of the external metric), or "
        "cores, such as `600m`. The rest up to `maxConnections`, or one core, is for new viewers until more edges "
        "are ready."
    )
    prometheus: NonEmpty | None = Field(
        default=None, description="URL of Prometheus for KEDA, with `connections`, such as `http://prometheus:9090`."
    )
    query: NonEmpty | None = Field(
        default=None,
        description="Expression for the connections of the whole fleet; default: the sum of `srs_clients` of its "
        "edges.",
    )
    authentication: Subdomain | None = Field(
        default=None, description="Name of a TriggerAuthentication of KEDA, if Prometheus needs a login."
    )
    external_metric: Annotated[NonEmpty, _metric] | None = Field(
        default=None, description="Name of the external metric: the load of the whole fleet."
    )
    external_labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that select the external metric."
    )
    scale_in: ScaleInSettings = Field(default_factory=ScaleInSettings, description="How the fleet becomes smaller.")

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        problems: list[Problem] = []
        if self.minimum > self.maximum:
            problems.append(
                Problem(("minimum",), self.minimum, f"must not be above maximum ({self.maximum})", reason="FleetRange")
            )
        for name, metric in _KEYS.items():
            if name in self.model_fields_set and self.metric != metric:
                key = type(self).model_fields[name].alias or name
                allowed = f"needs metric {metric} (it is {self.metric}); leave it out"
                problems.append(Problem((key,), getattr(self, name), allowed, reason="WrongMetric"))
        if self.metric == "connections" and not (self.prometheus or "").startswith(("http://", "https://")):
            allowed = "must be the URL of Prometheus, such as http://prometheus.monitoring:9090"
            problems.append(Problem(("prometheus",), self.prometheus, allowed, reason="MetricSource"))
        elif urlsplit(self.prometheus or "").password is not None:
            allowed = "must not have a password: put it into a TriggerAuthentication of KEDA, and name that in "
            problems.append(Problem(("prometheus",), REDACTED, f"{allowed}authentication", reason="PlainSecret"))
        if self.query is not None and not _is_one_expression(self.query):
            problems.append(
                Problem(
                    ("query",),
                    self.query,
                    "must be one PromQL expression with closed brackets and quotes and without a comment: it becomes a "
                    "part of a longer one",
                    reason="MetricQuery",
                )
            )
        if self.metric == "external" and self.external_metric is None:
            allowed = (
                "must be the name of an external metric, as `kubectl get --raw /apis/external.metrics.k8s.io/v1beta1`"
            )
            problems.append(Problem(("externalMetric",), None, f"{allowed} lists it", reason="MetricSource"))
        if self.metric == "cpu" and parse_quantity(self.target) >= ONE_CORE:
            allowed = "must be less than one core, such as 600m: SRS uses one thread, and an edge at 1 is full already"
            problems.append(Problem(("target",), self.target, allowed, reason="TargetAboveEdge"))
        if problems:
            raise RuleError(problems)
        return self

    @property
    def target_load(self) -> Fraction:
        """The load of one edge that the fleet is sized for: connections or cores."""
        return Fraction(parse_quantity(self.target))

    def clamp(self, edges: int) -> int:
        """The nearest allowed size of the fleet."""
        return min(max(edges, self.minimum), self.maximum)
