"""What all models of the stack config are made of: their base class and the types of their fields."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

MAX_EDGES = 5000
"""One for each node of the largest cluster that Kubernetes supports (Kubernetes docs, "Considerations for large
clusters")."""

MAX_ORIGINS = 100
"""Each origin has all other origins in its srs.conf, and asks them one by one for a stream that it does not have."""

MAX_WEIGHT = 1_000_000
"""A finer share than a millionth of the edges exists in no cluster."""

MAX_RELEASES = 100
"""Each release with a weight has an edge and a Deployment, and each update waits for all of them."""

EdgeCount = Annotated[int, Field(strict=True, ge=1, le=MAX_EDGES)]
OriginCount = Annotated[int, Field(strict=True, ge=1, le=MAX_ORIGINS)]
Weight = Annotated[int, Field(strict=True, ge=0, le=MAX_WEIGHT)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
NonEmpty = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=1024)]


def matching(pattern: str, description: str) -> AfterValidator:
    """A text that matches a pattern. description: what it must be, in the message."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {description}")
        return value

    return AfterValidator(check)


one_line = matching(r"[^\x00-\x1f\x7f]+", "one line without control characters")


class Settings(BaseModel):
    """Base of all settings: camelCase in YAML, snake_case in Python, unknown keys rejected."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, validate_default=True)
