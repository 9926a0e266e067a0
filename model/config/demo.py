"""`srs:demo`: the demo stream."""

from typing import Annotated

from pydantic import Field, StrictBool, StringConstraints

from model.config.base import Settings
from model.config.values import Image


class DemoSettings(Settings):
    """A demo stream, so that a new cluster has something to play."""

    enabled: StrictBool = Field(default=False, description="Whether a demo stream is published.")
    image: Image = Field(default="ossrs/srs:encoder", description="Image with ffmpeg and a sample file.")
    source: Annotated[str, StringConstraints(strict=True, pattern=r"^[\w./-]+$")] = Field(
        default="./doc/source.flv", description="File in the image that is published in a loop."
    )
    stream: Annotated[str, StringConstraints(strict=True, pattern=r"^[\w-]+/[\w-]+$")] = Field(
        default="live/livestream", description="Application and stream name."
    )
