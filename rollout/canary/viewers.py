"""Viewers of a stream that measure what viewers see: FFmpeg's libraries (PyAV) over RTMP and HTTP-FLV.

A viewer connects, decodes until it has its first picture, and watches for the rest of its time. It also finds out
which pod serves it. FFmpeg does not report that; so the connection passes a relay that reads the first bytes.
For RTMP, SRS names its version and its address in the result of `connect` (ossrs/srs,
SrsRtmpServer::response_connect_app), also when it has no media. For HTTP-FLV the header `Server` has the version, and
nothing names the pod; SRS sends this header only with the first media.
"""

import re
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import cast
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.error import FFmpegError

SCHEMES = {"rtmp": 1935, "http": 80, "https": 443}
"""What viewers can play, and the default ports."""

STALL_SECONDS = 1.0
"""A longer time without media, after the first, is a stall: players begin to run out of their buffer."""

NO_MEDIA = "no media"
NO_PICTURE = "media without a picture"

_OPTIONS = {"analyzeduration": "1", "fpsprobesize": "0"}
"""Open a stream with the first media, instead of estimating its frame rate for up to 5 s."""

_KEPT_BYTES = 16384
"""Bytes of an answer that are kept; the result of `connect` is in the first ones, after a handshake of 3073 bytes."""

_BUFFER = 65536


Address = tuple[str, int]
"""Host and port."""


class StreamUrlError(ValueError):
    """The URL of a stream cannot be played; the message says what is allowed."""


@dataclass(frozen=True)
class View:
    """What one viewer saw.

    url: of the stream. started_at: its start in seconds of the monotonic clock, which does not follow corrections of
    the time. version, server: of SRS that served it, and its IP address, None if unknown. first_frame: seconds from the
    connection attempt to the first decoded picture (sound, if the stream has no picture). stalls: times without media
    longer than STALL_SECONDS. longest_gap: the longest time without media, in seconds. failure: why it did not see the
    stream for its whole time, "" if it did.
    """

    url: str
    started_at: float
    version: str | None = None
    server: str | None = None
    first_frame: float | None = None
    stalls: int = 0
    longest_gap: float = 0.0
    failure: str = ""


def check_stream_url(url: str) -> None:
    """Raise StreamUrlError if viewers cannot play this URL."""
    parts = urlsplit(url)
    path = parts.path.strip("/")
    if parts.scheme not in SCHEMES or not parts.hostname or "/" not in path:
        raise StreamUrlError(
            f"{url!r} is not the URL of a stream; it must be rtmp://HOST[:PORT]/APP/STREAM or "
            "http[s]://HOST[:PORT]/APP/STREAM.flv"
        )
    if parts.scheme != "rtmp" and not path.endswith(".flv"):
        raise StreamUrlError(f"{url!r} must end with .flv: viewers play RTMP and HTTP-FLV")


