"""The statistics of a canary, on numbers only: shares with an interval, and whether a release is worse than another.

Each function returns a p-value or takes an error probability, so that its caller can divide one false-alarm rate among
all tests that it makes (Bonferroni): the rate then holds whatever the tests have in common, such as their viewers.

Viewers are not independent. The viewers of one pod have its node in common, and those of one moment the stream. So what
is compared is pods, and pods in short times; `docs/canary.md` has the rates of false alarms and the power, simulated
with these functions (`docgen/canary_tables.py`).
"""

from dataclasses import dataclass
from itertools import compress
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# SciPy has no types.
_stats = cast("Any", stats)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

SLOWER_FACTOR = 1.2
SLOWER_SECONDS = 0.05
"""The median first frame comes later by at least a fifth, and by 50 ms, before a release counts as slower: what no
viewer notices must not end a canary, however certain it is."""

POD_SPREAD = 0.2
"""Standard deviation between pods of one release in the logarithm of the time to the first frame, as it is assumed
before pods are measured: another node makes such a difference. Pods that are measured correct it, each as much as one
of POD_SPREAD_WEIGHT pods."""

POD_SPREAD_WEIGHT = 20

VIEWER_SPREAD, VIEWER_SPREAD_WEIGHT = 0.5, 20
"""The same between viewers of one pod."""

SLOT_SECONDS = 5.0
"""Failures of the viewers of one pod within this time are one event: a hiccup of the encoder, or of the network, hits
all of them."""

_MEDIAN_VARIANCE = np.pi / 2
"""Variance of a median, relative to that of a mean (normal distribution)."""

_MAD = 1.4826
"""Standard deviation by the median absolute deviation (normal distribution)."""


def share_interval(count: int, total: int, error: float) -> tuple[float, float]:
    """The interval of a share in per cent: the true one is outside of it with a probability of at most `error`.

    Clopper and Pearson (1934): exact, so it holds for any number of viewers and any share.
    """
    low = _stats.beta.ppf(error / 2, count, total - count + 1) if count else 0.0
    high = _stats.beta.ppf(1 - error / 2, count + 1, total - count) if count < total else 1.0
    return 100 * float(low), 100 * float(high)


def fewer(count: int, total: int, share: float) -> float:
    """The p-value of "less than this share of the viewers". share: between 0 and 1. One-sided binomial test."""
    return float(_stats.binom.cdf(count, total, share))


@dataclass(frozen=True)
class Times:
    """Seconds to the first frame, with a number for the pod of each."""

    seconds: Floats
    pods: Integers


def slower(times: Times, reference: Times) -> float:
    """The p-value of "the first frames of these pods come later than those of the reference".

    A mixed model of the logarithms of the seconds: pods differ (POD_SPREAD), and viewers of a pod differ. Each pod
    counts with the median of its viewers, so a few extreme times do not decide. The variance between pods is moderated
    by the assumed one, as for few replicates in genomics (Smyth 2004, "Linear models and empirical Bayes methods"),
    because two or three pods do not measure it. 1 if the difference is below what a viewer notices.
    """
    if not times.seconds.size or not reference.seconds.size:
        return 1.0
    median, usual = float(np.median(times.seconds)), float(np.median(reference.seconds))
    if median < max(SLOWER_FACTOR * usual, usual + SLOWER_SECONDS):
        return 1.0
    groups = [_PodMedians.of(group) for group in (times, reference)]
    spread = _viewer_spread(groups)
    noise = [_MEDIAN_VARIANCE * spread**2 / group.viewers for group in groups]
    squares = freedom = 0.0
    for group, variance in zip(groups, noise, strict=True):
        deviations = group.medians - np.average(group.medians, weights=group.viewers)
        # What a pod with few viewers differs by says little about pods. The only pod of a group says nothing.
        weights = (POD_SPREAD**2 / (POD_SPREAD**2 + variance)) ** 2
        correction = 1 - 1 / len(group.medians)
        squares += float(np.sum(weights * (deviations**2 - correction * variance)))
        freedom += float(np.sum(weights)) * correction
    between = (POD_SPREAD_WEIGHT * POD_SPREAD**2 + max(0.0, squares)) / (POD_SPREAD_WEIGHT + freedom)
    means: list[float] = []
    variance = 0.0
    for group, viewers in zip(groups, noise, strict=True):
        weights = 1 / (between + viewers)
        means.append(float(np.average(group.medians, weights=weights)))
        variance += 1 / float(np.sum(weights))
    return float(_stats.t.sf((means[0] - means[1]) / np.sqrt(variance), POD_SPREAD_WEIGHT + freedom))


@dataclass(frozen=True)
class _PodMedians:
    """The median of the logarithms and the number of viewers of each pod; residuals: of viewers around the median.

    parameters: medians that the residuals have used up.
    """

    medians: Floats
    viewers: Integers
    residuals: Floats
    parameters: int

    @staticmethod
    def of(times: Times) -> "_PodMedians":
        logs = np.log(np.maximum(times.seconds, 1e-3))
        order = np.lexsort((logs, times.pods))
        logs = logs[order]
        _, starts, counts = np.unique(times.pods[order], return_index=True, return_counts=True)
        medians = (logs[starts + (counts - 1) // 2] + logs[starts + counts // 2]) / 2
        several = np.repeat(counts > 2, counts)
        return _PodMedians(
            medians,
            counts,
            (logs - np.repeat(medians, counts))[several],
            int(np.sum(counts > 2)),
        )


def _viewer_spread(groups: list[_PodMedians]) -> float:
    residuals = np.concatenate([group.residuals for group in groups])
    freedom = residuals.size - sum(group.parameters for group in groups)
    if not freedom:
        return VIEWER_SPREAD
    measured = (_MAD * np.median(np.abs(residuals))) ** 2 * residuals.size
    return float(np.sqrt((VIEWER_SPREAD_WEIGHT * VIEWER_SPREAD**2 + measured) / (VIEWER_SPREAD_WEIGHT + freedom)))


@dataclass(frozen=True)
class Events:
    """How many pods in a time of SLOT_SECONDS have had at least one such viewer, and how many have had viewers."""

    count: int
    total: int

    @staticmethod
    def of(started_at: Floats, pods: Integers, hit: Booleans) -> "Events":
        """Count them. started_at: seconds of one clock, of each viewer. pods: a number for its pod. hit: whether it is
        such one.
        """
        seen = list(zip(np.floor(started_at / SLOT_SECONDS).tolist(), pods.tolist(), strict=True))
        return Events(len(set(compress(seen, hit))), len(set(seen)))


def more_often(count: int, total: int, reference_count: int, reference_total: int) -> float:
    """The p-value of "it happens to a greater part than in the reference".

    One-sided exact test of Fisher. 1 if nothing has happened.
    """
    hits = count + reference_count
    return float(_stats.hypergeom.sf(count - 1, total + reference_total, hits, total)) if hits else 1.0
