"""The steps of `rollout run`: weights, shares, analyses, and what ends a run."""

import argparse
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.live import LiveCluster, UnreachableError
from rollout.canary import observer as canary
from rollout.canary.observer import MARGIN, MINIMUM_VIEWERS, Observation, Observer
from rollout.canary.outcome import CONSECUTIVE_ERRORS, Outcome, error, failed, inconclusive
from rollout.canary.prometheus import Queries, QueriesError, Query
from rollout.canary.sampling import Sampling
from rollout.canary.steps import (
    canary_patch,
    control_edges,
    last_file,
    new_record,
    observed_weights,
    step_file,
    step_weights,
    title,
)
from rollout.canary.viewers import View
from rollout.command import CommandRejectedError
from rollout.edges.fleet import Fleet
from rollout.stack.stack_file import StackFile
from rollout.verbs.run import _steps

BEFORE = b"""config:
  srs:edge:
    replicas: 4  # all releases together
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100, resources: {cpu: 1}}  # stable
"""


def stack_file(content: bytes = BEFORE) -> StackFile:
    return StackFile(Path("Pulumi.dev.yaml"), content)


def test_a_step_is_an_edit_of_the_stack_file_that_keeps_its_comments() -> None:
    record = new_record(stack_file(), "r6", "ossrs/srs:v4.0.6", "canary.conf", (25, 100))
    edited = step_file(stack_file(), record, 0)
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
    weights = [
        {name: release["weight"] for name, release in file.releases.items()}
        for file in (step_file(edited, record, 1), last_file(edited, record))
    ]
    assert weights == [{"r5": 1, "r6": 3}, {"r5": 0, "r6": 100}], "a control until the last step has passed"


def test_the_title_of_a_step_has_the_desired_and_the_actual_share() -> None:
    run = new_record(stack_file(), "r6", "ossrs/srs:v4.0.6", None, (10, 50))
    assert title(stack_file(), run, 0) == "step 1 of 2: 10 % of new viewers to r6 (1 of 4 edges, 25 %)"
    assert title(stack_file(), run, 1) == "step 2 of 2: 50 % of new viewers to r6 (2 of 4 edges, 50 %)"
    assert title(stack_file(), new_record(stack_file(), "r6", "x:y", None, (100,)), 0) == (
        "step 1 of 1: 100 % of new viewers to r6 (3 of 4 edges, 75 % until its analysis has passed)"
    )


@pytest.mark.parametrize(("edges", "releases", "control"), [(2, 1, 1), (4, 1, 1), (19, 1, 1), (40, 1, 4), (40, 5, 5)])
def test_the_last_step_keeps_a_tenth_of_the_edges_for_the_others(edges: int, releases: int, control: int) -> None:
    assert control_edges(edges, releases) == control
    others = "\n".join(f"      r{number}: {{weight: {number + 1}}}" for number in range(releases))
    file = stack_file(f"config:\n  srs:edge:\n    replicas: {edges}\n    releases:\n{others}\n".encode())
    if edges > control:
        weights = observed_weights(file.edges.weights, edges, "canary", 100)
        assert weights["canary"] == edges - control
        assert sum(weights.values()) == edges
        assert all(weights.values())


def test_a_canary_needs_an_edge_besides_the_control() -> None:
    with pytest.raises(CommandRejectedError, match="a canary needs one edge besides 1 edge of the other releases"):
        observed_weights({"r5": 100}, 1, "r6", 100)


@given(weights=st.lists(st.integers(0, 100), min_size=1, max_size=3).filter(any), percent=st.integers(1, 100))
def test_the_canary_has_its_share_and_the_others_keep_their_ratio(weights: list[int], percent: int) -> None:
    releases = "\n".join(f"      r{number}: {{weight: {weight}}}" for number, weight in enumerate(weights))
    file = stack_file(f"config:\n  srs:edge:\n    releases:\n{releases}\n".encode())
    result = step_weights(file.edges.weights, "canary", percent)
    total = sum(result.values())
    assert result["canary"] * 100 == percent * total
    for number, weight in enumerate(weights):
        got = result.get(f"r{number}", 0)
        assert got * 100 * sum(weights) == weight * (100 - percent) * total


