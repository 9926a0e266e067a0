"""TCP ports of 127.0.0.1: free ones, and which process uses one."""

import random
import socket
from collections.abc import Mapping

import psutil


def free_ports(count: int, among: range = range(16000, 30000)) -> list[int]:
    """Free ports. Raises RuntimeError if there are not enough.

    The default range is below the one from which systems take ports for outgoing connections (from 32768 on Linux,
    49152 on macOS): there, another program would sooner or later use the port of a stopped cluster.
    """
    free: list[int] = []
    candidates = list(among)
    random.shuffle(candidates)
    for port in candidates:
        if _is_free(port):
            free.append(port)
        if len(free) == count:
            return free
    raise RuntimeError(f"there are not {count} free ports between {among.start} and {among.stop} on 127.0.0.1")


def ports_in_use(ports: Mapping[str, int]) -> list[str]:
    """The named ports that are in use, for an error message: `16042 (kwok) by process 42 (nginx)`."""
    return [f"{port} ({name}) by {listener(port)}" for name, port in ports.items() if not _is_free(port)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def listener(port: int) -> str:
    """The process that listens on a TCP port of this machine, for an error message: `process 42 (nginx)`.

    Only root sees the processes of other users.
    """
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "a process of another user"
