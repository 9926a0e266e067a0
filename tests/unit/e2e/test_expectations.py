"""The assertions on connections are themselves worth a test: each must be able to fail."""

import random

import pytest

from e2e.expectations import FALSE_ALARM, assert_nothing_hurt, assert_shares_fit, chance_of_more
from e2e.viewers import Story


def test_chi_square_as_in_the_tables() -> None:
    assert chance_of_more(5.991, 2) == pytest.approx(0.05, abs=1e-4)
    assert chance_of_more(9.488, 4) == pytest.approx(0.05, abs=1e-4)


def counted(percent: float, n: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    chosen = sum(chance.random() * 100 < percent for _ in range(n))
    return {"4.0.5": n - chosen, "4.0.6": chosen}


def test_shares_as_reported_fit_and_others_do_not() -> None:
    shares = [{"4.0.5": 75.0, "4.0.6": 25.0}, {"4.0.5": 25.0, "4.0.6": 75.0}]
    assert_shares_fit([(counted(25, 300, 1), shares[0]), (counted(75, 300, 2), shares[1])])
    with pytest.raises(AssertionError, match="shares do not fit"):
        assert_shares_fit([(counted(40, 300, 1), shares[0]), (counted(75, 300, 2), shares[1])])
    with pytest.raises(AssertionError, match="shares do not fit"):  # errors that cancel in the sum
        assert_shares_fit([(counted(37, 300, 1), shares[0]), (counted(63, 300, 2), shares[1])])


def test_the_rate_of_false_alarms_is_what_it_is_said_to_be() -> None:
    percent = {"4.0.5": 75.0, "4.0.6": 25.0}
    alarms = 0
    for seed in range(1000):
        try:
            assert_shares_fit([(counted(25, 200, 2 * seed), percent), (counted(25, 200, 2 * seed + 1), percent)])
        except AssertionError:
            alarms += 1
    assert alarms <= 10 * FALSE_ALARM * 1000


def story(**changed: object) -> Story:
    summary = {"players": 2, "players_wanted": 2, "publishers": 1, "publishers_wanted": 1, "samples": 10}
    summary |= {"longest_silence": 0.5, "silence": {}}
    return Story(events=[], summary=summary | changed)


def test_whatever_hurts_is_noticed() -> None:
    assert_nothing_hurt(story())
    for changed in ({"players": 1}, {"publishers": 0}, {"samples": 0}, {"longest_silence": 9.0}):
        with pytest.raises(AssertionError):
            assert_nothing_hurt(story(**changed))
    for event in ("cut", "failed", "nomedia"):
        hurt = story()
        hurt.events.append({"event": event})
        with pytest.raises(AssertionError):
            assert_nothing_hurt(hurt)
