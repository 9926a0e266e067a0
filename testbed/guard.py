"""Cleans up after a test run, in whatever way that ended: also when it was killed and could not do so itself."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from testbed.cluster import EmbeddedCluster
from testbed.environment import PROJECT

MARK = "SRS_TESTBED_RUN"
"""Environment variable by which the processes of a test run are known: the state folder of its cluster."""


@contextmanager
def guarded(state: Path) -> Generator[None]:
    """Have a guard for the block; at the block's end, or at the end of this process, the cluster is deleted.

    The guard is a process of its own, in its own session, that waits for this one's end of a pipe to close. It holds
    a lock beside the state folder as long as it lives, so two runs never have the same cluster.

    Raises:
        RuntimeError: another run has the cluster, or it could not be removed at the end.
    """
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-m", "testbed", "--state", str(state), "guard"]
    pipe = subprocess.PIPE
    waiting = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=PROJECT, env=environment, start_new_session=True, text=True
    )
    assert waiting.stdout is not None
    if waiting.stdout.readline() != READY:
        raise RuntimeError(waiting.communicate()[1].strip())
    os.environ[MARK] = str(state)
    try:
        yield
    finally:
        _, errors = waiting.communicate()
        if waiting.returncode:
            raise RuntimeError(f"the cluster in {state} could not be removed: {errors.strip()}")


READY = "guarding\n"


def guard(state: Path) -> None:
    """Wait for the end of standard input; then end what the run has started, and delete its cluster.

    At first it deletes what may be left of a run that was killed together with its guard.
    """
    with state.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another test run uses the cluster in {state}; wait for its end")
        _clean_up(state)
        print(READY, end="", flush=True)
        sys.stdin.read()
        _clean_up(state)


def _clean_up(state: Path) -> None:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(state):
                process.kill()
    EmbeddedCluster(state, say=lambda _line: None).delete()
