"""A canary that is as good ends no run (but for the stated false-alarm rate), and a worse one does."""

import random
from collections.abc import Sequence

import pytest

from rollout.analysis import (
    FALSE_ALARM,
    TESTS,
    Audience,
    Budget,
    Sources,
    figures,
    limits_problems,
    quality_problems,
    share_problems,
    unreached_problem,
)
from rollout.statistics import SLOWER_FACTOR, more_often, share_interval, slower
from rollout.viewers import NO_MEDIA, View

TRIALS = 400

LAST = Budget(steps=4, analyses=120).error(120)
"""The error probability of a test at the end of a step of a run with the default options."""


def first_frames(rng: random.Random, count: int, factor: float = 1.0) -> list[float]:
    """Times as measured: a median of 0.3 s, of which a tenth takes twice as long."""
    return [factor * rng.lognormvariate(-1.2, 0.5) for _ in range(count)]


def audience(times: Sequence[float] = (), failures: int = 0, stalled: int = 0, server: str = "10.0.0.5") -> Audience:
    views = [View("rtmp://a/b/c", 0, "4.0.5", server, first_frame=time) for time in times]
    views += [View("rtmp://a/b/c", 0, "4.0.5", server, failure=NO_MEDIA)] * failures
    views += [View("rtmp://a/b/c", 0, "4.0.5", server, first_frame=0.3, stalls=1)] * stalled
    return Audience(tuple(views))


def false_alarms(p_values: Sequence[float], error: float) -> int:
    return sum(p_value <= error for p_value in p_values)


ERROR = 0.05
MAXIMUM = int(TRIALS * ERROR + 3 * (TRIALS * ERROR * (1 - ERROR)) ** 0.5)
"""False alarms in TRIALS, with an error probability of ERROR and three standard deviations."""


@pytest.mark.parametrize(("canary", "stable"), [(5, 15), (40, 120)])
def test_first_frames_that_are_as_early_are_rarely_slower(canary: int, stable: int) -> None:
    rng = random.Random(1)
    as_early = [slower(first_frames(rng, canary), first_frames(rng, stable)) for _ in range(TRIALS)]
    allowed = [slower(first_frames(rng, canary, SLOWER_FACTOR), first_frames(rng, stable)) for _ in range(TRIALS)]
    assert false_alarms(as_early, ERROR) <= false_alarms(allowed, ERROR) <= MAXIMUM


def test_the_same_rate_of_failures_is_rarely_more_often() -> None:
    rng = random.Random(2)

    def failed(total: int) -> int:
        return sum(rng.random() < 0.1 for _ in range(total))

    p_values = [more_often(failed(40), 40, failed(120), 120) for _ in range(TRIALS)]
    assert false_alarms(p_values, ERROR) <= MAXIMUM


def test_the_interval_contains_the_share() -> None:
    rng = random.Random(3)
    outside = 0
    for _ in range(TRIALS):
        count = sum(rng.random() < 0.1 for _ in range(60))
        low, high = share_interval(count, 60, ERROR)
        outside += not low <= 10 <= high
    assert 0 < outside <= MAXIMUM
    assert share_interval(0, 0, ERROR) == (0, 100)


def test_all_tests_of_a_run_share_one_false_alarm_rate() -> None:
    for steps, analyses in ((1, 1), (4, 1), (4, 120)):
        budget = Budget(steps, analyses)
        total = steps * TESTS * sum(budget.error(number) for number in range(1, analyses + 1))
        assert total == pytest.approx(FALSE_ALARM)


def test_twice_the_time_to_the_first_frame_is_found_with_40_viewers_of_the_canary() -> None:
    rng = random.Random(4)
    found = [
        bool(quality_problems("r6", audience(first_frames(rng, 40, 2)), audience(first_frames(rng, 120)), LAST))
        for _ in range(50)
    ]
    assert sum(found) >= 45


