"""A release out of rotation at once, then its change of the stack file reverted: `rollout abort`, and a failed run.

If a release is the only one, its update in place is aborted: the new revision is out of rotation, the earlier serves.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from cluster.live import UnreachableError
from model.config.values import plural
from model.run_record import Holder
from rollout.canary.run_state import RunHolder
from rollout.canary.steps import reverted
from rollout.command import UPDATE_WAIT, CommandFailedError, CommandRejectedError, Context
from rollout.edges.fleet import live_edges
from rollout.edges.rotation import Update, forget, keep_out, serving, take_out, take_out_update
from rollout.errors import OperationError, RejectedError
from rollout.show import now
from rollout.stack.change import write_changed
from rollout.stack.git import GitError
from rollout.stack.rollback_target import deployed_commits, message_of, previous_commit
from rollout.stack.stack_file import StackFile


def first_effect(context: Context, release: str, started: float) -> dict[str, Any]:
    """Take a release out of rotation; returns what --json prints of it. started: when the command began, see `time`.

    Raises CommandRejectedError if there is no such release, or no other one has ready edges.
    """
    ready = serving(context.live)
    others = sum(ready.values()) - ready.get(release, 0)
    file = context.read_file()
    if release not in {*ready, *file.releases}:
        raise CommandRejectedError(f"there is no release {release}; the stack file has {', '.join(file.releases)}")
    if not others:
        raise CommandRejectedError(
            f"no other release than {release} has ready edges, and it has none of an earlier revision: without it, "
            "viewers would have no edge. `rollout rollback` replaces its edges before it removes them"
        )
    return _taken_out(context, release, f"release {release}", partial(take_out, context.live, release), started)


def _taken_out(
    context: Context, release: str, what: str, take: Callable[[], list[str]], started: float
) -> dict[str, Any]:
    pods = take()
    seconds, out_at = time.time() - started, now().isoformat(timespec="milliseconds")
    others = sum(serving(context.live).values())
    file = context.read_file()
    desired = file.edges.total(live_edges(context, file))
    context.report(
        f"{what} is out of rotation after {seconds:.1f} s: {plural(len(pods), 'edge')} without new viewers; "
        f"open connections stay open\nnew viewers are served by {others} of {plural(desired, 'edge')}"
    )
    return {
        "release": release,
        "seconds": round(seconds, 2),
        "outAt": out_at,
        "edges": pods,
        "remaining": {"ready": others, "desired": desired},
    }


def abort(context: Context, release: str, run: RunHolder | None, commit: bool) -> dict[str, Any]:
    """Abort a release; returns what --json prints. run: its open run, which ends. Raises CommandRejectedError."""
    out = first_effect(context, release, time.time())
    return out | finish(context, release, run, commit, set(out["edges"]))


def finish(context: Context, release: str, run: RunHolder | None, commit: bool, pods: set[str]) -> dict[str, Any]:
    """Keep a release out of rotation, revert its change of the stack file, update, and end its run.

    pods: that are out of rotation. Raises CommandRejectedError if the update would do more, and that is not confirmed.
    """
    if run:
        _end(context, run)
    # In step 0, nothing of the canary is; and without an earlier revision, the only release must stay.
    in_rotation = run is None or (run.record.index >= 0 and not run.record.in_place)
    if in_rotation:
        pods.update(keep_out(partial(take_out, context.live, release)))
    file = context.read_file()
    restored, notes = reverted(file, run.record) if run else (_without_weight(file, release), [])
    for note in notes:
        context.report(note)
    releases = {release, *(run.record.releases if run else file.releases)}
    stays = f"release {release} stays out of rotation, and its edges are not replaced yet"
    _confirm_the_rest(context, file, restored, releases, stays)
    commit = commit or bool(run and run.record.commit)
    message = f"Abort release {release}"
    # If its earlier share is wanted, the update replaces the aborted edges. Else the update removes them, and a later
    # one may bring the release back. The mark stays until then, for what is in flight.
    take = partial(take_out, context.live, release)
    sweep = partial(_sweep, context, take, pods) if in_rotation else None
    updated = _update(context, release, restored, file, message, message if commit else "", sweep)
    if in_rotation:
        forget(context.live, release, resume=not restored.edges.weights.get(release))
    if run:
        run.close()
    return {"edges": sorted(pods)} | updated


def abort_update(
    context: Context, update: Update, commit: bool, started: float, find_run: Callable[[], RunHolder | None]
) -> dict[str, Any]:
    """Abort the update in place of the only release; returns what --json prints. started: when the command began.

    find_run: returns the open run of this update, which ends, or None; new viewers do not wait for it.
    Its new revision is out of rotation, the earlier one gets all edges, and the stack file is the one that declares it:
    without the change of the run; else the present one, or that of the commit before. Raises CommandFailedError and
    CommandRejectedError.
    """
    release, take = update.release, partial(take_out_update, context.live, update)
    out = _taken_out(context, release, f"the new revision of release {release}", take, started)
    pods = set(out["edges"])
    if run := find_run():
        _end(context, run)
    pods.update(keep_out(take))
    file = context.read_file()
    stays = f"the edges of the earlier revision of release {release} serve, and its update stays aborted"
    earlier, notes = "", list[str]()
    try:
        if run:
            restored, notes = reverted(file, run.record)
        else:
            restored, earlier = _declares_earlier_revision(context, file, release)
    except (CommandRejectedError, GitError, OperationError) as error:
        raise CommandFailedError(f"{error}\n{stays}: restore the earlier stack config, and run `pulumi up`") from error
    for note in notes:
        context.report(note)
    releases = {release, *file.releases, *(run.record.releases if run else ())}
    _confirm_the_rest(context, file, restored, releases, stays)
    commit = commit or bool(run and run.record.commit)
    message = f"Abort the update of release {release}"
    commit_message = message_of(message, earlier) if earlier else message
    sweep = partial(_sweep, context, take, pods)
    updated = _update(context, release, restored, file, message, commit_message if commit else "", sweep)
    forget(context.live, release, resume=False)
    if run:
        run.close()
    return out | {"edges": sorted(pods)} | updated


def _end(context: Context, run: RunHolder) -> None:
    """End a run everywhere; the updates of this process belong to it."""
    if not run.record.aborted_by:
        run.update(aborted_by=str(Holder.this()))
    context.stack.run_token = run.record.token


def _declares_earlier_revision(context: Context, file: StackFile, release: str) -> tuple[StackFile, str]:
    """The stack file whose update rolls no edge: the present one and "", or that of the commit before and the commit.

    Raises CommandRejectedError and GitError if there is no such commit, and OperationError.
    """
    try:
        plan = context.stack.preview().plan
        if not any(item["release"] == release and item["action"] == "roll" for item in plan.get("workloads", [])):
            return file, ""
    except RejectedError:
        pass  # it is the one of the aborted update
    commit, earlier = previous_commit(file, deployed_commits(context))
    context.report(f"{file.name} as in commit {commit}")
    return earlier, commit


def _sweep(context: Context, take: Callable[[], list[str]], pods: set[str]) -> None:
    """While another update has the stack's lock, it may bring the release back."""
    try:
        pods.update(take())
    except UnreachableError as error:
        context.report(f"{error}; trying again")


