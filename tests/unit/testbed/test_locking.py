import subprocess
import sys
import threading
import time
from pathlib import Path

from testbed.environment import PROJECT
from testbed.locking import exclusive


def test_one_process_waits_for_the_other_and_reports_which(tmp_path: Path) -> None:
    lock, reported = tmp_path / "lock", list[str]()
    code = (
        "import sys, time; from pathlib import Path; from testbed.locking import exclusive\n"
        "with exclusive(Path(sys.argv[1]), print): print('locked', flush=True); time.sleep(1)"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        began = time.monotonic()
        with exclusive(lock, reported.append):
            assert time.monotonic() - began > 0.5
            assert other.wait(5) == 0
    (line,) = reported
    assert line.startswith(f"waiting for process {other.pid} ")


def test_a_lock_whose_folder_was_removed_meanwhile_is_acquired_again(tmp_path: Path) -> None:
    lock, order = tmp_path / "state" / "lock", list[str]()
    waiting = threading.Event()

    def second() -> None:
        with exclusive(lock, lambda _line: waiting.set()):
            assert lock.exists()
            order.append("second")

    with exclusive(lock, lambda _line: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(5)
        lock.unlink()
        lock.parent.rmdir()
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
