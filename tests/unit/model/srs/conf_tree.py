"""Directives of srs.conf as a value that can be compared."""

from collections.abc import Iterable
from typing import Any

from model.srs.grammar import Directive


def tree(directives: Iterable[Directive]) -> list[Any]:
    """Directives without their order."""
    return sorted((item.name, item.args, tree(item.block or ())) for item in directives)
