"""Previews and updates of a stack by Pulumi's Automation API, with the program's own plan and its own error text."""

import json
import re
import socket
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import psutil
from pulumi import automation as auto

from model.names import PLAN_FILE, RUN_TOKEN
from rollout.errors import LockedError, OperationError, RejectedError

LOCK_POLL_INTERVAL = 2.0
"""Seconds between two attempts while another update has the stack's lock."""

_NOISE = re.compile(r"an unhandled error occurred: program exited|^(?:update|preview) failed$|^Skipping await logic$")
"""Messages of the engine and the provider that add nothing to those of the program."""

_TRACE = re.compile(r"^Program failed with an unhandled exception:.*", re.DOTALL | re.MULTILINE)
"""What the language host prints above an error, and when an update ends while resources are still declared."""

_LOCK_OWNER = re.compile(r"created by \S+@(\S+) \(pid (\d+)\)")
"""Host and process of a lock (pulumi, pkg/backend/diy/lock.go)."""

_UNREADABLE_STATE = "failed to load checkpoint"
_DAMAGED = (
    "another update writes the state, or it was killed while it did so: if this does not go away, restore the state as "
    "docs/recovery.md describes it. Pods and connections are not affected"
)
"""A backend in a folder writes the state in place."""

Report = Callable[[str], None]
"""Receives one line of progress."""


@dataclass(frozen=True)
class Outcome:
    """A preview or an update that succeeded.

    plan: the program's plan as JSON (`update.plan_json`). text: the plan as text. seconds: the duration.
    changes: the number of objects by operation (`create`, `update`, `delete`, `same`).
    """

    plan: Mapping[str, Any]
    text: str
    seconds: float
    changes: Mapping[str, int] = field(default_factory=dict[str, int])

    def as_json(self) -> dict[str, Any]:
        """The outcome as --json prints it."""
        return {"seconds": round(self.seconds, 1), "changes": dict(self.changes), "plan": self.plan}


class _Workspace(auto.LocalWorkspace):
    """A workspace in which using a stack does not select it for the user's own pulumi commands."""

    def select_stack(self, stack_name: str) -> None:
        pass


