"""`rollout abort`: a release out of rotation at once, then the stack file restored and updated."""

import argparse
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psutil

from model.values import plural
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.rotation import forget, keep_out, serving, take_out
from rollout.run_state import RunState
from rollout.show import now
from rollout.stack_file import StackFile

UPDATE_WAIT = timedelta(minutes=15)
"""How long an update in progress may take to end; it ends by itself when it sees the abort."""


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Abort a release."""
    state = RunState.read(context.folder, context.stack_name)
    release = arguments.release or (state.release if state else None)
    if release is None:
        raise CommandRejectedError("--release is required: no `rollout run` is open")
    data = abort(context, release, state if state and state.release == release else None, arguments.commit)
    context.result(data, f"release {release} is aborted; the update took {data['update']['seconds']:.0f} s")
    return Exit.DONE


def abort(context: Context, release: str, state: RunState | None, commit: bool) -> dict[str, Any]:
    """Abort a release; returns what --json prints. state: of its open run. Raises CommandRejectedError."""
    started = time.monotonic()
    file = context.read_file()
    ready = serving(context.live)
    others = sum(ready.values()) - ready.get(release, 0)
    if release not in {*ready, *file.releases}:
        raise CommandRejectedError(f"there is no release {release}; the stack file has {', '.join(file.releases)}")
    if not others:
        raise CommandRejectedError(
            f"no other release than {release} has ready edges: without it, nobody would be served. `rollout rollback` "
            "replaces its edges before it removes them"
        )
    pods = set(take_out(context.live, release))
    seconds, out_at = time.monotonic() - started, now().isoformat(timespec="milliseconds")
    desired = int(file.config["srs:edge"]["replicas"])
    context.report(
        f"release {release} is out of rotation after {seconds:.1f} s: {plural(len(pods), 'edge')} without new viewers; "
        f"open connections stay open\nnew viewers are served by {others} of {plural(desired, 'edge')}"
    )
    if state:
        _end(state)
    pods.update(keep_out(context.live, release))
    restored = replace(file, content=state.stack_file_before) if state else _without_weight(file, release)
    _write(context, restored, file, f"Abort release {release}", commit or bool(state and state.commit))
    # If its earlier share is wanted, the update replaces the aborted edges. Else the update removes them, and a later
    # one may bring the release back.
    wanted = restored.releases.get(release, {}).get("weight")
    if wanted:
        forget(context.live, release)
    outcome = context.stack.update(context.report, f"rollout abort {release}", UPDATE_WAIT)
    if not wanted:
        forget(context.live, release, paused=False)
    if state:
        RunState.close(context.folder, context.stack_name)
    return {
        "release": release,
        "seconds": round(seconds, 2),
        "outAt": out_at,
        "edges": sorted(pods),
        "remaining": {"ready": others, "desired": desired},
        "update": outcome.as_json(),
    }


def _without_weight(file: StackFile, release: str) -> StackFile:
    return file.with_releases({release: {"weight": 0}}) if release in file.releases else file


def _write(context: Context, restored: StackFile, file: StackFile, message: str, commit: bool) -> None:
    if restored.content != file.content:
        restored.write()
        context.report(f"{file.name} is changed: {message.lower()}")
    if commit:
        restored.commit(message)


def _end(state: RunState) -> None:
    """End the process of an open run; its update ends by itself."""
    if state.is_running:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(state.pid).terminate()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", metavar="NAME", help="the release (default: the one of the open `rollout run`)")
    parser.add_argument("--commit", action="store_true", help="commit the stack file")


VERB = Verb(
    "abort",
    "a release out of rotation within 2 seconds, without dropping anyone",
    "Takes a release out of rotation at once: its edges lose the label that the Service selects, so they receive "
    "no new viewers, and their open connections stay open. An update in progress ends itself. Then the stack file"
    " is restored (that of before the open `rollout run`; without one, the release gets weight 0) and updated: "
    "the other releases scale up, and the aborted edges drain. Rejected if no other release has ready edges. If "
    "the command is interrupted, run it again; until the stack file is restored, updates are rejected.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`release`, `seconds` (until it was out of rotation), `outAt` (when), `edges` (names of its pods), "
    "`remaining` (`ready` edges in rotation, `desired` ones), `update` (`seconds`, `changes`, `plan`).",
)
