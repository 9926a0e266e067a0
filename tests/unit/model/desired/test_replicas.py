"""The share is what the config says, to the best that whole replicas allow."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config.values import natural_key
from model.desired.replicas import apportion, shares

fleets = st.dictionaries(
    st.sampled_from([f"r{i}" for i in range(1, 13)]), st.integers(0, 1000), min_size=1, max_size=6
).filter(lambda weights: any(weights.values()))


def weighted(weights: dict[str, int]) -> list[str]:
    return [name for name, weight in weights.items() if weight]


def largest_deviation(total: int, weights: dict[str, int], replicas: dict[str, int]) -> float:
    """In units of 1 / sum of weights, so that it is exact."""
    return max(abs(replicas[name] * sum(weights.values()) - weight * total) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        (4, {"r5": 75, "r6": 25}, {"r5": 3, "r6": 1}),
        (4, {"r5": 25, "r6": 75}, {"r5": 1, "r6": 3}),
        (4, {"r5": 0, "r6": 100}, {"r5": 0, "r6": 4}),
        (3, {"r5": 100}, {"r5": 3}),
        (3, {"r5": 1, "r6": 1}, {"r5": 2, "r6": 1}),  # a tie goes to the first name
        (3, {"r10": 1, "r9": 1}, {"r9": 2, "r10": 1}),  # first in natural order
        (5, {"r6": 1, "r5": 1}, {"r5": 3, "r6": 2}),  # not in the order of the file
        (100, {"r5": 999, "r6": 1}, {"r5": 99, "r6": 1}),  # a weight gets at least one
        (2, {"r5": 999, "r6": 1}, {"r5": 1, "r6": 1}),
        (10, {"a": 3, "b": 3, "c": 3}, {"a": 4, "b": 3, "c": 3}),
    ],
)
def test_replicas_of_known_fleets(total: int, weights: dict[str, int], expected: dict[str, int]) -> None:
    assert apportion(total, weights) == expected


# How Argo Rollouts divides replicas without a traffic router at surge 0 (utils/replicaset/canary.go):
# replicas, weight of the canary in per cent, canary and stable replicas.
ARGO = [(3, 25, 1, 2), (3, 50, 2, 1), (10, 15, 2, 8), (10, 41, 4, 6), (10, 1, 1, 9), (10, 99, 9, 1), (2, 99, 1, 1)]


@pytest.mark.parametrize(("total", "canary", "argo_canary", "argo_stable"), ARGO)
def test_never_further_from_the_weights_than_argo_rollouts(
    total: int, canary: int, argo_canary: int, argo_stable: int
) -> None:
    weights = {"canary": canary, "stable": 100 - canary}
    ours = largest_deviation(total, weights, apportion(total, weights))
    assert ours <= largest_deviation(total, weights, {"canary": argo_canary, "stable": argo_stable})


@given(total=st.integers(2, 60), canary=st.integers(1, 99))
def test_never_further_from_the_weights_than_kruise(total: int, canary: int) -> None:
    weights = {"canary": canary, "stable": 100 - canary}
    kruise = -(-total * canary // 100)
    if kruise < total:  # Kruise may leave no replica for the stable release
        ours = largest_deviation(total, weights, apportion(total, weights))
        assert ours <= largest_deviation(total, weights, {"canary": kruise, "stable": total - kruise})


@given(weights=fleets, more=st.integers(0, 60))
def test_every_release_with_weight_has_a_replica_and_the_sum_is_right(weights: dict[str, int], more: int) -> None:
    total = len(weighted(weights)) + more
    replicas = apportion(total, weights)
    assert sum(replicas.values()) == total
    assert all((replicas[name] > 0) == (weight > 0) for name, weight in weights.items())


@given(weights=fleets.filter(lambda weights: len(weighted(weights)) <= 3), more=st.integers(0, 7))
def test_no_division_has_a_smaller_largest_deviation(weights: dict[str, int], more: int) -> None:
    names = weighted(weights)
    total = len(names) + more
    possible = [
        dict(zip(names, division, strict=True))
        for division in product(range(1, total + 1), repeat=len(names))
        if sum(division) == total
    ]
    with_weight = {name: weights[name] for name in names}
    best = min(largest_deviation(total, with_weight, division) for division in possible)
    assert largest_deviation(total, with_weight, apportion(total, with_weight)) == best


@given(weights=fleets, more=st.integers(0, 30), data=st.data())
def test_the_order_of_the_file_changes_nothing(weights: dict[str, int], more: int, data: st.DataObject) -> None:
    total = len(weighted(weights)) + more
    shuffled = dict(data.draw(st.permutations(list(weights.items()))))
    assert apportion(total, weights) == apportion(total, shuffled)


@given(weights=fleets, factor=st.integers(2, 9), more=st.integers(0, 30))
def test_weights_are_relative(weights: dict[str, int], factor: int, more: int) -> None:
    total = len(weighted(weights)) + more
    assert apportion(total, weights) == apportion(total, {name: factor * weight for name, weight in weights.items()})


def test_too_few_replicas_and_no_weight_are_rejected() -> None:
    with pytest.raises(ValueError, match="1 replica is too few for 2 releases"):
        apportion(1, {"r5": 1, "r6": 1})
    with pytest.raises(ValueError, match="weight above 0"):
        apportion(1, {"r5": 0})


def test_shares_are_desired_and_actual() -> None:
    small = shares(3, {"r6": 25, "r5": 75})
    assert list(small) == ["r5", "r6"]
    assert (small["r6"].replicas, small["r6"].desired, round(small["r6"].actual)) == (1, 25, 33)
    assert round(small["r6"].deviation) == 8


def test_natural_order() -> None:
    assert sorted(["r10", "r6", "r5", "a"], key=natural_key) == ["a", "r5", "r6", "r10"]