class Stack:
    """A stack of the program. folder: that of Pulumi.yaml. name: of the stack. variables: of Pulumi's environment."""

    def __init__(self, folder: Path, name: str, variables: Mapping[str, str] | None = None) -> None:
        self.folder, self.name = folder, name
        self._variables = dict(variables or {})
        self.run_token = ""
        """The token of the open run that this process carries out: its updates may change the releases of the run."""
        self._previewed: set[str] = set()
        """The warnings of previews, which every verb shows; an update does not repeat them."""

    def preview(self, report: Report | None = None, config_file: Path | None = None) -> Outcome:
        """Run `pulumi preview`. config_file: instead of the stack file. Raises OperationError."""
        return self._run("preview", report, "", config_file)

    def update(
        self,
        report: Report | None = None,
        message: str = "",
        wait: timedelta = timedelta(),
        while_locked: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run `pulumi up`. Raises OperationError.

        report: receives progress. message: for the stack's history. wait: for another update to end; the lock of an
        update that was killed on this machine is removed (`pulumi cancel`). while_locked: called again and again until
        then.
        """
        deadline = time.monotonic() + wait.total_seconds()
        while True:
            try:
                return self._run("up", report, message)
            except LockedError as error:
                if error.left:
                    if report:
                        report("removing the lock of an update that was killed")
                    with _reported():
                        self._stack(self._variables).cancel()
                    continue
                if time.monotonic() > deadline:
                    raise
            if report:
                report("waiting for another update of the stack to end")
            if while_locked:
                while_locked()
            time.sleep(LOCK_POLL_INTERVAL)

    def outputs(self) -> dict[str, Any]:
        """The outputs of the last update. Raises OperationError."""
        with _reported():
            return {key: output.value for key, output in self._stack(self._variables).outputs().items()}

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The last updates and other operations, newest first, as `pulumi stack history` reports them.

        Raises OperationError.
        """
        with _reported():
            history = self._stack(self._variables).history(page_size=limit, show_secrets=False)
        return [
            {
                "version": summary.version,
                "kind": summary.kind,
                "result": summary.result,
                "startedAt": _utc(summary.start_time),
                "seconds": (summary.end_time - summary.start_time).total_seconds() if summary.end_time else None,
                "message": summary.message,
                "environment": dict(summary.environment),
                "config": {key: value.value for key, value in summary.config.items()},
                "changes": {str(operation): count for operation, count in (summary.resource_changes or {}).items()},
            }
            for summary in history
        ]

    def _stack(self, variables: Mapping[str, str]) -> auto.Stack:
        try:
            return auto.Stack.select(self.name, _Workspace(work_dir=str(self.folder), env_vars=dict(variables)))
        except auto.InvalidVersionError as error:
            raise OperationError(f"the Pulumi CLI on PATH cannot be used: {error}") from error

    def _run(
        self,
        command: Literal["preview", "up"],
        report: Report | None,
        message: str,
        config_file: Path | None = None,
    ) -> Outcome:
        started = time.monotonic()
        errors: list[str] = []
        printed: list[str] = []  # by the program, to standard error
        changes: dict[str, int] = {}

        def on_event(event: auto.EngineEvent) -> None:
            if event.summary_event:
                changes.update({str(key): value for key, value in event.summary_event.resource_changes.items()})
            if not (diagnostic := event.diagnostic_event):
                return
            text = _plain(diagnostic.message)
            if diagnostic.severity == "error":
                errors.append(text)
            elif diagnostic.severity == "info#err":
                printed.append(text)
            elif not report or not text or text in self._previewed or _NOISE.search(text):
                return
            elif diagnostic.severity in ("info", "warning"):
                report(f"warning: {text}" if diagnostic.severity == "warning" else _titled(text, diagnostic.urn))

        with tempfile.TemporaryDirectory() as temporary:
            plan_file = Path(temporary) / "plan.json"
            try:
                stack = self._stack({**self._variables, PLAN_FILE: str(plan_file), RUN_TOKEN: self.run_token})
                run = cast("Callable[..., Any]", getattr(stack, command))
                run(
                    on_event=on_event,
                    color="never",
                    message=message or None,
                    config_file=config_file and str(config_file),
                )
            except auto.ConcurrentUpdateError as error:
                raise LockedError(
                    f"another update of stack {self.name} is running. If it was killed, run `pulumi cancel` first",
                    left=_is_left(str(error)),
                ) from error
            except auto.CommandError as error:
                plan = _read_plan(plan_file)
                kind = RejectedError if plan.get("rejections") else OperationError
                raise kind(_reason(errors, printed) or _command_output(error)) from error
            plan, plan_text = _read_plan(plan_file), plan_file.with_suffix(".txt")
            if command == "preview":
                self._previewed.update(warning["message"] for warning in plan.get("warnings", []))
            text = plan_text.read_text().rstrip() if plan_text.exists() else ""
            return Outcome(plan, text, time.monotonic() - started, changes)


@contextmanager
def _reported() -> Generator[None]:
    """Raise what the CLI reports as an OperationError."""
    try:
        yield
    except auto.CommandError as error:
        raise OperationError(_command_output(error)) from error


def _is_left(message: str) -> bool:
    """Whether all locks in a message of the CLI are of processes that ran on this machine and have ended."""
    owners = _LOCK_OWNER.findall(message)
    return bool(owners) and all(
        host == socket.gethostname() and not psutil.pid_exists(int(pid)) for host, pid in owners
    )


def _read_plan(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def _reason(errors: Sequence[str], printed: Sequence[str]) -> str:
    """The errors of the program; without one, such as for a bug in it, the last line that it has printed."""
    reasons = [reason for error in errors if (reason := _TRACE.sub("", error).strip()) and not _NOISE.search(reason)]
    lines = [line for text in (*printed, *errors) for line in text.splitlines() if line and not _NOISE.search(line)]
    return "\n".join(dict.fromkeys(reasons)) or "".join(lines[-1:])


def _plain(message: str) -> str:
    """A message without colour tags (`<{%reset%}>`)."""
    return re.sub(r"<\{%.*?%\}>", "", message).strip()


def _titled(text: str, urn: str | None) -> str:
    """A message of a resource begins with its name."""
    name = (urn or "").rpartition("::")[2]
    return f"{name}: {text}" if name and "::pulumi:pulumi:Stack::" not in (urn or "") else text


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _command_output(error: Exception) -> str:
    """The reason in the output of the CLI, without the automation API's frame around it."""
    text = str(error)
    if found := re.search(r"stderr: (.*)", text, re.DOTALL):
        text = found[1]
    lines = [line.removeprefix("error: ").strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith(_UNREADABLE_STATE) for line in lines):
        lines.append(_DAMAGED)
    return "\n".join(lines) or "pulumi failed without a message"
