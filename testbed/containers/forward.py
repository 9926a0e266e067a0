"""Connections between this machine's 127.0.0.1 and that of the machine the nodes run on, and its cluster network.

    python -m testbed.containers.forward PID API_PORT SOCKET READY [PORT:NODE_PORT ...]

- A PORT here leads to a node port inside: what a viewer connects to.
- The API server's port is listened on inside and leads here: what kubelets connect to.
- SOCKET takes HTTP CONNECT and leads inside: the API server reaches kubelets through it (`kubectl logs`, `exec`), by
  its egress selector (Kubernetes docs, "Set up Konnectivity service", the same setting).

A socket belongs to the network of the thread that made it, so one thread of this process lives inside and makes the
sockets, and asyncio uses all of them alike. The process ends with the machine (PID is its first process).
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
    """Put the calling thread into the network of a process; os.setns came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


class Forwarder:
    """Forwards between the network here and the one of process `pid`."""

    def __init__(self, pid: int) -> None:
        self._inside = ThreadPoolExecutor(1, initializer=_enter, initargs=(pid,))

    async def outward(self, port: int) -> None:
        """Listen inside, connect here."""
        await self._listen(await self._make_inside(lambda: _listener(port)), lambda: self._dial(False, port))

    async def inward(self, port: int, node_port: int) -> None:
        """Listen here on `port`, connect inside to `node_port`."""
        await self._listen(_listener(port), lambda: self._dial(True, node_port))

    async def connect_proxy(self, path: Path) -> None:
        """Listen on a Unix socket; the first line of each connection says where inside it is to lead."""
        path.unlink(missing_ok=True)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                host, _, port = head.split(b" ")[1].decode().rpartition(":")
                other = await self._dial(True, int(port), host)
            except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
                writer.write(f"HTTP/1.1 502 Bad Gateway\r\n\r\n{error}".encode())
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
            await _join(reader, writer, *other)

        await asyncio.start_unix_server(serve, path)

    async def _make_inside(self, make: Callable[[], socket.socket]) -> socket.socket:
        return await asyncio.get_running_loop().run_in_executor(self._inside, make)

    async def _dial(self, inside: bool, port: int, host: str = _LOOPBACK) -> Streams:
        made = await self._make_inside(_socket) if inside else _socket()
        try:
            await asyncio.get_running_loop().sock_connect(made, (host, port))
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)

    async def _listen(self, listener: socket.socket, dial: Callable[[], Awaitable[Streams]]) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                other = await dial()
            except OSError:
                writer.transport.abort()  # refused there is refused here
                return
            await _join(reader, writer, *other)

        await asyncio.start_server(serve, sock=listener)


def _socket() -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    return made


def _listener(port: int) -> socket.socket:
    made = _socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((_LOOPBACK, port))
    made.listen(128)
    return made


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    """Carry bytes both ways until both sides have said that they are done, or one is gone."""

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()

    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(carry(reader, other_writer))
            both.create_task(carry(other_reader, writer))
    except* OSError:
        pass
    finally:
        for each in (writer, other_writer):
            with suppress(OSError):
                each.close()


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
    """Forward until the machine is gone."""
    pid, api_port, proxy, ready, *node_ports = sys.argv[1:]
    asyncio.run(_run(int(pid), int(api_port), Path(proxy), Path(ready), node_ports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
