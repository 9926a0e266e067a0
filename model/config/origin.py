"""`srs:origin`: the origins."""

from datetime import timedelta
from typing import ClassVar, Self

from pydantic import Field, model_validator

from model.config.base import OriginCount
from model.config.drain import DrainTimes
from model.config.pods import ImageSettings, Placement, PodSettings, Resources, SrsSettings, rollout_timeout_problems
from model.config.problems import RuleError
from model.config.values import Duration
from model.srs.conf import render_origin

MIN_NAMES = 16
"""Names of origins, at least: enough for 5 origins in three revisions."""

REVISIONS = 3
"""Revisions whose origins have names at the same time: one that receives publishers, and two that drain."""


class OriginDrainSettings(DrainTimes):
    """How an origin terminates. Without a timeout it drops its publishers."""

    may_be_off: ClassVar[bool] = True

    deregister: Duration = Field(
        default=timedelta(seconds=5),
        description="How long a terminating origin still accepts publishers, so that every load balancer removes it "
        "first; default behind a load balancer of the encoders with `to: origins`: `30s`.",
    )
    timeout: Duration = Field(
        default=timedelta(hours=12),
        description="How long its publishers may then stay connected. It must outlast the longest stream.",
    )


class OriginSettings(ImageSettings, Placement, PodSettings):
    """The origins: they receive the streams."""

    replicas: OriginCount = Field(default=3, description="Number of origins. A change restarts none of them.")
    min_ready: Duration = Field(
        default=timedelta(seconds=15),
        description="How long new origins must be ready before the ones that they replace drain.",
    )
    rollout_timeout: Duration = Field(
        default=timedelta(minutes=10),
        description="An update fails when the origins are not ready after this time.",
    )
    drain: OriginDrainSettings = Field(
        default_factory=OriginDrainSettings, description="How an origin that is removed or replaced terminates."
    )
    srs: SrsSettings = Field(default_factory=SrsSettings, description="More srs.conf settings.")
    resources: Resources = Field(default_factory=Resources, description="Resources of each origin.")

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        # As with HLS; the whole stack is checked without it (`StackSettings`).
        conf = render_origin(self.srs_version, ["origin"], True, self.srs.max_connections, self.srs.additions)
        problems = [*rollout_timeout_problems(self.min_ready, self.rollout_timeout), *self.srs.problems(conf)]
        if problems:
            raise RuleError(problems)
        return self

    @property
    def name_count(self) -> int:
        """How many names origins can have; all of them are in every origin's srs.conf, so that any can be used.

        A power of two, which rarely changes with the number of origins: each change replaces all origins. Not more
        than are useful: an origin looks up every name, blocking, when it is asked for a stream without a publisher.
        """
        return max(MIN_NAMES, 1 << (REVISIONS * self.replicas - 1).bit_length())
