"""A canary that is as good ends no run (but for the stated false-alarm rate), and a worse one does."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rollout.canary.analysis import (
    FALSE_ALARM,
    MINIMUM_VIEWERS,
    REPETITION,
    TESTS,
    Audience,
    Budget,
    Sources,
    Unreached,
    canary_findings,
    figures,
    limits_problems,
    quality_findings,
    reference_findings,
    share_problems,
    unreached_findings,
)
from rollout.canary.outcome import Finding, Outcome, worst
from rollout.canary.statistics import SLOT_SECONDS, Events, Times, fewer, more_often, share_interval, slower
from rollout.canary.viewers import NO_MEDIA, View

TRIALS = 400

LAST = Budget(steps=5, analyses=120, seconds=600).error(120)
"""The error probability of the tests at the end of a step of a run with the default options."""

NOTHING_BEFORE = Unreached(0, 60)


def views(
    times: Sequence[float] = (), failures: int = 0, stalled: int = 0, pods: int = 1, release: int = 5
) -> list[View]:
    """Viewers, one after the other, a second apart on each pod."""
    seen = [View("rtmp://a/b/c", 0, first_frame=time) for time in times]
    seen += [View("rtmp://a/b/c", 0, failure=NO_MEDIA)] * failures
    seen += [View("rtmp://a/b/c", 0, first_frame=0.3, stalls=1)] * stalled
    return [
        View(
            view.url,
            1e9 + number // pods,
            "4.0.5",
            f"10.0.{release}.{number % pods}",
            view.first_frame,
            view.stalls,
            0.0,
            view.failure,
        )
        for number, view in enumerate(seen)
    ]


def audience(
    times: Sequence[float] = (), failures: int = 0, stalled: int = 0, pods: int = 1, release: int = 5
) -> Audience:
    return Audience.seen(views(times, failures, stalled, pods, release))


def messages(findings: Sequence[Finding]) -> list[str]:
    return [finding.message for finding in findings]


def reasons(findings: Sequence[Finding]) -> dict[str, Outcome]:
    return {finding.reason: finding.outcome for finding in findings}


ERROR = 0.05
MAXIMUM = int(TRIALS * ERROR + 3 * (TRIALS * ERROR * (1 - ERROR)) ** 0.5)
"""False alarms in TRIALS, with an error probability of ERROR and three standard deviations."""


@pytest.mark.parametrize(("canaries", "stable"), [(1, 3), (2, 2), (4, 36)])
@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_first_frames_of_pods_that_differ_are_rarely_later(canaries: int, stable: int, spread: float) -> None:
    """Without the spread between pods, 1 : 3 pods with 100 viewers each have 40 % false alarms (Mann-Whitney)."""
    generator = np.random.default_rng(canaries)

    def times(pods: int) -> Times:
        number = np.repeat(np.arange(pods), 100)
        factor = np.exp(generator.normal(0, spread, pods))
        return Times(0.3 * factor[number] * np.exp(generator.normal(0, 0.5, number.size)), number)

    assert sum(slower(times(canaries), times(stable)) <= ERROR for _ in range(TRIALS)) <= MAXIMUM


def test_one_pod_that_is_slower_by_a_half_is_no_evidence_but_many_pods_are() -> None:
    def one(pods: int, seconds: float) -> Times:
        return Times(np.full(50 * pods, seconds), np.repeat(np.arange(pods), 50))

    assert slower(one(1, 0.45), one(3, 0.3)) > LAST
    assert slower(one(10, 0.45), one(30, 0.3)) < LAST
    assert slower(one(10, 0.34), one(30, 0.3)) == 1, "a viewer does not notice it"


Fleet = Sequence[Sequence[float]]
"""Seconds to the first frame of the viewers of each pod."""


@pytest.mark.parametrize(
    ("canary", "stable", "p_value"),
    [
        ([[0.45] * 50], [[0.3] * 50] * 3, 0.0411880),
        ([[1.0]], [[0.3, 0.4]], 0.104853),
        ([[0.4, 0.6, 0.9], [0.5, 0.7]], [[0.2, 0.3, 0.5, 0.9], [0.3], [0.4, 0.2]], 0.108352),
        (
            [[0.5, 0.6, 0.7, 0.8] * 5, [0.9, 1.3], [0.4]],
            [[0.3, 0.35, 0.5] * 4, [0.2, 0.25, 0.2, 0.6], [0.6] * 3],
            0.00536094,
        ),
        ([[0.0005] * 3 + [5.0] * 4], [[0.0] * 3 + [0.4, 0.3]], 2.87112e-15),
        ([[2.0, 0.3, 3.0], [0.2, 0.2]], [[0.25, 0.3, 0.3] * 3], 1),
        ([[0.6]], [[0.5]], 0.423298),
        ([[0.599]], [[0.5]], 1),
        ([[0.15]], [[0.11]], 1),
        ([[0.15]], [], 1),
        ([], [[0.15]], 1),
    ],
)
def test_first_frames_of_pods_that_differ_have_the_p_value_of_the_model(
    canary: Fleet, stable: Fleet, p_value: float
) -> None:
    """Worked out from the docstrings of `slower` alone, pod by pod, with the standard library's medians."""

    def times(fleet: Fleet) -> Times:
        number = [pod for pod, seconds in enumerate(fleet) for _ in seconds]
        return Times(np.array([time for pod in fleet for time in pod], np.float64), np.array(number, np.int64))

    assert slower(times(canary), times(stable)) == pytest.approx(p_value, rel=1e-5)


