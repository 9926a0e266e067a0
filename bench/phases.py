"""Where the time of a Pulumi command goes: `python -m bench.phases preview --stack dev`, in `make shell`.

The program records its own phases (bench/recording/sitecustomize.py, which Python imports from PYTHONPATH at its start)
and the engine its calls of providers (PULUMI_DEBUG_GRPC). Both cost some per cent.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.tools.pulumi import PulumiTool
from testbed.environment import PROJECT

RECORDING = Path(__file__).parent / "recording"

PHASES: Mapping[str, str] = {
    "imports": "imports of the program",
    "models": "models: reading and checking the config",
    "reads": "reads of the cluster",
    "rendering": "rendering and the plan",
    "python": "Python and Pulumi's SDK, and its calls of the engine",
    "provider": "provider (refresh, creates, updates)",
    "waiting": "waiting for pods",
    "engine": "engine: CLI, plugins, state, the rest",
}
"""In the order in which they claim a moment in which several happen."""


@dataclass(frozen=True)
class Span:
    """A phase from one point in time to another (seconds since the epoch)."""

    phase: str
    start: float
    end: float


def shares(spans: Sequence[Span], start: float, end: float) -> dict[str, float]:
    """Seconds of each phase between two points in time; the sum is the time between them.

    A moment belongs to the first phase of PHASES that has a span there, and to the engine if none has.
    """
    order = list(PHASES)
    borders = sorted({start, end, *(min(max(t, start), end) for span in spans for t in (span.start, span.end))})
    found = dict.fromkeys(PHASES, 0.0)
    for left, right in itertools.pairwise(borders):
        here = {span.phase for span in spans if span.start <= left and right <= span.end}
        found[min(here, key=order.index, default="engine")] += right - left
    return found


def provider_spans(log: str) -> list[Span]:
    """The calls of providers in the log of PULUMI_DEBUG_GRPC, and the run of the program."""
    spans: list[Span] = []
    for line in log.splitlines():
        entry: dict[str, Any] = json.loads(line)
        method: str = entry["method"]
        if entry.get("progress") != "response_completed":
            continue
        end = datetime.fromisoformat(entry["timestamp"]).timestamp()
        start = end - entry.get("duration", 0) / 1e9
        if method.startswith("/pulumirpc.ResourceProvider/"):
            spans.append(Span("provider", start, end))
        elif method == "/pulumirpc.LanguageRuntime/Run":
            spans.append(Span("python", start, end))
    return spans


def program_spans(log: str) -> list[Span]:
    """What bench/recording has written."""
    return [Span(**json.loads(line)) for line in log.splitlines()]


@contextmanager
def recorded() -> Generator[tuple[dict[str, str], dict[str, float]]]:
    """Record the command that runs in the block with these variables; the phases are there after it."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        program, calls = Path(folder) / "program", Path(folder) / "calls"
        program.touch()
        calls.touch()
        variables = {
            "SRS_PHASES_FILE": str(program),
            "PULUMI_DEBUG_GRPC": str(calls),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(RECORDING), os.environ.get("PYTHONPATH", "")])),
        }
        start = time.time()
        yield variables, found
        own, others = program_spans(program.read_text()), provider_spans(calls.read_text())
        # The program runs from its start until it waits for the engine: until its last own phase ends.
        last = max((span.end for span in own if span.phase != "waiting"), default=0)
        others = [replace(span, end=max(span.start, last)) if span.phase == "python" else span for span in others]
        found |= shares([*own, *others], start, time.time())


@contextmanager
def phases_of(tool: PulumiTool) -> Generator[dict[str, float]]:
    """The phases of the command of a tool that runs in the block."""
    place = tool.place
    with recorded() as (variables, found):
        tool.place = replace(place, variables={**place.variables, **variables})
        yield found
    tool.place = place


def main() -> int:
    """Run a Pulumi command of this program, and print its phases; its exit code."""
    with recorded() as (variables, found):
        command = ["pulumi", *sys.argv[1:]]
        code = subprocess.run(command, cwd=PROJECT, env={**os.environ, **variables}, check=False).returncode
    table = Table("phase", "seconds")
    for name, title in PHASES.items():
        table.add_row(title, f"{found[name]:.2f}")
    table.add_row("total", f"{sum(found.values()):.2f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    return code


if __name__ == "__main__":
    sys.exit(main())
