"""Problems of the stack config for an operator: path, value, what is allowed, and a suggestion for typos."""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from model.config.values import visible, yaml_text


@dataclass(frozen=True)
class Problem:
    """One problem of the stack config: path, value, and what is allowed.

    reason: a short name of the rule in CamelCase, as the conditions of Kubernetes have.
    """

    path: tuple[str | int, ...]
    value: Any
    allowed: str
    reason: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        secret = any(_SECRET.search(str(part)) for part in self.path)
        return f"{config_path(self.path)}: {REDACTED if secret else _shown(self.value)} {self.allowed}"


class UpdateWarning(str):
    """A line of text about what an update costs or what may do harm, but is the operator's choice.

    reason: as in `Problem`.
    """

    __slots__ = ("reason",)

    reason: str

    def __new__(cls, text: str, reason: str = "") -> "UpdateWarning":
        """Create the warning."""
        warning = super().__new__(cls, text)
        warning.reason = reason
        return warning


REDACTED = "[secret]"
"""Shown instead of a secret value."""

_SECRET = re.compile(r"password|secretkey|accesskey|token|^secrets$|^hook$", re.IGNORECASE)


def redacted(value: Any) -> Any:
    """The value with all secrets redacted, by the names of their keys."""
    if isinstance(value, dict):
        inner = cast("dict[Any, Any]", value)
        return {key: REDACTED if _SECRET.search(str(key)) else redacted(item) for key, item in inner.items()}
    if isinstance(value, str) and "apiVersion" in value:  # the content of a kubeconfig
        return REDACTED
    return [redacted(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


class RuleError(PydanticCustomError):
    """Problems that a model finds between its own fields; their paths are relative to the model.

    A validator of pydantic can raise only one error with the model's own path; this one carries any number
    of problems, each with the path of its field.
    """

    def __new__(cls, problems: Sequence[Problem]) -> "RuleError":
        """Create the error that pydantic collects."""
        return super().__new__(
            cls, "rule_broken", "; ".join(str(problem) for problem in problems), {"problems": list(problems)}
        )

    def __init__(self, problems: Sequence[Problem]) -> None:
        """`__new__` has stored the problems."""


RENAMED_KEYS = {"allowCuts": "allowDroppedConnections"}
"""Keys of earlier versions."""

REMOVED_KEYS = {
    "autoscaled": "does not exist any more: set edge.autoscaling (minimum and maximum of all edges) instead of "
    "edge.replicas, and delete your autoscaler: the stack declares one for each release (docs/autoscaling.md)"
}
"""Keys of earlier versions, with what to write instead."""


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Every problem in a validation error of `model`, with full paths."""
    return [problem for detail in error.errors() for problem in _problems(detail, model)]


def _problems(detail: ErrorDetails, model: type[BaseModel]) -> Iterator[Problem]:
    path = tuple(part for part in detail["loc"] if part not in ("[key]",))
    value = detail["input"]
    context = detail.get("ctx", {})
    reason = "InvalidValue"
    match detail["type"]:
        case "rule_broken":
            for problem in context["problems"]:
                yield replace(problem, path=(*_walk(path, model)[0], *problem.path))
            return
        case "extra_forbidden":
            allowed, reason = _unknown_key(path, model), "UnknownKey"
        case "missing":
            value, allowed, reason = ABSENT, "is required", "MissingKey"
        case "value_error":
            allowed = str(context["error"])
        case "union_tag_invalid" | "union_tag_not_found":
            key = str(context["discriminator"]).strip("'")
            path = (*path, key)
            if isinstance(value, dict):
                value = cast("dict[str, Any]", value).get(key, ABSENT)
            tags = [repr(tag) for candidate in _walk(path[:-1], model)[1] for tag in _tags_of(candidate)]
            allowed, reason = f"must be one of {', '.join(tags)}", "UnknownKind"
        case "model_type" | "model_attributes_type" | "dict_type":
            allowed = "must be a map of keys and values"
        case _:
            allowed = detail["msg"].replace("Input should", "must").replace("String should", "must")
    yield Problem(_walk(path, model)[0], value, allowed, reason=reason)


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


def _walk(path: tuple[str | int, ...], model: type[BaseModel]) -> tuple[tuple[str | int, ...], list[Any]]:
    """Follow a path of pydantic.

    Returns the path in the stack config, without the discriminator's value that pydantic adds after a tagged
    union's path, and the types that are possible at its end.
    """
    visible_path: list[str | int] = []
    candidates: list[Any] = [model]
    for part in path:
        chosen = [candidate for candidate in candidates if part in _tags_of(candidate)] if len(candidates) > 1 else []
        if chosen:
            candidates = chosen
            continue
        visible_path.append(part)
        candidates = [child for candidate in candidates for child in _child(candidate, part)]
    return tuple(visible_path), candidates


def _tags_of(candidate: Any) -> tuple[Any, ...]:
    if isinstance(candidate, type) and issubclass(candidate, BaseModel) and "kind" in candidate.model_fields:
        return typing.get_args(candidate.model_fields["kind"].annotation)
    return ()


def _child(candidate: Any, part: str | int) -> list[Any]:
    """The types that are possible at key `part` of a value of type `candidate`."""
    if isinstance(candidate, type) and issubclass(candidate, BaseModel):
        for name, field in candidate.model_fields.items():
            if part in (field_key(name, field), name):
                return _alternatives(field.annotation)
    elif typing.get_origin(candidate) is dict:
        return _alternatives(typing.get_args(candidate)[1])
    elif typing.get_origin(candidate) is list:
        return _alternatives(typing.get_args(candidate)[0])
    return []


def field_key(name: str, field: FieldInfo) -> str:
    """The key of a field in YAML: its alias for output, because that for input is `_exec` in the Kubernetes client."""
    return field.serialization_alias or field.alias or name


def _alternatives(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [alternative for part in typing.get_args(annotation) for alternative in _alternatives(part)]
    return [annotation]


def _unknown_key(path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    """What is allowed instead of an unknown key."""
    known = sorted(
        {
            field_key(name, field)
            for candidate in _walk(path[:-1], model)[1]
            if isinstance(candidate, type) and issubclass(candidate, BaseModel)
            for name, field in candidate.model_fields.items()
        }
    )
    if str(path[-1]) in REMOVED_KEYS:
        return REMOVED_KEYS[str(path[-1])]
    if str(path[-1]) in RENAMED_KEYS:
        return f"is at an unknown key; it is called {RENAMED_KEYS[str(path[-1])]!r} now"
    close = difflib.get_close_matches(str(path[-1])[:40], known, n=1, cutoff=0.6)
    return (
        f"is at an unknown key; did you mean {close[0]!r}?"
        if close
        else f"is at an unknown key; known are {', '.join(known)}"
    )


def config_path(path: tuple[str | int, ...]) -> str:
    """A path as messages name it: `srs:edge.releases.r5`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        key = visible(part)
        text += (f".{key}" if text else key) if "." not in part else f'["{key}"]'
    return text if str(path[0]).startswith("alicloud:") else f"srs:{text}"


def _shown(value: Any) -> str:
    """A value as in YAML on one line, truncated where it is long."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    shown = redacted(value)
    text = REDACTED if shown == REDACTED else yaml_text(shown)
    return text if len(text) <= 120 else f"{text[:117]}…"
