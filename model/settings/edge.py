"""`srs:edge`: the edges, their releases and how they drain."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PrivateAttr, StrictBool, model_validator

from model.base import PositiveInt, Settings, Weight
from model.problems import Problem, RuleError
from model.replicas import Share, shares
from model.settings.pods import ImageSettings, Placement, PodSettings, Resources, SrsSettings, rollout_timeout_problems
from model.srs_conf import render_edge
from model.srs_version import capabilities, format_version
from model.values import Duration, ReleaseName, natural_key, seconds

DRAIN_MARGIN = timedelta(seconds=30)
"""Between the end of the drain timeout and SIGKILL (ACK recommends at least 30 s after preStop)."""


def _max_surge(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"[1-9]\d?%|100%", value):
        return value
    raise ValueError("must be a number above 0, or a percentage such as 25% (1% to 100%)")


MaxSurge = Annotated[int | str, BeforeValidator(_max_surge)]
"""A number or a percentage of pods; not 0, because no edge is removed before another one replaces it."""


class DrainSettings(Settings):
    """How an edge pod terminates."""

    deregister: Duration = Field(
        default=timedelta(seconds=5),
        description="How long a terminating pod still accepts connections, so that every load balancer removes it "
        "first; default behind `slb`, `nlb` and `service`: `30s`.",
    )
    timeout: Duration = Field(
        default=timedelta(hours=12),
        description="How long open connections may then last. It must outlast the longest stream.",
    )

    @model_validator(mode="after")
    def _timeout_outlasts_deregister(self) -> Self:
        if self.timeout < self.deregister:
            raise RuleError([Problem(("timeout",), self.timeout, "must not be shorter than drain.deregister")])
        return self

    @property
    def grace_seconds(self) -> int:
        """`terminationGracePeriodSeconds` of an edge pod."""
        return seconds(self.deregister + self.timeout + DRAIN_MARGIN)


class ReleaseSettings(ImageSettings, PodSettings):
    """One release of the edges: an image, its config and its weight."""

    weight: Weight = Field(
        description="Share of the edge replicas, relative to the other releases' weights (not per cent). "
        "0 keeps the release without pods."
    )
    srs: SrsSettings = Field(default_factory=SrsSettings, description="More srs.conf settings.")
    resources: Resources = Field(default_factory=Resources, description="Resources of each edge.")
    paused: StrictBool = Field(
        default=False,
        description="Pauses a rolling update of this release (`kubectl rollout pause`); an update does not wait for "
        "it.",
    )
    autoscaled: StrictBool = Field(
        default=False,
        description="A HorizontalPodAutoscaler sets the replicas of this release, and updates keep them. The weight "
        "sets the replicas of a new release only; 0 keeps the release without pods, and its autoscaler inactive.",
    )
    allow_dropped_connections: StrictBool = Field(
        default=False,
        description="Accepts an SRS version that cannot drain: every update of it drops its connections.",
    )

    @model_validator(mode="after")
    def _fits_version(self) -> Self:
        conf = render_edge(self.srs_version, "origin", self.srs.max_connections, self.srs.additions)
        problems = list(self.srs.problems(conf))
        if not capabilities(self.srs_version).drains and not self.allow_dropped_connections:
            problems.append(
                Problem(
                    ("image",),
                    self.image,
                    f"is SRS {format_version(self.srs_version)}, which drops every connection when it quits "
                    "(ossrs/srs #3805); use 4.0.x or 6.0.132 and later, or set allowDroppedConnections: true",
                )
            )
        if problems:
            raise RuleError(problems)
        return self


class EdgeSettings(Placement):
    """The edges: they serve the viewers, and encoders may publish through them."""

    replicas: PositiveInt = Field(description="Number of edges, all releases together.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How an edge pod terminates.")
    warm_up: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a new edge must run before it receives connections: a crash within this time after "
        "its start affects nobody.",
    )
    min_ready: Duration = Field(
        default=timedelta(seconds=5),
        description="How long an edge must then be ready before it counts as available, so that a crash under its "
        "first connections stops a rollout.",
    )
    max_surge: MaxSurge = Field(
        default="25%",
        description="How many edges of a release an update replaces at the same time: a number, or a percentage of "
        "the release.",
    )
    rollout_timeout: Duration = Field(
        default=timedelta(minutes=10), description="An update fails when a release is not ready after this time."
    )
    _kept_replicas: dict[str, int] = PrivateAttr(default_factory=dict[str, int])
    releases: dict[ReleaseName, ReleaseSettings] = Field(
        min_length=1, description="The releases by name; normally one, two during a canary."
    )

    @model_validator(mode="after")
    def _releases_fit_together(self) -> Self:
        problems = rollout_timeout_problems(self.min_ready, self.rollout_timeout, self.warm_up)
        weights = self.weights
        weighted = [name for name, weight in weights.items() if weight > 0]
        if not weighted:
            problems.append(Problem(("releases",), weights, "at least one release must have a weight above 0"))
        elif self.replicas < len(weighted):
            problems.append(
                Problem(
                    ("replicas",),
                    self.replicas,
                    f"must be at least {len(weighted)}: that many releases have a weight, and each needs a replica",
                )
            )
        first_with_key: dict[object, str] = {}
        for name in sorted(self.releases):  # the engine sorts them, too
            first = first_with_key.setdefault(natural_key(name), name)
            if first != name:
                problems.append(
                    Problem(
                        ("releases", name),
                        name,
                        f"is the same name as {first!r} in natural order; rename one of them",
                    )
                )
        if problems:
            raise RuleError(problems)
        return self

    def surge(self, replicas: int) -> int:
        """How many of these replicas are replaced at the same time (Kubernetes docs, "Max Surge": rounded up)."""
        if isinstance(self.max_surge, int):
            return self.max_surge
        return math.ceil(replicas * int(self.max_surge.rstrip("%")) / 100)

    @property
    def weights(self) -> dict[str, int]:
        """Weight of each release, in natural order."""
        return {name: self.releases[name].weight for name in sorted(self.releases, key=natural_key)}

    @property
    def shares(self) -> dict[str, Share]:
        """Replicas and shares of each release, in natural order."""
        by_weight = shares(self.replicas, self.weights)
        replicas = {name: self._kept_replicas.get(name, share.replicas) for name, share in by_weight.items()}
        total = sum(replicas.values())
        return {
            name: replace(share, replicas=replicas[name], actual=100 * replicas[name] / total)
            for name, share in by_weight.items()
        }

    def keep_autoscaled_replicas(self, live: Mapping[str, int]) -> Self:
        """The same settings, in which autoscaled releases have their live replicas. live: by release."""
        copy = self.model_copy()
        copy._kept_replicas = {
            name: live[name]
            for name, release in self.releases.items()
            if release.autoscaled and release.weight > 0 and live.get(name)
        }
        return copy