def test_a_black_canary_is_found_with_7_viewers_by_the_first_analysis() -> None:
    error = Budget(steps=4, analyses=120).error(1)
    stable = audience([0.3] * 21)
    assert not quality_problems("r6", audience(failures=4), stable, error)
    (problem,) = quality_problems("r6", audience(failures=7), stable, error)
    assert problem == "r6: 7 of 7 viewers failed (7 no media), elsewhere 0 of 21 (p = 8e-07)"


def test_stalls_and_slow_first_frames_are_reported_with_figures() -> None:
    stable = audience([0.3] * 60)
    assert quality_problems("r6", audience(stalled=20), stable, LAST) == [
        "r6: 20 of 20 viewers stalled, elsewhere 0 of 60 (p = 3e-19)"
    ]
    (problem,) = quality_problems("r6", audience([0.61] * 20), stable, LAST)
    assert problem.startswith(
        "r6: the first frame comes after 0.61 s (median of 20 viewers), elsewhere after 0.30 s (60; p = "
    )
    assert not quality_problems("r6", audience([0.34] * 200), audience([0.3] * 600), LAST), "nobody notices"


def test_shares_must_fit() -> None:
    seen = {"r5": audience([0.3] * 30), "r6": audience([0.3] * 10), None: audience(failures=3)}
    assert not share_problems(seen, {"r5": 75, "r6": 25}, LAST)
    problems = share_problems(seen, {"r5": 25, "r6": 75}, LAST)
    assert len(problems) == 2
    assert problems[1].startswith("r6 has 25 % of new viewers (10 of 40; ")
    assert problems[1].endswith("instead of 75 %")
    assert share_problems({"r5": audience([0.3] * 60)}, {"r5": 75, "r6": 25}, LAST), "none reached r6"


def test_viewers_that_reach_nobody_are_compared_with_those_before() -> None:
    failed = audience(failures=12)
    assert unreached_problem(failed, 60, Audience(), 60, LAST)
    assert not unreached_problem(failed, 60, failed, 60, LAST)
    assert not unreached_problem(failed, 60, Audience(), 0, LAST), "nothing is known of before"


@pytest.mark.parametrize(
    ("version", "server", "release"),
    [
        ("4.0.6", "10.0.0.6", "r6"),
        ("4.0.5", "10.0.0.6", "r6"),
        ("4.0.6", None, None),
        ("4.0.5", None, "r5"),
        (None, None, None),
    ],
)
def test_the_pod_names_the_release_and_else_its_version(
    version: str | None, server: str | None, release: str | None
) -> None:
    sources = Sources({"10.0.0.6": "r6"}, {"r5": "4.0.5", "r6": "4.0.6", "r7": "4.0.6"})
    assert sources.release(View("", 0, version, server)) == release


def test_figures_of_a_release() -> None:
    seen = {"r5": audience([0.2, 0.3, 0.4]), "r6": audience(failures=1), None: Audience()}
    data = figures(seen, {"r5": 75.0, "r6": 25.0}, {"r5": 80.0, "r6": 20.0}, 0.01)
    assert data["releases"]["r5"] | {"intervalPercent": None} == {
        "viewers": 3,
        "sharePercent": 75.0,
        "intervalPercent": None,
        "actualPercent": 75.0,
        "desiredPercent": 80.0,
        "firstFrameSeconds": {"median": 0.3, "p90": 0.4},
        "stalled": 0,
        "failed": 0,
        "failures": {},
    }
    assert data["releases"]["r6"]["failures"] == {NO_MEDIA: 1}
    assert data["unknown"]["viewers"] == 0


def test_limits_count_all_viewers() -> None:
    seen = [audience([0.2] * 98), audience(failures=1), audience(stalled=1)]
    assert not limits_problems(seen, 1, 1, 3)
    assert limits_problems(seen, 0.5, 0.5, 0.1) == [
        "1 of 100 viewers failed (1 no media); at most 0.5 % are acceptable",
        "1 of 100 viewers stalled; at most 0.5 % are acceptable",
        "a tenth of the viewers waits 0.2 s or longer for the first frame; 0.1 s are acceptable",
    ]
