"""The analysis of a step of `rollout run`: pods, viewers and Prometheus, until the pause is over or something fails."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.live import LiveCluster, Object
from cluster.rollout_status import pod_reason
from model.values import plural
from rollout.analysis import (
    Audience,
    Budget,
    figures,
    quality_problems,
    share_problems,
    unreached_problem,
)
from rollout.command import CommandRejectedError
from rollout.prometheus import Queries
from rollout.sampling import Fleet, Sampling, desired_shares
from rollout.stack_file import StackFile
from rollout.viewers import Arrivals, View

MINIMUM_VIEWERS = 40
"""Viewers of the canary that a step waits for, if its pause is shorter: with them, twice the time to the first frame is
found with a probability of 0.9 (tests/unit/rollout/test_analysis.py)."""

BASELINE_ROUNDS = 3
"""Rounds of viewers before the first step."""

MAX_BASELINE_FAILURES = 0.1
"""Part of the viewers that may fail before the first step; with more there is nothing to compare with."""

WINDOW = 300.0
"""Seconds of the viewers that an analysis in a step looks at, so that hours without a fault do not hide a new one."""

POLL_INTERVAL = 2.0
"""Seconds between two analyses without viewers."""

NOT_READY_SECONDS = 5.0
"""How long a pod may be not ready: a missed probe is no fault."""

REPORT_INTERVAL = 30.0
"""Seconds between two lines of progress."""

Seen = tuple[View, str | None]
"""A viewer and the release that served it."""


@dataclass
class Observation:
    """What a step has shown. problems: why it failed, empty if it did not. figures: of `rollout.analysis.figures`."""

    problems: list[str] = field(default_factory=list[str])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0


@dataclass
class Observer:
    """Observes the steps of a run.

    release: the canary. sampling: None without viewers. queries: None without Prometheus. steps: their number.
    pause: seconds that a step is observed at least.
    """

    live: LiveCluster
    read_file: Callable[[], StackFile]
    release: str
    sampling: Sampling | None
    queries: Queries | None
    steps: int
    pause: float
    report: Callable[[str], None]
    _baseline: list[Seen] = field(default_factory=list[Seen])
    _stable: list[Seen] = field(default_factory=list[Seen])
    _not_ready_since: dict[str, float] = field(default_factory=dict[str, float])

    def observe_baseline(self) -> None:
        """Let viewers watch before the first step. Raises CommandRejectedError if too many of them fail."""
        if self.sampling is None:
            return
        with self.sampling.arrivals() as arrivals:
            for number in range(1, BASELINE_ROUNDS + 1):
                self._baseline += self._round(self.sampling, arrivals, number == BASELINE_ROUNDS)
        self._stable = list(self._baseline)
        everyone = _audience(self._baseline)
        if everyone.failed > MAX_BASELINE_FAILURES * everyone.viewers:
            reasons = ", ".join(f"{count} {reason}" for reason, count in everyone.failures.most_common(3))
            raise CommandRejectedError(
                f"{everyone.failed} of {plural(everyone.viewers, 'viewer')} fail before the first step ({reasons}); "
                "there is nothing to compare a canary with. Is the stream published? --address names another one, "
                "--no-viewers judges without viewers"
            )

    def observe_step(self) -> Observation:
        """Observe one step until its pause is over, or until something fails. Raises UnreachableError."""
        started = time.monotonic()
        observation = Observation()
        self._not_ready_since.clear()
        if self.sampling is None:
            while not observation.problems:
                fleet = Fleet.read(self.live, self.read_file())
                observation.problems = [*self._pod_problems(fleet), *self._query_problems()]
                if time.monotonic() - started >= self.pause:
                    break
                time.sleep(min(POLL_INTERVAL, self.pause))
        else:
            with self.sampling.arrivals() as arrivals:
                self._watch(self.sampling, arrivals, observation)
        observation.seconds = time.monotonic() - started
        return observation

    def _watch(self, sampling: Sampling, arrivals: Arrivals, observation: Observation) -> None:
        analyses = self._analyses(sampling)
        budget = Budget(self.steps, analyses)
        seen: list[Seen] = []
        reported = time.monotonic()
        for number in range(1, analyses + 1):
            seen += self._round(sampling, arrivals, number == analyses)
            recent = (
                seen if number == analyses else [item for item in seen if item[0].started_at > time.time() - WINDOW]
            )
            fleet = sampling.fleet
            observation.problems = [
                *self._pod_problems(fleet),
                *self._query_problems(),
                *self._viewer_problems(recent, fleet.shares, budget.error(number)),
            ]
            audiences = _by_release(seen, fleet.shares)
            desired = desired_shares(self.read_file())
            observation.figures = figures(audiences, fleet.shares, desired, budget.error(analyses))
            if observation.problems:
                break
            if time.monotonic() - reported > REPORT_INTERVAL:
                reported = time.monotonic()
                self.report(f"{number} of {analyses}: {_summary(audiences)}")
        self._stable += [item for item in seen if item[1] not in (self.release, None)]

    def _analyses(self, sampling: Sampling) -> int:
        """How many rounds of viewers fill the pause, and give the canary enough viewers."""
        share = sampling.refresh().shares.get(self.release, 0) / 100
        enough = MINIMUM_VIEWERS / (sampling.viewers * share) if share else 1
        return max(1, round(self.pause / sampling.round_seconds), -int(-enough // 1))

    def _round(self, sampling: Sampling, arrivals: Arrivals, last: bool) -> list[Seen]:
        views = sampling.round(arrivals, last=last)
        sources = sampling.sources
        return [(view, sources.release(view)) for view in views]

    def _viewer_problems(self, seen: Sequence[Seen], shares: Mapping[str, float], error: float) -> Iterator[str]:
        audiences = _by_release(seen, shares)
        canary = audiences.get(self.release, Audience())
        reference = Audience.of(audience for name, audience in audiences.items() if name not in (self.release, None))
        yield from quality_problems(
            self.release, canary, reference if reference.viewers else _audience(self._stable), error
        )
        yield from share_problems(audiences, shares, error)
        yield from unreached_problem(
            audiences.get(None, Audience()),
            len(seen),
            _audience([item for item in self._baseline if item[1] is None]),
            len(self._baseline),
            error,
        )

    def _pod_problems(self, fleet: Fleet) -> Iterator[str]:
        """Pods of the canary that have restarted, or are not ready."""
        now = time.monotonic()
        pods = fleet.pods_of(self.release)
        for pod in pods:
            name = pod["metadata"]["name"]
            if restarted := _restarts(pod):
                yield f"pod {name} has restarted: {restarted}"
            reason = pod_reason(pod)
            if reason is None:
                self._not_ready_since.pop(name, None)
            elif now - self._not_ready_since.setdefault(name, now) >= NOT_READY_SECONDS:
                yield f"pod {name} is not ready: {reason}"
        missing = fleet.replicas.get(self.release, 0) - len(pods)
        if missing <= 0:
            self._not_ready_since.pop("", None)
        elif now - self._not_ready_since.setdefault("", now) >= NOT_READY_SECONDS:
            yield f"{self.release} has {plural(len(pods), 'pod')} of {len(pods) + missing}"

    def _query_problems(self) -> list[str]:
        return list(self.queries.problems(self.release)) if self.queries else []


def _audience(seen: Sequence[Seen]) -> Audience:
    return Audience(tuple(view for view, _ in seen))


def _by_release(seen: Sequence[Seen], shares: Mapping[str, float]) -> dict[str | None, Audience]:
    releases = {*shares, *(release for _, release in seen), None}
    return {name: _audience([item for item in seen if item[1] == name]) for name in releases}


def _restarts(pod: Object) -> str:
    """Why and how often the containers of a pod have restarted, "" if they have not."""
    for container in pod.get("status", {}).get("containerStatuses", []):
        if count := container.get("restartCount", 0):
            ended = container.get("lastState", {}).get("terminated") or {}
            return f"exit code {ended.get('exitCode', '?')}, {plural(count, 'restart')}"
    return ""


def _summary(audiences: Mapping[str | None, Audience]) -> str:
    parts: list[str] = []
    for release, audience in sorted(audiences.items(), key=lambda item: item[0] or "~"):
        if audience.viewers:
            first_frame = audience.first_frame(0.5)
            median = f", first frame {first_frame:.2f} s" if first_frame is not None else ""
            parts.append(f"{release or '?'} {plural(audience.viewers, 'viewer')}{median}, {audience.failed} failed")
    return "; ".join(parts)
