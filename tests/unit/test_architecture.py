"""ARCHITECTURE.md is true: each folder imports only what its table allows, and the files that it names exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
ROW = re.compile(r"^\| (?P<folders>`.*?`) \| .* \| (?P<imports>.*?) \|$", re.MULTILINE)
NAME = re.compile(r"`([\w.]+)/?`")

TABLE = TEXT[TEXT.index("## Folders") : TEXT.index("## What happens")]
ALLOWED = {folder: row["imports"] for row in ROW.finditer(TABLE) for folder in NAME.findall(row["folders"])}
"""The cell of the table by folder."""


def allowed(folder: str, file: Path) -> set[str]:
    """The folders that a file may import."""
    general, _, special = ALLOWED[folder].partition(";")
    names = {folder, *NAME.findall(general)}
    if special and file.name in special:
        names |= set(NAME.findall(special))
    return names


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def folders() -> list[str]:
    return [folder for folder in ALLOWED if folder != "tests"]


def test_the_table_has_every_folder_with_code() -> None:
    code = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert code - {"mutants"} <= {*ALLOWED}, "but the copies of `make test-mutants`"


@pytest.mark.parametrize("folder", folders())
def test_a_folder_imports_what_the_table_allows(folder: str) -> None:
    files = [ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("*.py"))
    assert files
    ours = {name.removesuffix(".py") for name in ALLOWED}
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imports(file)
        if name in ours and name not in allowed(folder, file)
    ]
    assert not wrong


def test_the_files_that_it_names_exist() -> None:
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]+\.\w+)`", TEXT))
    assert len(named) > 30
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]
