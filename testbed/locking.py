"""A lock between processes: one at a time changes a cache or a cluster's state."""

import fcntl
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, report: Callable[[str], None]) -> Generator[None]:
    """Hold the lock file `path` for the block; while another process holds it, report which one and wait.

    The operating system releases the lock when its holder ends, also when it is killed, so a lock is never stale.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    report(f"waiting for {_holder(path)} (lock {path})")
                    waited = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            # The folder may have been deleted with its lock file meanwhile: then this lock protects nothing.
            if not _is_at(handle, path):
                path.parent.mkdir(parents=True, exist_ok=True)
                continue
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {Path(sys.argv[0]).name} {' '.join(sys.argv[1:3])}".encode(), 0)
            yield
            return
        finally:
            os.close(handle)


def _holder(path: Path) -> str:
    try:
        pid, _, command = path.read_text().partition(" ")
    except OSError:
        pid, command = "", ""
    return f"process {pid} ({command.strip()})" if pid else "another process"


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
