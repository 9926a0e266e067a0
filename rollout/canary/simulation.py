"""Simulated runs of a canary, judged by the functions that judge real ones: how often a good one is ended, a bad found.

Only the viewers are made up. docgen/canary_tables.py writes the tables of docs/canary.md with it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from model.desired.replicas import shares
from rollout.canary.analysis import MINIMUM_VIEWERS, WINDOW, Audience, Budget, Measurements, Unreached, canary_findings
from rollout.canary.outcome import Outcome, worst
from rollout.canary.statistics import Booleans, Floats, Integers
from rollout.canary.steps import control_edges

CANARY, STABLE = "canary", "stable"

WATCH = 5.0
"""Seconds that a viewer watches: the default of `rollout run`, as the values below."""

ROUND = 20
"""Viewers between two analyses."""

EVERY = 4
"""One of so many analyses is simulated; they have nearly all viewers in common."""

BASELINE = 60
"""Viewers before the first step."""

FIRST_FRAME = 0.3
"""Median of the seconds to the first frame."""

NOT_READY_AFTER = 40.0
"""Seconds from the loss of a node until its pods are not ready (node-monitor-grace-period, before Kubernetes 1.32)."""


@dataclass(frozen=True)
class Scenario:
    """What the viewers of a run meet.

    edges: of both releases. steps: shares of the canary in per cent. pause: seconds of a step. pod_spread: standard
    deviation of the logarithm of the time to the first frame, between pods. viewer_spread: between viewers of a pod.
    failing: part of all viewers that fail anyway. canary_failing: part of the canary's viewers that fail besides.
    canary_factor: by which first frames of the canary come later. hiccups: of the encoder, in an hour. lost_node:
    whether a node with a stable edge is lost during the run.
    """

    edges: int
    steps: tuple[int, ...] = (10, 25, 50, 100)
    pause: float = 600.0
    pod_spread: float = 0.0
    viewer_spread: float = 0.5
    failing: float = 0.001
    canary_failing: float = 0.0
    canary_factor: float = 1.0
    hiccups: float = 0.0
    lost_node: bool = False


def run(scenario: Scenario, random: np.random.Generator) -> Outcome:
    """The outcome of one run: that of the first step that has not passed."""
    pods = _Pods.of(scenario, random)
    before = Unreached(0, BASELINE)
    lost_step = int(random.integers(len(scenario.steps))) if scenario.lost_node else -1
    for number, percent in enumerate(scenario.steps):
        canaries = _edges_of_canary(scenario.edges, percent)
        step = _Step(scenario, pods, canaries, number == lost_step, random)
        outcome = step.outcome(before)
        if outcome is not Outcome.PASSED:
            return outcome
    return Outcome.PASSED


@dataclass(frozen=True)
class _Pods:
    """The factors of the pods of both releases."""

    canary: Floats
    stable: Floats

    @staticmethod
    def of(scenario: Scenario, random: np.random.Generator) -> "_Pods":
        spread = [np.exp(random.normal(0, scenario.pod_spread, scenario.edges)) for _ in range(2)]
        return _Pods(scenario.canary_factor * spread[0], spread[1])


class _Step:
    def __init__(self, scenario: Scenario, pods: _Pods, canaries: int, lost: bool, random: np.random.Generator) -> None:
        self.scenario, self.canaries = scenario, canaries
        share = canaries / scenario.edges
        self.analyses = max(round(scenario.pause / WATCH), int(np.ceil(1.25 * MINIMUM_VIEWERS / (ROUND * share))))
        total = self.analyses * ROUND
        self.times: Floats = 1e6 + np.arange(total, dtype=np.float64) * WATCH / ROUND
        begin, end = float(self.times[0]), float(self.times[-1])
        # Pods: first those of the canary.
        pod: Integers = random.integers(0, scenario.edges, total)
        lost_at: float = float(random.uniform(begin, end)) if lost else math.inf
        lost_pod = scenario.edges - 1
        gone: Booleans = self.times > lost_at + NOT_READY_AFTER
        again = random.integers(0, scenario.edges - 1, total)
        pod = np.where(gone & (pod == lost_pod), again, pod)
        self.unreached: Booleans = (pod == lost_pod) & (self.times > lost_at) & ~gone
        self.ready_share: Floats = np.where(gone, canaries / (scenario.edges - 1), share)
        factors = np.concatenate([pods.canary[:canaries], pods.stable[: scenario.edges - canaries]])
        first = FIRST_FRAME * factors[pod] * np.exp(random.normal(0, scenario.viewer_spread, total))
        is_canary: Booleans = pod < canaries
        fails = random.random(total) < scenario.failing + np.where(is_canary, scenario.canary_failing, 0)
        stalls: Booleans = (self.times + WATCH > lost_at) & (self.times <= lost_at) & (pod == lost_pod)
        for at in _hiccups(scenario, begin, end, random):
            # All edges wait for the encoder, and each resumes in its own time.
            length = random.exponential(2.0) + 0.5 + random.normal(0, 0.3, scenario.edges)
            gap = np.clip(length[pod], 0, None)
            stalls |= (self.times < at) & (self.times + WATCH > at) & (gap > 1)
            during = (self.times >= at) & (self.times < at + gap)
            first = np.where(during, first + at + gap - self.times, first)
        fails |= first > WATCH
        self.measured = Measurements(
            self.times,
            pod.astype(np.int64),
            np.where(fails, np.nan, first),
            np.where(fails, "no media", ""),
            stalls,
        )
        self.is_canary = is_canary

    def outcome(self, before: Unreached) -> Outcome:
        budget = Budget(len(self.scenario.steps) + 1, self.analyses, self.analyses * WATCH)
        for number in range(1, self.analyses + 1):
            if number % EVERY and number < self.analyses:
                continue
            end = number * ROUND
            begin = 0 if number == self.analyses else max(0, end - int(WINDOW / WATCH * ROUND))
            findings = canary_findings(
                CANARY,
                self._audiences(begin, end),
                100 * float(np.mean(self.ready_share[begin:end])),
                before,
                budget.error(number),
            )
            outcome = worst(findings)
            if outcome is Outcome.FAILED or number == self.analyses:
                return outcome
        raise AssertionError

    def _audiences(self, begin: int, end: int) -> Mapping[str | None, Audience]:
        rows = slice(begin, end)
        part = replace(
            self.measured,
            started_at=self.measured.started_at[rows],
            pods=self.measured.pods[rows],
            first_frames=self.measured.first_frames[rows],
            failures=self.measured.failures[rows],
            stalled=self.measured.stalled[rows],
        )
        canary, nowhere = self.is_canary[rows], self.unreached[rows]
        return {
            CANARY: Audience(part.where(canary)),
            STABLE: Audience(part.where(~canary & ~nowhere)),
            None: Audience(part.where(nowhere)),
        }


def _hiccups(scenario: Scenario, begin: float, end: float, random: np.random.Generator) -> Floats:
    return random.uniform(begin, end, random.poisson(scenario.hiccups * (end - begin) / 3600))


def _edges_of_canary(edges: int, percent: int) -> int:
    if percent == 100:
        return edges - control_edges(edges)
    return shares(edges, {CANARY: percent, STABLE: 100 - percent})[CANARY].replicas
