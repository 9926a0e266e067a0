"""`rollout resume`: continue an interrupted run, or what was paused or aborted."""

import argparse

from cluster.aborted import is_aborted
from model.names import edge_deployment
from model.values import plural
from rollout.change import add_commit
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.commands.pause import set_paused
from rollout.commands.run import continue_run
from rollout.rotation import take_in
from rollout.run_state import RunState


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Resume a release."""
    release: str | None = arguments.release
    if state := RunState.read(context.folder, context.stack_name):
        if release not in (None, state.release):
            raise CommandRejectedError(f"a `rollout run` of release {state.release} is open")
        return continue_run(context, state)
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
    "continue an interrupted run, or what was paused or aborted",
    "Continues the open `rollout run` with the step that was begun last. Without one, continues the paused rolling "
    "update of a release: removes `paused`, shows the plan, asks and updates. The edges of a release that `rollout "
    "abort` has taken out of rotation come back into it at once, without an update.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED, Exit.NOT_ACCEPTED, Exit.INTERRUPTED),
    json="that of `rollout run`; without an open run `message` and `update` (`seconds`, `changes`, `plan`); of an "
    "aborted release `release` and `edges`.",
    asks=True,
)
