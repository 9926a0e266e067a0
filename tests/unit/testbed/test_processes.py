import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testbed.processes import ProcessFolder, listener

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ProcessFolder]:
    made = ProcessFolder(tmp_path / "pids.json", tmp_path / "logs")
    yield made
    for name in json.loads((tmp_path / "pids.json").read_text()):
        made.stop(name, timeout=1)


def start(folder: ProcessFolder, tmp_path: Path, command: list[str]) -> psutil.Process:
    process = folder.start("it", command, env=os.environ, cwd=tmp_path)
    deadline = time.monotonic() + 10
    while "up" not in folder.last_lines("it"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_a_process_is_found_and_ended_by_whoever_comes_later(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, SLEEP)
    later = ProcessFolder(tmp_path / "pids.json", tmp_path / "logs")
    assert later.find("it") == process
    assert later.stop("it") is True
    assert not process.is_running()
    assert later.find("it") is None
    assert later.stop("it") is False


def test_a_process_has_a_session_of_its_own(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, SLEEP)
    assert os.getsid(process.pid) == process.pid


def test_one_that_does_not_listen_is_killed_in_the_end(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, DEAF)
    began = time.monotonic()
    assert folder.stop("it", timeout=0.5) is True
    assert 0.5 <= time.monotonic() - began < 5
    assert not process.is_running()


def test_an_id_that_is_somebody_elses_by_now_is_left_alone(folder: ProcessFolder, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        record = {"pid": stranger.pid, "created": psutil.Process(stranger.pid).create_time() - 3600}
        (tmp_path / "pids.json").write_text(json.dumps({"it": record}))
        assert folder.find("it") is None
        assert folder.stop("it") is False
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGTERM)
        stranger.wait(5)


def test_one_that_died_unnoticed_does_not_count_as_running(folder: ProcessFolder, tmp_path: Path) -> None:
    process = start(folder, tmp_path, SLEEP)
    process.kill()
    deadline = time.monotonic() + 5
    while folder.find("it") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # Still a zombie: this process has not asked for its exit code.
    assert process.status() == psutil.STATUS_ZOMBIE
    assert folder.stop("it") is False


def test_a_new_start_begins_a_new_log(folder: ProcessFolder, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    folder.log("it").write_text("of yesterday\n")
    start(folder, tmp_path, SLEEP)
    assert folder.last_lines("it") == "up"


def test_the_last_lines_of_a_log_are_few(folder: ProcessFolder, tmp_path: Path) -> None:
    (tmp_path / "pids.json").write_text("{}")
    assert folder.last_lines("it") == "(no log)"
    (tmp_path / "logs").mkdir()
    folder.log("it").write_text("\n".join(map(str, range(100))))
    assert folder.last_lines("it", count=2) == "98\n99"


def test_whoever_listens_on_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listener(server.getsockname()[1]).startswith(f"process {os.getpid()} (")
