"""An edit of the stack file and its update, as every verb makes it: preview, question, commit, update."""

import argparse
from typing import Any

from rollout.command import CommandRejectedError, Context
from rollout.errors import OperationError
from rollout.run_state import RunState
from rollout.stack_file import StackFile


def reject_open_run(context: Context) -> None:
    """Raise CommandRejectedError if a `rollout run` is open: it owns the stack file."""
    if state := RunState.read(context.folder, context.stack_name):
        raise CommandRejectedError(
            f"a `rollout run` of release {state.release} is open; first `rollout resume` or `rollout abort`"
        )


def add_commit(parser: argparse.ArgumentParser) -> None:
    """Add --commit."""
    parser.add_argument("--commit", action="store_true", help="commit the stack file")


def change(context: Context, before: StackFile, after: StackFile, message: str, commit: bool) -> dict[str, Any]:
    """Write an edited stack file, show the plan, ask, and update; returns what --json prints of it.

    The file is restored if the preview fails or the answer is no. message: for the commit and for the stack's history.
    Raises OperationError and CommandRejectedError.
    """
    try:
        if after.content != before.content:
            after.write()
        context.report(context.stack.preview().text)
        context.confirm(f"{message}?")
    except BaseException:
        before.write()
        raise
    if commit:
        after.commit(message)
    try:
        outcome = context.stack.update(context.report, message)
    except OperationError as error:
        raise OperationError(
            f"{error}\n{after.name} keeps the change: fix the cause and run `pulumi up`, or `rollout rollback`"
        ) from error
    return {"message": message, "update": outcome.as_json()}
