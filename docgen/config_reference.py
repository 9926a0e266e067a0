"""The reference of the stack config, generated from the models: `make docs`."""

import inspect
import types
import typing
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from model.config.pods import ConfText
from model.config.stack import StackSettings
from model.config.values import format_duration
from model.load_balancers.kinds import KINDS

HEAD = """\
# Stack config

Every key of `Pulumi.<stack>.yaml`. This page is generated from the models in `model/config/` by `make docs`.
Durations are whole seconds written as `5s`, `10m`, `12h` or `1h30m`; quantities in the notation of Kubernetes.
Unknown keys are rejected.
"""


def config_reference() -> str:
    """The whole page, in Markdown."""
    sections = [HEAD]
    for name, field in StackSettings.model_fields.items():
        sections.append(f"## `srs:{field.alias or name}`\n\n{field.description}\n")
        default: Any = None if field.is_required() else field.get_default(call_default_factory=True)
        models = list(_models(field.annotation))
        if name != "load_balancer" and set(models) == set(KINDS):
            sections.append("The keys are those of `srs:loadBalancer`.\n")
            continue
        for model in models:
            if len(models) > 1:
                kind = _tag(model)
                chosen = ", the default" if type(default) is model else ""
                sections.append(f"### `kind: {kind}`{chosen}\n\n{inspect.cleandoc(model.__doc__ or '')}\n")
            rows = list(_rows(model, ""))
            if rows:
                sections.append("\n".join(["| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows]))
                sections.append("")
    return "\n".join(sections)


def _tag(model: type[BaseModel]) -> str:
    return str(typing.get_args(model.model_fields["kind"].annotation)[0])


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in typing.get_args(annotation):
            yield from _models(part)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        below = list(_models(field.annotation))
        if len(below) > 1:
            kinds = ", ".join(f"`{_tag(model)}`" for model in below)
            yield (
                f"| `{key}` | map with `kind` {kinds} | `kind: {_tag(below[0])}` | {field.description} "
                "The keys are those of `srs:loadBalancer`. |"
            )
        elif typing.get_origin(field.annotation) is list and below:
            yield f"| `{key}` | list of maps | none | {field.description} |"
            yield from _rows(below[0], f"{key}[].")
        elif typing.get_origin(field.annotation) is dict and below:
            yield f"| `{key}` | map | {_default(field)} | {field.description} |"
            yield from _rows(below[0], f"{key}.<name>.")
        elif below:
            yield from _rows(below[0], f"{key}.")
        elif field.description:
            yield f"| `{key}` | {_kind(field)} | {_default(field)} | {field.description} |"


def _kind(field: FieldInfo) -> str:
    annotation = field.annotation
    if annotation == int | str:
        return "whole number or percentage"
    if annotation == dict[str, Any]:
        return "map, in the notation of Kubernetes"
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is dict:
        return "map of strings"
    if typing.get_origin(annotation) is list:
        return "list of strings"
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(annotation))
    kinds: dict[Any, str] = {
        ConfText: "text or path",
        bool: "true or false",
        timedelta: "duration",
        str: "string",
        SecretStr: "string, secret",
        int: "whole number",
    }
    kind = kinds.get(annotation, str(annotation))
    minimum = [limit.ge for limit in field.metadata if isinstance(limit, Ge)]
    maximum = [limit.le for limit in field.metadata if isinstance(limit, Le)]
    return f"{kind}{f', at least {minimum[0]}' if minimum else ''}{f', at most {maximum[0]}' if maximum else ''}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value in ("", {}, [], ConfText()):
        return "none"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    print(config_reference(), end="")
