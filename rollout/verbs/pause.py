"""`rollout pause`: pause the rolling update of a release."""

import argparse

from rollout.canary.run_state import reject_open_run
from rollout.command import Context, Exit, Verb
from rollout.stack.change import add_commit, set_paused


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Pause a release."""
    reject_open_run(context.live)
    set_paused(context, arguments.release, True, arguments.commit)
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", required=True, help="the release")
    add_commit(parser)


VERB = Verb(
    "pause",
    "pause the rolling update of a release",
    "Sets `paused` of a release, shows the plan, asks and updates: its rolling update stops where it is, and "
    "updates do not wait for it. An update that is running must be interrupted first (Ctrl-C). `rollout resume` "
    "continues.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`message`, `update` (`seconds`, `changes`, `plan`).",
    asks=True,
)