class Arrivals:
    """Viewers that arrive one after the other, so that `parallel` watch at any time, each for `seconds`.

    urls: played in turn. The viewers neither come nor leave together: an edge pulls a stream as long as it has viewers
    there, so the first viewer waits for that. Viewers that come together all wait, and a canary, which has no other
    viewers yet, would seem to be slow.
    """

    def __init__(
        self, urls: Sequence[str], seconds: float, parallel: int, through: Sequence[Address | None] = (None,)
    ) -> None:
        """through: see `watch`; played in turn as well."""
        self._urls, self._seconds, self._parallel, self._through = urls, seconds, parallel, through
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="viewer")
        self._begin = time.monotonic()
        self._ended = threading.Event()
        self._arriving: list[Future[View]] = []
        self._taken = 0

    def __enter__(self) -> "Arrivals":
        return self

    def __exit__(self, *_: object) -> None:
        """Let no more viewers arrive. The present ones stay until their time is over, which this does not wait for."""
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def next(
        self, viewers: int, on_view: Callable[[View], None] = lambda _view: None, last: bool = False
    ) -> list[View]:
        """What the next viewers saw, in the order of their arrival. last: no viewer arrives after them.

        on_view: called in this thread as each one ends.
        """
        ahead = 0 if last else self._parallel
        for number in range(self._taken + len(self._arriving), self._taken + viewers + ahead):
            self._arriving.append(self._pool.submit(self._watch, number))
        taken, self._arriving = self._arriving[:viewers], self._arriving[viewers:]
        self._taken += viewers
        for future in as_completed(taken):
            on_view(future.result())
        return [future.result() for future in taken]

    def _watch(self, number: int) -> View:
        at = self._begin + number * self._seconds / self._parallel
        if self._ended.wait(max(0.0, at - time.monotonic())):
            raise CancelledError
        through = self._through[number % len(self._through)]
        return watch(self._urls[number // len(self._through) % len(self._urls)], self._seconds, through)


def watch(url: str, seconds: float, through: Address | None = None) -> View:
    """Watch a stream for `seconds` from the connection attempt.

    through: the address that the viewer connects to instead of the URL's; the server sees the URL.
    """
    check_stream_url(url)
    watching = _Watching(url, seconds, through)
    try:
        with watching.opened() as container:
            watching.play(container)
    except (FFmpegError, OSError) as error:
        return watching.result(error)
    return watching.result()


@dataclass
class _Watching:
    """A viewer."""

    url: str
    seconds: float
    through: Address | None
    view: View = field(init=False)
    started: float = field(default_factory=time.monotonic)
    relay: "_Relay | None" = None
    last_media: float | None = None

    def __post_init__(self) -> None:
        self.view = View(self.url, self.started)

    @contextmanager
    def opened(self) -> Generator[InputContainer]:
        """The stream, with its first media. Raises FFmpegError or OSError."""
        parts = urlsplit(self.url)
        address = self.through or (parts.hostname, parts.port or SCHEMES[parts.scheme])
        upstream = socket.create_connection(address, self.seconds)
        if parts.scheme == "https":
            upstream = ssl.create_default_context().wrap_socket(upstream, server_hostname=parts.hostname)
        query = f"?{parts.query}" if parts.query else ""
        # SRS finds the virtual host in the URL, so it receives the one without the relay.
        if parts.scheme == "rtmp":
            app, _, stream = parts.path.strip("/").rpartition("/")
            options = {"rtmp_tcurl": f"rtmp://{parts.netloc}/{app}", "rtmp_app": app, "rtmp_playpath": stream + query}
        else:
            options = {"headers": f"Host: {parts.netloc}\r\n"}
        with _Relay(upstream, self.started + self.seconds) as self.relay:
            url = f"{'rtmp' if parts.scheme == 'rtmp' else 'http'}://127.0.0.1:{self.relay.port}{parts.path}{query}"
            # The relay ends the connection in time; this is for FFmpeg itself.
            with av.open(url, "r", "flv", options=_OPTIONS | options, timeout=2 * self.seconds) as container:
                yield container

    def play(self, container: InputContainer) -> None:
        """Decode the first picture, and then only receive media, until the connection ends."""
        picture = next(iter(container.streams.video), None) or next(iter(container.streams.audio), None)
        for packet in container.demux():
            now = time.monotonic()
            if packet.size:
                self._media(now)
            if self.view.first_frame is None and packet.stream is picture:
                with suppress(FFmpegError):
                    if packet.decode():
                        self.view = replace(self.view, first_frame=now - self.started)

    def _media(self, now: float) -> None:
        if self.last_media is not None:
            gap = now - self.last_media
            self.view = replace(
                self.view,
                longest_gap=max(self.view.longest_gap, gap),
                stalls=self.view.stalls + (gap > STALL_SECONDS),
            )
        self.last_media = now

    def result(self, error: Exception | None = None) -> View:
        """What it saw. error: of the connection, or of FFmpeg, which fails when the relay ends the connection, too."""
        received = self.relay.received if self.relay else b""
        if self.relay and self.relay.is_over and self.last_media is not None:
            self._media(self.started + self.seconds)  # the last gap lasts until the end
        version, server = connect_result(received)
        header = re.search(rb"^Server: SRS/([\d.]+)", received, re.MULTILINE | re.IGNORECASE)
        return replace(
            self.view,
            version=header[1].decode() if header else version,
            server=server,
            failure=self._failure(received, error),
        )

    def _failure(self, received: bytes, error: Exception | None) -> str:
        if self.relay is None:
            if isinstance(error, TimeoutError):
                return "no connection in time"
            return (isinstance(error, OSError) and error.strerror) or str(error)
        status = re.match(rb"HTTP/\S+ (\d+)", received)
        if status and status[1] != b"200":
            return f"HTTP {status[1].decode()}"
        if not self.relay.is_over:
            return "dropped" if self.last_media else "dropped without media"
        if self.last_media is None:
            return NO_MEDIA
        return NO_PICTURE if self.view.first_frame is None else ""


def connect_result(received: bytes) -> tuple[str | None, str | None]:
    """The version and the address of SRS in the result of `connect`, None where it has none.

    received: the first bytes from the server. The result is an AMF0 object: a key, its type 2 (string), the length of
    the value in two bytes, the value (Adobe, AMF 0, 2.4). A chunk header, 0xC3 in this stream, may be between any two
    bytes of it (Adobe, RTMP 1.0, 5.3.1), and is in no text.
    """
    text = received.replace(b"\xc3", b"")
    values = [
        re.search(key + rb"\x02\x00.([0-9a-fA-F.:]+)", text, re.DOTALL) for key in (b"srs_version", b"srs_server_ip")
    ]
    version, server = (found[1].decode() if found else None for found in values)
    return version, server


class _Relay:
    """Passes one connection on to a server until a time, and keeps the first bytes that come back."""

    def __init__(self, upstream: socket.socket, deadline: float) -> None:
        self._upstream, self._deadline = upstream, deadline
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self.received = b""
        self.is_over = False
        """Whether the time has passed, and the server has not ended the connection before."""

    def __enter__(self) -> "_Relay":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._upstream, self._listener):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        with suppress(OSError), self._upstream, self._listener:
            client, _ = self._listener.accept()
            with client, selectors.DefaultSelector() as selector:
                other = {client: self._upstream, self._upstream: client}
                for end in other:
                    end.settimeout(None)
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(end, selectors.EVENT_READ)
                while (remaining := self._deadline - time.monotonic()) > 0:
                    for key, _ in selector.select(remaining):
                        source = cast("socket.socket", key.fileobj)
                        data = source.recv(_BUFFER)
                        while isinstance(source, ssl.SSLSocket) and source.pending():
                            data += source.recv(_BUFFER)
                        if not data:
                            return
                        if source is self._upstream and len(self.received) < _KEPT_BYTES:
                            self.received += data
                        other[source].sendall(data)
                self.is_over = True
