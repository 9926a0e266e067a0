"""`srs:origin`: the origins."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from model.base import PositiveInt
from model.problems import RuleError
from model.settings.pods import ImageSettings, Placement, PodSettings, Resources, SrsSettings, rollout_timeout_problems
from model.srs_conf import render_origin
from model.values import Duration


class OriginSettings(ImageSettings, Placement, PodSettings):
    """The origins: they receive the streams."""

    replicas: PositiveInt = Field(default=3, description="Number of origins. Another number restarts them one by one.")
    min_ready: Duration = Field(
        default=timedelta(seconds=15),
        description="How long an origin must be ready before the next one is updated.",
    )
    rollout_timeout: Duration = Field(
        default=timedelta(minutes=10),
        description="An update fails when the origins are not ready after this time.",
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
