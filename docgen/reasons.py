"""docs/reasons.md: the reason of every rejection and warning, from the calls in the program.

`python -m docgen.reasons`
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from model.srs.grammar import REASONS

ROOT = Path(__file__).parents[1]
FOLDERS = ("model", "update")

HEAD = """\
# Reasons

A rejection and a warning have a short reason next to their text, in the JSON of the plan (`SRS_PLAN_FILE`). Generated
from the program by `make docs`; `…` stands for names and values.

| reason | what | text |
| --- | --- | --- |
"""


class Reason(NamedTuple):
    """name: empty if the call has none. what: rejection or warning. where: file and line of the call."""

    name: str
    what: str
    text: str
    where: str


def reasons() -> Iterator[Reason]:
    """The reason of every `Problem` and `UpdateWarning` that the program creates."""
    for file in sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                where = f"{file.relative_to(ROOT)}:{node.lineno}"
                named = next((keyword.value for keyword in node.keywords if keyword.arg == "reason"), None)
                if node.func.id == "Problem" and len(node.args) == 3:
                    yield Reason(_name(named), "rejection", _text(node.args[2]), where)
                elif node.func.id == "UpdateWarning":
                    reason = named or (node.args[1] if len(node.args) > 1 else None)
                    yield Reason(_name(reason), "warning", _text(node.args[0]), where)


def page() -> str:
    """The page."""
    rows: dict[tuple[str, str], str] = {}
    findings = (Reason(name, "rejection", text, "srs.conf") for name, text in REASONS.items())
    for reason in sorted([*reasons(), *findings]):
        if reason.name.isalnum():
            rows.setdefault((reason.name, reason.what), reason.text)
    return HEAD + "".join(f"| `{name}` | {what} | {text} |\n" for (name, what), text in rows.items())


def _name(node: ast.expr | None) -> str:
    if node is None:
        return ""
    return str(node.value) if isinstance(node, ast.Constant) else f"({ast.unparse(node)})"


def _text(node: ast.expr) -> str:
    """The text of an expression, as far as it is in the source."""
    match node:
        case ast.Constant():
            text = str(node.value)
        case ast.JoinedStr():
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        case ast.BinOp():
            text = _text(node.left) + _text(node.right)
        case _:
            text = "…"
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print(page(), end="")
