"""A run from its first step to its end: edits, questions, interruptions, reverts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.run_record import read_run
from model.run_record import RunRecord
from rollout import __main__ as rollout
from rollout.canary import flow
from rollout.canary.observer import Observation, Observer
from rollout.canary.outcome import failed
from rollout.canary.run_state import RunHolder
from rollout.canary.steps import reverted
from rollout.command import Context, Exit
from rollout.stack.operation import OperationError, Outcome, RejectedError
from rollout.stack.stack_file import StackFile
from rollout.verbs import run as run_verb
from unit.rollout.leases import FakeLeases

BEFORE = """config:
  srs:edge:
    replicas: 4
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100}
"""


class FakeStack:
    """Updates that do nothing; `fail` is called before each one with its number, from 1 on."""

    def __init__(self) -> None:
        self.updates: list[str] = []
        self.fail: Callable[[int], None] = lambda _number: None
        self.reject: Callable[[int], None] = lambda _number: None
        self.previews = 0
        self.run_token = ""

    def preview(self, config_file: Path | None = None) -> Outcome:
        self.previews += 1
        self.reject(self.previews)
        return Outcome({"previewed": config_file is not None}, f"plan {self.previews}", 0)

    def update(self, _report: object, message: str, _wait: object = None, _sweep: object = None) -> Outcome:
        self.updates.append(message)
        self.fail(len(self.updates))
        return Outcome({}, "", 1.0)


class FakeLive(FakeLeases):
    """A cluster without Deployments and pods."""

    def objects(self, _kind: str) -> dict[str, Any]:
        return {}

    def pods(self, _selector: str) -> list[dict[str, Any]]:
        return []

    def deployment(self, _name: str) -> None:
        return None


def open_run() -> RunRecord | None:
    stored = read_run(Context.live)  # pyright: ignore[reportArgumentType]
    return stored.record if stored else None


@pytest.fixture
def stack() -> FakeStack:
    return FakeStack()


@pytest.fixture
def command(tmp_path: Path, stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`rollout` in a folder with a stack file."""
    (tmp_path / "Pulumi.yaml").write_text("name: srs\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(BEFORE)

    def aborted(context: Context, release: str, run: RunHolder, _commit: bool) -> dict[str, Any]:
        reverted(context.read_file(), run.record)[0].write()
        run.close()
        return {"release": release, "seconds": 0.3}

    monkeypatch.setattr(Context, "stack", stack)
    monkeypatch.setattr(Context, "live", FakeLive())
    monkeypatch.setattr(Observer, "observe_step", lambda _observer, _attempt: Observation())
    monkeypatch.setattr(flow, "abort", aborted)
    monkeypatch.setattr(flow, "serving", lambda _live: {"r5": 3, "r6": 1})
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: rollout.main([*arguments, "--stack", "dev"])


RUN = ["run", "--release", "r6", "--image", "ossrs/srs:v4.0.6", "--steps", "25,100", "--pause", "0s", "--no-viewers"]


def weights() -> dict[str, int]:
    releases = StackFile.of(Path(), "dev").releases
    return {name: release["weight"] for name, release in releases.items()}


def test_a_run_goes_through_its_steps(command: Callable[..., int], stack: FakeStack) -> None:
    assert command(*RUN, "--auto") == Exit.DONE
    assert stack.updates == [
        "step 1 of 2: 25 % of new viewers to r6 (1 of 4 edges, 25 %)",
        "step 2 of 2: 100 % of new viewers to r6 (3 of 4 edges, 75 % until its analysis has passed)",
        "all edges to r6: its last analysis has passed",
    ]
    assert weights() == {"r5": 0, "r6": 100}
    assert open_run() is None


def test_a_dry_run_has_every_update_of_the_run_and_changes_nothing(
    command: Callable[..., int], stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*RUN, "--dry-run", "--json") == Exit.DONE
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [(step["title"].partition(":")[0], step["percent"]) for step in steps] == [
        ("step 1 of 2", 25),
        ("step 2 of 2", 100),
        ("all edges to r6", 100),
    ]
    assert (stack.previews, stack.updates) == (3, [])
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE


def test_a_dry_run_begins_with_the_edge_out_of_rotation(
    command: Callable[..., int], stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    """Step 0, unless there are no viewers to judge it by."""
    files: list[str] = []
    preview = stack.preview

    def keep(config_file: Path | None = None) -> Outcome:
        assert config_file
        files.append(config_file.read_text())
        return preview(config_file)

    stack.preview = keep  # pyright: ignore[reportAttributeAccessIssue]
    assert command(*RUN[:-1], "--dry-run", "--json") == Exit.DONE
    step_0 = json.loads(capsys.readouterr().out)["steps"][0]
    assert step_0["title"] == "step 0 of 2: one edge of r6 out of rotation"
    assert step_0["percent"] == 0
    assert "outOfRotation: true" in files[0]
    assert not [text for text in files[1:] if "outOfRotation" in text]


def test_without_a_yes_a_step_is_not_begun(command: Callable[..., int], stack: FakeStack) -> None:
    assert command(*RUN) == Exit.REJECTED, "no terminal"
    assert stack.updates == []
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE
    assert open_run() is None


def test_an_interrupted_run_stays_open_until_it_is_resumed(
    command: Callable[..., int], stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    stack.fail = interrupt
    assert command(*RUN, "--auto") == Exit.INTERRUPTED
    assert "`rollout resume` continues it" in capsys.readouterr().err
    state = open_run()
    assert state is not None
    assert state.index == 1
    assert command(*RUN, "--auto") == Exit.REJECTED, "a second run"
    assert command("resume") == Exit.DONE
    assert stack.updates[1:3] == [stack.updates[1]] * 2, "the step is begun again"
    assert weights() == {"r5": 0, "r6": 100}


def test_a_rejected_step_is_not_begun_and_the_run_stays_open(command: Callable[..., int], stack: FakeStack) -> None:
    def reject(number: int) -> None:
        if number == 2:
            raise RejectedError("no")

    stack.reject = reject
    assert command(*RUN, "--auto") == Exit.REJECTED
    assert weights() == {"r5": 75, "r6": 25}
    state = open_run()
    assert state
    assert state.index == 0


IN_PLACE = ["run", "--release", "r5", "--image", "ossrs/srs:v4.0.6", "--pause", "0s", "--no-viewers", "--auto"]


def test_the_only_release_is_updated_in_place_and_held_in_each_step(
    command: Callable[..., int], stack: FakeStack
) -> None:
    pauses: list[int] = []
    stack.fail = lambda _number: pauses.append(run.pause_at if (run := open_run()) else -1)
    assert command(*IN_PLACE, "--steps", "25,100") == Exit.DONE
    assert stack.updates == [
        "step 1 of 2: 25 % of new viewers to r5 in place (paused at 1 or more new edges of 4)",
        "step 2 of 2: 100 % of new viewers to r5 in place (paused at 3 or more new edges of 4)",
        "all edges of r5 in place: its last analysis has passed",
    ]
    assert pauses == [1, 3, 0]
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE.replace("v4.0.5", "v4.0.6")
    assert open_run() is None


def test_a_bad_update_in_place_is_aborted_by_its_revision(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def aborted(
        context: Context, update: str, _commit: bool, _started: float, find_run: Callable[[], RunHolder]
    ) -> dict[str, Any]:
        assert update == "update of r5"
        reverted(context.read_file(), find_run().record)[0].write()
        find_run().close()
        return {"release": "r5", "seconds": 0.3}

    bad = Observation([failed("ViewersFailed", "black")])
    monkeypatch.setattr(Observer, "observe_step", lambda _observer, _attempt: bad)
    monkeypatch.setattr(flow, "update_in_place", lambda _live, release: f"update of {release}")
    monkeypatch.setattr(flow, "abort_update", aborted)
    assert command(*IN_PLACE) == Exit.NOT_ACCEPTED
    assert (open_run(), Path("Pulumi.dev.yaml").read_text()) == (None, BEFORE)


def test_a_run_of_the_only_release_needs_a_change_and_no_other_edges(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("run", "--release", "r5", "--no-viewers", "--auto") == Exit.REJECTED
    monkeypatch.setattr(run_verb, "serving", lambda _live: {"r5": 3, "old": 1})
    assert command(*IN_PLACE) == Exit.REJECTED
    assert "edges of old serve as well" in capsys.readouterr().err
    assert (open_run(), Path("Pulumi.dev.yaml").read_text()) == (None, BEFORE)


def test_an_edit_during_a_run_is_kept_by_its_revert(command: Callable[..., int], stack: FakeStack) -> None:
    def scale_and_fail(_number: int) -> None:
        path = Path("Pulumi.dev.yaml")
        path.write_text(path.read_text().replace("replicas: 4", "replicas: 6"))
        raise OperationError("r6 crashes")

    stack.fail = scale_and_fail
    assert command(*RUN, "--auto") == Exit.NOT_ACCEPTED
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE.replace("replicas: 4", "replicas: 6")


def test_an_abort_elsewhere_ends_the_run(
    command: Callable[..., int], stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    def abort(_number: int) -> None:
        stored = read_run(Context.live)  # pyright: ignore[reportArgumentType]
        assert stored
        RunHolder.abort(Context.live, stored)  # pyright: ignore[reportArgumentType]

    stack.fail = abort
    assert command(*RUN, "--auto") == Exit.NOT_ACCEPTED
    assert len(stack.updates) == 1, "no second step, and no update besides that of the abort"
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE
    assert "the run was aborted by" in capsys.readouterr().out
    state = open_run()
    assert state
    assert state.aborted_by, "the abort deletes the record when it is complete"


@pytest.mark.parametrize("others", [3, 0])
def test_a_failed_step_restores_the_stack_file(
    command: Callable[..., int],
    stack: FakeStack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    others: int,
) -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise OperationError("r6 crashes")

    stack.fail = fail
    monkeypatch.setattr(flow, "serving", lambda _live: {"r5": others, "r6": 1})
    assert command(*RUN, "--auto") == Exit.NOT_ACCEPTED
    assert "the update failed: r6 crashes" in capsys.readouterr().out
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE
    assert open_run() is None
    assert len(stack.updates) == (1 if others else 2), "without other edges, an update replaces those of the canary"


def test_an_address_that_does_not_tell_the_releases_apart_is_rejected(
    command: Callable[..., int], stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    same_version = ["run", "--release", "r6", "--conf", "canary.conf", "--stream-url", "http://127.0.0.1/live/x.flv"]
    assert command(*same_version, "--auto") == Exit.REJECTED
    assert "same SRS version" in capsys.readouterr().err
    assert (stack.previews, stack.updates) == (0, [])
    assert open_run() is None


def test_the_former_name_of_an_option_still_works() -> None:
    arguments = ["run", "--release", "r6", "--stream-url", "rtmp://a/b/c", "--address", "rtmp://d/e/f"]
    assert rollout.parser().parse_args(arguments).stream_url == ["rtmp://a/b/c", "rtmp://d/e/f"]
    assert rollout.parser().parse_args(arguments[:3]).stream_url == []
