"""Reads and writes the record of an open `rollout run` (`model/run_record.py`)."""

from dataclasses import dataclass
from datetime import datetime

from cluster.live import LiveCluster
from model.run_record import RUN_LEASE, RunRecord


@dataclass(frozen=True)
class StoredRun:
    """A record as it was read. version: of the object; if another process has written it meanwhile, ours fails."""

    record: RunRecord
    version: str


def read_run(live: LiveCluster) -> StoredRun | None:
    """The open run of the stack, None if there is none. Raises UnreachableError and RunRecordError."""
    lease = live.lease(RUN_LEASE)
    return StoredRun(RunRecord.from_lease(lease), lease["metadata"]["resourceVersion"]) if lease else None


def write_run(live: LiveCluster, record: RunRecord, version: str | None) -> StoredRun:
    """Write a record. version: that was read, None for a new run.

    Raises ConflictError if another process has begun, changed or ended the run, and UnreachableError.
    """
    lease = live.write_lease(record.to_lease(version))
    return StoredRun(record, lease["metadata"]["resourceVersion"])


def delete_run(live: LiveCluster, version: str) -> None:
    """Delete the record: the run has ended. Raises ConflictError and UnreachableError."""
    live.delete_lease(RUN_LEASE, version)


def is_alive(stored: StoredRun, later: StoredRun | None, now: datetime) -> bool:
    """Whether the holder of a run is alive. later: the run as it was read some heartbeats later.

    Whoever has written in between is alive, whatever the clocks of the two machines say.
    """
    if later is None:
        return False
    return later.version != stored.version or not later.record.is_dead(now)
