"""A run from its first step to its end: edits, questions, interruptions, reverts."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rollout import __main__ as rollout
from rollout.command import Context, Exit
from rollout.commands import run as run_module
from rollout.operation import OperationError, Outcome, RejectedError
from rollout.run_state import RunState
from rollout.stack_file import StackFile

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

    def preview(self, config_file: Path | None = None) -> Outcome:
        self.previews += 1
        self.reject(self.previews)
        return Outcome({"previewed": config_file is not None}, f"plan {self.previews}", 0)

    def update(self, _report: object, message: str, _wait: object = None) -> Outcome:
        self.updates.append(message)
        self.fail(len(self.updates))
        return Outcome({}, "", 1.0)


@pytest.fixture
def stack() -> FakeStack:
    return FakeStack()


@pytest.fixture
def command(tmp_path: Path, stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`rollout` in a folder with a stack file."""
    (tmp_path / "Pulumi.yaml").write_text("name: srs\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(BEFORE)
    pods: list[dict[str, Any]] = []
    live = SimpleNamespace(objects=lambda _kind: {}, pods=lambda _selector: pods)

    def aborted(context: Context, release: str, state: RunState, _commit: bool) -> dict[str, Any]:
        StackFile.of(context.folder, "dev").path.write_bytes(state.stack_file_before)
        RunState.close(context.folder, "dev")
        return {"release": release, "seconds": 0.3}

    monkeypatch.setattr(Context, "stack", stack)
    monkeypatch.setattr(Context, "live", live)
    monkeypatch.setattr(run_module, "abort", aborted)
    monkeypatch.setattr(run_module, "serving", lambda _live: {"r5": 3, "r6": 1})
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
        "step 2 of 2: 100 % of new viewers to r6 (4 of 4 edges, 100 %)",
    ]
    assert weights() == {"r5": 0, "r6": 100}
    assert RunState.read(Path(), "dev") is None


def test_a_dry_run_changes_nothing(command: Callable[..., int], stack: FakeStack) -> None:
    assert command(*RUN, "--dry-run") == Exit.DONE
    assert (stack.previews, stack.updates) == (2, [])
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE


def test_without_a_yes_a_step_is_not_begun(command: Callable[..., int], stack: FakeStack) -> None:
    assert command(*RUN) == Exit.REJECTED, "no terminal"
    assert stack.updates == []
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE
    assert RunState.read(Path(), "dev") is None


def test_an_interrupted_run_stays_open_until_it_is_resumed(
    command: Callable[..., int], stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    stack.fail = interrupt
    assert command(*RUN, "--auto") == Exit.INTERRUPTED
    assert "`rollout resume` continues it" in capsys.readouterr().err
    state = RunState.read(Path(), "dev")
    assert state is not None
    assert state.index == 1
    assert command(*RUN, "--auto") == Exit.REJECTED, "a second run"
    assert command("resume") == Exit.DONE
    assert stack.updates[1:] == [stack.updates[1]] * 2, "the step is begun again"
    assert weights() == {"r5": 0, "r6": 100}


def test_a_rejected_step_is_not_begun_and_the_run_stays_open(command: Callable[..., int], stack: FakeStack) -> None:
    def reject(number: int) -> None:
        if number == 2:
            raise RejectedError("no")

    stack.reject = reject
    assert command(*RUN, "--auto") == Exit.REJECTED
    assert weights() == {"r5": 75, "r6": 25}
    assert cast("RunState", RunState.read(Path(), "dev")).index == 0


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
    monkeypatch.setattr(run_module, "serving", lambda _live: {"r5": others, "r6": 1})
    assert command(*RUN, "--auto") == Exit.NOT_ACCEPTED
    assert "the update failed: r6 crashes" in capsys.readouterr().out
    assert Path("Pulumi.dev.yaml").read_text() == BEFORE
    assert RunState.read(Path(), "dev") is None
    assert len(stack.updates) == (1 if others else 2), "without other edges, an update replaces those of the canary"


def test_an_address_that_does_not_tell_the_releases_apart_is_rejected(
    command: Callable[..., int], stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    same_version = ["run", "--release", "r6", "--conf", "canary.conf", "--address", "http://127.0.0.1/live/x.flv"]
    assert command(*same_version, "--auto") == Exit.REJECTED
    assert "same SRS version" in capsys.readouterr().err
    assert (stack.previews, stack.updates) == (0, [])
    assert RunState.read(Path(), "dev") is None


def test_only_one_of_several_processes_begins_a_run(tmp_path: Path) -> None:
    begin = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime; "
        "from rollout.run_state import RunState; "
        "state = RunState(release='r6', steps=(10,), stack_file_before=b'', started_at=datetime.now(UTC), pid=1); "
        "print(flush=True); sys.stdin.readline(); state.create(Path(sys.argv[1]), 'dev'); print('begun')"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", begin, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout
        process.stdout.readline()  # it is ready
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate() for process in processes]
    assert sorted(output for output, _ in results) == ["", "", "begun\n"]
    assert all("FileExistsError" in errors for output, errors in results if not output), results
    assert [file.name for file in (tmp_path / ".rollout").iterdir()] == ["dev.json"]
