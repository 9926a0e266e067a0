"""What the scenarios assert of connections."""

import math
from collections.abc import Mapping, Sequence

from e2e.viewers import Story

STEADY_SILENCE = 4.0
"""Seconds that no player may be without media while only edges change. The origins send without a pause; what is left
is two cores that also run a control plane, pulumi and new pods."""

FALSE_ALARM = 1e-4
"""How often the test of shares may fail by chance."""


def assert_nothing_hurt(story: Story, silence: float = STEADY_SILENCE) -> None:
    """No connection was cut, no new one was refused, reset or left without an answer or without media."""
    assert story.cuts == [], story.cuts[:5]
    assert story.failures == [], story.failures[:5]
    assert story.of("nomedia") == [], story.of("nomedia")[:5]
    assert story.summary["players"] == story.summary["players_wanted"], "not all players are connected at the end"
    assert story.summary["publishers"] == story.summary["publishers_wanted"]
    assert story.summary["samples"] > 0
    assert story.longest_silence < silence, story.summary["silence"]


def assert_shares_fit(counts: Sequence[tuple[Mapping[str, int], Mapping[str, float]]]) -> None:
    """New connections by version fit the shares that the program reports: one test over all of them (chi-square).

    counts: for each stretch of time, connections by version, and the share in per cent of each version (two of them).
    """
    assert len(counts) % 2 == 0, "an even number of stretches, for which the chi-square distribution has a closed form"
    total = 0.0
    for seen, percent in counts:
        versions = set(percent) | set(seen)
        assert len(percent) == 2
        assert set(seen) <= versions
        n = sum(seen.values())
        expected = {version: n * percent.get(version, 0) / 100 for version in versions}
        assert all(expected[version] >= 5 for version in versions), f"too few connections to tell: {seen}, {percent}"
        total += sum((seen.get(version, 0) - expected[version]) ** 2 / expected[version] for version in versions)
    assert chance_of_more(total, len(counts)) > FALSE_ALARM, f"shares do not fit: {counts}"


def chance_of_more(chi_square: float, degrees: int) -> float:
    """The chance that chi-square is greater than this by chance, for an even number of degrees of freedom."""
    half = chi_square / 2
    return math.exp(-half) * sum(half**k / math.factorial(k) for k in range(degrees // 2))