def _confirm_the_rest(context: Context, file: StackFile, restored: StackFile, releases: set[str], stays: str) -> None:
    """Ask if the update would change more than the releases of the abort: this checkout may be an old one.

    stays: what the abort has done. Raises CommandRejectedError without a yes, and OperationError if the preview fails;
    the stack file is as before.
    """
    write_changed(restored, file)
    try:
        more = list(other_changes(context.stack.preview().plan, releases))
        if more:
            context.report("\n".join(["the update would also change:", *(f"  {line}" for line in more)]))
            context.confirm("Update all of this, too?")
    except CommandRejectedError as error:
        raise CommandRejectedError(
            f"{error}\n{stays}: run `rollout abort` again in an up-to-date checkout, or with --yes"
        ) from error
    finally:
        write_changed(file, restored)


def other_changes(plan: Mapping[str, Any], releases: set[str]) -> Iterator[str]:
    """What a plan does to workloads besides moving replicas between releases, a line each."""
    for workload in plan.get("workloads", []):
        action, release = workload["action"], workload["release"]
        moved = release in releases and action in ("scale", "delete", "create", "update")
        if action == "none" or moved:
            continue
        reasons = "; ".join(workload.get("reasons", []))
        yield f"{workload['kind']} {workload['name']}: {action}{f' ({reasons})' if reasons else ''}"


def _without_weight(file: StackFile, release: str) -> StackFile:
    return file.with_releases({release: {"weight": 0}}) if release in file.releases else file


def _update(
    context: Context,
    release: str,
    restored: StackFile,
    file: StackFile,
    message: str,
    commit_message: str,
    sweep: Callable[[], None] | None,
) -> dict[str, Any]:
    """Write and commit the stack file, and update; returns what --json prints of it.

    commit_message: "" for no commit. A commit that fails does not stop the update.
    """
    failed = ""
    if restored.state != file.state:
        write_changed(restored, file)
        context.report(f"{file.name} is changed: {message.lower()}")
    if commit_message:
        try:
            restored.commit(commit_message)
        except GitError as error:
            failed = str(error)
    outcome = context.stack.update(context.report, f"rollout abort {release}", UPDATE_WAIT, sweep)
    if failed:
        context.report(f"{file.name} is changed and updated, but not committed: {failed}")
    return {"update": outcome.as_json()} | ({"commitError": failed} if failed else {})
