"""Viewers measure what they see, and name why they see nothing. (RTMP: tests/e2e.)"""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from rollout.canary.viewers import NO_MEDIA, Arrivals, StreamUrlError, check_stream_url, connect_result, watch
from testbed.environment import PROJECT

FLV = (PROJECT / "testbed/streaming/rtmpload/loop.flv").read_bytes()
"""A second of media."""


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = Path(self.path).stem
        if name == "missing":
            self.send_error(404)
            return
        if name == "black":
            time.sleep(5)
            return
        if name == "late":
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("Server", "SRS/4.0.6(Leo)")
        self.end_headers()
        half = len(FLV) // 2
        self.wfile.write(FLV[:half])
        if name == "stalls":
            time.sleep(1.5)
        self.wfile.write(FLV[half:])
        if name != "short":
            time.sleep(5)

    def version_string(self) -> str:
        return "SRS/4.0.6(Leo)"

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}/live"
    listening.shutdown()


def test_a_viewer_measures_its_first_frame(server: str) -> None:
    soon, late = (watch(f"{server}/{name}.flv", 1.5) for name in ("livestream", "late"))
    assert (soon.failure, soon.version) == ("", "4.0.6")
    assert soon.first_frame is not None
    assert late.first_frame is not None
    assert soon.first_frame < late.first_frame
    assert late.first_frame >= 0.5


def test_a_viewer_counts_stalls(server: str) -> None:
    view = watch(f"{server}/stalls.flv", 2)
    assert (view.failure, view.stalls) == ("", 1)
    assert 1.4 < view.longest_gap < 2
    assert watch(f"{server}/livestream.flv", 2.5).stalls == 1, "the one that lasts until the end"


@pytest.mark.parametrize(
    ("stream", "matches"),
    [
        ("missing", lambda failure: failure == "HTTP 404"),
        ("black", lambda failure: failure == NO_MEDIA),
        ("short", lambda failure: failure == "dropped"),
    ],
)
def test_a_failed_viewer_names_the_reason(server: str, stream: str, matches: Callable[[str], bool]) -> None:
    view = watch(f"{server}/{stream}.flv", 1)
    assert matches(view.failure), view.failure


@pytest.mark.parametrize("address", ["rtmp://127.0.0.1:9/live/x", "http://127.0.0.1:9/live/x.flv"])
def test_a_refused_connection_is_a_failure(address: str) -> None:
    started = time.monotonic()
    assert watch(address, 5).failure == "Connection refused"
    assert time.monotonic() - started < 2


def test_viewers_arrive_one_after_the_other_on_all_addresses(server: str) -> None:
    started, seen = time.monotonic(), []
    with Arrivals([f"{server}/livestream.flv", f"{server}/missing.flv"], 1, 4) as arrivals:
        views = arrivals.next(8, seen.append)
        assert len(seen) == 8
        assert [view.failure for view in views] == ["", "HTTP 404"] * 4, "in the order of their arrival"
        views += arrivals.next(4, last=True)
    assert 3.4 < time.monotonic() - started < 5, "four a second"
    begun = sorted(view.started_at for view in views)
    assert started <= begun[0] <= begun[-1] <= time.monotonic(), "a corrected clock moves no viewer in time"
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert max(gaps) < 0.6, "no viewer waits for those of a round to end"
    assert min(gaps) > 0.15, "viewers that fail do not let the next ones arrive sooner"


def test_nobody_arrives_after_the_end(server: str) -> None:
    started = time.monotonic()
    with Arrivals([f"{server}/missing.flv"], 60, 2) as arrivals:
        assert len(arrivals.next(1)) == 1
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "address", ["host/live/x", "rtmp://host/x", "rtmps://host/live/x", "http://host/live/x.m3u8", "rtmp:///live/x"]
)
def test_other_addresses_are_rejected(address: str) -> None:
    with pytest.raises(StreamUrlError, match="must"):
        check_stream_url(address)


def test_the_result_of_connect_names_version_and_pod() -> None:
    text = b"..data\x08\0\0\0\x02\0\x0bsrs_version\x02\0\x054.0.6\0\x0dsrs_server_ip\x02\0\x0910.88.0.7\0\x07srs_pid\0"
    assert connect_result(text) == ("4.0.6", "10.88.0.7")
    between = text.index(b"_ip")
    assert connect_result(text[:between] + b"\xc3" + text[between:]) == ("4.0.6", "10.88.0.7"), "in two chunks"
    assert connect_result(b"\x03") == (None, None)
