"""One record in the cluster: one holder, whoever writes it, and what happens to the one that has lost it."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from cluster.live import LiveCluster
from cluster.run_record import StoredRun, read_run, write_run
from model.run_record import HOLDER_TIMEOUT, Holder, RunOptions, RunRecord, RunRecordError
from rollout.canary import run_state
from rollout.canary.run_state import OpenRunError, RunHolder, RunLostError, abandoned, reject_open_run
from unit.rollout.leases import FakeLeases


@pytest.fixture
def live() -> LiveCluster:
    return cast("LiveCluster", FakeLeases())


def record(**values: Any) -> RunRecord:
    return RunRecord(release="r6", steps=(10, 100), weights_before={"r5": 100}, **values)


def stored(live: LiveCluster) -> StoredRun:
    found = read_run(live)
    assert found
    return found


def test_only_one_of_several_processes_begins_a_run(live: LiveCluster) -> None:
    results: list[str] = []

    def begin() -> None:
        try:
            RunHolder.begin(live, record())
            results.append("begun")
        except OpenRunError as error:
            results.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("begun") == 1
    assert sum("a rollout run of release r6 (step 0 of 2" in result for result in results) == 4
    with pytest.raises(OpenRunError, match="`rollout abort` ends it"):
        reject_open_run(live)


def test_the_record_has_no_secrets(live: LiveCluster) -> None:
    options = RunOptions(stream_urls=("rtmp://user:pw@host:1935/live/x?token=s3cret", "http://host/live/x.flv"))
    RunHolder.begin(live, record(options=options))
    text = json.dumps(cast("FakeLeases", live).stored)
    assert "s3cret" not in text
    assert "pw@" not in text
    recorded = stored(live).record.options
    assert recorded.partial
    assert recorded.stream_urls == ("rtmp://host:1935/live/x", "http://host/live/x.flv")
    assert not RunOptions(stream_urls=("rtmp://host/live/x",)).recorded.partial


def test_an_abort_ends_the_run_of_another_machine(live: LiveCluster) -> None:
    run = RunHolder.begin(live, record())
    ended = RunHolder.abort(live, stored(live))
    assert ended
    assert ended.record.token != run.record.token, "updates of the former holder are rejected"
    with pytest.raises(RunLostError, match="was aborted by"):
        run.update(index=1)
    with pytest.raises(RunLostError, match="was aborted by"):
        run.close()
    run.stop()
    with pytest.raises(OpenRunError, match="aborted by"):
        abandoned(live, stored(live), lambda _line: None)
    ended.close()
    assert read_run(live) is None
    with pytest.raises(RunLostError):
        run.update()


def test_an_abort_wins_over_a_heartbeat_at_the_same_time(live: LiveCluster) -> None:
    run = RunHolder.begin(live, record())
    read = stored(live)
    run.update()  # between the read and the write of the abort
    assert RunHolder.abort(live, read)
    assert stored(live).record.aborted_by


@pytest.fixture
def background_job() -> Iterator[None]:
    """SIGINT is ignored, as shells do for jobs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


@pytest.mark.usefixtures("background_job")
def test_the_heartbeat_finds_out_and_interrupts(live: LiveCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_state, "HEARTBEAT_INTERVAL", timedelta(milliseconds=10))
    run = RunHolder.begin(live, record())
    before = stored(live)
    run.start_heartbeat()
    while stored(live).version == before.version:
        pass

    def abort_and_wait() -> None:
        RunHolder.abort(live, stored(live))
        for _ in range(500):
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        abort_and_wait()
    assert "aborted by" in run.lost


def test_a_write_whose_answer_was_lost_is_no_conflict(live: LiveCluster) -> None:
    run = RunHolder.begin(live, record())
    read = stored(live)
    write_run(live, read.record, read.version)  # ours, and the connection broke before the answer
    run.update()  # a conflict, with our own token
    run.update(index=1)
    assert stored(live).record.index == 1


def test_a_dead_holder_is_found_out(live: LiveCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    RunHolder.begin(live, record())
    elsewhere = Holder(user="ci", host="runner", pid=1)
    found = stored(live)
    found = write_run(live, found.record.model_copy(update={"holder": elsewhere}), found.version)
    with pytest.raises(OpenRunError):
        abandoned(live, found, lines.append)  # its heartbeat is new
    old = datetime.now(UTC) - HOLDER_TIMEOUT - timedelta(seconds=1)
    dead = write_run(live, found.record.model_copy(update={"holder": elsewhere, "heartbeat": old}), found.version)
    monkeypatch.setattr(run_state.time, "sleep", lambda _seconds: None)
    assert abandoned(live, dead, lines.append).record.id == dead.record.id
    assert "no heartbeat of ci@runner (process 1)" in lines[0]

    def beat(_seconds: float) -> None:
        # Its clock is slow, but it lives.
        write_run(live, dead.record, dead.version)

    monkeypatch.setattr(run_state.time, "sleep", beat)
    with pytest.raises(OpenRunError):
        abandoned(live, dead, lines.append)


def test_a_stopped_run_can_be_resumed_at_once(live: LiveCluster) -> None:
    RunHolder.begin(live, record()).stop()
    found = abandoned(live, stored(live), lambda _line: None)
    run = RunHolder.take_over(live, found, index=0)
    assert (run.record.index, run.record.holder) == (0, Holder.this())


def test_a_record_of_another_version_is_one_clear_error(live: LiveCluster) -> None:
    RunHolder.begin(live, record())
    lease = cast("FakeLeases", live).stored
    assert lease
    lease["metadata"]["annotations"] = {"srs/run": '{"release": 1}'}
    with pytest.raises(RunRecordError, match="Lease srs-rollout, cannot be read"):
        read_run(live)
