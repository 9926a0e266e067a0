"""`rollout resume`: continue what was paused, interrupted or aborted."""

import argparse

from cluster.aborted import is_aborted
from model.names import edge_deployment
from model.values import plural
from rollout.change import add_commit, reject_open_run
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.commands.pause import set_paused
from rollout.rotation import take_in


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Resume a release."""
    reject_open_run(context)
    release: str | None = arguments.release
    if release is None:
        raise CommandRejectedError("--release is required: no `rollout run` is open")
    deployment = context.live.deployment(edge_deployment(release))
    if deployment is None or not is_aborted(deployment):
        set_paused(context, release, False, arguments.commit)
        return Exit.DONE
    context.confirm(f"Take the aborted release {release} back into rotation?")
    pods = take_in(context.live, release)
    context.result(
        {"release": release, "edges": pods}, f"{plural(len(pods), 'edge')} of release {release} back in rotation"
    )
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", help="the release (default: the one of the open `rollout run`)")
    add_commit(parser)


VERB = Verb(
    "resume",
    "continue what was paused or aborted",
    "Continues the paused rolling update of a release: removes `paused`, shows the plan, asks and updates. The "
    "edges of a release that `rollout abort` has taken out of rotation come back into it at once, without an "
    "update.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`message` and `update` (`seconds`, `changes`, `plan`); of an aborted release `release` and `edges`.",
    asks=True,
)
