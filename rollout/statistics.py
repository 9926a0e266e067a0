"""The statistics of a canary, on numbers only: shares with an interval, and whether a release is worse than another.

Each function returns a p-value or takes an error probability, so that its caller can divide one false-alarm rate among
all tests that it makes (Bonferroni): the rate then holds whatever the tests have in common, such as their viewers.
"""

from collections.abc import Sequence
from typing import Any, cast

from scipy import stats

# SciPy has no types.
_stats = cast("Any", stats)

SLOWER_FACTOR = 1.2
SLOWER_SECONDS = 0.05
"""The first frame may come later by a fifth, and by 50 ms, before a release counts as slower: what no viewer notices
must not end a canary, however certain it is."""


def share_interval(count: int, total: int, error: float) -> tuple[float, float]:
    """The interval of a share in per cent: the true one is outside of it with a probability of at most `error`.

    Clopper and Pearson (1934): exact, so it holds for any number of viewers and any share.
    """
    if total == 0:
        return 0.0, 100.0
    interval = _stats.binomtest(count, total).proportion_ci(confidence_level=1 - error, method="exact")
    return 100 * float(interval.low), 100 * float(interval.high)


def slower(times: Sequence[float], reference: Sequence[float]) -> float:
    """The p-value of "first frames come later than those of the reference, by more than the allowed difference".

    times, reference: seconds to the first frame. One-sided Mann-Whitney U test: it assumes no distribution, and few
    extreme times do not decide it.
    """
    if not times or not reference:
        return 1.0
    allowed = [max(SLOWER_FACTOR * seconds, seconds + SLOWER_SECONDS) for seconds in reference]
    return float(_stats.mannwhitneyu(times, allowed, alternative="greater").pvalue)


def more_often(count: int, total: int, reference_count: int, reference_total: int) -> float:
    """The p-value of "it happens to a greater part of the viewers than in the reference".

    One-sided exact test of Fisher.
    """
    if not total or not reference_total:
        return 1.0
    table = [[count, total - count], [reference_count, reference_total - reference_count]]
    return float(_stats.fisher_exact(table, alternative="greater").pvalue)
