"""What viewers saw, by release, and whether a release is worse than another. Pure.

All tests of a run share one false-alarm rate, FALSE_ALARM: if the canary is as good as the other releases, the
probability that any test of any step ends the run is at most this. It is divided equally among the steps (Bonferroni).
In a step, the analysis at its end has most of it, because it has the most viewers, and the earlier ones, which find
what is very bad soon, have the rest. TESTS divide what an analysis has.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from model.config.values import natural_key, plural
from rollout.canary.outcome import Finding, failed, inconclusive
from rollout.canary.statistics import (
    Booleans,
    Events,
    Floats,
    Integers,
    Times,
    fewer,
    more_often,
    share_interval,
    slower,
)
from rollout.canary.viewers import View

FALSE_ALARM = 0.01
"""Probability that a run ends although its canary is as good as the other releases; of a `sample`, too."""

TESTS = {"first frame": 0.65, "failed": 0.2, "stalled": 0.075, "unreached": 0.075}
"""What the tests of one analysis have of its error probability."""

LAST_ANALYSIS = 0.7
"""What the last analysis of a step has of the step's error probability."""

LOOKS = 4
"""Analyses of one window of viewers that count as independent: each has most viewers in common with the one before
(simulated, `docgen/canary_tables.py`)."""

WINDOW = 300.0
"""Seconds of the viewers that an analysis in a step looks at, so that hours without a fault do not hide a new one."""

REPETITION = 0.1
"""What a repetition of a step has of the error probability of the attempt before."""

MINIMUM_VIEWERS = 40
"""Viewers of the canary without which a step has not passed."""

MAX_REFERENCE_FAILURES = 0.1
"""Part of the viewers of the other releases that may fail, or stall. With more, the stream or the line is at fault, and
a comparison has no power left."""


@dataclass(frozen=True)
class Measurements:
    """What viewers saw, in columns, a row for each viewer.

    started_at: seconds of the monotonic clock. pods: a number for the pod that served it. first_frames: seconds, NaN
    without one. failures: why it failed, "" if it did not. stalled: whether it had a stall.
    """

    started_at: Floats
    pods: Integers
    first_frames: Floats
    failures: Any
    stalled: Booleans

    @staticmethod
    def of(views: Sequence[View], edges: int) -> "Measurements":
        """The columns of these views.

        edges: of the release. Over HTTP-FLV a viewer does not know its pod; it then counts for one of `edges`, in turn.
        """
        names: dict[str, int] = {}
        servers = [view.server or f"?{number % edges}" for number, view in enumerate(views)]
        return Measurements(
            np.array([view.started_at for view in views], dtype=np.float64),
            np.array([names.setdefault(server, len(names)) for server in servers], dtype=np.int64),
            np.array([view.first_frame for view in views], dtype=np.float64),  # NaN for None
            np.array([view.failure for view in views], dtype=np.str_),
            np.array([view.stalls > 0 for view in views], dtype=np.bool_),
        )

    @staticmethod
    def concatenated(parts: Iterable["Measurements"]) -> "Measurements":
        """The rows of all parts, whose pods are different ones."""
        all_parts = list(parts)
        if not all_parts:
            return Measurements.of([], edges=1)
        offsets = np.cumsum([0, *(int(part.pods.max(initial=-1)) + 1 for part in all_parts)])
        return Measurements(
            np.concatenate([part.started_at for part in all_parts]),
            np.concatenate([part.pods + offset for part, offset in zip(all_parts, offsets, strict=False)]),
            np.concatenate([part.first_frames for part in all_parts]),
            np.concatenate([part.failures for part in all_parts]),
            np.concatenate([part.stalled for part in all_parts]),
        )

    def where(self, rows: Booleans) -> "Measurements":
        """Some of the rows."""
        return Measurements(
            self.started_at[rows],
            self.pods[rows],
            self.first_frames[rows],
            self.failures[rows],
            self.stalled[rows],
        )


def _nothing() -> Measurements:
    return Measurements.of([], edges=1)


