"""What the assertions on a fleet over time are made of."""

from fractions import Fraction

import pytest

from e2e.fleet_course import Course, Observation, Removal, deviates, deviation, fullest, removals, sizes

QUARTER = Fraction(1, 4)


def course(*sizes_of: tuple[int, int], seconds: float = 1) -> Course:
    """A fleet with so many edges of r5 and r6, each observed so many seconds after the one before."""
    return [
        Observation(1000 + seconds * index, {"r5": stable, "r6": canary}, {}, {"pod": 10 * stable}, {})
        for index, (stable, canary) in enumerate(sizes_of)
    ]


@pytest.mark.parametrize(("edges", "away"), [((3, 1), 0), ((8, 3), QUARTER), ((3, 3), Fraction(3, 2)), ((5, 0), 1.25)])
def test_a_release_deviates_from_its_share_of_the_fleet(edges: tuple[int, int], away: Fraction) -> None:
    assert deviation(course(edges)[0], QUARTER, "r6") == away


def test_only_more_than_one_edge_is_a_deviation_and_the_longest_time_counts() -> None:
    assert deviates(course((3, 1), (6, 1), (6, 2)), QUARTER, "r6") == 0
    seen = course((3, 1), (3, 3), (6, 3), (3, 3), (3, 3), (3, 3))
    assert deviates(seen, QUARTER, "r6") == 2


def test_a_size_lasts_for_some_time() -> None:
    seen = course((3, 1), (3, 1), (3, 1), (6, 1), (8, 3), (8, 3), (8, 3), (3, 1))
    assert sizes(seen, 2) == [{"r5": 3, "r6": 1}, {"r5": 8, "r6": 3}]


def test_removals_have_their_time_since_the_one_before() -> None:
    seen = course((8, 3), (7, 3), (7, 3), (6, 2), (4, 2), seconds=10)
    assert list(removals(seen)) == [
        Removal("r5", 1, None),
        Removal("r5", 1, 20),
        Removal("r6", 1, None),
        Removal("r5", 2, 10),
    ]


def test_the_fullest_edge_of_all_times() -> None:
    assert fullest(course((3, 1), (8, 3), (4, 1))) == 80
