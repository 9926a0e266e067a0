"""`rollout pause`: hold the rolling update of a release."""

import argparse

from rollout.change import add_commit, change, reject_open_run
from rollout.command import CommandRejectedError, Context, Exit, Verb


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Pause a release."""
    reject_open_run(context)
    set_paused(context, arguments.release, True, arguments.commit)
    return Exit.DONE


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


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", required=True, help="the release")
    add_commit(parser)


VERB = Verb(
    "pause",
    "hold the rolling update of a release",
    "Sets `paused` of a release, shows the plan, asks and updates: its rolling update stops where it is, and "
    "updates do not wait for it. An update that is running must be interrupted first (Ctrl-C). `rollout resume` "
    "continues.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`message`, `update` (`seconds`, `changes`, `plan`).",
    asks=True,
)