@dataclass(frozen=True)
class Audience:
    """The viewers of one release, or of none that is known."""

    measured: Measurements = field(default_factory=_nothing)

    @property
    def viewers(self) -> int:
        """Their number."""
        return len(self.measured.started_at)

    @property
    def failures(self) -> Counter[str]:
        """The number of failed viewers by reason."""
        return Counter(str(failure) for failure in self.measured.failures[self.has_failed])

    @cached_property
    def has_failed(self) -> Booleans:
        """Whether each of them has failed."""
        return self.measured.failures != ""

    @property
    def failed(self) -> int:
        """The number of failed viewers."""
        return int(np.count_nonzero(self.has_failed))

    @property
    def stalled(self) -> int:
        """The number of viewers with at least one stall."""
        return int(np.count_nonzero(self.measured.stalled))

    @cached_property
    def times(self) -> Times:
        """The first frames of the viewers that had one."""
        seen = ~np.isnan(self.measured.first_frames)
        return Times(self.measured.first_frames[seen], self.measured.pods[seen])

    def first_frame(self, quantile: float) -> float | None:
        """A quantile (below 1) of the seconds to the first frame, None without any."""
        times = np.sort(self.times.seconds)
        return float(times[int(quantile * len(times))]) if len(times) else None

    def events(self, hit: Booleans) -> Events:
        """In how many pods and times such a thing has happened (`statistics.Events`). hit: of each viewer."""
        return Events.of(self.measured.started_at, self.measured.pods, hit)

    def since(self, time: float) -> "Audience":
        """The viewers that came after this time (seconds of the monotonic clock)."""
        return Audience(self.measured.where(self.measured.started_at > time))

    @staticmethod
    def seen(views: Sequence[View], edges: int = 1) -> "Audience":
        """These viewers; see `Measurements.of`."""
        return Audience(Measurements.of(views, edges))

    @staticmethod
    def of(audiences: Iterable["Audience"]) -> "Audience":
        """All viewers of several audiences."""
        return Audience(Measurements.concatenated(audience.measured for audience in audiences))


@dataclass(frozen=True)
class Sources:
    """How to find the release that served a viewer.

    addresses: release by the IP address of each of its pods, also of terminated ones. versions: SRS version by release.
    """

    addresses: Mapping[str, str]
    versions: Mapping[str, str]

    def release(self, view: View) -> str | None:
        """The release that served a viewer, None if it is not known: there was none, or several have this version."""
        if view.server is not None and view.server in self.addresses:
            return self.addresses[view.server]
        with_version = [release for release, version in self.versions.items() if version == view.version]
        return with_version[0] if len(with_version) == 1 else None

    def by_release(self, views: Iterable[View]) -> dict[str | None, Audience]:
        """The viewers of each release; None: of none that is known."""
        grouped: dict[str | None, list[View]] = {release: [] for release in (*self.versions, None)}
        for view in views:
            grouped.setdefault(self.release(view), []).append(view)
        edges: Counter[str | None] = Counter(self.addresses.values())
        return {release: Audience.seen(found, edges.get(release, 1)) for release, found in grouped.items()}


@dataclass(frozen=True)
class Budget:
    """How FALSE_ALARM is divided in a run.

    steps: their number. analyses: of each step, in its shortest time. seconds: that time.
    """

    steps: int
    analyses: int
    seconds: float

    def error(self, analysis: int, attempt: int = 0) -> float:
        """The error probability of all tests of an analysis of a step; the first one is 1.

        attempt: 0, higher for a repetition of the step; each has REPETITION of the one before.
        """
        step = FALSE_ALARM / self.steps * (1 - REPETITION) * REPETITION**attempt
        if analysis == self.analyses:
            return LAST_ANALYSIS * step
        return (1 - LAST_ANALYSIS) * step / min(2 * self.analyses, LOOKS * math.ceil(2 * self.seconds / WINDOW))


@dataclass(frozen=True)
class Unreached:
    """How many viewers have reached no release, or one that is not known. total: of all viewers."""

    count: int = 0
    total: int = 0


def canary_findings(
    release: str, audiences: Mapping[str | None, Audience], share: float, before: Unreached, error: float
) -> list[Finding]:
    """What viewers have found out about a canary, next to the viewers of the other releases at the same time.

    share: of the canary in the new viewers, in per cent. before: the viewers before the first step. error: the
    probability of a false alarm, of all tests.
    """
    canary = audiences.get(release, Audience())
    reference = Audience.of(audience for name, audience in audiences.items() if name not in (release, None))
    findings = [
        *quality_findings(release, canary, reference, error),
        *unreached_findings(release, audiences, share, before, error * TESTS["unreached"]),
    ]
    if canary.viewers < MINIMUM_VIEWERS:
        findings.append(
            inconclusive(
                "TooFewViewers",
                f"{release} has had {plural(canary.viewers, 'viewer')}; a step needs {MINIMUM_VIEWERS}",
            )
        )
    return [*findings, *reference_findings(release, reference)]


