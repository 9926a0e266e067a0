import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from testbed.locking import exclusive
from testbed.toolchain.cache import digest, new_folder, remove_partial
from testbed.toolchain.install import ToolSettings, clean_tools, ensure_tools
from unit.testbed.fakes import FileServer, Listener, fake_tool, script

ROOT = Path(__file__).parents[4]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "tool-1"
    with new_folder(target) as scratch:
        (scratch / "binary").touch()
        assert not target.exists()
    assert [each.name for each in target.iterdir()] == ["binary"]
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "tool-2"):
        raise KeyboardInterrupt
    assert [each.name for each in tmp_path.iterdir()] == ["tool-1"]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-tool-1-abc").mkdir()
    (tmp_path / "tool-1").mkdir()
    remove_partial(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["tool-1"]


def test_a_digest_sees_names_contents_and_plain_values(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a")
    first = digest(tmp_path, "linux")
    assert digest(tmp_path, "linux") == first
    assert digest(tmp_path, "darwin") != first
    (tmp_path / "go.mod").rename(tmp_path / "go.sum")
    assert digest(tmp_path, "linux") != first


def test_one_process_waits_for_the_other_and_says_for_whom(tmp_path: Path) -> None:
    lock, said = tmp_path / "lock", list[str]()
    code = (
        "import sys, time; from pathlib import Path; from testbed.locking import exclusive\n"
        "with exclusive(Path(sys.argv[1]), print): print('held', flush=True); time.sleep(1)"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        began = time.monotonic()
        with exclusive(lock, said.append):
            assert time.monotonic() - began > 0.5
            assert other.wait(5) == 0
    assert len(said) == 1
    assert said[0].startswith(f"waiting for process {other.pid} ")


def test_a_lock_whose_folder_was_removed_meanwhile_is_taken_anew(tmp_path: Path) -> None:
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


def test_concurrent_runs_fetch_a_tool_once(server: FileServer, tmp_path: Path, listener: Listener) -> None:
    server.publish("v1.2.3/fake", script("fake v1.2.3"))
    settings = ToolSettings(tmp_path / "cache", way="download", releases={"github": server.url})
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(ensure_tools(settings, listener.report, [fake_tool()], plugin=False))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(results) == 4
    assert all(each == results[0] for each in results)
    assert server.asked.count("/v1.2.3/fake") == 1
    assert listener.text.count("tools to get") == 1


def test_clean_tools_removes_the_cache(tmp_path: Path, listener: Listener) -> None:
    cache = tmp_path / "cache"
    (cache / "kwok-1").mkdir(parents=True)
    clean_tools(ToolSettings(cache), listener.report)
    assert not cache.exists()
    clean_tools(ToolSettings(cache), listener.report)
    assert "nothing to remove" in listener.text
    assert os.fspath(cache) in listener.text
