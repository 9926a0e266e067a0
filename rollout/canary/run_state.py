"""The holder of an open `rollout run`: writes the record in the cluster, with a heartbeat while the process lives.

The record exists from before the first edit of the stack file until the run has ended. So `rollout resume` and
`rollout abort` continue on any machine after Ctrl-C, SIGKILL or a lost runner, and a second run is rejected.
"""

import _thread
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psutil

from cluster.live import ConflictError, LiveCluster, UnreachableError
from cluster.run_record import StoredRun, delete_run, is_alive, read_run, write_run
from model.run_record import HEARTBEAT_INTERVAL, Holder, RunRecord

OBSERVED = 2 * HEARTBEAT_INTERVAL.total_seconds() + 1
"""Seconds that a silent holder is observed before another process takes its run over."""


class OpenRunError(Exception):
    """A run is open; the message says whose it is and how it ends."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        way_out = (
            "`rollout abort` ends it"
            if record.aborted_by
            else "`rollout abort` ends it; `rollout resume` continues it once its process has ended"
        )
        super().__init__(f"{record.title} is open; {way_out}")


class RunLostError(Exception):
    """The run was aborted or taken over; the message says by whom."""


class RunHolder:
    """The right to carry out a run. Raises RunLostError as soon as another process has it."""

    def __init__(self, live: LiveCluster, stored: StoredRun) -> None:
        self._live, self._stored = live, stored
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.lost = ""
        """By whom the run was aborted or taken over, "" while it is ours."""

    @staticmethod
    def begin(live: LiveCluster, record: RunRecord) -> "RunHolder":
        """Record a new run. Raises OpenRunError if one is open, RunRecordError and UnreachableError."""
        this = Holder.this()
        ours = {"holder": this, "started_by": str(this), "options": record.options.recorded}
        record = record.model_copy(update=ours)
        try:
            return RunHolder(live, write_run(live, record, None))
        except ConflictError:
            if stored := read_run(live):
                raise OpenRunError(stored.record) from None
            raise

    @staticmethod
    def take_over(live: LiveCluster, stored: StoredRun, **changes: Any) -> "RunHolder":
        """Take a run from its holder. changes: of the record. Raises ConflictError and UnreachableError."""
        ours = {"holder": Holder.this(), "token": uuid4().hex, "heartbeat": datetime.now(UTC)}
        return RunHolder(live, write_run(live, stored.record.model_copy(update=ours | changes), stored.version))

    @staticmethod
    def abort(live: LiveCluster, stored: StoredRun) -> "RunHolder | None":
        """Take a run from its holder in any case, to end it; None if it has ended meanwhile."""
        while True:
            with suppress(ConflictError):
                return RunHolder.take_over(live, stored, aborted_by=str(Holder.this()))
            present = read_run(live)
            if present is None or present.record.id != stored.record.id:
                return None
            stored = present

    @property
    def record(self) -> RunRecord:
        """The record as it was written last."""
        return self._stored.record

    def update(self, **changes: Any) -> None:
        """Change the record. Raises RunLostError and UnreachableError."""
        try:
            self._write(changes)
        except RunLostError:
            self._ended.set()  # the caller knows it now, and needs no interruption
            raise

    def _write(self, changes: Mapping[str, Any]) -> None:
        with self._lock:
            self._check()
            now = {"heartbeat": datetime.now(UTC)}
            try:
                record = self.record.model_copy(update=now | dict(changes))
                self._stored = write_run(self._live, record, self._stored.version)
            except ConflictError:
                self._find_out()

    def _find_out(self) -> None:
        """After a conflict. Our own write may have arrived although its answer has not."""
        present = read_run(self._live)
        if present and present.record.token == self.record.token:
            self._stored = StoredRun(self.record, present.version)
            return
        record = present.record if present else None
        if record is None or record.id != self.record.id:
            self.lost = "the run was ended elsewhere"
        elif record.aborted_by:
            self.lost = f"the run was aborted by {record.aborted_by}"
        else:
            self.lost = f"the run was taken over by {record.holder}"
        self._check()

    def _check(self) -> None:
        if self.lost:
            raise RunLostError(self.lost)

    def start_heartbeat(self) -> None:
        """Write the heartbeat in the background; the main thread gets a KeyboardInterrupt when the run is lost.

        Not by SIGINT: shells start background jobs with it ignored, and then Python interrupts nothing.
        """
        signal.signal(signal.SIGUSR1, signal.default_int_handler)

        def beat() -> None:
            while not self._ended.wait(HEARTBEAT_INTERVAL.total_seconds()):
                try:
                    self._write({})
                except RunLostError:
                    if not self._ended.is_set():
                        _thread.interrupt_main(signal.SIGUSR1)
                    return
                except UnreachableError:
                    continue  # the next one; until then the run is ours

        threading.Thread(target=beat, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Leave the run open without a holder, so that it can be resumed at once."""
        self._ended.set()
        with suppress(RunLostError, UnreachableError):
            self.update(holder=None)

    def close(self) -> None:
        """The run has ended: delete its record. Raises RunLostError and UnreachableError."""
        self._ended.set()
        with self._lock:
            self._check()
            while True:
                try:
                    return delete_run(self._live, self._stored.version)
                except ConflictError:
                    self._find_out()


def reject_open_run(live: LiveCluster) -> None:
    """Raise OpenRunError if a run is open."""
    if stored := read_run(live):
        raise OpenRunError(stored.record)


def has_ended(holder: Holder | None) -> bool:
    """Whether a holder was a process of this machine and has ended."""
    if holder is None:
        return True
    if holder.host != Holder.this().host:
        return False
    try:
        return "rollout" not in " ".join(psutil.Process(holder.pid).cmdline())
    except psutil.Error:
        return True


def abandoned(live: LiveCluster, stored: StoredRun, report: Callable[[str], None]) -> StoredRun:
    """A run whose holder is dead, as it is now. Raises OpenRunError if a process carries it out, or it was aborted."""
    record = stored.record
    if record.aborted_by:
        raise OpenRunError(record)
    if has_ended(record.holder):
        return stored
    if not record.is_dead(datetime.now(UTC)):
        raise OpenRunError(record)
    report(f"no heartbeat of {record.holder} since {record.heartbeat:%H:%M:%S} UTC; observing it for {OBSERVED:.0f} s")
    time.sleep(OBSERVED)
    later = read_run(live)
    if later is None or is_alive(stored, later, datetime.now(UTC)):
        raise OpenRunError(later.record if later else record)
    return later
