"""What an update may do while a `rollout run` is open. Pure.

A run moves viewers between its releases, and judges one of them. An update by hand or in CI, from a stack file without
the canary, would remove it or bring an aborted one back, and the run would judge something else than it has begun with.
"""

from collections.abc import Iterator, Sequence

from model.config.problems import ABSENT, Problem
from model.run_record import RunRecord
from update.workload_changes import WorkloadChange


def open_run_problems(changes: Sequence[WorkloadChange], run: RunRecord | None, token: str) -> Iterator[Problem]:
    """Changes of the releases of an open run by an update that is not the run's own.

    token: of the run that the update says it belongs to, "" for none.
    """
    if run is None or token == run.token:
        return
    changed = [
        change.workload.release
        for change in changes
        if change.action != "none" and change.workload.release in run.releases
    ]
    if not changed:
        return
    if run.aborted_by:
        way_out = "run `rollout abort` again if its process has ended"
    else:
        way_out = "wait until it has ended, or end it with `rollout abort`"
    yield Problem(
        ("edge", "releases"),
        ABSENT,
        f"{', '.join(str(release) for release in changed)} must not change while {run.title} is open: {way_out}. An "
        "update that leaves the edges of its releases as they are is possible",
        reason="RolloutRunOpen",
    )


def is_superseded(run: RunRecord | None, token: str) -> bool:
    """Whether the run that an update belongs to has ended, or another process carries it out now."""
    return bool(token) and (run is None or run.token != token)
