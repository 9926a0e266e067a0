"""`rollout rollback`: the stack file as it was, and an update."""

import argparse

from rollout.canary.run_state import reject_open_run
from rollout.command import Context, Exit, Verb
from rollout.stack.change import add_commit, change
from rollout.stack.rollback_target import deployed_commits, message_of, named_commit, previous_commit


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Roll back."""
    reject_open_run(context.live)
    file = context.read_file()
    if arguments.to:
        commit, before = named_commit(file, arguments.to)
    else:
        commit, before = previous_commit(file, deployed_commits(context))
    subject = f"Roll back {file.name} to {commit}"
    result = change(context, file, before, subject, arguments.commit, message_of(subject, commit))
    context.result({"commit": commit, **result}, f"{file.name} is the one of commit {commit}")
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", metavar="COMMIT", help="default: the last commit of main with another state, which was deployed"
    )
    add_commit(parser)


VERB = Verb(
    "rollback",
    "the stack file of an earlier commit, and its update",
    "Restores the stack file, with the files that it names, from git, shows the plan, asks and updates. Without --to, "
    "an edit that is not committed is reverted, else the last commit that changed more than comments; commits within a "
    "merged branch, and states that were never deployed, are passed over. A second rollback goes further back. "
    "Edges are replaced before they are removed, and drain; to take a bad release out of rotation within "
    "seconds, use `rollout abort`.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`commit`, `message`, `update` (`seconds`, `changes`, `plan`).",
    asks=True,
)
