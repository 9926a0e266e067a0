"""`rollout promote`: all new viewers to one release."""

import argparse

from rollout.canary.run_state import reject_open_run
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.stack.change import add_commit, change


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Promote a release."""
    reject_open_run(context.live)
    file = context.read_file()
    release: str = arguments.release
    if release not in file.releases:
        raise CommandRejectedError(f"there is no release {release}; the stack file has {', '.join(file.releases)}")
    others = {name: None if arguments.remove else {"weight": 0} for name in file.releases if name != release}
    after = file.with_releases({release: {"weight": 100}, **others})
    result = change(context, file, after, f"Promote release {release}", arguments.commit)
    context.result(result, f"release {release} receives all new viewers")
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", required=True, help="the release")
    parser.add_argument("--remove", action="store_true", help="remove the other releases, instead of weight 0")
    add_commit(parser)


VERB = Verb(
    "promote",
    "all new viewers to one release",
    "Gives a release weight 100 and all other releases weight 0, shows the plan, asks and updates. A release with "
    "weight 0 keeps its config and its history, without edges; `--remove` removes it. The edges of the other releases "
    "drain.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`message`, `update` (`seconds`, `changes`, `plan`).",
    asks=True,
)