def test_the_exact_tests_are_those_of_scipy() -> None:
    for count, total in ((0, 1), (1, 1), (0, 40), (1, 40), (20, 40), (40, 40)):
        exact: Any = stats.binomtest(count, total, 0.3, alternative="less")
        assert fewer(count, total, 0.3) == pytest.approx(exact.pvalue)
        interval = stats.binomtest(count, total).proportion_ci(1 - ERROR, "exact")
        assert share_interval(count, total, ERROR) == pytest.approx((100 * interval.low, 100 * interval.high))
        for reference in {0, count}:
            table = [[count, total - count], [reference, 60 - reference]]
            exact = stats.fisher_exact(table, alternative="greater")
            assert more_often(count, total, reference, 60) == pytest.approx(exact.pvalue)
    assert share_interval(0, 0, ERROR) == (0, 100)
    assert fewer(0, 0, 0.3) == more_often(0, 0, 0, 0) == more_often(0, 0, 1, 1) == more_often(1, 1, 0, 0) == 1


def test_viewers_of_one_pod_within_seconds_are_one_event() -> None:
    started_at = np.array([0.0, 4.9, 5.0, 4.9, 5.1, 99.0])
    pods, hit = np.array([1, 1, 1, 2, 2, 2]), np.array([True, True, True, True, False, False])
    assert Events.of(started_at, pods, hit) == Events(3, 5)
    assert Events.of(started_at[:0], pods[:0], hit[:0]) == Events(0, 0)


def test_the_same_rate_of_failures_is_rarely_more_often() -> None:
    rng = random.Random(2)

    def failed(total: int) -> int:
        return sum(rng.random() < 0.1 for _ in range(total))

    p_values = [more_often(failed(40), 40, failed(120), 120) for _ in range(TRIALS)]
    assert sum(p_value <= ERROR for p_value in p_values) <= MAXIMUM


def test_the_interval_contains_the_share() -> None:
    rng = random.Random(3)
    outside = 0
    for _ in range(TRIALS):
        count = sum(rng.random() < 0.1 for _ in range(60))
        low, high = share_interval(count, 60, ERROR)
        outside += not low <= 10 <= high
    assert 0 < outside <= MAXIMUM


def test_all_tests_of_a_run_share_one_false_alarm_rate() -> None:
    """Also if every step is extended and repeated without end."""
    assert sum(TESTS.values()) == pytest.approx(1)
    for steps, analyses in ((1, 1), (5, 1), (5, 4)):
        budget = Budget(steps, analyses, seconds=1e9)
        once = sum(budget.error(number) for number in range(1, 2 * analyses + 1))
        assert steps * once / (1 - REPETITION) <= FALSE_ALARM
        assert budget.error(analyses, 1) == pytest.approx(REPETITION * budget.error(analyses))


