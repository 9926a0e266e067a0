"""From the stack config, as Pulumi hands it over, to settings. Nothing else reads config."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from model.problems import Problem, problems_of
from model.settings import CONFIG_KEYS, StackSettings

PROJECT = "srs"


class BadConfig(ValueError):
    """The stack config is wrong; the message lists everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: [str(part) for part in problem.path])
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__(
            f"the stack config has {count}; nothing was changed.\n"
            + "\n".join(f"  - {problem}" for problem in self.problems)
        )


def read_settings(config: Mapping[str, str]) -> StackSettings:
    """Turn the stack config into settings.

    config: the full config as the engine passes it to a program: `srs:edge` and so on, each value a string,
        maps as JSON. Keys of other projects (`kubernetes:…`, `pulumi:…`) are left alone.
    Raises BadConfig with every problem at once.
    """
    # As Pulumi.yaml has it: a map that is absent is an empty one, and what it lacks is told key by key.
    values: dict[str, Any] = {name: {} for name, field in StackSettings.model_fields.items() if field.is_required()}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace == PROJECT:
            values[name] = _value(text) if name in CONFIG_KEYS else text
    try:
        return StackSettings.model_validate(values, by_name=False, by_alias=True)
    except ValidationError as error:
        raise BadConfig(problems_of(error, StackSettings)) from None


def _value(text: str) -> Any:
    """The value of a key that is meant to be a map; a text that is no JSON stays what it is, and is refused as such."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
