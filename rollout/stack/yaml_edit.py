"""Edits of a YAML text at the place of a value: every other character, comment and line stays as it is.

A library that writes the whole document again (ruamel.yaml, in round-trip mode) moves indentation and the `---` to its
own style, and deletes the comment below a key together with it. Here the library finds the places.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString, SingleQuotedScalarString

_WORD = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./:@+-]*(?<!:)")
_QUOTES = {'"': DoubleQuotedScalarString, "'": SingleQuotedScalarString}
_ALIAS = re.compile(r"\s*:\s*\*[^\s,\]}]+")


class CannotEditError(Exception):
    """The text cannot be edited at this place, for example because of an alias."""


def patched(text: str, path: Sequence[str], patch: Mapping[str, Any]) -> str:
    """The text with a changed map. path: keys that lead to the map. patch: a JSON merge patch (RFC 7386).

    A removed key that comes from a YAML merge (`<<`) is set to null. Raises CannotEditError.
    """
    for key, value in patch.items():
        mapping = _mapping(text, path)
        pair = _own(mapping, key)
        if value is None:
            if pair and _merged(mapping, key):
                text = _replaced(text, pair, None)
            elif pair:
                text = _without(text, mapping, pair)
            elif _merged(mapping, key):
                text = _with(text, mapping, key, None)
        elif isinstance(value, Mapping) and pair and isinstance(pair[1], MappingNode):
            text = patched(text, [*path, key], cast("Mapping[str, Any]", value))
        elif pair:
            text = _replaced(text, pair, _present(value))
        else:
            text = _with(text, mapping, key, _present(value))
    return text


Pair = tuple[Node, Node]


def _begin(node: Any) -> int:
    """Where a node begins in the text."""
    return int(node.start_mark.index)


def _stop(node: Any) -> int:
    """Where the library has ended a node: of a block, below its comments."""
    return int(node.end_mark.index)


def _column(node: Any) -> int:
    return int(node.start_mark.column)


def _mapping(text: str, path: Sequence[str]) -> MappingNode:
    node: Any = YAML().compose(text)
    if node is None and not path:
        raise CannotEditError("empty")
    for key in path:
        pair = _own(node, key) if isinstance(node, MappingNode) else None
        if pair is None or _is_alias(pair):
            raise CannotEditError(key)
        node = pair[1]
    if not isinstance(node, MappingNode):
        raise CannotEditError("no map")
    return node


def _own(mapping: MappingNode, key: str) -> Pair | None:
    """The pair of a key, by its text: a release may be named by a number or a date."""
    for name, value in cast("list[Pair]", mapping.value):
        if isinstance(name, ScalarNode) and str(cast("Any", name).value) == key:
            return name, value
    return None


def _merged(mapping: MappingNode, key: str) -> bool:
    """Whether a key comes from a merge."""
    for name, value in cast("list[Pair]", mapping.value):
        if name.value == "<<":
            sources = [value] if isinstance(value, MappingNode) else cast("list[Node]", value.value)
            if any(isinstance(node, MappingNode) and (_own(node, key) or _merged(node, key)) for node in sources):
                return True
    return False


def _is_alias(pair: Pair) -> bool:
    """An alias is composed as the node that it refers to, which is elsewhere."""
    return _begin(pair[1]) < _stop(pair[0])


def _end(text: str, pair: Pair) -> int:
    """Where the value of a pair ends, without the comments and blank lines below it."""
    key, value = pair
    if _is_alias(pair):
        found = _ALIAS.match(text, _stop(key))
        if not found:
            raise CannotEditError("alias")
        return found.end()
    if isinstance(value, ScalarNode):
        start, end = _begin(value), _stop(value)
        if value.style in ("|", ">"):
            return start + len(text[start:end].rstrip("\n"))
        if start == end:  # `key:`, whose value the library finds at the next token
            return text.index(":", _stop(key)) + 1
        return end
    inner = cast("list[Any]", value.value)
    if getattr(value, "flow_style", False) or not inner:
        return _stop(value)
    last = inner[-1]
    if isinstance(value, MappingNode):
        return _end(text, cast("Pair", last))
    return _end(text, (value, last)) if _begin(last) >= _begin(value) else _stop(value)


def _replaced(text: str, pair: Pair, value: Any) -> str:
    key, old = pair
    if _is_alias(pair) or getattr(old, "anchor", None):
        raise CannotEditError("anchor")
    if isinstance(old, ScalarNode) and _begin(old) == _stop(old):  # `key:`
        at = text.index(":", _stop(key)) + 1
        return f"{text[:at]} {_flow(value)}{text[at:]}"
    style = str(cast("Any", old).style or "") if isinstance(old, ScalarNode) else ""
    return text[: _begin(old)] + _flow(value, style) + text[_end(text, pair) :]


def _with(text: str, mapping: MappingNode, key: str, value: Any) -> str:
    pairs = cast("list[Pair]", mapping.value)
    if mapping.flow_style or not pairs:
        entry = _flow({key: value})[1:-1]
        if not pairs:
            at = text.index("{", _begin(mapping)) + 1
            return text[:at] + entry + text[at:]
        at = _end(text, pairs[-1])
        return f"{text[:at]}, {entry}{text[at:]}"
    column = _column(pairs[0][0])
    end = _end(text, pairs[-1])
    newline = text.find("\n", end)
    at = len(text) if newline < 0 else newline
    block = "".join(f"\n{' ' * column}{line}" for line in _block({key: value}, mapping).rstrip("\n").split("\n"))
    return text[:at] + block + text[at:]


def _without(text: str, mapping: MappingNode, pair: Pair) -> str:
    pairs = cast("list[Pair]", mapping.value)
    number = next(index for index, item in enumerate(pairs) if item[0] is pair[0])
    if getattr(pair[1], "anchor", None) and not _is_alias(pair):
        raise CannotEditError("anchor")
    if mapping.flow_style:
        if number:
            return text[: _end(text, pairs[number - 1])] + text[_end(text, pair) :]
        end = _begin(pairs[1][0]) if len(pairs) > 1 else _end(text, pair)
        return text[: _begin(pair[0])] + text[end:]
    start = text.rfind("\n", 0, _begin(pair[0])) + 1
    if len(pairs) == 1:
        return f"{text[: _begin(pair[0])]}{{}}{text[_end(text, pair) :]}"
    if text[start : _begin(pair[0])].strip():
        raise CannotEditError("a key that does not begin its line")
    newline = text.find("\n", _end(text, pair))
    return text[:start] + ("" if newline < 0 else text[newline + 1 :])


def _flow(value: Any, style: str = "") -> str:
    """A value on one line, with the quotes that it needs between braces. style: the quotes that a text has in any case.

    Without the style of the value before, the inverse of an edit would not give the same file.
    """
    value = quoted(value)
    if isinstance(value, str) and style in _QUOTES:
        value = _QUOTES[style](value)
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 1 << 20
    text = io.StringIO()
    yaml.dump({"v": value}, text)
    return text.getvalue().strip()[len("{v: ") : -1]


def _block(value: Any, near: MappingNode) -> str:
    """A map on lines of its own, indented as the map `near`."""
    first = cast("Pair", near.value[0])
    pairs = cast("list[Pair]", near.value)
    nested = next((pair for pair in pairs if isinstance(pair[1], MappingNode) and not pair[1].flow_style), None)
    indent = 2
    if nested and not _is_alias(nested) and nested[1].value:
        indent = max(1, _column(cast("Pair", nested[1].value[0])[0]) - _column(first[0]))
    yaml = YAML()
    yaml.width = 1 << 20
    yaml.indent(mapping=indent, sequence=indent + 2, offset=indent)
    text = io.StringIO()
    yaml.dump(_literal(value), text)
    return text.getvalue()


def _literal(value: Any) -> Any:
    """Texts of several lines as literal blocks."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, str) and "\n" in value and value[:1].strip() and value == value.rstrip() + "\n":
        return LiteralScalarString(value)
    return quoted(value)


def _present(value: Any) -> Any:
    """A value without keys that are null: there is nothing that they could remove."""
    if isinstance(value, Mapping):
        inner = cast("Mapping[str, Any]", value)
        return {key: _present(item) for key, item in inner.items() if item is not None}
    return value


def quoted(value: Any) -> Any:
    """A value without the style that its scalars had, and with quotes around what is more than a word.

    The library leaves a text such as `: 0` without quotes, and cannot read it back.
    """
    if isinstance(value, Mapping):
        return {str(key): quoted(inner) for key, inner in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [quoted(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, str):
        return str(value) if _WORD.fullmatch(value) else DoubleQuotedScalarString(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return value if kind is bool else kind(value)
    return value