@pytest.mark.parametrize(
    ("budget", "analyses"),
    [(Budget(5, 120, 600), 16), (Budget(1, 2, 600), 4), (Budget(2, 1000, 301), 12)],
)
def test_the_analyses_before_the_last_one_share_what_it_leaves(budget: Budget, analyses: int) -> None:
    """As many as have other viewers: LOOKS in each WINDOW, up to twice the shortest time."""
    assert budget.error(1) == pytest.approx(0.3 * 0.009 / budget.steps / analyses)
    assert budget.error(budget.analyses) == pytest.approx(0.7 * 0.009 / budget.steps)


def test_a_black_canary_is_found_within_a_minute() -> None:
    error = Budget(steps=5, analyses=120, seconds=600).error(1)
    for seconds, found in ((10, False), (60, True)):
        stable = audience([0.3] * 3 * seconds, pods=3)
        findings = quality_findings("r6", audience(failures=seconds, release=6), stable, error)
        assert bool(findings) is found
    assert messages(findings) == ["r6: 60 of 60 viewers failed (60 no media), elsewhere 0 of 180 (p = 1e-11)"]


@pytest.mark.parametrize(
    ("failed", "viewers", "elsewhere", "found"),
    [(21, 40, 4, True), (20, 40, 4, False), (21, 40, 5, False), (21, 39, 3, False), (51, 100, 0, True)],
)
def test_most_viewers_are_evidence_within_seconds(failed: int, viewers: int, elsewhere: int, found: bool) -> None:
    """In one moment there is one event here and one there: only the numbers of viewers differ."""

    def moment(failures: int, total: int) -> Audience:
        failure = [NO_MEDIA] * failures + [""] * (total - failures)
        return Audience.seen([View("", 1e9, None, "10.0.0.1", 0.3, failure=text) for text in failure])

    assert bool(quality_findings("r6", moment(failed, viewers), moment(elsewhere, 40), LAST)) is found


def test_one_event_of_one_pod_is_no_evidence() -> None:
    """All viewers that one pod has within a few seconds stall: Fisher's test on viewers has p = 1e-6."""
    stable = audience([0.3] * 180, pods=3)
    once = Audience.seen(views([0.3] * 55, release=6)[:-10] + views(stalled=10, release=6))
    assert SLOT_SECONDS == 5
    assert not quality_findings("r6", once, stable, LAST)


def test_stalls_and_slow_first_frames_are_reported_with_figures() -> None:
    stable = audience([0.3] * 300, pods=3)
    assert messages(quality_findings("r6", audience(stalled=100), stable, LAST)) == [
        "r6: 100 of 100 viewers stalled, elsewhere 0 of 300 (p = 3e-19)"
    ]
    assert not quality_findings("r6", audience([0.65] * 100), stable, LAST), "p = 0.001 is not enough for this test"
    (finding,) = quality_findings("r6", audience([1.5] * 100), stable, LAST)
    assert finding.reason == "FirstFrameLate"
    assert finding.message.startswith(
        "r6: the first frame comes after 1.50 s (median of 100 viewers on 1 edge), elsewhere after 0.30 s (300 on 3; "
    )


def judged(now: Mapping[str | None, Audience], before: Unreached = NOTHING_BEFORE) -> dict[str, Outcome]:
    return reasons(canary_findings("r6", now, 25, before, LAST))


def test_what_was_not_observed_has_not_passed() -> None:
    stable, canary = audience([0.3] * 180, pods=3), audience([0.3] * 60, release=6)
    assert judged({"r5": stable, "r6": canary}) == {}
    few = audience([0.3] * (MINIMUM_VIEWERS - 1), release=6)
    assert judged({"r5": stable, "r6": few}) == {"TooFewViewers": Outcome.INCONCLUSIVE}
    assert messages(canary_findings("r6", {"r5": stable, "r6": few}, 25, NOTHING_BEFORE, LAST)) == [
        "r6 has had 39 viewers; a step needs 40"
    ]
    assert judged({"r5": stable, "r6": audience([0.3] * MINIMUM_VIEWERS, release=6)}) == {}
    assert judged({"r5": stable}) == {"TooFewViewers": Outcome.INCONCLUSIVE}
    alone = canary_findings("r6", {"r6": audience(failures=240, release=6)}, 25, NOTHING_BEFORE, LAST)
    assert messages(alone) == ["only r6 has had viewers: there is nothing to compare it with at the same time"]
    assert reasons(alone) == {"NoReference": Outcome.INCONCLUSIVE}, "resume at 100 %"


