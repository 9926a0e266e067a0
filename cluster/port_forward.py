"""One TCP connection to a port of a pod, through the API server and the pod's kubelet, like `kubectl port-forward`.

The protocol is v4.channel.k8s.io: each message begins with its channel, 0 for data and 1 for an error, and the first
message of each channel contains the port (kubernetes/kubernetes, pkg/kubelet/server/portforward/websocket.go). The
client's own port forwarding is not used: its thread prints a traceback when a connection ends badly.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import websocket
from kubernetes.client import Configuration
from kubernetes.stream.ws_client import create_websocket, get_websocket_url

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PORT_MESSAGE = 2
"""Bytes of the first message of a channel."""


class PortForward:
    """An open connection; `close` ends it.

    url, headers: of the request to the API server. timeout: seconds until it must have answered.
    Raises websocket.WebSocketException or OSError if it cannot be opened.
    """

    def __init__(self, configuration: Configuration, url: str, headers: Mapping[str, str], timeout: float) -> None:
        # The client has no parameter for it, and would wait for an unreachable kubelet as long as the API server does.
        websocket.setdefaulttimeout(timeout)
        headers = {key.lower(): value for key, value in headers.items()} | {"sec-websocket-protocol": _PROTOCOL}
        self._socket: websocket.WebSocket = create_websocket(configuration, get_websocket_url(url), headers)
        self._greeted: set[int] = set()
        self.received = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        """Send bytes to the pod; errors show up as `closed`."""
        with suppress(websocket.WebSocketException, OSError):
            self._socket.send_binary(bytes([_DATA]) + data)

    def receive(self, timeout: float) -> None:
        """Take what arrives within `timeout` seconds: data into `received`, and the end into `closed`."""
        if self.closed:
            return
        try:
            self._socket.settimeout(timeout)
            opcode, frame = cast("tuple[int, bytes]", self._socket.recv_data())
        except websocket.WebSocketTimeoutException:
            return
        except (websocket.WebSocketException, OSError):
            self.closed = True
            return
        if opcode != websocket.ABNF.OPCODE_BINARY or not frame:
            self.closed = True
            return
        channel, data = frame[0], frame[1:]
        if channel not in self._greeted and len(data) == _PORT_MESSAGE:
            self._greeted.add(channel)
        elif channel == _ERROR:
            self.closed = True
        else:
            self.received += data

    def close(self) -> None:
        """End the connection."""
        self.closed = True
        with suppress(websocket.WebSocketException, OSError):
            self._socket.close(timeout=0)
