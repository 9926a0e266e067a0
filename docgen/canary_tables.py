"""The tables of docs/canary.md: how often simulated runs end a good canary, and how often they find a bad one.

`python -m docgen.canary_tables [RUNS]` puts them into the page; it takes some minutes. The runs are those of
`rollout/canary/simulation.py`, with the functions that judge real runs.
"""

import sys
import textwrap
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from rollout.canary.outcome import Outcome
from rollout.canary.simulation import Scenario, run

PAGE = Path(__file__).parents[1] / "docs/canary.md"
BEGIN, END = "<!-- begin simulation -->\n", "<!-- end simulation -->\n"

FLEETS = (4, 12, 40)
"""Edges of both releases."""

SPREAD = Scenario(edges=4, pod_spread=0.2)
"""What power is simulated with: pods that differ."""

GOOD = {
    "independent viewers": Scenario(edges=4),
    "20 % spread between pods": SPREAD,
    "the same, and one encoder hiccup an hour": replace(SPREAD, hiccups=1.0),
    "the same, and the node of a stable edge is lost": replace(SPREAD, lost_node=True),
}

BAD = {
    "1 % of its viewers fail": replace(SPREAD, canary_failing=0.01),
    "2 %": replace(SPREAD, canary_failing=0.02),
    "5 %": replace(SPREAD, canary_failing=0.05),
    "first frame × 1.3": replace(SPREAD, canary_factor=1.3),
    "× 1.5": replace(SPREAD, canary_factor=1.5),
    "× 2": replace(SPREAD, canary_factor=2.0),
}


def outcomes(scenario: Scenario, runs: int) -> Counter[Outcome]:
    """The outcomes of this number of runs, always the same ones."""
    with ProcessPoolExecutor() as pool:
        return Counter(pool.map(partial(_outcome, scenario), range(runs), chunksize=8))


def _outcome(scenario: Scenario, seed: int) -> Outcome:
    return run(scenario, np.random.default_rng([scenario.edges, seed]))


def tables(runs: int) -> str:
    """Both tables, with what they are about. runs: of each case; a fifth of them for power."""
    fewer = max(1, runs // 5)
    steps = ", ".join(map(str, SPREAD.steps))
    return "\n".join(
        [
            _wrapped(
                f"Simulated with the functions that judge real runs (`python -m docgen.canary_tables {runs}`), for the "
                f"default options: steps of {steps} %, {SPREAD.pause / 60:g} minutes and 2,400 viewers each, a tenth "
                "of a per cent of which fails anyway. Runs that end a good canary, and in brackets those that stay "
                f"open because their end is inconclusive, of {runs} runs:"
            ),
            "",
            *_table(GOOD, lambda scenario: _false_alarms(outcomes(scenario, runs))),
            "",
            f"Runs that find a bad canary, of {fewer} runs, with 20 % spread between pods:",
            "",
            *_table(BAD, lambda scenario: f"{100 * outcomes(scenario, fewer)[Outcome.FAILED] / fewer:.0f} %"),
            "",
        ]
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _false_alarms(counts: Counter[Outcome]) -> str:
    inconclusive = counts[Outcome.INCONCLUSIVE]
    return f"{counts[Outcome.FAILED]}{f' ({inconclusive})' if inconclusive else ''}"


def _table(cases: dict[str, Scenario], cell: Callable[[Scenario], str]) -> list[str]:
    lines = [f"| | {' | '.join(f'{edges} edges' for edges in FLEETS)} |", "| --- |" + " --- |" * len(FLEETS)]
    for title, scenario in cases.items():
        cells = [cell(replace(scenario, edges=edges)) for edges in FLEETS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Write the page."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{tables(runs)}{END}{after}")


if __name__ == "__main__":
    main()