def reference_findings(release: str, reference: Audience) -> list[Finding]:
    """Why there is nothing to compare a canary with."""
    if not reference.viewers:
        return [
            inconclusive(
                "NoReference", f"only {release} has had viewers: there is nothing to compare it with at the same time"
            )
        ]
    findings: list[Finding] = []
    for count, what in ((reference.failed, "failed"), (reference.stalled, "stalled")):
        if count > MAX_REFERENCE_FAILURES * reference.viewers:
            reasons = f" ({_reasons(reference)})" if what == "failed" else ""
            findings.append(
                inconclusive(
                    "ReferenceFails",
                    f"{count} of {plural(reference.viewers, 'viewer')} of the other releases {what}{reasons}: the "
                    "stream, or the line of these viewers, is at fault, and nothing can be said about the canary",
                )
            )
    return findings


def share_findings(
    audiences: Mapping[str | None, Audience], expected: Mapping[str, float], error: float
) -> list[Finding]:
    """Shares of new viewers that do not fit the expected ones: a property of the load balancer, not of the canary.

    expected: share of each release in per cent. error: for all of them together.
    """
    return [
        inconclusive(
            "SharesDeviate",
            f"{message}: a load balancer that is sticky to the client address sends all viewers from one place to one "
            "edge (loadBalancer.persistenceTimeout, sessionAffinity)",
        )
        for message in share_problems(audiences, expected, error)
    ]


def share_problems(audiences: Mapping[str | None, Audience], expected: Mapping[str, float], error: float) -> list[str]:
    """Shares of new viewers that do not fit the expected ones.

    expected: share of each release in per cent. error: for all of them together.
    """
    total = sum(audiences[release].viewers for release in audiences if release)
    problems: list[str] = []
    for release, percent in expected.items():
        count = audiences.get(release, Audience()).viewers
        low, high = share_interval(count, total, error / len(expected))
        if not low <= percent <= high:
            problems.append(
                f"{release} has {100 * count / total:.0f} % of new viewers ({count} of {total}; with this number "
                f"between {low:.0f} and {high:.0f} %) instead of {percent:.0f} %"
            )
    return problems


def unreached_findings(
    release: str, audiences: Mapping[str | None, Audience], share: float, before: Unreached, error: float
) -> list[Finding]:
    """More viewers than before that reached no release, or one that is not known.

    It is the canary that they did not reach if, of all viewers, those that did reach it are too few for its share.
    """
    now, canary = audiences.get(None, Audience()), audiences.get(release, Audience())
    total = sum(audience.viewers for audience in audiences.values())
    p_value = more_often(now.viewers, total, before.count, before.total)
    if p_value > error if before.total else now.viewers <= MAX_REFERENCE_FAILURES * total:
        return []
    message = f"{now.viewers} of {plural(total, 'viewer')} reached no release ({_reasons(now)})"
    if before.total:
        message += f"; before, {before.count} of {before.total} ({_p(p_value)})"
    deficit = fewer(canary.viewers, total, share / 100)
    if before.total and deficit <= error:
        expected = f"{canary.viewers} reached {release} instead of {share / 100 * total:.0f} ({_p(deficit)})"
        return [failed("ViewersUnreached", f"{message}, and {expected}")]
    return [inconclusive("ViewersUnreached", f"{message}, but {release} has its share of all viewers")]


