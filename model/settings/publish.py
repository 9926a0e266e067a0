"""`srs:publish`: where encoders publish to."""

from typing import Annotated, Literal

from pydantic import Field

from model.base import Settings
from model.settings.load_balancer import NlbLoadBalancer, NoLoadBalancer, SlbLoadBalancer


class PublishSettings(Settings):
    """Where encoders publish to, if not through the viewers' load balancer."""

    to: Literal["edges", "origins"] = Field(
        default="edges",
        description="Where this load balancer leads. An origin that restarts drops its publishers, an edge drains.",
    )
    load_balancer: Annotated[NoLoadBalancer | SlbLoadBalancer | NlbLoadBalancer, Field(discriminator="kind")] = Field(
        default=NoLoadBalancer(kind="none"),
        description="A load balancer for RTMP alone. With `kind: none` encoders publish through the viewers' one.",
    )
