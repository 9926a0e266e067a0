"""The steps of `rollout run`: weights, shares, analyses, and what ends a run."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.live import LiveCluster
from rollout import canary
from rollout.canary import MINIMUM_VIEWERS, Observer
from rollout.command import CommandRejectedError
from rollout.commands.run import _patch, _step_file, _steps, _title, step_weights
from rollout.prometheus import Queries, QueriesError, Query
from rollout.run_state import RunState
from rollout.sampling import Fleet, Sampling
from rollout.stack_file import StackFile
from rollout.viewers import View

BEFORE = b"""config:
  srs:edge:
    replicas: 4  # all releases together
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100, resources: {cpu: 1}}  # stable
"""


def stack_file(content: bytes = BEFORE) -> StackFile:
    return StackFile(Path("Pulumi.dev.yaml"), content)


def state(patch: dict[str, Any], *steps: int, before: bytes = BEFORE) -> RunState:
    return RunState(
        release="r6", patch=patch, steps=steps, stack_file_before=before, started_at=datetime.now(UTC), pid=1
    )


def test_a_step_is_an_edit_of_the_stack_file_that_keeps_its_comments() -> None:
    patch = _patch(stack_file(), "r6", "ossrs/srs:v4.0.6", "canary.conf")
    edited = _step_file(stack_file(), state(patch, 25, 100), 0)
    assert edited.releases == {
        "r5": {"image": "ossrs/srs:v4.0.5", "weight": 75, "resources": {"cpu": 1}},
        "r6": {
            "image": "ossrs/srs:v4.0.6",
            "weight": 25,
            "resources": {"cpu": 1},
            "srs": {"conf": "canary.conf"},
        },
    }
    assert b"# all releases together" in edited.content
    assert b"# stable" in edited.content
    second = _step_file(edited, state(patch, 25, 100), 1)
    assert {name: release["weight"] for name, release in second.releases.items()} == {"r5": 0, "r6": 100}


def test_the_title_of_a_step_has_the_desired_and_the_actual_share() -> None:
    run = state({}, 10, 50)
    assert _title(stack_file(), run, 0) == "step 1 of 2: 10 % of new viewers to r6 (1 of 4 edges, 25 %)"
    assert _title(stack_file(), run, 1) == "step 2 of 2: 50 % of new viewers to r6 (2 of 4 edges, 50 %)"


@given(weights=st.lists(st.integers(0, 100), min_size=1, max_size=3).filter(any), percent=st.integers(1, 100))
def test_the_canary_has_its_share_and_the_others_keep_their_ratio(weights: list[int], percent: int) -> None:
    releases = "\n".join(f"      r{number}: {{weight: {weight}}}" for number, weight in enumerate(weights))
    file = stack_file(f"config:\n  srs:edge:\n    releases:\n{releases}\n".encode())
    result = step_weights(file, "canary", percent)
    total = sum(result.values())
    assert result["canary"] * 100 == percent * total
    for number, weight in enumerate(weights):
        got = result.get(f"r{number}", 0)
        assert got * 100 * sum(weights) == weight * (100 - percent) * total


def test_a_canary_alone_is_rejected() -> None:
    with pytest.raises(CommandRejectedError, match="nothing to compare"):
        step_weights(stack_file(), "r5", 25)
    with pytest.raises(CommandRejectedError, match="--image or --conf is required"):
        _patch(stack_file(), "r6", None, None)
    assert _patch(stack_file(), "r5", None, None) == {}


@pytest.mark.parametrize("text", ["", "0", "101", "50,10", "10,10", "a", "10,"])
def test_steps_must_rise(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="rise"):
        _steps(text)
    assert _steps("10,25,50,100") == (10, 25, 50, 100)


def pod(release: str, number: int, restarts: int = 0, ready: bool = True) -> dict[str, Any]:
    ended = {"lastState": {"terminated": {"exitCode": 137, "reason": "Error"}}} if restarts else {}
    return {
        "metadata": {"name": f"{release}-{number}", "labels": {"run": f"srs-edge-{release}"}},
        "status": {
            "podIP": f"10.0.{release[1:]}.{number}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"restartCount": restarts, **ended}],
        },
    }


Play = Callable[[int], View]


class FakeSampling:
    """Viewers of four edges, one of them the canary r6; `play` is what the viewer of this number sees."""

    viewers, seconds, round_seconds = 20, 0.0, 5.0
    addresses = ("rtmp://host/live/x",)

    def __init__(self, play: Play, pods: Sequence[dict[str, Any]]) -> None:
        self._play, self.rounds = play, 0
        self.fleet = Fleet({"r5": 3, "r6": 1}, {"r5": "4.0.5", "r6": "4.0.6"}, pods, {})

    def refresh(self) -> Fleet:
        return self.fleet

    @property
    def sources(self) -> Any:
        return SimpleNamespace(release=lambda view: {"4.0.5": "r5", "4.0.6": "r6"}.get(view.version))

    def arrivals(self) -> Any:
        return nullcontext()

    def round(self, _arrivals: object, **_last: bool) -> list[View]:
        self.rounds += 1
        return [self._play(number) for number in range(self.viewers)]


def good(number: int) -> View:
    version = "4.0.6" if number % 4 == 3 else "4.0.5"
    return View("", 1e12, version, first_frame=0.3 + 0.01 * (number % 7))


def black(number: int) -> View:
    view = good(number)
    return View("", 1e12, view.version, failure="no media") if view.version == "4.0.6" else view


def unreachable(number: int) -> View:
    return good(number) if number % 4 != 3 else View("", 1e12, failure="Connection refused")


PODS = (pod("r5", 1), pod("r5", 2), pod("r5", 3), pod("r6", 1))


def observer(play: Play, pods: Sequence[dict[str, Any]] = PODS, pause: float = 60) -> tuple[Observer, FakeSampling]:
    sampling = FakeSampling(play, pods)
    file = stack_file(b"config:\n  srs:edge:\n    releases:\n      r5: {weight: 75}\n      r6: {weight: 25}\n")
    observing = Observer(
        cast("LiveCluster", None),
        lambda: file,
        "r6",
        cast("Sampling", sampling),
        None,
        steps=4,
        pause=pause,
        report=lambda _line: None,
    )
    return observing, sampling


def test_a_good_canary_is_observed_until_the_pause_is_over() -> None:
    observing, sampling = observer(good)
    observing.observe_baseline()
    sampling.rounds = 0
    observation = observing.observe_step()
    assert observation.problems == []
    assert sampling.rounds == 12, "60 s in rounds of 5 s"
    assert observation.figures["releases"]["r6"]["viewers"] == 60
    short, sampling = observer(good, pause=0)
    assert short.observe_step().problems == []
    assert sampling.rounds * 5 == MINIMUM_VIEWERS, "5 viewers of the canary a round"


def test_a_bad_canary_ends_its_step_early() -> None:
    observing, sampling = observer(black)
    problems = observing.observe_step().problems
    assert len(problems) == 1
    assert problems[0].startswith("r6: 10 of 10 viewers failed (10 no media), elsewhere 0 of 30 (p = ")
    assert sampling.rounds == 2


def test_viewers_that_reach_nobody_end_a_step() -> None:
    observing, sampling = observer(good)
    observing.observe_baseline()
    sampling._play = unreachable
    problems = observing.observe_step().problems
    assert any("reached no release (" in problem and "Connection refused" in problem for problem in problems), problems


def test_pods_of_the_canary_must_not_restart_or_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    observing, _ = observer(good, (*PODS[:3], pod("r6", 1, restarts=2)))
    assert observing.observe_step().problems == ["pod r6-1 has restarted: exit code 137, 2 restarts"]
    monkeypatch.setattr(canary, "NOT_READY_SECONDS", 0.0)
    observing, _ = observer(good, (*PODS[:3], pod("r6", 1, ready=False)))
    assert observing.observe_step().problems == ["pod r6-1 is not ready: Pending: not ready yet"]
    observing, _ = observer(good, PODS[:3])
    assert observing.observe_step().problems == ["r6 has 0 pods of 1"]
    observing, _ = observer(good, (pod("r5", 1, restarts=1), *PODS[1:]))
    assert observing.observe_step().problems == [], "the other releases are not judged"


def test_a_run_does_not_begin_while_nobody_can_play() -> None:
    observing, _ = observer(lambda _number: View("", 1e12, "4.0.5", failure="no media"))
    with pytest.raises(CommandRejectedError, match="60 of 60 viewers fail before the first step \\(60 no media\\)"):
        observing.observe_baseline()


def test_queries_have_limits(tmp_path: Path) -> None:
    query = Query(name="errors", query="x", maximum=0.1)
    assert query.problem([0.05], "r6") is None
    assert query.problem([0.2], "r6") == "errors of r6: 0.2 is above the maximum of 0.1"
    assert query.problem([float("nan")], "r6")
    assert query.problem([], "r6") == "errors of r6: the query returns nothing"
    assert Query(name="up", query="x", minimum=1).problem([0], "r6") == "up of r6: 0 is below the minimum of 1"
    file = tmp_path / "queries.yaml"
    file.write_text("prometheus: http://localhost:9090\nqueries: [{name: a, query: b}]\n")
    with pytest.raises(QueriesError, match=r"queries\.0: minimum or maximum is required"):
        Queries.read(file)
    with pytest.raises(QueriesError, match="cannot be read"):
        Queries.read(tmp_path / "missing")


def test_a_prometheus_that_does_not_answer_is_a_problem() -> None:
    queries = Queries(prometheus="http://127.0.0.1:9", queries=[Query(name="up", query="up", minimum=1)])
    (problem,) = queries.problems("r6")
    assert problem.startswith("up of r6: Prometheus gives no answer")
