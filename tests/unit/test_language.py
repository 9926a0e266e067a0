"""Messages and docstrings of the product count with `plural`, and say who instead of nobody and somebody."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("model", "update", "cluster", "components", "rollout")
FILES = [ROOT / "__main__.py", *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))]

COUNT = re.compile(
    r"(?<!of )\{[\w.()\[\]]+\} (replicas|edges|pods|origins|viewers|connections|services|problems|releases|nodes)\b"
)
"""`{len(pods)} pods`, which is wrong for 1. Not `{ready} of {desired} pods`: kubectl, too, says `0 of 1 replicas`."""
PRONOUN = re.compile(r"\b(nobody|somebody)\b", re.IGNORECASE)


def template(text: ast.JoinedStr) -> str:
    """An f-string with its expressions, however its source is split."""
    return "".join(
        f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else str(ast.literal_eval(part))
        for part in text.values
    )


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            text = template(node) if isinstance(node, ast.JoinedStr) else str(node.value)
            if found := COUNT.search(text) or PRONOUN.search(text):
                yield f"line {node.lineno}: {found[0]}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_language_of_a_module(file: Path) -> None:
    assert list(findings(file.read_text())) == []
