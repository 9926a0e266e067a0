"""A port on this machine that leads to a port of one pod, through its kubelet: how an edge out of rotation is played.

No Service leads to such an edge. One of its own would have to be exposed by a load balancer, which costs money and an
address that the public can play; inside the cluster, the operator's machine does not reach it. Port forwarding works
wherever the check of the origins works (`cluster/origin_check.py`), and only for who may operate the stack.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from cluster.live import UnreachableError
from cluster.port_forward import PortForward

_BUFFER = 65536
_POLL = 0.05
"""Seconds until a side that sends nothing lets the other one send."""


class Tunnel:
    """Accepts connections on 127.0.0.1 until the end of the block; `address` is where.

    connect: opens a connection to the pod; it may raise UnreachableError.
    """

    def __init__(self, connect: Callable[[], PortForward]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self.address: tuple[str, int] = ("127.0.0.1", self._listener.getsockname()[1])
        self.error = ""
        """Why the last connection to the pod could not be opened, "" if it could."""

    def __enter__(self) -> "Tunnel":
        threading.Thread(target=self._accept, name="tunnel", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._ended.is_set():
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), name="tunnel", daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client:
            try:
                pod = self._connect()
            except UnreachableError as error:
                self.error = str(error)
                return
            self.error = ""
            sending = threading.Thread(target=self._send, args=(client, pod), name="tunnel", daemon=True)
            sending.start()
            try:
                while not (pod.closed or self._ended.is_set()):
                    pod.receive(_POLL)
                    if pod.received:
                        client.sendall(pod.received)
                        pod.received = b""
            except OSError:
                pass
            finally:
                pod.close()
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                sending.join()

    @staticmethod
    def _send(client: socket.socket, pod: PortForward) -> None:
        with suppress(OSError):
            while not pod.closed and (data := client.recv(_BUFFER)):
                pod.send(data)
        pod.close()
