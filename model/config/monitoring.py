"""`srs:monitoring`: metrics for Prometheus."""

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from model.config.base import Settings
from model.config.pods import LabelKey, LabelValue
from model.config.problems import Problem, RuleError
from model.config.values import DnsLabel, Duration

SHORTEST_INTERVAL = timedelta(seconds=20)
"""SRS closes an idle HTTP connection after 15 seconds. A scrape that uses the same connection again keeps it open, and
a draining SRS waits for it until the drain timeout."""


class MonitoringSettings(Settings):
    """Metrics for Prometheus. SRS has an exporter since 5.0.72; other edges and origins are not scraped."""

    kind: Literal["none", "podMonitor", "annotations"] = Field(
        default="none",
        description="How Prometheus finds the pods: `podMonitor` declares a PodMonitor and alert rules (a "
        "PrometheusRule) for the Prometheus Operator; `annotations` sets `prometheus.io/scrape` and "
        "`prometheus.io/port` at the pods, and the stack output `alertRules` has the rules. A change rolls edges "
        "and origins whose SRS has an exporter.",
    )
    namespace: DnsLabel = Field(
        default="monitoring", description="Namespace of Prometheus: its pods may connect to the exporters."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        description="Labels of the PodMonitor and the PrometheusRule, by which a Prometheus selects them.",
    )
    interval: Duration = Field(
        default=timedelta(seconds=30),
        description="Interval of the PodMonitor; at least 20s, because more frequent scrapes keep a drain alive.",
    )

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        problems = [
            Problem(
                (name,), getattr(self, name), f"needs kind podMonitor (it is {self.kind})", reason="NeedsPodMonitor"
            )
            for name in ("labels", "interval")
            if name in self.model_fields_set and self.kind != "podMonitor"
        ]
        if self.interval < SHORTEST_INTERVAL:
            problems.append(
                Problem(
                    ("interval",),
                    self.interval,
                    "must not be shorter than 20s: it keeps drains alive",
                    reason="IntervalTooShort",
                )
            )
        if problems:
            raise RuleError(problems)
        return self
