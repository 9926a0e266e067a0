"""`rollout rollback`: the stack file as it was, and an update."""

import argparse

from rollout.change import add_commit, change, reject_open_run
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.stack_file import StackFile, git


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Roll back."""
    reject_open_run(context)
    file = context.read_file()
    commit, before = _target(file, arguments.to)
    message = f"Roll back {file.name} to {commit}"
    result = change(context, file, before, message, arguments.commit)
    context.result({"commit": commit, **result}, f"{file.name} is the one of commit {commit}")
    return Exit.DONE


def _target(file: StackFile, to: str | None) -> tuple[str, StackFile]:
    """The commit to roll back to, and the file in it. Raises CommandRejectedError and GitError."""
    folder = file.path.parent
    if to:
        commit = git(folder, "rev-parse", "--short", "--verify", "--end-of-options", f"{to}^{{commit}}")
        return commit, file.at_commit(commit)
    for commit in git(folder, "log", "--format=%h", "--diff-filter=AM", "--", file.path.name).splitlines():
        if (earlier := file.at_commit(commit)).content != file.content:
            return commit, earlier
    raise CommandRejectedError(f"no commit has another {file.name}; use --to")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="COMMIT", help="default: the last commit with another stack file than now")
    add_commit(parser)


VERB = Verb(
    "rollback",
    "the stack file of an earlier commit, and its update",
    "Restores the stack file from git, shows the plan, asks and updates. Without --to, an edit that is not "
    "committed is reverted, else the last commit of the file. Edges are replaced before they are removed, and "
    "drain; to take a bad release out of rotation within seconds, use `rollout abort`.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`commit`, `message`, `update` (`seconds`, `changes`, `plan`).",
    asks=True,
)
