"""Each assertion on connections can fail."""

import random

import pytest

from e2e.expectations import FALSE_ALARM, assert_shares_fit, assert_undisturbed, p_value
from e2e.viewers import Record


def test_p_values_are_those_of_the_chi_square_tables() -> None:
    assert p_value(5.991, 2) == pytest.approx(0.05, abs=1e-4)
    assert p_value(9.488, 4) == pytest.approx(0.05, abs=1e-4)


def counted(percent: float, n: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    chosen = sum(chance.random() * 100 < percent for _ in range(n))
    return {"4.0.5": n - chosen, "4.0.6": chosen}


def test_reported_shares_fit_and_others_do_not() -> None:
    shares = [{"4.0.5": 75.0, "4.0.6": 25.0}, {"4.0.5": 25.0, "4.0.6": 75.0}]
    assert_shares_fit([(counted(25, 300, 1), shares[0]), (counted(75, 300, 2), shares[1])])
    with pytest.raises(AssertionError, match="shares do not fit"):
        assert_shares_fit([(counted(40, 300, 1), shares[0]), (counted(75, 300, 2), shares[1])])
    with pytest.raises(AssertionError, match="shares do not fit"):  # errors that cancel in the sum
        assert_shares_fit([(counted(37, 300, 1), shares[0]), (counted(63, 300, 2), shares[1])])


def test_shares_fail_by_chance_as_rarely_as_documented() -> None:
    percent = {"4.0.5": 75.0, "4.0.6": 25.0}
    alarms = 0
    for seed in range(1000):
        try:
            assert_shares_fit([(counted(25, 200, 2 * seed), percent), (counted(25, 200, 2 * seed + 1), percent)])
        except AssertionError:
            alarms += 1
    assert alarms <= 10 * FALSE_ALARM * 1000


def record(*events: str, **changed: object) -> Record:
    summary = {"players": 2, "players_wanted": 2, "publishers": 1, "publishers_wanted": 1, "samples": 10}
    summary |= {"longest_silence": 0.5, "silence": {}}
    return Record(events=[{"event": event} for event in events], summary=summary | changed)


def test_undisturbed_connections_pass() -> None:
    assert_undisturbed(record())


@pytest.mark.parametrize("changed", [{"players": 1}, {"publishers": 0}, {"samples": 0}, {"longest_silence": 9.0}])
def test_each_deviation_in_the_summary_is_a_disturbance(changed: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        assert_undisturbed(record(**changed))


@pytest.mark.parametrize("event", ["cut", "failed", "nomedia"])
def test_each_interrupted_connection_is_a_disturbance(event: str) -> None:
    with pytest.raises(AssertionError):
        assert_undisturbed(record(event))
