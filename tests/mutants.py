"""What `make test-mutants` has found: a table of the modules, and the survivors that are not explained.

A mutant is a copy of a function with one small change. One that no unit test notices has survived: a test is missing,
or the code is not needed, or the mutant is explained in mutants.yaml.
"""

import importlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
EXPLAINED = yaml.safe_load((ROOT / "tests/mutants.yaml").read_text())
"""Reasons by a regular expression that finds a mutant in what `Mutant.__str__` returns."""

NOT_RUN, SURVIVED, NO_TESTS = None, 0, 33
"""Exit codes of pytest, and of mutmut where no test calls the function. With all others the mutant is killed."""


@dataclass(frozen=True)
class Mutant:
    """A mutant in the module `path`. name: as in `mutmut show`."""

    path: Path
    name: str

    def __str__(self) -> str:
        """The name, and the lines that it changes, as in a diff."""
        diff = importlib.import_module("mutmut.mutation.diff_apply").get_diff_for_mutant(self.name, path=self.path)
        lines = [line for line in diff.splitlines()[3:] if line[:1] in ("+", "-")]
        return "\n".join([self.name, *(f"  {line[0]} {line[1:].strip()}" for line in lines)])


def explanation(mutant: str) -> str | None:
    """Why no test can notice it, or need notice it; None if it is not explained."""
    return next((reason for pattern, reason in EXPLAINED.items() if re.search(pattern, mutant)), None)


def modules(folder: Path) -> Iterator[tuple[Path, dict[str, int | None]]]:
    """The modules, and the exit code of each of their mutants."""
    for file in sorted(folder.rglob("*.meta")):
        content: dict[str, Any] = json.loads(file.read_text())
        yield file.relative_to(folder).with_suffix(""), content["exit_code_by_key"]


def main() -> str | None:
    """Print the table; return the survivors that are not explained."""
    unexplained: list[str] = []
    print("| module | mutants | killed | explained | survived | not run |\n| --- | --- | --- | --- | --- | --- |")
    for path, results in modules(ROOT / "mutants"):
        counts: Counter[str] = Counter()
        for name, code in results.items():
            if code not in (SURVIVED, NO_TESTS):
                counts["not run" if code is NOT_RUN else "killed"] += 1
                continue
            mutant = str(Mutant(path, name))
            counts["explained" if (reason := explanation(mutant)) else "survived"] += 1
            if not reason:
                unexplained.append(mutant)
        if not results:
            continue
        columns = (len(results), *(counts[column] for column in ("killed", "explained", "survived", "not run")))
        print(f"| `{path}` | {' | '.join(map(str, columns))} |")
    return "\n".join(unexplained) or None


if __name__ == "__main__":
    sys.exit(main())
