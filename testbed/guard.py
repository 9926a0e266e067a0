"""Cleans up after a test run, in whatever way that ended: also when it was killed and could not do so itself."""

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

    The guard is a process of its own, in its own session, that waits for this one's end of a pipe to close.
    """
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-m", "testbed", "--state", str(state), "guard"]
    waiting = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=PROJECT,
        env=environment,
        start_new_session=True,
    )
    os.environ[MARK] = str(state)
    try:
        yield
    finally:
        assert waiting.stdin is not None
        waiting.stdin.close()
        if waiting.wait() != 0:
            raise RuntimeError(f"the cluster in {state} could not be removed: see `python -m testbed --state {state}`")


def guard(state: Path) -> None:
    """Wait for the end of standard input; then end what the run has started, and delete its cluster."""
    sys.stdin.buffer.read()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(state):
                process.kill()
    EmbeddedCluster(state, say=lambda _line: None).delete()
