"""What follows from the figures of a benchmark."""

from typing import Any

import pytest

from bench.records import BARE, PRODUCT, Record, pods_need, ratio, targets


def test_a_ratio_is_the_median_of_pairs() -> None:
    """Not the ratio of medians: a slow moment of the machine slows down both runs of a pair."""
    assert ratio([2.0, 40.0, 3.0], [1.0, 20.0, 3.0]) == 2.0


def pod(app: str, created: str, ready: str | None) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": ready or created}
    return {
        "metadata": {"labels": {"app": app, "x": "y"}, "creationTimestamp": created},
        "status": {"conditions": [condition]},
    }


def workload(app: str, **spec: Any) -> dict[str, Any]:
    return {"spec": {"selector": {"matchLabels": {"app": app}}, **spec}}


def test_pods_need_their_longest_start_and_min_ready() -> None:
    pods = [
        pod("edge", "2026-11-30T17:00:00Z", "2026-11-30T17:00:11Z"),
        pod("edge", "2026-11-30T17:00:00Z", None),
        pod("origin", "2026-11-30T17:00:04Z", "2026-11-30T17:00:06Z"),
    ]
    assert pods_need(pods, [workload("edge", minReadySeconds=5), workload("origin", minReadySeconds=15)]) == 17
    assert pods_need(pods, [workload("edge"), workload("none")]) == 11
    assert pods_need([], []) == 0


def record(**ours: list[float]) -> Record:
    seconds = {name: {PRODUCT: runs, BARE: [10.0] * len(runs)} for name, runs in ours.items()}
    return {
        "machine": "",
        "rounds": 2,
        "tools": [PRODUCT, BARE],
        "seconds": seconds,
        "needs": {PRODUCT: [16.0, 17.0]},
        "without_earlier": {},
        "minimum_ready": {},
        "phases": {},
    }


@pytest.mark.parametrize(
    ("first", "unchanged", "move", "met"),
    [(24.0, 10.5, 11.0, [True] * 4), (25.5, 10.6, 11.1, [False, False, True, False])],
)
def test_targets(first: float, unchanged: float, move: float, met: list[bool]) -> None:
    found = targets(record(first=[first, first], unchanged=[unchanged] * 2, preview=[10.0] * 2, move=[move] * 2))
    assert [target.met for target in found] == met
