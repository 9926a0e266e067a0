"""An edit of the stack file and its update, as every verb makes it: preview, question, commit, update."""

import argparse
from typing import Any

from rollout.command import CommandRejectedError, Context
from rollout.errors import OperationError
from rollout.stack.git import GitError, check_commit
from rollout.stack.stack_file import StackFile


def add_commit(parser: argparse.ArgumentParser) -> None:
    """Add --commit."""
    parser.add_argument("--commit", action="store_true", help="commit the stack file, with the files that it names")


def check_commit_first(context: Context, commit: bool) -> None:
    """Raise CommandRejectedError if --commit would fail, before anything is edited."""
    if commit:
        try:
            check_commit(context.folder)
        except GitError as error:
            raise CommandRejectedError(f"--commit is not possible, and nothing was changed: {error}") from error


def change(
    context: Context, before: StackFile, after: StackFile, message: str, commit: bool, commit_message: str = ""
) -> dict[str, Any]:
    """Write an edited stack file, show the plan, ask, and update; returns what --json prints of it.

    The file is restored if the preview or the commit fails or the answer is no, unless it was changed
    meanwhile. message: for the commit and for the stack's history. commit_message: instead of it, for the commit.
    Raises OperationError and CommandRejectedError.
    """
    check_commit_first(context, commit)
    try:
        write_changed(after, before)
        context.report(context.stack.preview().text)
        context.confirm(f"{message}?")
        if commit:
            after.commit(commit_message or message)
    except BaseException:
        if context.read_file().state == after.state:
            write_changed(before, after)
        else:
            context.report(f"{after.name} was changed meanwhile, and is left as it is")
        raise
    try:
        outcome = context.stack.update(context.report, message)
    except OperationError as error:
        raise OperationError(
            f"{error}\n{after.name} keeps the change: fix the cause and run `pulumi up`, or `rollout rollback`"
        ) from error
    return {"message": message, "update": outcome.as_json()}


def write_changed(file: StackFile, present: StackFile) -> None:
    """Write what a stack file and the files that it names have otherwise than the present ones."""
    if file.content != present.content:
        file.write()
    if file.files != present.files:
        file.write_files()


def set_paused(context: Context, release: str, paused: bool, commit: bool) -> None:
    """Pause or resume the rolling update of a release, by the key `paused` of the stack file."""
    file = context.read_file()
    if release not in file.releases:
        raise CommandRejectedError(f"there is no release {release}; the stack file has {', '.join(file.releases)}")
    after = file.with_releases({release: {"paused": True if paused else None}})
    message = f"{'Pause' if paused else 'Resume'} the rolling update of release {release}"
    result = change(context, file, after, message, commit)
    status = "is paused" if paused else "is not paused"
    context.result(result, f"the rolling update of release {release} {status}")