def test_a_stream_that_ends_says_nothing_about_the_canary() -> None:
    ended: dict[str | None, Audience] = {"r5": audience(failures=180, pods=3), "r6": audience(failures=60, release=6)}
    assert judged(ended) == {"ReferenceFails": Outcome.INCONCLUSIVE}
    stalls: dict[str | None, Audience] = {
        "r5": audience([0.3] * 70, stalled=110, pods=3),
        "r6": audience([0.3] * 60, release=6),
    }
    assert judged(stalls) == {"ReferenceFails": Outcome.INCONCLUSIVE}, "60 % stalls on the operator's own line"
    worse: dict[str | None, Audience] = {
        "r5": audience([0.3] * 150, failures=30, pods=3),
        "r6": audience(failures=60, release=6),
    }
    assert worst(canary_findings("r6", worse, 25, NOTHING_BEFORE, LAST)) is Outcome.FAILED
    fault = "the stream, or the line of these viewers, is at fault, and nothing can be said about the canary"
    both = audience([0.3] * 7, failures=2, stalled=1)
    assert messages(reference_findings("r6", both)) == [
        f"2 of 10 viewers of the other releases failed (2 no media): {fault}"
    ]
    assert messages(reference_findings("r6", audience([0.3] * 7, failures=1, stalled=2))) == [
        f"2 of 10 viewers of the other releases stalled: {fault}"
    ]
    assert messages(reference_findings("r6", Audience())) == [
        "only r6 has had viewers: there is nothing to compare it with at the same time"
    ]


def test_shares_must_fit() -> None:
    seen = {"r5": audience([0.3] * 30), "r6": audience([0.3] * 10), None: audience(failures=3)}
    assert not share_problems(seen, {"r5": 75, "r6": 25}, LAST)
    problems = share_problems(seen, {"r5": 25, "r6": 75}, LAST)
    assert len(problems) == 2
    assert problems[0] == "r5 has 75 % of new viewers (30 of 40; with this number between 47 and 93 %) instead of 25 %"
    assert problems[1].startswith("r6 has 25 % of new viewers (10 of 40; ")
    assert share_problems({"r5": audience([0.3] * 60)}, {"r5": 75, "r6": 25}, LAST), "none reached r6"


def test_viewers_that_reach_no_release_are_the_canarys_only_if_its_own_are_missing() -> None:
    refused = audience(failures=60)
    stable, canary = audience([0.3] * 180, pods=3), audience([0.3] * 60, release=6)
    refusing = {"r5": stable, "r6": Audience(), None: refused}
    without_viewers = {"r5": stable, None: refused}
    findings = unreached_findings("r6", without_viewers, 25, NOTHING_BEFORE, LAST)
    assert findings == unreached_findings("r6", refusing, 25, NOTHING_BEFORE, LAST)
    assert reasons(findings) == {"ViewersUnreached": Outcome.FAILED}
    assert messages(findings) == [
        "60 of 240 viewers reached no release (60 no media); before, 0 of 60 (p = 3e-07), and 0 reached r6 instead of "
        "60 (p = 1e-30)"
    ]
    unknown = {"r5": stable, "r6": Audience(), None: audience([0.3] * 60)}
    assert (
        "reached no release (of no known release)"
        in messages(unreached_findings("r6", unknown, 25, NOTHING_BEFORE, LAST))[0]
    )
    lost = {"r5": audience([0.3] * 120, pods=2), "r6": canary, None: refused}
    (finding,) = unreached_findings("r6", lost, 25, NOTHING_BEFORE, LAST)
    assert finding.outcome is Outcome.INCONCLUSIVE, "a node of the stable release is lost"
    assert finding.message.endswith("(p = 3e-07), but r6 has its share of all viewers")
    assert not unreached_findings("r6", refusing, 25, Unreached(15, 60), LAST), "it was so before"
    assert judged(refusing) == {"ViewersUnreached": Outcome.FAILED, "TooFewViewers": Outcome.INCONCLUSIVE}
    some = {"r5": stable, "r6": audience([0.3] * 40, release=6), None: audience(failures=20)}
    assert judged(some) == {}, "p = 0.01 is not enough for one of four tests"
    tenth = {"r5": stable, "r6": audience([0.3] * 45, release=6), None: audience(failures=25)}
    assert not unreached_findings("r6", tenth, 25, Unreached(), LAST)
    assert reasons(unreached_findings("r6", refusing, 25, Unreached(), LAST)) == {
        "ViewersUnreached": Outcome.INCONCLUSIVE
    }, "nothing is known of before"


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


