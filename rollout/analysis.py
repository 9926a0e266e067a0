"""What viewers saw, by release, and whether a release is worse than another. Pure.

All tests of a run share one false-alarm rate, FALSE_ALARM: if the canary is as good as the other releases, the
probability that any test of any step ends the run is at most this. It is divided equally among the steps (Bonferroni).
In a step, the analysis at its end has half of it, because it has the most viewers, and the earlier ones, which find
what is very bad soon, have the rest. TESTS divide what an analysis has.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.values import natural_key, plural
from rollout.statistics import more_often, share_interval, slower
from rollout.viewers import View

FALSE_ALARM = 0.01
"""Probability that a run ends although its canary is as good as the other releases; of a `sample`, too."""

TESTS = 5
"""Of one analysis: the share, viewers that reached no release, first frames, failures, stalls."""


@dataclass(frozen=True)
class Audience:
    """The viewers of one release, or of none that is known."""

    views: tuple[View, ...] = ()

    @property
    def viewers(self) -> int:
        """Their number."""
        return len(self.views)

    @property
    def failures(self) -> Counter[str]:
        """The number of failed viewers by reason."""
        return Counter(view.failure for view in self.views if view.failure)

    @property
    def failed(self) -> int:
        """The number of failed viewers."""
        return self.failures.total()

    @property
    def stalled(self) -> int:
        """The number of viewers with at least one stall."""
        return sum(view.stalls > 0 for view in self.views)

    @property
    def first_frames(self) -> list[float]:
        """Seconds to the first frame, of the viewers that had one."""
        return sorted(view.first_frame for view in self.views if view.first_frame is not None)

    def first_frame(self, quantile: float) -> float | None:
        """A quantile of the seconds to the first frame, None without any."""
        times = self.first_frames
        return times[min(int(quantile * len(times)), len(times) - 1)] if times else None

    @staticmethod
    def of(audiences: Iterable["Audience"]) -> "Audience":
        """All viewers of several audiences."""
        return Audience(tuple(view for audience in audiences for view in audience.views))


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
        return {release: Audience(tuple(found)) for release, found in grouped.items()}


@dataclass(frozen=True)
class Budget:
    """How FALSE_ALARM is divided in a run. steps: their number. analyses: of each step."""

    steps: int
    analyses: int

    def error(self, analysis: int) -> float:
        """The error probability of each test of an analysis of a step; the first one is 1."""
        step = FALSE_ALARM / self.steps / TESTS
        if self.analyses == 1:
            return step
        return step / 2 if analysis >= self.analyses else step / 2 / (self.analyses - 1)


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


def unreached_problem(now: Audience, total: int, before: Audience, total_before: int, error: float) -> list[str]:
    """More viewers than before that reached no release, or one that is not known."""
    p_value = more_often(now.viewers, total, before.viewers, total_before)
    if p_value > error:
        return []
    return [
        f"{now.viewers} of {plural(total, 'viewer')} reached no release ({_reasons(now)}); before, "
        f"{before.viewers} of {total_before} ({_p(p_value)})"
    ]


def quality_problems(release: str, audience: Audience, reference: Audience, error: float) -> list[str]:
    """What is worse for the viewers of a release than for those of the reference.

    error: the probability of a false alarm, of each of the three tests.
    """
    problems: list[str] = []
    first_frame = slower(audience.first_frames, reference.first_frames)
    if first_frame <= error:
        problems.append(
            f"{release}: the first frame comes after {audience.first_frame(0.5):.2f} s (median of "
            f"{plural(len(audience.first_frames), 'viewer')}), elsewhere after "
            f"{reference.first_frame(0.5):.2f} s ({len(reference.first_frames)}; {_p(first_frame)})"
        )
    for count, reference_count, what in (
        (audience.failed, reference.failed, "failed"),
        (audience.stalled, reference.stalled, "stalled"),
    ):
        p_value = more_often(count, audience.viewers, reference_count, reference.viewers)
        if p_value <= error:
            reasons = f" ({_reasons(audience)})" if what == "failed" else ""
            problems.append(
                f"{release}: {count} of {plural(audience.viewers, 'viewer')} {what}{reasons}, elsewhere "
                f"{reference_count} of {reference.viewers} ({_p(p_value)})"
            )
    return problems


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
