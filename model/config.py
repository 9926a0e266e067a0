"""The stack config, as Pulumi passes it, as settings. Nothing else reads config."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from pydantic import ValidationError
from pydantic.alias_generators import to_snake

from model.problems import ABSENT, REDACTED, Problem, problems_of
from model.settings.kubernetes import KubernetesSettings
from model.settings.load_balancer import SlbLoadBalancer
from model.settings.pods import is_path
from model.settings.stack import CONFIG_KEYS, StackSettings
from model.srs_directives import NAMES

PROJECT = "srs"

CREDENTIALS = ("alicloud:accessKey", "alicloud:secretKey", "alicloud:securityToken")
"""Config keys of the Alibaba Cloud provider that are credentials."""


class Redacted:
    """Replaces a secret value in messages."""

    def __repr__(self) -> str:
        return REDACTED


class ConfigError(ValueError):
    """The stack config is rejected; the message lists all its problems."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: [str(part) for part in problem.path])
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__(
            f"the stack config has {count}; nothing was changed.\n"
            + "\n".join(f"  - {problem}" for problem in self.problems)
        )


def conf_files(config: Mapping[str, str]) -> set[str]:
    """The paths of srs.conf files in the stack config (`srs.conf` of the origins and the releases)."""
    origin, edge = (_map(_value(config.get(f"{PROJECT}:{key}", "{}"))) for key in ("origin", "edge"))
    owners = [origin, *_map(edge.get("releases")).values()]
    values = [_map(_map(owner).get("srs")).get("conf") for owner in owners]
    return {value for value in values if isinstance(value, str) and is_path(value)}


def _map(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def read_settings(
    config: Mapping[str, str], secret_keys: Collection[str] = (), files: Mapping[str, str] | None = None
) -> StackSettings:
    """Parse the stack config.

    config: the full config as the engine passes it to a program: `srs:edge` and so on, each value a string,
        maps as JSON. Keys of other projects (`kubernetes:…`, `pulumi:…`) are ignored, except that those of
        `alicloud:…` must be what the program needs.
    secret_keys: the keys that were set with `--secret`; their values appear in no message.
    files: the content of those of `conf_files` that can be read, by path.
    Raises ConfigError with every problem at once.
    """
    # As in Pulumi.yaml: an absent map is an empty one, so that each missing key is reported.
    values: dict[str, Any] = {name: {} for name, field in StackSettings.model_fields.items() if field.is_required()}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace == PROJECT:
            values[name] = _value(text) if name in CONFIG_KEYS else text
    problems = [*_plain_secrets(config, secret_keys)]
    settings = None
    try:
        settings = StackSettings.model_validate(values, by_name=False, by_alias=True, context={"files": files or {}})
    except ValidationError as error:
        problems += problems_of(error, StackSettings)
    else:
        problems += _cloud_problems(settings, config)
        settings = settings.with_secret_keys([key.partition(":")[2] for key in secret_keys])
        if settings.secrets and f"{PROJECT}:secrets" not in secret_keys:
            name = next(iter(settings.secrets))
            command = f"pulumi config set --secret --path {PROJECT}:secrets.{name}"
            allowed = f"must not be in the stack file in plain text: `{command}`"
            problems.append(Problem(("secrets", name), Redacted(), allowed))
        if settings.images.registry and f"{PROJECT}:images" not in secret_keys:
            path = ("images", "registry", "password")
            command = f"pulumi config set --secret --path {PROJECT}:images.registry.password"
            problems.append(Problem(path, Redacted(), f"must not be in the stack file in plain text: `{command}`"))
    if problems or settings is None:
        raise ConfigError(
            [_redacted(problem) if f"{PROJECT}:{problem.path[0]}" in secret_keys else problem for problem in problems]
        )
    return settings


def _redacted(problem: Problem) -> Problem:
    """A problem without its value. In srs.conf, words that are not directives may be a secret as well."""
    if problem.value is ABSENT:
        return problem
    allowed = problem.allowed
    if "srs" in problem.path:
        allowed = re.sub(r"'(\w+)'", lambda word: word[0] if word[1] in NAMES else REDACTED, allowed)
    return replace(problem, value=Redacted(), allowed=allowed)


def read_kubernetes(config: Mapping[str, str]) -> KubernetesSettings:
    """Where the cluster of a stack is. Reads nothing else: other keys may be secret or wrong.

    Raises ConfigError.
    """
    key = f"{PROJECT}:kubernetes"
    try:
        return KubernetesSettings.model_validate(_value(config.get(key, "{}")), by_name=False, by_alias=True)
    except ValidationError as error:
        problems = problems_of(error, KubernetesSettings)
        raise ConfigError([replace(problem, path=("kubernetes", *problem.path)) for problem in problems]) from None


def _plain_secrets(config: Mapping[str, str], secret_keys: Collection[str]) -> Iterator[Problem]:
    for key in CREDENTIALS:
        if key in config and key not in secret_keys:
            variable = f"ALICLOUD_{to_snake(key.partition(':')[2]).upper()}"
            allowed = f"must not be in the stack file in plain text; set the environment variable {variable} instead"
            yield Problem((key,), Redacted(), allowed)


def _created_clbs(settings: StackSettings) -> list[str]:
    """Config paths of the CLBs that the stack creates."""
    return [
        ".".join(service.key)
        for service in settings.exposed_services
        if isinstance(service.load_balancer, SlbLoadBalancer) and service.load_balancer.id is None
    ]


def _cloud_problems(settings: StackSettings, config: Mapping[str, str]) -> Iterator[Problem]:
    """The provider would read the region from the environment: the same stack config would create another CLB."""
    created = _created_clbs(settings)
    if created and not config.get("alicloud:region"):
        allowed = f"must name the region, such as cn-beijing: {created[0]} creates a CLB there"
        yield Problem(("alicloud:region",), None, allowed)


def _value(text: str) -> Any:
    """The value of a key that must be a map; text that is not JSON is kept, and rejected by the model."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
