"""Only a step that has passed is followed by the next; what else becomes of a run, by the outcome of an analysis."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.live import LiveCluster, UnreachableError
from cluster.run_record import read_run
from model.run_record import RunOptions
from rollout.canary import flow
from rollout.canary.flow import ATTEMPTS, PREVIEWS, Run
from rollout.canary.observer import Observation, Observer
from rollout.canary.outcome import Finding, Outcome, error, failed, inconclusive, worst
from rollout.canary.preview import PreviewObserver
from rollout.canary.run_state import RunHolder
from rollout.canary.steps import new_record, reverted
from rollout.command import CommandRejectedError, Context, Exit
from rollout.errors import OperationError
from rollout.stack.operation import Outcome as UpdateOutcome
from unit.rollout.leases import FakeLeases

BEFORE = """config:
  srs:edge:
    replicas: 4
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100}
"""

STICKY = inconclusive("SharesDeviate", "r6 has 0 % of new viewers")
LOST = error("ApiServerUnreachable", "the API server answered 503")
BLACK = failed("ViewersFailed", "r6: 20 of 20 viewers failed")


class FakeLive(FakeLeases):
    """A cluster without Deployments."""

    def objects(self, _kind: str) -> dict[str, Any]:
        return {}


class FakeRun:
    """A run of r6 in two steps; `findings` are those of each observation, in order, then none."""

    def __init__(self, folder: Path, auto: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "Pulumi.yaml").write_text("name: srs\n")
        (folder / "Pulumi.dev.yaml").write_text(BEFORE)
        self.updates: list[str] = []
        self.aborts = 0
        self.attempts: list[int] = []
        self.findings: Iterator[Finding | None] = iter(())
        self.abort_errors: Iterator[Exception] = iter(())
        self.preview_errors: Iterator[Exception | None] = iter(())
        self.result: dict[str, Any] = {}
        self.context = Context(folder, "dev", as_json=True)
        stack = SimpleNamespace(preview=self._preview, update=self._update, run_token="")
        self.live = cast("LiveCluster", FakeLive())
        monkeypatch.setattr(Context, "stack", stack)
        monkeypatch.setattr(Context, "live", self.live)
        monkeypatch.setattr(Context, "result", lambda _context, data, _text: self.result.update(data))
        monkeypatch.setattr(Context, "confirm", lambda _context, _question: None)
        monkeypatch.setattr(flow, "abort", self._abort)
        monkeypatch.setattr(flow, "serving", lambda _live: {"r5": 3, "r6": 1})
        monkeypatch.setattr(flow.time, "sleep", lambda _seconds: None)
        record = new_record(self.context.read_file(), "r6", "ossrs/srs:v4.0.6", None, (25, 100))
        self.holder = RunHolder.begin(self.live, record.model_copy(update={"options": RunOptions(auto=auto)}))

    def carry_out(self, preview: bool = False) -> int:
        """preview: whether the run begins with step 0."""
        observer = cast("Observer", SimpleNamespace(observe_step=self._observe))
        step_0 = SimpleNamespace(observe=self._observe, release="r6")
        first = cast("PreviewObserver", step_0) if preview else None
        return Run(self.context, self.holder, observer, self.holder.record.options, first).carry_out()

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.context.read_file().edges.weights)

    @property
    def is_open(self) -> bool:
        return read_run(self.live) is not None

    def _observe(self, attempt: int) -> Observation:
        self.attempts.append(attempt)
        finding = next(self.findings, None)
        return Observation([finding] if finding else [])

    def _preview(self) -> UpdateOutcome:
        if found := next(self.preview_errors, None):
            raise found
        return UpdateOutcome({}, "plan", 0)

    def _update(self, _report: object, message: str, _wait: object = None) -> UpdateOutcome:
        self.updates.append(message)
        return UpdateOutcome({}, "", 1.0)

    def _abort(self, context: Context, release: str, run: RunHolder, _commit: bool) -> dict[str, Any]:
        self.aborts += 1
        if found := next(self.abort_errors, None):
            raise found
        reverted(context.read_file(), run.record)[0].write()
        run.close()
        return {"release": release, "seconds": 0.3}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], FakeRun]:
    return lambda auto: FakeRun(tmp_path, auto, monkeypatch)


def test_a_fault_counts_whatever_else_is_unknown() -> None:
    assert worst([]) is Outcome.PASSED
    assert worst([STICKY, LOST]) is Outcome.ERROR
    assert worst([STICKY, BLACK, LOST]) is Outcome.FAILED


def test_the_control_goes_when_the_last_analysis_has_passed(run: Callable[[bool], FakeRun]) -> None:
    going = run(True)
    assert going.carry_out() == Exit.DONE
    assert going.updates == [
        "step 1 of 2: 25 % of new viewers to r6 (1 of 4 edges, 25 %)",
        "step 2 of 2: 100 % of new viewers to r6 (3 of 4 edges, 75 % until its analysis has passed)",
        "all edges to r6: its last analysis has passed",
    ]
    assert going.weights == {"r5": 0, "r6": 100}
    assert [step.get("outcome") for step in going.result["steps"]] == ["passed", "passed", None]


def test_a_bad_canary_is_reverted_beside_a_control_in_every_step(run: Callable[[bool], FakeRun]) -> None:
    for findings in ([BLACK], [None, BLACK]):
        going = run(True)
        going.findings = iter(findings)
        assert going.carry_out() == Exit.NOT_ACCEPTED
        assert going.aborts == 1
        assert len(going.updates) == len(findings), "no step after it"
        assert going.result["outcome"] == "failed"
        assert not going.is_open


@pytest.mark.parametrize("finding", [STICKY, LOST])
@pytest.mark.parametrize("auto", [True, False])
def test_a_step_of_which_nothing_is_known_is_never_passed(
    run: Callable[[bool], FakeRun], finding: Finding, auto: bool
) -> None:
    """It is observed again; then an unattended run goes back, and an attended one stays open."""
    going = run(auto)
    going.findings = iter([finding] * 100)
    code = going.carry_out()
    assert going.attempts == list(range(ATTEMPTS))
    assert len(going.updates) == 1, "the second step is not begun"
    assert going.result["outcome"] == finding.outcome
    assert going.result["steps"][0]["reasons"] == [finding.reason]
    if auto:
        assert (code, going.aborts, going.is_open) == (Exit.NOT_ACCEPTED, 1, False)
        assert going.context.read_file().content == BEFORE.encode()
    else:
        assert (code, going.aborts, going.is_open) == (Exit.INCONCLUSIVE, 0, True)
        assert going.weights == {"r5": 75, "r6": 25}


def test_what_passes_in_a_repetition_has_passed(run: Callable[[bool], FakeRun]) -> None:
    going = run(True)
    going.findings = iter([LOST, STICKY, None])
    assert going.carry_out() == Exit.DONE
    assert going.attempts == [0, 1, 2, 0]
    assert going.result["steps"][0]["attempts"] == 3


def test_a_preview_that_fails_once_is_tried_again(run: Callable[[bool], FakeRun]) -> None:
    going = run(True)
    going.preview_errors = iter([OperationError("incorrect passphrase")] * (PREVIEWS - 1))
    assert going.carry_out() == Exit.DONE


def test_a_preview_that_fails_leaves_no_weights_in_the_file(run: Callable[[bool], FakeRun]) -> None:
    """Otherwise the next update, whoever makes it, would carry the step out."""
    going = run(True)
    going.preview_errors = iter([OperationError("incorrect passphrase")] * PREVIEWS)
    with pytest.raises(OperationError, match="incorrect passphrase"):
        going.carry_out()
    assert going.context.read_file().content == BEFORE.encode()
    assert (going.is_open, going.updates) == (False, [])
    going = run(True)
    going.preview_errors = iter([None, *[OperationError("incorrect passphrase")] * PREVIEWS])
    assert going.carry_out() == Exit.NOT_ACCEPTED, "unattended, the canary does not stay where it is"
    assert going.result["outcome"] == "error"
    assert going.aborts == 1


def test_a_revert_waits_for_the_api_server(run: Callable[[bool], FakeRun]) -> None:
    going = run(True)
    going.findings = iter([BLACK])
    going.abort_errors = iter([UnreachableError("the API server answered 503")] * 3)
    assert going.carry_out() == Exit.NOT_ACCEPTED
    assert going.aborts == 4
    assert not going.is_open


def test_one_timeout_while_the_run_is_recorded_ends_nothing(
    run: Callable[[bool], FakeRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the canary would stay in rotation, and no run would judge it."""
    going = run(True)
    calls = 0
    update = RunHolder.update

    def failing(holder: RunHolder, **changes: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise UnreachableError("the API server answered 503")
        update(holder, **changes)

    monkeypatch.setattr(RunHolder, "update", failing)
    assert going.carry_out(preview=True) == Exit.DONE
    assert calls > 8
    assert not going.is_open


def test_a_canary_that_fails_out_of_rotation_is_not_aborted_but_removed(run: Callable[[bool], FakeRun]) -> None:
    """A release of its name may have viewers: an abort would take those edges out of rotation."""
    going = run(False)
    going.findings = iter([BLACK])
    assert going.carry_out(preview=True) == Exit.NOT_ACCEPTED
    assert (going.aborts, going.is_open) == (0, False)
    assert going.updates == ["step 0 of 2: one edge of r6 out of rotation", "Revert canary r6"]
    assert going.context.read_file().content == BEFORE.encode()


def test_the_edge_of_step_0_is_removed_if_the_first_step_is_not_begun(
    run: Callable[[bool], FakeRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    going = run(False)
    answers = iter([True, False])

    def confirm(_context: Context, _question: str) -> None:
        if not next(answers):
            raise CommandRejectedError("not confirmed")

    monkeypatch.setattr(Context, "confirm", confirm)
    with pytest.raises(CommandRejectedError, match="not confirmed"):
        going.carry_out(preview=True)
    assert going.updates == ["step 0 of 2: one edge of r6 out of rotation", "Revert canary r6"]
    assert going.context.read_file().content == BEFORE.encode()
    assert not going.is_open
