"""`rollout abort`: a release out of rotation at once, then the stack file restored and updated."""

import argparse
from functools import partial
from typing import Any

import psutil

from cluster.run_record import StoredRun, read_run
from rollout.canary.run_state import RunHolder
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.edges.abort import abort_update, finish, first_effect
from rollout.edges.rotation import serving, take_out, update_in_place


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Abort a release: out of rotation first, then everything else."""
    started = psutil.Process().create_time()
    release: str | None = arguments.release
    stored = read_run(context.live) if release is None else None
    if release is None:
        if stored is None:
            raise CommandRejectedError("--release is required: no `rollout run` is open")
        release = stored.record.release
    begun = stored is None or stored.record.index >= 0
    if begun and (update := update_in_place(context.live, release)):
        find_run = partial(_open_run, context, release, stored)
        data = abort_update(context, update, arguments.commit, started, find_run)
        context.result(data, f"the update of release {release} is aborted; the edges of its earlier revision serve")
        return Exit.FAILED if "commitError" in data else Exit.DONE
    out = _first_effect(context, release, stored, started)
    run = _open_run(context, release, stored)
    data = out | finish(context, release, run, arguments.commit, set(out["edges"]))
    context.result(data, f"release {release} is aborted; the update took {data['update']['seconds']:.0f} s")
    return Exit.FAILED if "commitError" in data else Exit.DONE


def _open_run(context: Context, release: str, stored: StoredRun | None) -> RunHolder | None:
    """The open run of the release, taken from its holder. With --release, it is read only now, after the first effect:
    new viewers do not wait for it."""
    stored = stored or read_run(context.live)
    return RunHolder.abort(context.live, stored) if stored and stored.record.release == release else None


def _first_effect(context: Context, release: str, stored: StoredRun | None, started: float) -> dict[str, Any]:
    """Take the release out of rotation. That of an open run may have no edges yet, or not be in this stack file."""
    nothing: dict[str, Any] = {"release": release, "seconds": 0.0, "outAt": None, "edges": [], "remaining": None}
    if stored and (stored.record.index < 0 or not serving(context.live).get(release)):
        # Before the first step, nothing of the canary is in rotation; and a release of this name may serve.
        pods = take_out(context.live, release) if stored.record.index >= 0 else []
        context.report(f"no edge of the canary {release} is in rotation")
        return nothing | {"edges": pods}
    try:
        return first_effect(context, release, started)
    except CommandRejectedError:
        stored = stored or read_run(context.live)
        if stored is None or not (stored.record.release == release and stored.record.in_place):
            raise
        context.report(f"release {release} serves alone, with one revision: its update in place is reverted")
        return nothing


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", help="the release (default: the one of the open `rollout run`)")
    parser.add_argument("--commit", action="store_true", help="commit the stack file")


VERB = Verb(
    "abort",
    "a release out of rotation within 2 seconds, without dropping a connection",
    "Takes a release out of rotation at once: its edges lose the label that the Service selects, so they receive "
    "no new viewers, and their open connections stay open. An update in progress ends itself. Then what the "
    "open `rollout run` has written into the stack file is reverted, and nothing else (without a run, the release gets "
    "weight 0), and the stack is updated: the other releases scale up, and the aborted edges drain. It ends the run "
    "wherever it is carried out. If the update would change more than these releases, because this checkout is not "
    "what was deployed last, that is shown and asked. If the release is the only one, its update in place is aborted, "
    "while edges of its earlier revision are ready: the new revision is out of rotation at once, and the earlier one "
    "gets all edges; then the stack file of the commit before is restored, unless the present one declares the earlier "
    "revision. Rejected if neither another release nor an earlier revision has ready edges. If the command is "
    "interrupted, run it again; until then, updates of these releases are rejected.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`release`, `seconds` (from the start of the command until it was out of rotation), `outAt` (when), `edges` "
    "(names of its pods), `remaining` (`ready` edges in rotation, `desired` ones), `update` (`seconds`, `changes`, "
    "`plan`); `commitError`, if --commit failed.",
    asks=True,
)
