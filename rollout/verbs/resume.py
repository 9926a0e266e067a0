"""`rollout resume`: continue an interrupted run, or what was paused or aborted."""

import argparse

from cluster.aborted import is_aborted, is_update_aborted
from cluster.run_record import read_run
from model.config.values import plural
from model.names import edge_deployment
from rollout.canary.flow import continue_run
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.edges.rotation import take_in
from rollout.options import add_notify
from rollout.stack.change import add_commit, set_paused


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Resume a release."""
    context.notify_url = arguments.notify
    release: str | None = arguments.release
    if stored := read_run(context.live):
        if release not in (None, stored.record.release):
            raise CommandRejectedError(f"{stored.record.title} is open")
        return continue_run(context, stored, tuple(arguments.stream_url))
    if release is None:
        raise CommandRejectedError("--release is required: no `rollout run` is open")
    deployment = context.live.deployment(edge_deployment(release))
    if deployment is None or not is_aborted(deployment):
        set_paused(context, release, False, arguments.commit)
        return Exit.DONE
    if is_update_aborted(deployment):
        context.confirm(f"Continue the aborted update of release {release}?")
        take_in(context.live, release)
        context.result({"release": release, "edges": []}, f"the update of release {release} continues")
        return Exit.DONE
    context.confirm(f"Take the aborted release {release} back into rotation?")
    pods = take_in(context.live, release)
    context.result(
        {"release": release, "edges": pods}, f"{plural(len(pods), 'edge')} of release {release} back in rotation"
    )
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", help="the release (default: the one of the open `rollout run`)")
    parser.add_argument(
        "--stream-url",
        metavar="URL",
        action="append",
        default=[],
        help="of a live stream, instead of those that the run began with; required if those have a query or a "
        "password, which is not recorded",
    )
    add_notify(parser)
    add_commit(parser)


VERB = Verb(
    "resume",
    "continue an interrupted run, or what was paused or aborted",
    "Continues the open `rollout run` with the step that was begun last, on any machine; rejected while its process "
    "lives (no heartbeat for 30 s). Without one, continues the paused rolling "
    "update of a release: removes `paused`, shows the plan, asks and updates. The edges of a release that `rollout "
    "abort` has taken out of rotation come back into it at once, without an update; an aborted update continues.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED, Exit.NOT_ACCEPTED, Exit.INCONCLUSIVE, Exit.INTERRUPTED),
    json="that of `rollout run`; without an open run `message` and `update` (`seconds`, `changes`, `plan`); of an "
    "aborted release `release` and `edges`.",
    asks=True,
)