def test_a_canary_alone_is_rejected() -> None:
    with pytest.raises(CommandRejectedError, match="nothing to compare"):
        step_weights(stack_file().edges.weights, "r5", 25)
    with pytest.raises(CommandRejectedError, match="--image or --conf is required"):
        canary_patch(stack_file(), "r6", None, None)
    assert canary_patch(stack_file(), "r5", None, None) == {}


@pytest.mark.parametrize("text", ["", "0", "101", "50,10", "10,10", "a", "10,"])
def test_steps_must_rise(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="rise"):
        _steps(text)
    assert _steps("10,25,50,100") == (10, 25, 50, 100)


def pod(release: str, number: int, restarts: int = 0, ready: bool = True, phase: str = "Running") -> dict[str, Any]:
    ended = {"lastState": {"terminated": {"exitCode": 137, "reason": "Error"}}} if restarts else {}
    return {
        "metadata": {"name": f"{release}-{number}", "labels": {"app": "srs-edge", "run": f"srs-edge-{release}"}},
        "status": {
            "phase": phase,
            "podIP": f"10.0.{release[1:]}.{number}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"restartCount": restarts, **ended}],
        },
    }


PODS = (pod("r5", 1), pod("r5", 2), pod("r5", 3), pod("r6", 1))

Play = Callable[[int], View]
Pods = Callable[[int], Sequence[dict[str, Any]]]


class FakeSampling:
    """Viewers of four edges, one of them the canary r6; `play` is what the viewer of this number sees.

    pods: after a number of rounds; it may raise UnreachableError.
    """

    viewers, seconds, round_seconds = 20, 0.0, 5.0
    urls = ("rtmp://host/live/x",)

    def __init__(self, play: Play, pods: Pods) -> None:
        self._play, self._pods, self.rounds = play, pods, 0
        self.refresh()

    def refresh(self) -> Fleet:
        pods: dict[str, list[dict[str, Any]]] = {"r5": [], "r6": []}
        for item in self._pods(self.rounds):
            pods[item["metadata"]["labels"]["run"].removeprefix("srs-edge-")].append(item)
        self.fleet = Fleet({"r5": 3, "r6": 1}, {"r5": "4.0.5", "r6": "4.0.6"}, pods, {})
        return self.fleet

    @property
    def sources(self) -> Any:
        return SimpleNamespace(release=lambda view: {"4.0.5": "r5", "4.0.6": "r6"}.get(view.version))

    def arrivals(self) -> Any:
        return nullcontext()

    def watched(self, _arrivals: object, **_last: bool) -> list[View]:
        begin = self.rounds * self.viewers
        self.rounds += 1
        return [replace(self._play(begin + i), started_at=1e12 + (begin + i) / 4) for i in range(self.viewers)]


