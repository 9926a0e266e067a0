"""`srs:edge`: the edges, their releases and how they drain."""

import math
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StrictBool, model_validator

from model.config.autoscaling import AutoscalingSettings
from model.config.base import MAX_EDGES, MAX_RELEASES, EdgeCount, Weight
from model.config.drain import DrainTimes
from model.config.pods import ImageSettings, Placement, PodSettings, Resources, SrsSettings, rollout_timeout_problems
from model.config.problems import ABSENT, Problem, RuleError
from model.config.values import Duration, ReleaseName, natural_key
from model.desired.replicas import Share, shares
from model.srs.conf import render_edge
from model.srs.versions import capabilities, format_version


def _max_surge(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_EDGES:
        return value
    if isinstance(value, str) and re.fullmatch(r"[1-9]\d?%|100%", value):
        return value
    raise ValueError(f"must be a number from 1 to {MAX_EDGES}, or a percentage such as 25% (1% to 100%)")


MaxSurge = Annotated[int | str, BeforeValidator(_max_surge)]
"""A number or a percentage of pods; not 0, because no edge is removed before another one replaces it."""


class DrainSettings(DrainTimes):
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
    keep_serving: StrictBool = Field(
        default=False,
        description="Whether a terminating edge keeps its listeners and stays `serving` until its last client has "
        "left, and SRS quits only then. `gracefulShutdown` of a load balancer needs it, and data planes that forget "
        "terminating pods that are not ready (Cilium until late 2025). The image needs bash.",
    )


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
    out_of_rotation: StrictBool = Field(
        default=False,
        description="One edge of this release of weight 0 runs without being in any Service: it can be played through "
        "`kubectl port-forward`, and has no viewers otherwise. `rollout run` judges a canary like this first.",
    )
    allow_dropped_connections: StrictBool = Field(
        default=False,
        description="Accepts an SRS version that cannot drain: every update of it drops its connections.",
    )

    @model_validator(mode="after")
    def _fits_version(self) -> Self:
        conf = render_edge(self.srs_version, "origin", self.srs.max_connections, self.srs.additions)
        problems = list(self.srs.problems(conf))
        if self.out_of_rotation and self.weight:
            problems.append(
                Problem(
                    ("outOfRotation",),
                    True,
                    f"must be false on a release with a weight ({self.weight}): it has no new viewers",
                    reason="WeightOutOfRotation",
                )
            )
        if not capabilities(self.srs_version).drains and not self.allow_dropped_connections:
            problems.append(
                Problem(
                    ("image",),
                    self.image,
                    f"is SRS {format_version(self.srs_version)}, which drops every connection when it quits "
                    "(ossrs/srs #3805); use 4.0.x or 6.0.132 and later, or set allowDroppedConnections: true",
                    reason="CannotDrain",
                )
            )
        if problems:
            raise RuleError(problems)
        return self


class EdgeSettings(Placement):
    """The edges: they serve the viewers, and encoders may publish through them."""

    replicas: EdgeCount | None = Field(
        default=None, description="Number of edges, all releases together; required without `autoscaling`."
    )
    autoscaling: AutoscalingSettings | None = Field(
        default=None, description="The number of edges follows their load, instead of `replicas`."
    )
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How an edge pod terminates.")
    warm_up: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a new edge must run before it receives connections: a crash within this time after "
        "its start drops no connection.",
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
    releases: dict[ReleaseName, ReleaseSettings] = Field(
        min_length=1, max_length=MAX_RELEASES, description="The releases by name; normally one, two during a canary."
    )

    @model_validator(mode="after")
    def _releases_fit_together(self) -> Self:
        problems = rollout_timeout_problems(self.min_ready, self.rollout_timeout, self.warm_up)
        weights = self.weights
        weighted = [name for name, weight in weights.items() if weight > 0]
        if not weighted:
            problems.append(
                Problem(("releases",), weights, "at least one release must have a weight above 0", reason="NoWeight")
            )
        else:
            problems += self._size_problems(weighted)
        first_with_key: dict[object, str] = {}
        for name in sorted(self.releases):  # the engine sorts them, too
            first = first_with_key.setdefault(natural_key(name), name)
            if first != name:
                problems.append(
                    Problem(
                        ("releases", name),
                        name,
                        f"is the same name as {first!r} in natural order; rename one of them",
                        reason="SameNaturalName",
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

    def _size_problems(self, weighted: Sequence[str]) -> Iterator[Problem]:
        """What is wrong with the number of edges. weighted: the releases with a weight."""
        needed = f"must be at least {len(weighted)}: that many releases have a weight, and each needs a replica"
        scaling = self.autoscaling
        if scaling is None:
            if self.replicas is None:
                yield Problem(("replicas",), ABSENT, "is required, or autoscaling", reason="FleetSize")
            elif self.replicas < len(weighted):
                yield Problem(("replicas",), self.replicas, needed, reason="TooFewReplicas")
            return
        if self.replicas is not None:
            # A contradiction: both would set the replicas, again and again (argo-rollouts #2857).
            allowed = "must be left out with autoscaling: the autoscalers decide, from minimum to maximum"
            yield Problem(("replicas",), self.replicas, allowed, reason="AutoscalerAndReplicas")
        if scaling.minimum < len(weighted):
            yield Problem(("autoscaling", "minimum"), scaling.minimum, needed, reason="TooFewReplicas")
        limits = {name: self.releases[name].srs.max_connections for name in weighted}
        full = [name for name, limit in limits.items() if scaling.target_load >= limit]
        if full and scaling.metric == "connections":
            yield Problem(
                ("autoscaling", "target"),
                scaling.target,
                f"must be less than {min(limits.values())}, the maxConnections of release {', '.join(full)}: the fleet "
                "must become larger before its edges are full",
                reason="TargetAboveEdge",
            )

    @property
    def total(self) -> int:
        """Number of edges, all releases together; with autoscaling, that of a new fleet."""
        if self.autoscaling is not None:
            return self.autoscaling.minimum
        assert self.replicas is not None
        return self.replicas

    @property
    def largest_total(self) -> int:
        """The largest number of edges that the config allows, all releases together."""
        return self.autoscaling.maximum if self.autoscaling else self.total

    @property
    def shares(self) -> dict[str, Share]:
        """Replicas and shares of each release, in natural order; with autoscaling, of a new fleet."""
        return shares(self.total, self.weights)
