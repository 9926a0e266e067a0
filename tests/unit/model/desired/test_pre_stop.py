"""The hook by which a pod keeps serving until its last client or publisher has left, run by bash against an API."""

import json
import subprocess
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.terminating import logged_connections
from model.config.edge import DrainSettings
from model.desired.pre_stop import CLIENTS, LOG, PUBLISHERS, deregister_seconds, keep_serving, wait_script
from model.names import API_PORT

HOOKS = keep_serving(DrainSettings.model_validate({"deregister": "12s", "timeout": "1h", "keepServing": True}))


class Api:
    """An SRS with streams, a publisher of each.

    clients: of one; another one has ten times as many. answers: whether it answers. stalls: whether its answers stop
    before the first number of clients.
    """

    def __init__(self, stalls: bool = False) -> None:
        self.clients, self.publishes, self.answers, self.requests = 2, True, True, 0
        self.stalled = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.requests += 1
                if api.answers:
                    assert self.path == "/api/v1/streams/?count=10000"
                    # In the notation of SRS: no space after a colon.
                    streams = [
                        {"name": name, "clients": clients, "publish": {"active": api.publishes, "cid": 7}}
                        for name, clients in (("a", api.clients), ("b", 0), ("c", 10 * api.clients))
                    ]
                    content = json.dumps({"code": 0, "streams": streams}, separators=(",", ":")).encode()
                    if stalls:
                        content = content[: content.index(b'"name"')]
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + content)
                    if stalls:
                        api.stalled.wait(30)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.stalled.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def waiting(
    api: Api, log: Path, timeout: int = 60, decide: Sequence[str] = CLIENTS
) -> Generator[subprocess.Popen[bytes]]:
    script = wait_script(timedelta(0), timedelta(seconds=timeout), decide).replace("-t 5", "-t 1")
    script = script.replace(f"/{API_PORT};", f"/{api.server.server_address[1]};").replace(f">{LOG}", f">>{log}")
    process = subprocess.Popen(["bash", "-c", script])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        api.close()


def test_it_ends_when_the_last_client_has_left(tmp_path: Path) -> None:
    api, log = Api(), tmp_path / "log"
    with waiting(api, log) as script:
        time.sleep(2.5)
        assert script.poll() is None
        assert api.requests >= 2
        api.clients = 0
        assert script.wait(10) == 0
    (line,) = log.read_text().splitlines()
    connections = logged_connections(f"2026-11-29T12:00:00.0Z {line}")
    assert connections
    assert connections.count == 22, "as of an SRS that drains"


def test_no_answer_is_no_reason_to_end(tmp_path: Path) -> None:
    """A full SRS accepts connections and closes them."""
    api = Api()
    api.clients, api.answers = 0, False
    with waiting(api, tmp_path / "log") as script:
        time.sleep(2.5)
        assert script.poll() is None
        api.answers = True
        assert script.wait(10) == 0


def test_an_origin_ends_when_the_last_publisher_has_left(tmp_path: Path) -> None:
    api = Api()
    with waiting(api, tmp_path / "log", decide=PUBLISHERS) as script:
        time.sleep(2.5)
        assert script.poll() is None
        api.publishes = False
        assert script.wait(10) == 0


@pytest.mark.parametrize("decide", [CLIENTS, PUBLISHERS], ids=["edge", "origin"])
def test_the_first_part_of_an_answer_is_no_reason_to_end(tmp_path: Path, decide: Sequence[str]) -> None:
    with waiting(Api(stalls=True), tmp_path / "log", decide=decide) as script:
        time.sleep(2.5)
        assert script.poll() is None


def test_it_ends_after_the_timeout(tmp_path: Path) -> None:
    api = Api()
    with waiting(api, tmp_path / "log", timeout=2) as script:
        assert script.wait(10) == 0
    assert api.clients == 2


def test_it_has_nothing_to_wait_for_where_srs_does_not_run() -> None:
    api = Api()
    port = api.server.server_address[1]
    api.close()
    script = wait_script(timedelta(0), timedelta(hours=1)).replace(f"/{API_PORT};", f"/{port};")
    subprocess.run(["bash", "-c", script.replace("  sleep 1\n", "  sleep 0.01\n")], check=True, timeout=10)


def test_the_image_must_have_bash_and_sleep() -> None:
    subprocess.run(HOOKS["postStart"]["exec"]["command"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("lifecycle", "expected"),
    [
        ({"preStop": {"sleep": {"seconds": 30}}}, 30),
        (HOOKS, 12),
        ({"preStop": {"exec": {"command": ["bash", "./etc/init.d/srs", "grace"]}}}, 0),
        ({"postStart": HOOKS["postStart"]}, 0),
        (None, 0),
    ],
)
def test_how_long_a_container_accepts_connections_is_read_from_its_hook(lifecycle: object, expected: float) -> None:
    assert deregister_seconds({"name": "srs", "lifecycle": lifecycle}) == expected
