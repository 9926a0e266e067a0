import http.server
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from testbed.toolchain.progress import Reporter
from unit.testbed.fakes import Answer, FileServer, Log, script


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A file server on the loopback interface."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.requests.append(self.path)
            answer = files.answers.get(self.path, Answer(b"", 404))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])

        def do_HEAD(self) -> None:
            # As release hosts answer at their root.
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        files = FileServer(f"http://127.0.0.1:{http_server.server_address[1]}")
        thread = threading.Thread(target=http_server.serve_forever, daemon=True)
        thread.start()
        yield files
        http_server.shutdown()
        thread.join()


@pytest.fixture
def log() -> Log:
    output = io.StringIO()
    return Log(Reporter(Console(file=output, width=1000)), output)


@pytest.fixture
def write_tool() -> Callable[[Path, str, str], Path]:
    """Writes an executable that prints a version."""

    def write(folder: Path, name: str, output: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / name
        file.write_bytes(script(output))
        file.chmod(0o755)
        return file

    return write
