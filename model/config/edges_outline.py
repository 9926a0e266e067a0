"""Outline of `srs:edge`: what a command needs of a file that may be wrong elsewhere, or have secrets it cannot read.

`model/config/edge.py` has the whole map, with all rules.
"""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from model.config.values import natural_key


class ReleaseOutline(BaseModel):
    """A release: its image, None if the stack file has none, its SRS version, and its weight."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, validate_by_name=True)

    image: str | None = None
    version: str | None = None
    weight: int = Field(default=0, ge=0)
    paused: bool = False


class AutoscalingOutline(BaseModel):
    """The size of a fleet that follows its load."""

    model_config = ConfigDict(extra="ignore")

    minimum: int = Field(default=0, ge=0)
    maximum: int = Field(default=0, ge=0)


class EdgesOutline(BaseModel):
    """The edges of all releases."""

    model_config = ConfigDict(
        extra="ignore", alias_generator=to_camel, validate_by_name=True, coerce_numbers_to_str=True
    )

    replicas: int = Field(default=0, ge=0)
    releases: dict[str, ReleaseOutline] = Field(default_factory=dict[str, ReleaseOutline])

    autoscaling: AutoscalingOutline | None = None

    def total(self, live: int | None = None) -> int:
        """Number of edges, all releases together. live: of the live fleet, if autoscalers set it; else the smallest."""
        if self.autoscaling is None:
            return self.replicas
        return min(max(live or 0, self.autoscaling.minimum), self.autoscaling.maximum)

    @property
    def weights(self) -> dict[str, int]:
        """Weight of each release, in natural order."""
        return {name: self.releases[name].weight for name in sorted(self.releases, key=natural_key)}
