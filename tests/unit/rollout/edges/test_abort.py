"""An abort changes releases only; what else this checkout would change is shown and asked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from rollout.canary.run_state import RunHolder
from rollout.canary.steps import new_record, step_file, written
from rollout.command import CommandFailedError, CommandRejectedError, Context
from rollout.edges import abort as abort_module
from rollout.edges.abort import abort, abort_update, other_changes
from rollout.edges.rotation import Update
from rollout.stack.operation import Outcome
from rollout.stack.stack_file import StackFile
from unit.rollout.leases import FakeLeases

BEFORE = """config:
  srs:edge:
    replicas: 4
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100}
"""


def workload(name: str, action: str, release: str | None = None) -> dict[str, Any]:
    return {"kind": "Deployment", "name": name, "action": action, "release": release, "reasons": ["image: a -> b"]}


class FakeStack:
    """plan: of the preview. in_flight: how often another update has the lock."""

    def __init__(self, *workloads: Mapping[str, Any]) -> None:
        self.plan, self.run_token, self.updated = {"workloads": list(workloads)}, "", ""
        self.in_flight = 0

    def preview(self) -> Outcome:
        return Outcome(self.plan, "", 0)

    def update(
        self, _report: object, _message: str, _wait: object, while_locked: Callable[[], None] | None = None
    ) -> Outcome:
        for _ in range(self.in_flight):
            assert while_locked
            while_locked()
        self.updated = Path("Pulumi.dev.yaml").read_text()
        return Outcome({}, "", 1.0)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: srs\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(BEFORE)
    monkeypatch.setattr(Context, "live", FakeLeases())
    monkeypatch.setattr(abort_module, "serving", lambda _live: {"r5": 3, "r6": 1})
    monkeypatch.setattr(abort_module, "take_out", lambda _live, _release: ["pod"])
    monkeypatch.setattr(abort_module, "keep_out", lambda _take: ["pod"])
    monkeypatch.setattr(abort_module, "forget", lambda *_arguments, **_options: None)
    return Context(tmp_path, "dev")


def use(context: Context, monkeypatch: pytest.MonkeyPatch, stack: FakeStack) -> RunHolder:
    """An open run of r6 at its first step, in the stack file of this checkout."""
    monkeypatch.setattr(Context, "stack", stack)
    file = context.read_file()
    record = new_record(file, "r6", "ossrs/srs:v4.0.6", None, (25,))
    edited = step_file(file, record, 0)
    edited.write()
    return RunHolder.begin(context.live, record.model_copy(update=written(edited, record)))


def test_an_abort_reverts_the_runs_own_change_and_ends_it(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(workload("srs-edge-r5-deploy", "scale", "r5"), workload("srs-edge-r6-deploy", "delete", "r6"))
    run = use(context, monkeypatch, stack)
    file = context.read_file()
    file.path.write_text(file.content.decode().replace("replicas: 4", "replicas: 6"))
    assert abort(context, "r6", run, False)["edges"] == ["pod"]
    assert stack.updated == Path("Pulumi.dev.yaml").read_text() == BEFORE.replace("replicas: 4", "replicas: 6")
    assert stack.run_token == run.record.token
    assert cast("FakeLeases", context.live).stored is None


@pytest.mark.parametrize("weight", [0, 25])
def test_an_abort_sweeps_until_an_update_in_flight_has_ended_and_keeps_its_mark_until_then(
    context: Context, monkeypatch: pytest.MonkeyPatch, weight: int
) -> None:
    """weight: of the release before the run."""
    events: list[str] = []
    stack = FakeStack()
    stack.in_flight = 2
    run = use(context, monkeypatch, stack)
    run.update(index=0, is_new=False, weights_before={"r5": 100, "r6": weight})
    monkeypatch.setattr(abort_module, "take_out", lambda _live, _release: events.append("take out") or ["pod"])
    monkeypatch.setattr(abort_module, "keep_out", lambda _take: [])
    monkeypatch.setattr(abort_module, "forget", lambda *_arguments, **_options: events.append("forget"))
    update = stack.update

    def recorded_update(*arguments: Any) -> Outcome:
        outcome = update(*arguments)
        events.append("update")
        return outcome

    monkeypatch.setattr(stack, "update", recorded_update)
    abort(context, "r6", run, False)
    assert events == ["take out", "take out", "take out", "update", "forget"]


def test_an_abort_in_an_old_checkout_asks(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack(workload("srs-origin", "roll"), workload("srs-edge-r5-deploy", "roll", "r5"))
    run = use(context, monkeypatch, stack)
    before = Path("Pulumi.dev.yaml").read_text()
    with pytest.raises(CommandRejectedError, match="r6 stays out of rotation, and its edges are not replaced yet"):
        abort(context, "r6", run, False)
    assert (stack.updated, Path("Pulumi.dev.yaml").read_text()) == ("", before)
    assert cast("FakeLeases", context.live).stored, "updates stay rejected until an abort is complete"
    context.yes = True
    abort(context, "r6", run, False)
    assert stack.updated == BEFORE


def test_moves_between_releases_are_no_other_changes() -> None:
    plan = {
        "workloads": [
            workload("a", "scale", "r5"),
            workload("b", "delete", "r6"),
            workload("c", "none", "r7"),
            workload("d", "scale", "r8"),
            workload("e", "roll"),
        ]
    }
    assert list(other_changes(plan, {"r5", "r6"})) == [
        "Deployment d: scale (image: a -> b)",
        "Deployment e: roll (image: a -> b)",
    ]


UPDATE = Update("r5", {})


def use_update(context: Context, monkeypatch: pytest.MonkeyPatch, good: bool) -> tuple[FakeStack, StackFile]:
    """An aborted update of r5. good: whether the present stack file declares its earlier revision."""
    stack = FakeStack(workload("srs-edge-r5-deploy", "update" if good else "roll", "r5"))
    monkeypatch.setattr(Context, "stack", stack)
    monkeypatch.setattr(abort_module, "take_out_update", lambda _live, _update: ["pod"])
    monkeypatch.setattr(abort_module, "keep_out", lambda _take: [])
    monkeypatch.setattr(abort_module, "deployed_commits", lambda _context: [])
    earlier = context.read_file()
    if not good:
        changed = earlier.with_releases({"r5": {"image": "ossrs/srs:v4.0.6"}})
        changed.write()
    return stack, earlier


def test_the_abort_of_an_update_restores_the_file_of_the_commit_before(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, earlier = use_update(context, monkeypatch, good=False)
    plans = iter([stack.plan, {"workloads": []}])
    monkeypatch.setattr(FakeStack, "preview", lambda _self: Outcome(next(plans), "", 0))
    monkeypatch.setattr(abort_module, "previous_commit", lambda _file, _deployed: ("abc", earlier))
    result = abort_update(context, UPDATE, False, 0, lambda: None)
    assert (result["edges"], stack.updated, Path("Pulumi.dev.yaml").read_text()) == (["pod"], BEFORE, BEFORE)


def test_the_abort_of_an_update_keeps_a_file_that_declares_the_earlier_revision(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, _ = use_update(context, monkeypatch, good=True)
    abort_update(context, UPDATE, False, 0, lambda: None)
    assert stack.updated == BEFORE


def test_the_abort_of_an_update_without_an_earlier_file_leaves_the_earlier_revision_serving(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, _ = use_update(context, monkeypatch, good=False)
    before = Path("Pulumi.dev.yaml").read_text()
    with pytest.raises(CommandFailedError, match=r"not a git repository(.|\n)*earlier revision of release r5 serve"):
        abort_update(context, UPDATE, False, 0, lambda: None)
    assert (stack.updated, Path("Pulumi.dev.yaml").read_text()) == ("", before)


def test_a_commit_that_fails_does_not_stop_an_abort(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = FakeStack()
    run = use(context, monkeypatch, stack)
    result = abort(context, "r6", run, commit=True)
    assert "not a git repository" in result["commitError"]
    assert stack.updated == BEFORE
