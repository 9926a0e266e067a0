"""Progress and errors of updates are the program's, not the engine's."""

import os
import socket
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from pulumi import automation as auto

from rollout.errors import LockedError, OperationError
from rollout.stack import operation
from rollout.stack.operation import Outcome, Stack, _is_left, _reason, _titled

TRACE = "Program failed with an unhandled exception:\nTraceback (most recent call last):\n  File x\nKeyError: 'a'"


def test_the_reason_of_a_failure_is_what_the_program_has_said() -> None:
    own = "edge release r6 (Deployment srs-edge-r6-deploy) is not ready after 1m: 0 of 1 pods are available\n  pod p: x"
    errors = [own, "an unhandled error occurred: program exited with non-zero exit code: 1", "update failed", own]
    assert _reason(errors, []) == own
    assert _reason([f"{own}\n{TRACE}"], ["x"]) == own, "without the trace that the language host prints below it"
    assert _reason([TRACE], []) == "KeyError: 'a'", "a bug in the program"
    assert _reason(errors[1:3], ["No module named 'pulumi'\n"]) == "No module named 'pulumi'"
    assert _reason([], []) == ""


def test_a_message_of_a_resource_begins_with_its_name() -> None:
    urn = "urn:pulumi:dev::srs::kubernetes:apps/v1:Deployment::srs-edge-r6-deploy"
    assert _titled("1 of 4 ready", urn) == "srs-edge-r6-deploy: 1 of 4 ready"
    assert _titled("text", "urn:pulumi:dev::srs::pulumi:pulumi:Stack::srs-dev") == "text"
    assert _titled("text", None) == "text"


def test_only_locks_of_ended_processes_of_this_machine_are_left() -> None:
    def lock(pid: int, host: str = socket.gethostname()) -> str:
        return f"  file:///x/locks/1.json: created by root@{host} (pid {pid}) at 2026-11-25T21:37:07Z\n"

    ended = 2**22 + 1  # above the kernel's maximum
    assert _is_left(lock(ended))
    assert not _is_left(lock(os.getpid()))
    assert not _is_left(lock(ended, "elsewhere"))
    assert not _is_left(lock(ended) + lock(os.getpid()))
    assert not _is_left("conflict: another update is currently in progress")


def test_a_damaged_state_is_reported_with_the_way_to_restore_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_arguments: object) -> Outcome:
        raise LockedError("another update", left=True)

    def cancel() -> None:
        raise auto.CommandError(auto.CommandResult(stdout="", stderr="error: failed to load checkpoint: EOF", code=1))

    monkeypatch.setattr(Stack, "_run", run)
    monkeypatch.setattr(Stack, "_stack", lambda *_arguments: SimpleNamespace(cancel=cancel))
    with pytest.raises(OperationError, match=r"checkpoint: EOF\n.* as docs/recovery.md"):
        Stack(Path(), "dev").update()


def test_an_old_cli_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = tmp_path / "pulumi"
    cli.write_text("#!/bin/sh\necho v2.25.0\n")
    cli.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(OperationError, match="CLI on PATH cannot be used: Minimum version"):
        Stack(tmp_path, "dev").preview()


def test_an_abort_is_carried_out_again_while_another_update_has_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = iter([LockedError("another update"), LockedError("another update"), None])

    def run(*_arguments: object) -> Outcome:
        if error := next(attempts):
            raise error
        return Outcome({}, "", 1)

    monkeypatch.setattr(Stack, "_run", run)
    monkeypatch.setattr(operation, "LOCK_POLL_INTERVAL", 0)
    sweeps: list[bool] = []
    Stack(Path(), "dev").update(None, "", timedelta(minutes=1), lambda: sweeps.append(True))
    assert len(sweeps) == 2
