"""What all models of the stack config are made of: their base class and the types of their fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

PositiveInt = Annotated[int, Field(strict=True, ge=1)]
Weight = Annotated[int, Field(strict=True, ge=0)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
NonEmpty = Annotated[str, StringConstraints(strict=True, min_length=1)]


class Settings(BaseModel):
    """Base of all settings: camelCase in YAML, snake_case in Python, unknown keys rejected."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, validate_default=True)
