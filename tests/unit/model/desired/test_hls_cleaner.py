"""The container that deletes HLS files of streams that have ended: its script, run by the shells of this machine."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from model.desired.hls_cleaner import script
from model.srs.conf import LeftHls

TIME = 1764500000000
"""When a segment was begun, in milliseconds since 1970."""

BUSYBOX = shutil.which("busybox")


@pytest.fixture(params=["sh", pytest.param("busybox", marks=pytest.mark.skipif(not BUSYBOX, reason="no busybox"))])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], Mapping[str, str]]:
    """A shell, and its environment: with the find and grep of GNU, or of busybox (Alpine's images of nginx)."""
    if request.param == "sh":
        return ["sh"], os.environ
    assert BUSYBOX
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("find", "grep", "rm", "sleep"):
        (tools / name).symlink_to(BUSYBOX)
    return [BUSYBOX, "sh"], {"PATH": str(tools)}


def write(path: Path, minutes: float, text: str = "") -> Path:
    """A file that was changed some minutes ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    changed = time.time() - 60 * minutes
    os.utime(path, (changed, changed))
    return path


def playlist(*segments: str) -> str:
    return "#EXTM3U\n" + "".join(f"#EXTINF:10.000, no desc\n{name}\n" for name in segments)


def test_it_deletes_what_streams_that_ended_have_left(
    shell: tuple[list[str], Mapping[str, str]], tmp_path: Path
) -> None:
    volume = tmp_path / "html"
    on_air, ended, back = (f"{name}-{TIME}-7.ts" for name in ("on air", "ended", "back"))
    kept = [
        write(volume / "live/on air.m3u8", 1, playlist(on_air)),
        write(volume / "live" / on_air, 90),  # of a window of hours, or of a clock that is wrong
        write(volume / f"live/on air-{TIME}-6.ts", 30),  # of an origin whose encoder has moved
        write(volume / "live" / back, 50),  # it may come back
        write(volume / "live/film.m3u8", 9000, playlist("film-1.ts")),  # not of SRS
        write(volume / "live/film-1.ts", 9000),
        write(volume / f"live/record-{TIME}.flv", 9000),
        write(volume / "live/late.m3u8", 1.5, playlist(f"late-{TIME}-1.ts")),
    ]
    deleted = [
        write(volume / "live/ended.m3u8", 4, playlist(ended)),
        write(volume / "live" / ended, 90),
        write(volume / "an app/back.m3u8", 4, playlist(back)),
        write(volume / f"an app/on air-{TIME}-6.ts", 90),
    ]
    command, environment = shell
    with subprocess.Popen([*command, "-c", script(str(volume), LeftHls(10, 60))], env=environment) as process:
        try:
            deadline = time.monotonic() + 20
            while any(path.exists() for path in deleted) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.3)  # it is done with this round
            assert process.poll() is None
        finally:
            ended_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    assert time.monotonic() - ended_at < 3, "it does not wait for its next round"
    assert [path for path in deleted if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_a_playlist_of_long_segments_is_kept_longer() -> None:
    assert "-name '*.m3u8' -mmin +2 " in script("/html", LeftHls(10, 60))
    assert "-name '*.m3u8' -mmin +9 " in script("/html", LeftHls(180, 60))
    assert ".ts' -mmin +61 " in script("/html", LeftHls(10, 60))
    assert ".ts' -mmin +180 " in script("/html", LeftHls(10, 7200))


def test_a_volume_that_is_not_there_is_an_error() -> None:
    done = subprocess.run(["sh", "-c", script("/none", LeftHls(10, 60))], capture_output=True, check=False)
    assert done.returncode == 1
