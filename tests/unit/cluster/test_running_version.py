"""The version that runs in a pod is read from SRS itself."""

from typing import cast

import pytest

from cluster import srs_api
from cluster.live import LiveCluster, UnreachableError
from cluster.running_version import running_version
from model.srs.versions import Version


class Connection:
    """A connection that receives these parts, one a read, and then ends or stays silent."""

    def __init__(self, *parts: bytes, ends: bool = True) -> None:
        self.parts, self.ends = list(parts), ends
        self.received, self.sent = b"", b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, _timeout: float) -> None:
        if self.parts:
            self.received += self.parts.pop(0)
        elif self.ends:
            self.closed = True

    def close(self) -> None:
        self.closed = True


class Live:
    """One pod. connection: to its SRS, None if it cannot be reached."""

    def __init__(self, connection: Connection | None) -> None:
        self.connection = connection

    def port_forward(self, pod: str, port: int) -> Connection:
        assert (pod, port) == ("p", 1985)
        if self.connection is None:
            raise UnreachableError("no connection")
        return self.connection


@pytest.mark.parametrize(
    ("connection", "version"),
    [
        (Connection(b'HTTP/1.1 200 OK\r\n\r\n{"code":0,"data":{"major":6,"ver', b'sion":"6.0.191"}}'), (6, 0, 191)),
        (Connection(b"HTTP/1.1 200 OK\r\n\r\n{}"), None),
        (Connection(), None),
        (Connection(ends=False), None),
        (None, None),
    ],
    ids=["in two parts", "no version", "full", "silent", "unreachable"],
)
def test_running_version(
    monkeypatch: pytest.MonkeyPatch, connection: Connection | None, version: Version | None
) -> None:
    monkeypatch.setattr(srs_api, "TIMEOUT", 0.05)
    assert running_version(cast(LiveCluster, Live(connection)), "p") == version
    if connection:
        assert connection.sent.startswith(b"GET /api/v1/versions HTTP/1.0\r\n")
        assert connection.closed