def quality_findings(release: str, audience: Audience, reference: Audience, error: float) -> list[Finding]:
    """What is worse for the viewers of a release than for those of the reference.

    error: the probability of a false alarm, of all tests of an analysis.
    """
    findings: list[Finding] = []
    times, reference_times = audience.times, reference.times
    first_frame = slower(times, reference_times)
    if first_frame <= error * TESTS["first frame"]:
        findings.append(
            failed(
                "FirstFrameLate",
                f"{release}: the first frame comes after {audience.first_frame(0.5):.2f} s (median of "
                f"{plural(len(times.seconds), 'viewer')} on {plural(_pods(times), 'edge')}), elsewhere after "
                f"{reference.first_frame(0.5):.2f} s ({len(reference_times.seconds)} on {_pods(reference_times)}; "
                f"{_p(first_frame)})",
            )
        )
    for hit, reference_hit, what in (
        (audience.has_failed, reference.has_failed, "failed"),
        (audience.measured.stalled, reference.measured.stalled, "stalled"),
    ):
        if not np.any(hit):
            continue
        here, there = audience.events(hit), reference.events(reference_hit)
        p_value = more_often(here.count, here.total, there.count, there.total)
        if p_value <= error * TESTS[what] or _most(hit, reference_hit):
            reasons = f" ({_reasons(audience)})" if what == "failed" else ""
            findings.append(
                failed(
                    f"Viewers{what.capitalize()}",
                    f"{release}: {np.count_nonzero(hit)} of {plural(audience.viewers, 'viewer')} {what}{reasons}, "
                    f"elsewhere {np.count_nonzero(reference_hit)} of {reference.viewers} ({_p(p_value)})",
                )
            )
    return findings


def _most(hit: Booleans, reference_hit: Booleans) -> bool:
    """Whether such a thing happens to most viewers of a release, and to few of the reference.

    Within seconds there are few events (`Events`), and one more in the reference hides a release that is black. What
    hits the stream, or the line of the viewers, hits the reference, too.
    """
    few = MAX_REFERENCE_FAILURES * reference_hit.size
    return bool(
        min(hit.size, reference_hit.size) >= MINIMUM_VIEWERS
        and 2 * np.count_nonzero(hit) > hit.size
        and np.count_nonzero(reference_hit) <= few
    )


def _pods(times: Times) -> int:
    return int(np.unique(times.pods).size)


def figures(
    audiences: Mapping[str | None, Audience],
    expected: Mapping[str, float],
    desired: Mapping[str, float],
    error: float,
) -> dict[str, Any]:
    """The figures of each release as JSON: per cent, seconds, numbers of viewers.

    expected, desired: shares by replicas and by weight, in per cent. error: of all intervals of shares together.
    """
    total = sum(audiences[release].viewers for release in audiences if release)
    return {
        "releases": {
            release: {
                "viewers": audience.viewers,
                "sharePercent": round(100 * audience.viewers / total, 1) if total else None,
                "intervalPercent": [
                    round(bound, 1) for bound in share_interval(audience.viewers, total, error / max(len(expected), 1))
                ],
                "actualPercent": _rounded(expected.get(release, 0.0)),
                "desiredPercent": _rounded(desired.get(release)),
                **_quality(audience),
            }
            for release in sorted((name for name in audiences if name), key=natural_key)
            if (audience := audiences[release]).viewers or release in expected
        },
        "unknown": {"viewers": audiences.get(None, Audience()).viewers, **_quality(audiences.get(None, Audience()))},
    }


def _quality(audience: Audience) -> dict[str, Any]:
    median, slow = audience.first_frame(0.5), audience.first_frame(0.9)
    return {
        "firstFrameSeconds": {"median": _rounded(median, 3), "p90": _rounded(slow, 3)},
        "stalled": audience.stalled,
        "failed": audience.failed,
        "failures": dict(audience.failures),
    }


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _reasons(audience: Audience) -> str:
    if not audience.failures:
        return "of no known release"
    return ", ".join(f"{count} {reason}" for reason, count in audience.failures.most_common(3))


def _p(value: float) -> str:
    return f"p = {value:.1g}"


def limits_problems(audiences: Sequence[Audience], failed: float, stalled: float, first_frame: float) -> list[str]:
    """What is not acceptable for the viewers of all releases together.

    failed, stalled: maxima in per cent of the viewers. first_frame: maximum of the 90th percentile in seconds.
    """
    everyone = Audience.of(audiences)
    problems: list[str] = []
    for count, limit, what in ((everyone.failed, failed, "failed"), (everyone.stalled, stalled, "stalled")):
        if count > limit / 100 * everyone.viewers:
            reasons = f" ({_reasons(everyone)})" if what == "failed" else ""
            problems.append(
                f"{count} of {plural(everyone.viewers, 'viewer')} {what}{reasons}; at most {limit:g} % are acceptable"
            )
    slow = everyone.first_frame(0.9)
    if slow is not None and slow > first_frame:
        problems.append(
            f"a tenth of the viewers waits {slow:.1f} s or longer for the first frame; {first_frame:g} s are acceptable"
        )
    return problems
