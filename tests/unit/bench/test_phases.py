"""The phases of a command: each moment belongs to one of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.phases import PHASES, RECORDING, Span, program_spans, provider_spans, shares


def seconds(spans: list[Span]) -> dict[str, float]:
    """The shares of the phases between 0 and 10, without those that have none."""
    return {name: share for name, share in shares(spans, 0, 10).items() if share}


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], {"engine": 10}),
        ([Span("imports", 2, 4)], {"imports": 2, "engine": 8}),
        ([Span("provider", 1, 5), Span("provider", 3, 7)], {"provider": 6, "engine": 4}),
        (
            [Span("python", 0, 8), Span("imports", 1, 3), Span("provider", 6, 10)],
            {"imports": 2, "python": 6, "provider": 2},
        ),
        ([Span("waiting", 2, 9), Span("provider", 3, 4)], {"waiting": 6, "provider": 1, "engine": 3}),
        ([Span("reads", -5, 20)], {"reads": 10}),
    ],
    ids=["nothing", "one", "parallel calls", "inside another", "calls during a wait", "longer than the command"],
)
def test_a_moment_belongs_to_one_phase(spans: list[Span], expected: dict[str, float]) -> None:
    assert seconds(spans) == expected


def test_the_shares_are_the_whole_time() -> None:
    spans = [Span(phase, start, start + 3) for start, phase in enumerate(PHASES)]
    assert sum(shares(spans, 0.5, 9.25).values()) == pytest.approx(8.75)


def test_the_log_of_calls() -> None:
    completed = {"progress": "response_completed", "timestamp": "2026-11-30T17:00:05.5Z", "duration": 2_000_000_000}
    calls = [
        {"method": "/pulumirpc.ResourceProvider/Read", "progress": "request_started"},
        {"method": "/pulumirpc.ResourceProvider/Read", **completed},
        {"method": "/pulumirpc.LanguageRuntime/Run", **completed},
        {"method": "/pulumirpc.ResourceMonitor/RegisterResource", **completed},
    ]
    spans = provider_spans("\n".join(map(json.dumps, calls)))
    assert [(span.phase, span.end - span.start) for span in spans] == [("provider", 2), ("python", 2)]


def test_a_program_records_its_imports_and_functions(tmp_path: Path) -> None:
    """Also that the functions of its list exist: a renamed one would be missing in every table."""
    code = """\
import pulumi
pulumi.run = lambda main: None
import runpy
scope = runpy.run_path("__main__.py")
import update.polling
try:
    scope["load_settings"].__globals__["read_settings"]({})
except ValueError:
    pass
"""
    file = tmp_path / "phases"
    variables = {**os.environ, "SRS_PHASES_FILE": str(file), "PYTHONPATH": str(RECORDING)}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    spans = program_spans(file.read_text())
    assert [span.phase for span in spans] == ["imports", "models"]
    assert all(span.start < span.end for span in spans)
