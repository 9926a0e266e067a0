"""Assertions on recorded connections."""

import math
from collections.abc import Mapping, Sequence

from e2e.viewers import Record

STEADY_SILENCE = 4.0
"""Maximum silence of a player in seconds while only edges change: origins send without a pause, but two cores also run
the control plane, Pulumi and new pods."""

ORIGIN_SILENCE = 15.0
"""Maximum silence of a player in seconds when an origin is lost, or when the encoder comes to another one. The encoder
has to connect again, and an edge asks again 3 s after it has noticed, which may take 5 s without media
(SRS_EDGE_INGESTER_CIMS, SRS_EDGE_INGESTER_TIMEOUT in srs_app_edge.cpp)."""

FALSE_ALARM = 1e-4
"""Probability that the test of shares fails by chance."""


def assert_undisturbed(record: Record, silence: float = STEADY_SILENCE, samples: bool = True) -> None:
    """No connection was dropped, and every new one was accepted and got media. samples: whether there were new ones."""
    assert record.dropped == [], record.dropped[:5]
    assert record.failed == [], record.failed[:5]
    assert record.of("nomedia") == [], record.of("nomedia")[:5]
    assert_all_connected(record)
    assert (record.summary["samples"] > 0) == samples
    assert record.longest_silence < silence, record.summary["silence"]


def assert_all_connected(record: Record) -> None:
    """All players and encoders are connected at the end."""
    assert record.summary["players"] == record.summary["players_wanted"]
    assert record.summary["publishers"] == record.summary["publishers_wanted"]


def assert_shares_fit(counts: Sequence[tuple[Mapping[str, int], Mapping[str, float]]]) -> None:
    """New connections by version fit the shares that the program reports, in one chi-square test.

    counts: for each period, connections by version, and the share of each of two versions in per cent.
    """
    assert len(counts) % 2 == 0, "for an even number of periods the chi-square distribution has a closed form"
    total = 0.0
    for counted, percent in counts:
        versions = set(percent) | set(counted)
        assert len(percent) == 2
        n = sum(counted.values())
        expected = {version: n * percent.get(version, 0) / 100 for version in versions}
        assert all(expected[version] >= 5 for version in versions), (
            f"too few connections for the test: {counted}, {percent}"
        )
        total += sum((counted.get(version, 0) - expected[version]) ** 2 / expected[version] for version in versions)
    assert p_value(total, len(counts)) > FALSE_ALARM, f"shares do not fit: {counts}"


def p_value(chi_square: float, degrees: int) -> float:
    """The probability of a greater chi-square, for an even number of degrees of freedom."""
    half = chi_square / 2
    return math.exp(-half) * sum(half**k / math.factorial(k) for k in range(degrees // 2))
