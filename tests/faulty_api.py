"""A proxy in front of the API server that is down, slow, or fails a part of the calls.

It ends TLS with the certificate of the API server, so that it sees calls and not connections: a proxy of TCP, such as
toxiproxy, can fail 10 % of the connections, and a client of Kubernetes uses one for all its calls. Each call has a
connection of its own to the API server, with the administrator's certificate.
"""

import asyncio
import random
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from testbed.pki import ADMIN, Pki
from testbed.ports import free_ports

UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"
    b"unavailable\n"
)


class FaultyApi:
    """The proxy, in a thread. kubeconfig: the cluster's, written to `folder` with the address of the proxy.

    calls: method and path of all calls so far. on_call: is called with those of each call before it is forwarded.
    """

    def __init__(self, state: Path, folder: Path, seed: int = 1) -> None:
        """state: the folder of the cluster."""
        self._pki = Pki(state / "certs")
        (self._port,) = free_ports(1, range(12000, 14000))
        content: dict[str, Any] = yaml.safe_load((state / "kubeconfig").read_text())
        cluster = content["clusters"][0]["cluster"]
        self._upstream = int(cluster["server"].rpartition(":")[2])
        cluster["server"] = f"https://127.0.0.1:{self._port}"
        self.kubeconfig = folder / "faulty.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(content))
        self.calls: list[tuple[str, str]] = []
        self.failed = 0
        self.on_call: Callable[[str, str], None] = lambda _method, _path: None
        self._random = random.Random(seed)
        self._delay = 0.0
        self._share = 0.0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @contextmanager
    def running(self) -> Generator["FaultyApi"]:
        """Run the proxy while the block runs."""
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        self._run(self._listen())
        try:
            yield self
        finally:
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()

    @contextmanager
    def down(self) -> Generator[None]:
        """No connection is accepted while the block runs; open ones are closed at its begin."""
        self._run(self._close())
        try:
            yield
        finally:
            self._run(self._listen())

    @contextmanager
    def slow(self, seconds: float) -> Generator[None]:
        """Each call is forwarded after this time while the block runs."""
        self._delay = seconds
        try:
            yield
        finally:
            self._delay = 0

    @contextmanager
    def failing(self, share: float) -> Generator[None]:
        """This share of the calls is answered by 503, and not forwarded, while the block runs."""
        self._share = share
        try:
            yield
        finally:
            self._share = 0

    def _run(self, action: Any) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(30)

    async def _listen(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._pki.crt("server"), self._pki.key("server"))
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=context, limit=1 << 22)

    async def _close(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._call(reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = request.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._body(reader, headers)
        self.calls.append((method, path))
        self.on_call(method, path)
        if self._random.random() < self._share:
            self.failed += 1
            writer.write(UNAVAILABLE)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(self._delay)
        context = ssl.create_default_context(cafile=self._pki.crt("ca"))
        context.load_cert_chain(self._pki.crt(ADMIN.name), self._pki.key(ADMIN.name))
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._upstream, ssl=context)
        try:
            if "upgrade" not in headers:
                lines = [*(line for line in lines if not line.lower().startswith("connection:")), "Connection: close"]
            upstream.write("\r\n".join([request, *lines, "", ""]).encode("latin-1") + body)
            answer = await upstream_reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 101"):  # the client must not use the connection again
                answer = answer[:-2] + b"Connection: close\r\n\r\n"
            writer.write(answer)
            back = asyncio.ensure_future(_copy(upstream_reader, writer))
            forth = asyncio.ensure_future(_copy(reader, upstream)) if "upgrade" in headers else None
            try:
                await back
            finally:
                back.cancel()
                if forth:
                    forth.cancel()
            writer.close()
            await writer.wait_closed()
        finally:
            upstream.transport.abort()

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            body += line + await reader.readexactly(int(line.split(b";")[0], 16) + 2)
            if int(line.split(b";")[0], 16) == 0:
                return body


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
