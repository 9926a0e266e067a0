import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testbed.processes import ProcessFolder

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
IGNORES_SIGTERM = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ProcessFolder]:
    folder = ProcessFolder(tmp_path / "pids.json", tmp_path / "logs")
    yield folder
    for name in json.loads((tmp_path / "pids.json").read_text()):
        folder.stop(name, timeout=1)


def start(folder: ProcessFolder, tmp_path: Path, command: list[str]) -> psutil.Process:
    process = folder.start("server", command, env=os.environ, cwd=tmp_path)
    deadline = time.monotonic() + 10
    while "up" not in folder.log_tail("server"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_a_later_command_finds_and_ends_a_process(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, SLEEP)
    later = ProcessFolder(tmp_path / "pids.json", tmp_path / "logs")
    assert later.find("server") == process
    assert later.stop("server") is True
    assert not process.is_running()
    assert later.find("server") is None
    assert later.stop("server") is False


def test_a_process_has_a_session_of_its_own(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, SLEEP)
    assert os.getsid(process.pid) == process.pid


def test_a_process_that_ignores_sigterm_is_killed(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, IGNORES_SIGTERM)
    began = time.monotonic()
    assert folder.stop("server", timeout=0.5) is True
    assert 0.5 <= time.monotonic() - began < 5
    assert not process.is_running()


def test_a_reused_id_is_not_signalled(folder: ProcessFolder, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        record = {"pid": stranger.pid, "created": psutil.Process(stranger.pid).create_time() - 3600}
        (tmp_path / "pids.json").write_text(json.dumps({"server": record}))
        assert folder.find("server") is None
        assert folder.stop("server") is False
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGTERM)
        stranger.wait(5)


def test_a_zombie_is_not_running(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, SLEEP)
    process.kill()
    deadline = time.monotonic() + 5
    while folder.find("server") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # This process, its parent, has not reaped it.
    assert process.status() == psutil.STATUS_ZOMBIE
    assert folder.stop("server") is False


def test_a_new_start_truncates_the_log(folder: ProcessFolder, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    folder.log("server").write_text("old line\n")
    start(folder, tmp_path, SLEEP)
    assert folder.log_tail("server") == "up"


def test_the_log_tail_is_short(folder: ProcessFolder, tmp_path: Path) -> None:
    (tmp_path / "pids.json").write_text("{}")
    assert folder.log_tail("server") == "(no log)"
    (tmp_path / "logs").mkdir()
    folder.log("server").write_text("\n".join(map(str, range(100))))
    assert folder.log_tail("server", count=2) == "98\n99"
