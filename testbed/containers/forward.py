"""Forwards connections between this machine's 127.0.0.1 and the network of the machine on which the nodes run.

    python -m testbed.containers.forward PID API_PORT SOCKET READY [PORT:NODE_PORT ...]

- Each PORT here is forwarded to a node port inside: viewers connect to it.
- The API server's port inside is forwarded to the same port here: kubelets connect to it.
- SOCKET is an HTTP CONNECT proxy into the machine: the API server reaches kubelets through it (`kubectl logs`, `exec`)
  with its egress selector (Kubernetes docs, "Set up Konnectivity service", has the same setting).

A socket belongs to the network of the thread that created it, so one thread of this process is in the machine's network
and creates those sockets; asyncio uses all of them. The process ends with the machine (PID is its first process).
READY is a file that it creates when it forwards.
"""

import asyncio
import ctypes
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

_CLONE_NEWNET = 0x40000000
_CHUNK = 1 << 16
_LOOPBACK = "127.0.0.1"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _enter(pid: int) -> None:
    """Move the calling thread to the network of a process; os.setns is new in Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


class Forwarder:
    """Forwards between this network and the one of process `pid`."""

    def __init__(self, pid: int) -> None:
        self._inside_thread = ThreadPoolExecutor(1, initializer=_enter, initargs=(pid,))

    async def outward(self, port: int) -> None:
        """Listen inside, connect here."""
        await self._listen(await self._create_inside(lambda: _listener(port)), lambda: self._connect(False, port))

    async def inward(self, port: int, node_port: int) -> None:
        """Listen here on `port`, connect inside to `node_port`."""
        await self._listen(_listener(port), lambda: self._connect(True, node_port))

    async def connect_proxy(self, path: Path) -> None:
        """Listen on a Unix socket; the first line of each connection names the address to connect to inside."""
        path.unlink(missing_ok=True)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                host, _, port = head.split(b" ")[1].decode().rpartition(":")
                other = await self._connect(True, int(port), host)
            except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
                writer.write(f"HTTP/1.1 502 Bad Gateway\r\n\r\n{error}".encode())
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
            await _join(reader, writer, *other)

        await asyncio.start_unix_server(serve, path)

    async def _create_inside(self, create: Callable[[], socket.socket]) -> socket.socket:
        return await asyncio.get_running_loop().run_in_executor(self._inside_thread, create)

    async def _connect(self, inside: bool, port: int, host: str = _LOOPBACK) -> Streams:
        connection = await self._create_inside(_socket) if inside else _socket()
        try:
            await asyncio.get_running_loop().sock_connect(connection, (host, port))
        except BaseException:
            connection.close()
            raise
        return await asyncio.open_connection(sock=connection)

    async def _listen(self, listener: socket.socket, connect: Callable[[], Awaitable[Streams]]) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                other = await connect()
            except OSError:
                writer.transport.abort()  # a refused connection is refused here, too
                return
            await _join(reader, writer, *other)

        await asyncio.start_server(serve, sock=listener)


def _socket() -> socket.socket:
    new = socket.socket()
    new.setblocking(False)
    return new


def _listener(port: int) -> socket.socket:
    listener = _socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((_LOOPBACK, port))
    listener.listen(128)
    return listener


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    """Copy bytes in both directions until both sides have sent EOF, or one has closed the connection."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(reader, other_writer))
            tasks.create_task(copy(other_reader, writer))
    except* OSError:
        pass
    finally:
        for side in (writer, other_writer):
            with suppress(OSError):
                side.close()


async def _run(pid: int, api_port: int, proxy: Path, ready: Path, node_ports: list[str]) -> None:
    forwarder = Forwarder(pid)
    await forwarder.outward(api_port)
    await forwarder.connect_proxy(proxy)
    for pair in node_ports:
        port, node_port = pair.split(":")
        await forwarder.inward(int(port), int(node_port))
    ready.touch()
    while psutil.pid_exists(pid):
        await asyncio.sleep(0.5)


def main() -> int:
    """Forward until the machine ends."""
    pid, api_port, proxy, ready, *node_ports = sys.argv[1:]
    asyncio.run(_run(int(pid), int(api_port), Path(proxy), Path(ready), node_ports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
