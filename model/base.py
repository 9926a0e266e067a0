"""What all models of the stack config are made of: their base class and the types of their fields."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

PositiveInt = Annotated[int, Field(strict=True, ge=1)]
Weight = Annotated[int, Field(strict=True, ge=0)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
NonEmpty = Annotated[str, StringConstraints(strict=True, min_length=1)]


def matching(pattern: str, description: str) -> AfterValidator:
    """A text that matches a pattern. description: what it must be, in the message."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {description}")
        return value

    return AfterValidator(check)


class Settings(BaseModel):
    """Base of all settings: camelCase in YAML, snake_case in Python, unknown keys rejected."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, validate_default=True)
