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
    """The processes that belong to one state folder, by name; each with its log file.

    A process is known by its id and the time it was created: an id alone may, by now, be somebody else's.
    """

    def __init__(self, pids: Path, logs: Path) -> None:
        self._pids = pids
        self._logs = logs

    def log(self, name: str) -> Path:
        """The file with what the process wrote since its last start."""
        return self._logs / f"{name}.log"

    def find(self, name: str) -> psutil.Process | None:
        """The running process of that name, if it is the one that was started here."""
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
                if not _ends(process, timeout):
                    process.kill()
                    _ends(process, timeout)
        self._write({other: record for other, record in self._read().items() if other != name})
        return process is not None

    def last_lines(self, name: str, count: int = 15) -> str:
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
        content = {name: {"pid": each.pid, "created": each.created} for name, each in records.items()}
        scratch.write_text(json.dumps(content, indent=2) + "\n")
        scratch.replace(self._pids)


@dataclass(frozen=True)
class _Record:
    pid: int
    created: float


def _ends(process: psutil.Process, timeout: float) -> bool:
    """Wait until the process ended; False if it has not after so many seconds.

    One that ended stays a zombie for as long as whoever started it lives and does not look. If that is not us, there
    is nothing to wait for any more, but psutil's own `wait` would go on.
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


def listener(port: int) -> str:
    """Who listens on a TCP port of this machine, for an error message: `process 42 (nginx)`, or that it is unknown.

    Only root sees the processes of other users.
    """
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "a process of another user"
