"""The rules of a soak, on records of which the answer is known."""

from typing import Any

import pytest

from report.soak_rules import rules, waiting

MIB = 2**20


def record(minutes: int = 40, **changes: Any) -> dict[str, Any]:
    """A good run with a sample each minute; `changes` replace values of the last quarter's samples, or other parts."""
    sample: dict[str, Any] = {
        "players": 200,
        "connects": [100] * 60,
        "silence": 1.0,
        "pods": {"edge ready": 4},
        "restarts": 0,
        "objects": {"Pod": 6, "Service": 3},
        "most_replica_sets": 4,
        "srs": {"edge": [20 * MIB, 60, 0, 0], "origin": [15 * MIB, 20, 0, 0]},
        "state_bytes": 100_000,
    }
    late = {key: value for key, value in changes.items() if key in sample}
    samples = [
        sample | {"t": 1000 + 60 * minute} | (late if minute > 0.75 * minutes else {}) for minute in range(minutes)
    ]
    good: dict[str, Any] = {"samples": samples, "actions": [], "problems": [], "clients": []}
    return good | {key: value for key, value in changes.items() if key not in sample}


def broken(run: dict[str, Any]) -> list[str]:
    return [rule.title for rule in rules(run) if not rule.holds]


def test_a_good_run_breaks_no_rule() -> None:
    assert broken(record()) == []


def problem(text: str) -> dict[str, Any]:
    return {"problems": [{"t": 1500, "text": text}]}


CASES: dict[str, dict[str, Any]] = {
    "dropped players": problem('cut: {"kind": "rtmp"}'),
    "dropped encoders": problem('cut: {"kind": "publish"}'),
    "new connections that failed": problem('failed: {"what": "sample"}'),
    "new connections without media": problem('nomedia: {"what": ""}'),
    "other problems, such as an update that failed": problem("rollback: error"),
    "longest silence of a player < 4 s": {"clients": [{"summary": {"longest_silence": 4.1}}]},
    "actions with fewer ready edges than expected": {"actions": [{"title": "x", "least_ready": 3, "minimum": 4}]},
    "objects that nothing needs, after two actions": {"actions": [{"title": "x", "left_over": ["ConfigMap/a"]}]},
    "restarts of containers": {"restarts": 1},
    "ReplicaSets of a Deployment ≤ 11": {"most_replica_sets": 12},
    "memory of SRS, largest growth of the 2 pods of the last three quarters": {
        "srs": {"edge": [25 * MIB, 60, 0, 0], "origin": [15 * MIB, 20, 0, 0]}
    },
    "descriptors of SRS, largest growth of the 2 pods of the last three quarters": {
        "srs": {"edge": [20 * MIB, 60, 0, 0], "origin": [15 * MIB, 43, 0, 0]}
    },
    "objects without those of pods and revisions": {"objects": {"Pod": 6, "Service": 3, "Secret": 3}},
    "size of the Pulumi state": {"state_bytes": 120_000},
}


@pytest.mark.parametrize("title", CASES)
def test_what_must_not_be_breaks_its_rule(title: str) -> None:
    assert broken(record(**CASES[title])) == [title]


def test_a_run_that_was_ended_early_has_no_rule_on_growth() -> None:
    assert not any("growth" in rule.title for rule in rules(record(minutes=5)))


def test_the_time_that_srs_waits_is_that_of_the_pod_that_waits_most() -> None:
    samples = [{"t": 0, "srs": {"a": [0, 0, 0, 1], "b": [0, 0, 0, 5]}}, {"t": 10, "srs": {"a": [0, 0, 0, 4]}}]
    assert waiting(samples) == [0, 30]
