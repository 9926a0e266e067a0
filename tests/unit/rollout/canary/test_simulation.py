"""Bounds of the rates in docs/canary.md, with few simulated runs and fixed seeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docgen.canary_tables import BAD, BEGIN, END, FLEETS, GOOD, PAGE
from rollout.canary.outcome import Outcome
from rollout.canary.simulation import Scenario, run

SHORT = 120.0
"""Seconds of a step."""


def outcomes(scenario: Scenario, edges: int, runs: int) -> list[Outcome]:
    scenario = replace(scenario, edges=edges)
    return [run(scenario, np.random.default_rng([edges, seed])) for seed in range(runs)]


@pytest.mark.parametrize("case", GOOD)
@pytest.mark.parametrize("edges", [4, 40])
def test_a_good_canary_is_not_ended(case: str, edges: int) -> None:
    assert Outcome.FAILED not in outcomes(replace(GOOD[case], pause=SHORT), edges, 12)


def test_a_hiccup_of_the_encoder_is_no_fault_of_the_canary() -> None:
    often = Scenario(edges=4, pause=SHORT, pod_spread=0.2, hiccups=60.0)
    assert Outcome.FAILED not in outcomes(often, 4, 12)


@pytest.mark.parametrize(
    ("case", "edges", "minimum"), [("5 %", 4, 5), ("5 %", 40, 5), ("× 2", 12, 4), ("× 1.5", 40, 5)]
)
def test_a_bad_canary_is_found(case: str, edges: int, minimum: int) -> None:
    assert outcomes(BAD[case], edges, 5).count(Outcome.FAILED) >= minimum


def test_the_page_has_both_tables() -> None:
    page = Path(PAGE).read_text()
    tables = page.partition(BEGIN)[2].partition(END)[0]
    assert all(f"| {case} |" in tables for case in (*GOOD, *BAD))
    assert all(f"{edges} edges" in tables for edges in FLEETS)
