"""Processes that outlive the command that started them, and that are ended by their own id only."""

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_STOP_SECONDS = 20.0
"""How long a process may take to end after SIGTERM (the API server waits for open watches)."""


class ProcessFolder:
    """The processes that belong to one state folder, by name, with a log file for each.

    A process is identified by its id and its creation time, because the system reuses ids.
    """

    def __init__(self, pids: Path, logs: Path) -> None:
        self._pids = pids
        self._logs = logs

    def log(self, name: str) -> Path:
        """The file with the output of the process since its last start."""
        return self._logs / f"{name}.log"

    def find(self, name: str) -> psutil.Process | None:
        """The running process of that name; None if it ended, or if its id belongs to another process now."""
        record = self._read().get(name)
        if record is None:
            return None
        try:
            process = psutil.Process(record.pid)
            same = abs(process.create_time() - record.created) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> psutil.Process:
        """Start `command` in a session of its own, so that neither a closed terminal nor Ctrl-C ends it."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("wb") as log:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(env),
                cwd=cwd,
            )
        process = psutil.Process(child.pid)
        self._write(self._read() | {name: _Record(child.pid, process.create_time())})
        return process

    def stop(self, name: str, timeout: float = _STOP_SECONDS) -> bool:
        """End the process of that name: SIGTERM, then SIGKILL after `timeout` seconds; False if none was running."""
        process = self.find(name)
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
                if not _wait_for_end(process, timeout):
                    process.kill()
                    _wait_for_end(process, timeout)
        self._write({other: record for other, record in self._read().items() if other != name})
        return process is not None

    def log_tail(self, name: str, count: int = 15) -> str:
        """The end of the process's log, for an error message."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(lines[-count:]) or "(the log is empty)"

    def _read(self) -> dict[str, "_Record"]:
        try:
            records = json.loads(self._pids.read_text())
        except FileNotFoundError:
            return {}
        return {name: _Record(record["pid"], record["created"]) for name, record in records.items()}

    def _write(self, records: Mapping[str, "_Record"]) -> None:
        self._pids.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._pids.with_suffix(".new")
        content = {name: {"pid": record.pid, "created": record.created} for name, record in records.items()}
        scratch.write_text(json.dumps(content, indent=2) + "\n")
        scratch.replace(self._pids)


@dataclass(frozen=True)
class _Record:
    pid: int
    created: float


def _wait_for_end(process: psutil.Process, timeout: float) -> bool:
    """Wait until the process has ended; False if it has not after `timeout` seconds.

    A process that has ended is a zombie until its parent reaps it. Where another process is the parent, a zombie
    counts as ended here; psutil's `wait` would wait for the parent.
    """
    if process.ppid() == os.getpid():
        with suppress(psutil.TimeoutExpired):
            process.wait(timeout)
            return True
        return False
    deadline = time.monotonic() + timeout
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