def good(number: int) -> View:
    """The edges have one viewer after the other; the fourth is the canary."""
    edge = number % 4
    version, server = ("4.0.6", "10.0.6.1") if edge == 3 else ("4.0.5", f"10.0.5.{edge + 1}")
    return View("", 0, version, server, first_frame=0.3 + 0.01 * (number // 4 % 7))


def without_media(view: View) -> View:
    return View("", 0, view.version, view.server, failure="no media")


def black(number: int) -> View:
    return without_media(good(number)) if number % 4 == 3 else good(number)


def refused(number: int) -> View:
    return good(number) if number % 4 != 3 else View("", 0, failure="Connection refused")


def sticky(number: int) -> View:
    return good(4 * number)


def observer(
    play: Play,
    pods: Sequence[dict[str, Any]] | Pods = PODS,
    pause: float = 60,
    queries: Queries | None = None,
    viewers: bool = True,
) -> tuple[Observer, FakeSampling]:
    sampling = FakeSampling(play, pods if callable(pods) else lambda _rounds: pods)
    file = stack_file(b"config:\n  srs:edge:\n    releases:\n      r5: {weight: 75}\n      r6: {weight: 25}\n")
    observing = Observer(
        cast("LiveCluster", None),
        lambda: file,
        "r6",
        cast("Sampling", sampling) if viewers else None,
        queries,
        steps=5,
        pause=pause,
        report=lambda _line: None,
    )
    return observing, sampling


def found(observation: Observation) -> dict[str, Outcome]:
    return {finding.reason: finding.outcome for finding in observation.findings}


def test_a_good_canary_is_observed_until_the_pause_is_over() -> None:
    observing, sampling = observer(good)
    observing.observe_baseline()
    sampling.rounds = 0
    observation = observing.observe_step()
    assert (observation.outcome, observation.problems) == (Outcome.PASSED, [])
    assert sampling.rounds == 12, "60 s in rounds of 5 s"
    assert observation.figures["releases"]["r6"]["viewers"] == 60
    short, sampling = observer(good, pause=0)
    assert short.observe_step().problems == []
    assert sampling.rounds * 5 == MARGIN * MINIMUM_VIEWERS, "5 viewers of the canary a round"


def test_a_bad_canary_ends_its_step_early() -> None:
    observing, sampling = observer(black)
    problems = observing.observe_step().problems
    assert len(problems) == 1
    assert problems[0].startswith("r6: 30 of 30 viewers failed (30 no media), elsewhere 0 of 90 (p = ")
    assert sampling.rounds == 6


def test_viewers_that_the_canary_refuses_end_a_step() -> None:
    observing, sampling = observer(good)
    observing.observe_baseline()
    sampling._play = refused
    problems = observing.observe_step().problems
    assert any("reached no release (" in problem and "Connection refused" in problem for problem in problems), problems


@pytest.mark.parametrize("resumed", [False, True])
def test_a_stream_that_ends_during_a_step_is_inconclusive(resumed: bool) -> None:
    """Also in the last step, where it reverted a good canary, and without a baseline, where nothing was found."""
    observing, sampling = observer(good)
    if not resumed:
        observing.observe_baseline()
    sampling.rounds = 0
    sampling._play = lambda number: good(number) if number < 160 else without_media(good(number))
    observation = observing.observe_step()
    assert found(observation) == {"ReferenceFails": Outcome.INCONCLUSIVE}
    assert sampling.rounds == 24, "observed for one more pause"


def test_a_stream_that_ended_for_a_moment_is_observed_for_longer() -> None:
    observing, sampling = observer(lambda number: without_media(good(number)) if number < 40 else good(number))
    assert observing.observe_step().outcome is Outcome.PASSED
    assert sampling.rounds == 20, "until fewer than a tenth have failed"


def test_a_canary_without_viewers_or_without_pods_has_not_passed() -> None:
    observing, _ = observer(sticky)
    assert found(observing.observe_step()) == {
        "SharesDeviate": Outcome.INCONCLUSIVE,
        "TooFewViewers": Outcome.INCONCLUSIVE,
    }
    observing, _ = observer(sticky, PODS[:3])
    assert found(observing.observe_step()) == {
        "NoCanaryPod": Outcome.INCONCLUSIVE,
        "TooFewViewers": Outcome.INCONCLUSIVE,
    }


def test_a_sticky_load_balancer_is_found_before_the_run() -> None:
    observing, _ = observer(sticky)
    with pytest.raises(CommandRejectedError, match=r"reach 1 of 4 ready edges.*persistenceTimeout"):
        observing.observe_baseline()


def test_a_lost_node_of_the_stable_release_is_not_the_canarys_fault() -> None:
    """First its viewers reach nothing, then it is not ready, and the canary has a larger share."""
    notices = 8

    def play(number: int) -> View:
        view = good(number)
        if view.server != "10.0.5.3" or number < 60:
            return view
        if number < 20 * notices:
            return View("", 0, failure="no connection in time")
        return good(number + 1 + number // 4 % 3)

    def pods(rounds: int) -> Sequence[dict[str, Any]]:
        return PODS if rounds < notices else (*PODS[:2], pod("r5", 3, ready=False), PODS[3])

    observing, sampling = observer(good, pause=300)
    observing.observe_baseline()
    sampling.rounds, sampling._play, sampling._pods = 0, play, pods
    observation = observing.observe_step()
    assert observation.outcome is not Outcome.FAILED, observation.problems
    assert "SharesDeviate" not in found(observation)


def test_pods_of_the_canary_must_not_restart_or_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    observing, _ = observer(good, (*PODS[:3], pod("r6", 1, restarts=2)))
    assert observing.observe_step().problems == ["pod r6-1 has restarted: exit code 137, 2 restarts"]
    monkeypatch.setattr(canary, "NOT_READY_SECONDS", 0.0)
    observing, _ = observer(good, lambda rounds: (*PODS[:3], pod("r6", 1, ready=rounds < 3)))
    assert observing.observe_step().problems == ["pod r6-1 is not ready: Running: not ready yet"]
    observing, _ = observer(good, lambda rounds: (*PODS[:3], pod("r6", 2, ready=rounds > 8)))
    assert observing.observe_step().outcome is not Outcome.FAILED, "a replacement after an eviction"
    observing, _ = observer(good, (pod("r5", 1, restarts=1), *PODS[1:]))
    assert observing.observe_step().problems == [], "the other releases are not judged"


def test_a_restart_counts_whatever_is_inconclusive() -> None:
    observing, _ = observer(lambda number: without_media(good(number)), (*PODS[:3], pod("r6", 1, restarts=1)))
    observation = observing.observe_step()
    assert observation.outcome is Outcome.FAILED
    assert observation.problems == ["pod r6-1 has restarted: exit code 137, 1 restart"]


def test_a_run_does_not_begin_without_power() -> None:
    observing, _ = observer(lambda number: without_media(good(number)))
    with pytest.raises(CommandRejectedError, match="60 of 60 viewers fail before the first step \\(60 no media\\)"):
        observing.observe_baseline()
    observing, _ = observer(lambda number: replace(good(number), stalls=int(number % 5 < 3)))
    with pytest.raises(CommandRejectedError, match="36 of 60 viewers stall"):
        observing.observe_baseline()


@pytest.mark.parametrize("viewers", [True, False])
def test_the_api_server_may_fail_for_a_while(monkeypatch: pytest.MonkeyPatch, viewers: bool) -> None:
    sleeps: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(canary.time, "sleep", sleep)
    if not viewers:
        monkeypatch.setattr(canary.time, "monotonic", lambda: clock[0])
    reads = [0]

    def pods(failing: range) -> Pods:
        def read(_rounds: int) -> Sequence[dict[str, Any]]:
            reads[0] += 1
            if reads[0] in failing:
                raise UnreachableError("the API server answered 503")
            return PODS

        return read

    def outcome(failing: range) -> Observation:
        reads[0] = 0
        observing, sampling = observer(good, pods(failing), viewers=viewers)
        monkeypatch.setattr(canary.Fleet, "read", lambda _live, _file, _in_place: sampling.refresh())
        return observing.observe_step()

    assert outcome(range(5, 5 + CONSECUTIVE_ERRORS)).outcome is Outcome.PASSED
    lost = outcome(range(5, 1000))
    assert found(lost) == {"ApiServerUnreachable": Outcome.ERROR}
    assert lost.problems[0].startswith("the API server answered 503 (")


def test_queries_have_limits(tmp_path: Path) -> None:
    query = Query(name="errors", query="x", maximum=0.1)
    assert query.finding([0.05], "r6") is None
    assert query.finding([0.2], "r6") == failed("QueryBeyondLimit", "errors of r6: 0.2 is above the maximum of 0.1")
    assert query.finding([float("nan")], "r6") == inconclusive(
        "QueryWithoutValue", "errors of r6: the query returns NaN"
    )
    assert query.finding([], "r6") == inconclusive("QueryWithoutValue", "errors of r6: the query returns nothing")
    assert Query(name="up", query="x", minimum=1).finding([0], "r6") == failed(
        "QueryBeyondLimit", "up of r6: 0 is below the minimum of 1"
    )
    file = tmp_path / "queries.yaml"
    file.write_text("prometheus: http://localhost:9090\nqueries: [{name: a, query: b}]\n")
    with pytest.raises(QueriesError, match=r"queries\.0: minimum or maximum is required"):
        Queries.read(file)
    with pytest.raises(QueriesError, match="cannot be read"):
        Queries.read(tmp_path / "missing")


class Prometheus(BaseHTTPRequestHandler):
    """Answers with the codes of `answers`, one after the other, then with the value 1."""

    answers: ClassVar[list[int]] = []
    authorizations: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.authorizations.append(self.headers["Authorization"])
        code = self.answers.pop(0) if self.answers else 200
        self.send_response(code)
        self.end_headers()
        self.wfile.write(b'{"data": {"resultType": "vector", "result": [{"value": [0, "1"]}]}}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def queries() -> Generator[Queries]:
    Prometheus.answers, Prometheus.authorizations = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Queries(
        prometheus=f"http://127.0.0.1:{server.server_port}", queries=[Query(name="up", query="up", minimum=1)]
    )
    server.shutdown()


def test_one_503_of_prometheus_in_four_hours_is_no_error(queries: Queries) -> None:
    Prometheus.answers = [503] * CONSECUTIVE_ERRORS
    for _ in range(CONSECUTIVE_ERRORS):
        assert list(queries.findings("r6")) == []
        assert queries.has_errors, "a step does not end like this"
    assert list(queries.findings("r6")) == []
    assert not queries.has_errors
    Prometheus.answers = [503] * (CONSECUTIVE_ERRORS + 1)
    for _ in range(CONSECUTIVE_ERRORS):
        list(queries.findings("r6"))
    (finding,) = queries.findings("r6")
    assert finding == error("PrometheusUnanswered", "up of r6: Prometheus answers 503 (5 times in a row)")


def test_an_unanswered_query_neither_ends_nor_passes_a_step(queries: Queries) -> None:
    observing, sampling = observer(good, queries=queries)
    Prometheus.answers = [200] * 5 + [503] * CONSECUTIVE_ERRORS
    assert observing.observe_step().outcome is Outcome.PASSED
    Prometheus.answers = [200] * 11 + [503] * 2
    sampling.rounds = 0
    assert observing.observe_step().outcome is Outcome.PASSED
    assert sampling.rounds == 14, "two analyses more"
    Prometheus.answers = [503] * 100
    assert found(observing.observe_step()) == {"PrometheusUnanswered": Outcome.ERROR}


def test_credentials_of_prometheus_come_from_the_environment(queries: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    Prometheus.answers = [401]
    list(queries.findings("r6"))
    assert "PROMETHEUS_USERNAME" in queries._errors["up"].message
    monkeypatch.setenv("PROMETHEUS_USERNAME", "operator")
    monkeypatch.setenv("PROMETHEUS_PASSWORD", "secret")
    assert list(queries.findings("r6")) == []
    monkeypatch.setenv("PROMETHEUS_TOKEN", "t0ken")
    assert list(queries.findings("r6")) == []
    assert Prometheus.authorizations == [None, "Basic b3BlcmF0b3I6c2VjcmV0", "Bearer t0ken"]


def test_the_fleet_has_no_evicted_pods_and_shares_of_ready_edges() -> None:
    """Evicted pods stay in the list; a node that is lost takes a ready edge, and no replica."""
    evicted = pod("r6", 9, phase="Failed", ready=False)
    pods = [*PODS[:2], pod("r5", 3, ready=False), PODS[3], evicted]
    deployments = {
        f"srs-edge-{name}-deploy": {
            "spec": {
                "replicas": replicas,
                "template": {
                    "metadata": {"labels": {"app": "srs-edge", "run": f"srs-edge-{name}"}},
                    "spec": {"containers": [{"image": "ossrs/srs:v4.0.6"}]},
                },
            }
        }
        for name, replicas in (("r5", 3), ("r6", 1))
    }
    live = SimpleNamespace(objects=lambda _kind: deployments, pods=lambda _selector: pods)
    fleet = Fleet.read(cast("LiveCluster", live), stack_file())
    assert [item["metadata"]["name"] for item in fleet.pods_of("r6")] == ["r6-1"]
    assert fleet.shares == {"r5": pytest.approx(66.7, abs=0.1), "r6": pytest.approx(33.3, abs=0.1)}
