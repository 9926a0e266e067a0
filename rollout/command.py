"""What the verbs of `rollout` share: their context, their options, their exit codes."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.live import LiveCluster
from rollout.notify import send
from rollout.stack.stack_file import StackFile

if TYPE_CHECKING:
    from rollout.stack.operation import Stack

PROJECT_FILE = "Pulumi.yaml"

UPDATE_WAIT = timedelta(minutes=15)
"""How long an update in progress may take to end: that of an interrupted run, or one that sees an abort."""


class Exit(IntEnum):
    """Exit codes of all verbs; docs/rollout.md lists them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REJECTED = 3
    NOT_ACCEPTED = 4
    INCONCLUSIVE = 5
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """For the reference."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.DONE: "done",
    Exit.FAILED: "failed; the message has the reason, and what was changed before",
    Exit.USAGE: "wrong arguments; nothing was changed",
    Exit.REJECTED: "rejected, or not confirmed; nothing was changed",
    Exit.NOT_ACCEPTED: "measured, and not acceptable",
    Exit.INCONCLUSIVE: "nothing could be found out about the canary; the run stays open with its present step",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
}


class CommandRejectedError(Exception):
    """The command cannot be carried out, and nothing was changed; the message says why and what is possible."""


class CommandFailedError(Exception):
    """The command has failed; the message says what was changed before."""


@dataclass
class Context:
    """A run of a verb. folder: that of Pulumi.yaml, and the current one. stack_name: its name as given.

    as_json: one JSON document on standard output instead of text. yes: do not ask.
    notify_url: webhook for what an operator should know, "" for none.
    """

    folder: Path
    stack_name: str
    as_json: bool = False
    yes: bool = False
    notify_url: str = ""

    @cached_property
    def stack(self) -> "Stack":
        """The stack, for previews and updates."""
        # Pulumi's libraries take a while to load; `rollout abort` acts before that.
        from rollout.stack.operation import Stack

        return Stack(self.folder, self.stack_name)

    @cached_property
    def live(self) -> LiveCluster:
        """The namespace of the stack. Raises ConfigError or ValueError if the stack file does not lead to it."""
        return LiveCluster(self.read_file().kubernetes)

    def read_file(self) -> StackFile:
        """The stack file as it is now. Raises StackFileError."""
        return StackFile.of(self.folder, self.stack_name)

    def report(self, line: str) -> None:
        """Print progress; standard output is kept for the result."""
        print(line, file=sys.stderr, flush=True)

    def notify(self, text: str) -> None:
        """Post a text to the webhook, if there is one; a failure is reported, and nothing else."""
        if self.notify_url and (reason := send(self.notify_url, f"rollout of stack {self.stack_name}: {text}")):
            self.report(f"the notification could not be sent: {reason}")

    def result(self, data: Any, text: str) -> None:
        """Print the result, as JSON or as text."""
        print(json.dumps(data, indent=1) if self.as_json else text, flush=True)

    def confirm(self, question: str) -> None:
        """Ask, unless --yes. Raises CommandRejectedError without a yes."""
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise CommandRejectedError("--yes is required without a terminal")
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandRejectedError("not confirmed; nothing was changed")


@dataclass(frozen=True)
class Verb:
    """A verb of the command.

    name: as typed. help: one line. description: all that the operator should know. run: carries it out and returns
    the exit code. add_arguments: adds its own options. exits: its exit codes besides 0, 1 and 2. json: what --json
    prints, "" if the verb has no --json. asks: whether it has --yes.
    """

    name: str
    help: str
    description: str
    run: Callable[[Context, argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _parser: None
    exits: tuple[Exit, ...] = ()
    json: str = ""
    asks: bool = False


def project_folder(start: Path) -> Path:
    """The nearest folder with a Pulumi.yaml, from `start` upwards, as for pulumi. Raises CommandRejectedError."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise CommandRejectedError(f"no {PROJECT_FILE} in {start} or above; use --cwd")


def selected_stack(folder: Path) -> str:
    """The name of the stack that `pulumi stack select` has selected. Raises CommandRejectedError."""
    if name := os.environ.get("PULUMI_STACK") or _selected_by_file(folder):
        return name
    try:
        done = subprocess.run(
            ["pulumi", "stack", "--show-name", "--non-interactive"],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise CommandRejectedError("the pulumi CLI is not on PATH (`make shell` has it)") from None
    if done.returncode:
        reason = done.stderr.strip().removeprefix("error: ")
        raise CommandRejectedError(f"no stack is selected; use --stack, or `pulumi stack select`: {reason}")
    return done.stdout.strip()


def _selected_by_file(folder: Path) -> str | None:
    """The selected stack, as pulumi keeps it for a project and a backend; None if that does not say.

    The CLI would ask the backend, which may be far away, and `rollout abort` must not wait for it
    (pulumi, pkg/workspace/workspace.go: `pulumiWorkspace`, and `GetCurrentCloudURL`).
    """
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    project_file = folder / PROJECT_FILE
    digest = hashlib.sha1(str(project_file).encode(), usedforsecurity=False).hexdigest()
    try:
        backend = os.environ.get("PULUMI_BACKEND_URL") or json.loads((home / "credentials.json").read_text())["current"]
        (workspace,) = (home / "workspaces").glob(f"*-{digest}-workspace.json")
        selected = json.loads(workspace.read_text())["stacks"][backend]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return selected if isinstance(selected, str) and selected else None
