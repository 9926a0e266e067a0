"""The stack config, as Pulumi passes it, as settings. Nothing else reads config."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from pydantic import ValidationError
from pydantic.alias_generators import to_snake

from model.config.kubernetes import KubernetesSettings
from model.config.pods import is_path
from model.config.problems import ABSENT, REDACTED, Problem, problems_of
from model.config.stack import CONFIG_KEYS, StackSettings
from model.config.values import READABLE, UNREADABLE, plural
from model.load_balancers.kinds import credentials
from model.srs.directives import NAMES

PROJECT = "srs"

MAX_CONFIG = 120_000
"""Bytes of all keys as the engine passes them to the program: in one environment variable, which may have 128 KiB with
its name (execve(2), MAX_ARG_STRLEN). Without room for the program, the engine only says "argument list too long"."""

MAX_DEPTH = 40
"""Maps and lists in each other; a pod template of Kubernetes has about 15."""

MAX_SHOWN = 100
"""Problems that the message lists."""


class Redacted:
    """Replaces a value in messages, by default a secret one."""

    def __init__(self, text: str = REDACTED) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class ConfigError(ValueError):
    """The stack config is rejected; the message lists all its problems."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: [str(part) for part in problem.path])
        shown = [f"  - {problem}" for problem in self.problems[:MAX_SHOWN]]
        if rest := len(problems) - len(shown):
            shown.append(f"  and {rest} more")
        head = f"the stack config has {plural(len(problems), 'problem')}; nothing was changed."
        super().__init__("\n".join([head, *shown]))


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
    files: the content of the `conf_files` that can be read, by path.
    Raises ConfigError with every problem at once.
    """
    # As in Pulumi.yaml: an absent map is an empty one, so that each missing key is reported.
    values: dict[str, Any] = {name: {} for name, field in StackSettings.model_fields.items() if field.is_required()}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace == PROJECT:
            values[name] = _value(text) if name in CONFIG_KEYS else text
    problems = [*_plain_secrets(config, secret_keys)]
    if excesses := [*_too_long(config), *filter(None, (_unreadable(name, value) for name, value in values.items()))]:
        raise ConfigError([*problems, *excesses])
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
            problems.append(Problem(("secrets", name), Redacted(), allowed, reason="PlainSecret"))
        if settings.images.registry and f"{PROJECT}:images" not in secret_keys:
            path = ("images", "registry", "password")
            command = f"pulumi config set --secret --path {PROJECT}:images.registry.password"
            problems.append(
                Problem(
                    path, Redacted(), f"must not be in the stack file in plain text: `{command}`", reason="PlainSecret"
                )
            )
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
    for key in credentials():
        if key in config and key not in secret_keys:
            variable = f"ALICLOUD_{to_snake(key.partition(':')[2]).upper()}"
            allowed = f"must not be in the stack file in plain text; set the environment variable {variable} instead"
            yield Problem((key,), Redacted(), allowed, reason="PlainSecret")


def _cloud_problems(settings: StackSettings, config: Mapping[str, str]) -> Iterator[Problem]:
    """Config keys of a provider that a load balancer needs which the stack creates (`LoadBalancer.provider_config`)."""
    missing: dict[str, Problem] = {}
    for service in settings.exposed_services:
        for key, example in service.load_balancer.provider_config.items():
            if not config.get(key):
                allowed = f"must name the region, such as {example}: {'.'.join(service.key)} creates a CLB there"
                missing.setdefault(key, Problem((key,), None, allowed, reason="MissingKey"))
    yield from missing.values()


def _value(text: str) -> Any:
    """The value of a key that must be a map; text that is not JSON is kept, and rejected by the model."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError, too
        return text


def _too_long(config: Mapping[str, str]) -> Iterator[Problem]:
    """The longest key of a config that is too long for the engine."""
    text = json.dumps(dict(config), ensure_ascii=False)
    size = len(text.encode(errors="replace")) + sum(5 * text.count(letter) for letter in "<>&")  # escaped by Go
    if size > MAX_CONFIG:
        longest = max(config, key=lambda key: len(config[key]))
        path = (longest.removeprefix(f"{PROJECT}:"),)
        allowed = (
            f"makes the whole config {size} bytes long; at most {MAX_CONFIG} fit into the variable in which the engine "
            "passes it. Put the texts of srs.conf into files"
        )
        yield Problem(path, Redacted("(a long value)"), allowed, reason="TooLong")


def _unreadable(name: str, value: Any) -> Problem | None:
    """What is too deep or no text in a key, so that it is not checked any further."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            break
    else:
        allowed = f"must have at most {MAX_DEPTH} maps and lists in each other"
        return Problem((name,), Redacted("(a deep value)"), allowed, reason="TooDeep")
    if UNREADABLE.search(json.dumps([name, value], ensure_ascii=False)):
        return Problem((name,), Redacted("(a text)"), READABLE, reason="NotUnicode")
    return None


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()
