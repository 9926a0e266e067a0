"""Cleans up after a test run, however it ends: also after a SIGKILL, when the run cannot do so itself."""

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

RUN_VARIABLE = "SRS_TESTBED_RUN"
"""Environment variable that marks the processes of a test run: the state folder of its cluster."""

READY = "guarding\n"
"""What the guard prints when it is ready."""


@contextmanager
def guarded(state: Path) -> Generator[None]:
    """Run a guard for the block: it deletes the cluster at the block's end, or at the end of this process.

    The guard is a process in its own session that waits until this process closes its end of a pipe. It holds a lock
    beside the state folder, so two runs never have the same cluster.

    Raises:
        RuntimeError: another run has the cluster, or it could not be deleted at the end.
    """
    environment = {name: value for name, value in os.environ.items() if name != RUN_VARIABLE}
    command = [sys.executable, "-m", "testbed", "--state", str(state), "guard"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=PROJECT, env=environment, start_new_session=True, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != READY:
        raise RuntimeError(process.communicate()[1].strip())
    os.environ[RUN_VARIABLE] = str(state)
    try:
        yield
    finally:
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the cluster in {state} could not be deleted: {errors.strip()}")


def guard(state: Path) -> None:
    """Wait for the end of standard input; then end the processes of the run and delete its cluster.

    Before that it deletes what a run left that was killed together with its guard.
    """
    with state.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another test run uses the cluster in {state}; wait until it ends")
        _clean_up(state)
        print(READY, end="", flush=True)
        sys.stdin.read()
        _clean_up(state)


def _clean_up(state: Path) -> None:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(RUN_VARIABLE) == str(state):
                process.kill()
    EmbeddedCluster(state, report=lambda _line: None).delete()
