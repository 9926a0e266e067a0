"""A publisher of one silent audio stream, as small as RTMP allows: what the check of a new origin connects with.

It reads no message of the server, only the names of the results in what arrives: SRS sets a chunk size of 60000 before
its first answer (ossrs/srs, srs_app_rtmp_conn.cpp, `service_cycle`), so no name is split between chunks.
"""

import struct
from typing import Protocol

_CHUNK = 128
"""The default size of a chunk (RTMP 1.0, 5.4.1)."""

_HANDSHAKE = 1536
"""Bytes of C1, S1, C2 and S2."""

_COMMAND, _AUDIO = 20, 8
"""Types of messages."""

_STREAM = 1
"""The number of the first message stream, which `createStream` returns (srs_protocol_rtmp_stack.cpp)."""

_CONNECTED, _PUBLISHING = b"NetConnection.Connect.Success", b"NetStream.Publish.Start"

# AAC-LC, 44.1 kHz, stereo: its configuration, and a silent frame.
_CONFIGURATION, SILENCE = bytes.fromhex("af001210"), bytes.fromhex("af01211004608c1c")


class Connection(Protocol):
    """Bytes to and from a server. received: those that have arrived. closed: whether the server has ended it."""

    received: bytes
    closed: bool

    def send(self, data: bytes) -> None:
        """Send bytes."""

    def receive(self, timeout: float) -> None:
        """Take what arrives within `timeout` seconds."""

    def close(self) -> None:
        """End the connection."""


class RtmpPublisher:
    """Publishes a stream on an open connection. Call `advance` until it is done; `close` ends it.

    host: the virtual host. accepted: whether the server has accepted the stream.
    """

    def __init__(self, connection: Connection, host: str, app: str, stream: str) -> None:
        self.connection, self.accepted = connection, False
        self._connect = _message(
            3, _COMMAND, 0, _amf("connect", 1, {"app": app, "tcUrl": f"rtmp://{host}/{app}", "type": "nonprivate"})
        )
        self._publish = b"".join(
            _message(3, _COMMAND, number, _amf(*values))
            for number, values in (
                (0, ("releaseStream", 2, None, stream)),
                (0, ("FCPublish", 3, None, stream)),
                (0, ("createStream", 4, None)),
                (_STREAM, ("publish", 5, None, stream, app)),
            )
        )
        self._connecting = self._connected = False
        self._configured = False
        connection.send(b"\x03" + bytes(_HANDSHAKE))  # simple handshake: time and version are 0

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""
        return self.connection.closed

    def advance(self, timeout: float) -> None:
        """Wait for what the server sends, and send what comes next: once it has accepted the stream, a frame of it."""
        self.connection.receive(timeout)
        received = self.connection.received
        if not self._connecting and len(received) > 2 * _HANDSHAKE:
            self.connection.send(received[1 : 1 + _HANDSHAKE] + self._connect)  # C2 is S1
            self._connecting = True
        if not self._connected and _CONNECTED in received:
            self.connection.send(self._publish)
            self._connected = True
        self.accepted = self.accepted or _PUBLISHING in received
        if self.accepted:
            # All frames have the time 0: recordings and HLS segments that are shorter than 0.1 s are deleted.
            configuration = b"" if self._configured else _message(4, _AUDIO, _STREAM, _CONFIGURATION)
            self.connection.send(configuration + _message(4, _AUDIO, _STREAM, SILENCE))
            self._configured = True

    def close(self) -> None:
        """End the stream."""
        self.connection.close()


def _message(channel: int, kind: int, stream: int, body: bytes) -> bytes:
    """A message in chunks: a full header with the time 0, and one of a byte before each further chunk."""
    header = struct.pack(">B3s3sB", channel, b"\0\0\0", len(body).to_bytes(3, "big"), kind) + struct.pack("<I", stream)
    chunks = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
    return header + bytes([0xC0 | channel]).join(chunks)


def _amf(*values: str | float | dict[str, str] | None) -> bytes:
    """Values in AMF 0."""
    return b"".join(map(_amf_value, values))


def _amf_value(value: str | float | dict[str, str] | None) -> bytes:
    if value is None:
        return b"\x05"
    if isinstance(value, str):
        return b"\x02" + _amf_text(value)
    if isinstance(value, dict):
        return b"\x03" + b"".join(_amf_text(key) + _amf_value(item) for key, item in value.items()) + b"\0\0\x09"
    return b"\0" + struct.pack(">d", value)


def _amf_text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded
