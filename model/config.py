"""From the stack config, as Pulumi hands it over, to settings. Nothing else reads config."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from model.problems import ABSENT, HIDDEN, Problem, problems_of
from model.settings import CONFIG_KEYS, StackSettings
from model.settings.load_balancer import SlbLoadBalancer

PROJECT = "srs"

CREDENTIALS = ("alicloud:accessKey", "alicloud:secretKey", "alicloud:securityToken")
"""Settings of the Alibaba Cloud provider that are credentials."""


KEY_VARIABLES = ("ALICLOUD_ACCESS_KEY", "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABACLOUD_ACCESS_KEY_ID")
"""Environment variables from which the provider takes an access key (alicloud/provider.go)."""


class Hidden:
    """Stands for a value that must not be seen."""

    def __repr__(self) -> str:
        return HIDDEN


class BadConfig(ValueError):
    """The stack config is wrong; the message lists everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: [str(part) for part in problem.path])
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__(
            f"the stack config has {count}; nothing was changed.\n"
            + "\n".join(f"  - {problem}" for problem in self.problems)
        )


def read_settings(config: Mapping[str, str], secret_keys: Collection[str] = ()) -> StackSettings:
    """Turn the stack config into settings.

    config: the full config as the engine passes it to a program: `srs:edge` and so on, each value a string,
        maps as JSON. Keys of other projects (`kubernetes:…`, `pulumi:…`) are left alone, except that those of
        `alicloud:…` have to be what the program's use of them needs.
    secret_keys: the keys that were set with `--secret`; their values appear in no message.
    Raises BadConfig with every problem at once.
    """
    # As Pulumi.yaml has it: a map that is absent is an empty one, and what it lacks is told key by key.
    values: dict[str, Any] = {name: {} for name, field in StackSettings.model_fields.items() if field.is_required()}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace == PROJECT:
            values[name] = _value(text) if name in CONFIG_KEYS else text
    problems = [*_plain_secrets(config, secret_keys)]
    settings = None
    try:
        settings = StackSettings.model_validate(values, by_name=False, by_alias=True)
    except ValidationError as error:
        problems += problems_of(error, StackSettings)
    else:
        problems += _cloud_problems(settings, config)
        if settings.images.registry and f"{PROJECT}:images" not in secret_keys:
            path = ("images", "registry", "password")
            command = f"pulumi config set --secret --path {PROJECT}:images.registry.password"
            problems.append(Problem(path, Hidden(), f"must not stand in the stack file in plain text: `{command}`"))
    if problems or settings is None:
        raise BadConfig(
            [
                replace(problem, value=Hidden())
                if f"{PROJECT}:{problem.path[0]}" in secret_keys and problem.value is not ABSENT
                else problem
                for problem in problems
            ]
        )
    return settings


def _plain_secrets(config: Mapping[str, str], secret_keys: Collection[str]) -> Iterator[Problem]:
    for key in CREDENTIALS:
        if key in config and key not in secret_keys:
            command = f"pulumi config set --secret {key}"
            yield Problem((key,), Hidden(), f"must not stand in the stack file in plain text: `{command}`")


def open_credentials(settings: StackSettings, config: Mapping[str, str], environment: Collection[str]) -> str | None:
    """What to say when the provider takes its credentials from the environment; None if it does not.

    Pulumi blots out the secrets of the config in all that it prints, and knows no others. The provider's message of
    an API that is away has the whole request in it. environment: names of variables.
    """
    found = [name for name in KEY_VARIABLES if name in environment]
    if not found or CREDENTIALS[0] in config or not _made_here(settings):
        return None
    return (
        f"the access key of Alibaba Cloud comes from {found[0]}: error messages may show its id. "
        f"`pulumi config set --secret {CREDENTIALS[0]}` hides it"
    )


def _made_here(settings: StackSettings) -> list[str]:
    """Where in the config a CLB is that the stack makes."""
    return [
        ".".join(front.key)
        for front in settings.fronts
        if isinstance(front.load_balancer, SlbLoadBalancer) and front.load_balancer.id is None
    ]


def _cloud_problems(settings: StackSettings, config: Mapping[str, str]) -> Iterator[Problem]:
    """The provider would take the region from the environment: the same stack config would give another CLB."""
    made = _made_here(settings)
    if made and not config.get("alicloud:region"):
        allowed = f"must name the region, such as cn-beijing: {made[0]} makes a CLB there"
        yield Problem(("alicloud:region",), None, allowed)


def _value(text: str) -> Any:
    """The value of a key that is meant to be a map; a text that is no JSON stays what it is, and is refused as such."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