def test_viewers_without_a_pod_count_for_the_pods_of_their_release_in_turn() -> None:
    sources = Sources({"10.0.0.5": "r5", "10.0.0.6": "r5", "10.0.0.4": "r4"}, {"r5": "4.0.5"})
    seen = [View("", 0, "4.0.5", first_frame=1)] * 3 + [View("", 0, "6.0")] * 2 + [View("", 0, "4.0.5", "10.0.0.4")]
    found = sources.by_release(seen)
    assert {release: list(of.measured.pods) for release, of in found.items()} == {
        "r5": [0, 1, 0],
        None: [0, 0],
        "r4": [0],  # its pods have just been removed
    }
    assert list(Audience.seen(seen[:2]).measured.pods) == [0, 0]


def test_viewers_since_a_time_came_after_it() -> None:
    later = audience([0.2, 0.4], failures=2, stalled=1, pods=2).since(1e9)
    assert (later.viewers, later.failures, later.stalled, later.first_frame(0.5)) == (3, {NO_MEDIA: 2}, 1, 0.3)
    assert list(later.measured.pods) == [0, 1, 0]
    several = Audience.of([audience([0.3] * 2, pods=2), Audience(), audience([0.3])])
    assert list(several.measured.pods) == [0, 1, 2], "each release has its own"


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


def test_figures_are_rounded_and_have_the_releases_with_viewers_or_pods_in_natural_order() -> None:
    seen: dict[str | None, Audience] = {"r10": audience([0.23456] * 2), "r9": audience([0.2])}
    rows = figures(seen | {"r8": Audience(), "r7": Audience()}, {"r8": 33.333}, {}, 0.05)["releases"]
    shares = ("sharePercent", "intervalPercent", "actualPercent")
    assert {name: tuple(row[share] for share in shares) for name, row in rows.items()} == {
        "r8": (0.0, [0.0, 70.8], 33.3),
        "r9": (33.3, [0.8, 90.6], 0.0),
        "r10": (66.7, [9.4, 99.2], 0.0),
    }
    assert list(rows) == ["r8", "r9", "r10"]
    assert rows["r10"]["firstFrameSeconds"] == {"median": 0.235, "p90": 0.235}
    without_viewers = figures({"r5": Audience()}, {"r5": 100.0}, {}, 0.05)
    assert without_viewers["releases"]["r5"]["sharePercent"] is None
    assert without_viewers["unknown"]["viewers"] == 0


def test_limits_count_all_viewers() -> None:
    seen = [audience([0.2] * 98), audience(failures=1), audience(stalled=1)]
    assert not limits_problems(seen, 1, 1, 0.2)
    mixed = Audience.seen([View("", 0, failure=reason) for reason in "abbcccdddd"])
    assert limits_problems([mixed], 9, 0, 0) == ["10 of 10 viewers failed (4 d, 3 c, 2 b); at most 9 % are acceptable"]
    assert limits_problems(seen, 0.5, 0.5, 0.1) == [
        "1 of 100 viewers failed (1 no media); at most 0.5 % are acceptable",
        "1 of 100 viewers stalled; at most 0.5 % are acceptable",
        "a tenth of the viewers waits 0.2 s or longer for the first frame; 0.1 s are acceptable",
    ]
