"""The streams of an SRS, from the answer of its HTTP API."""

from typing import cast

import pytest

from cluster.live import LiveCluster, UnreachableError
from cluster.srs_api import Stream, streams

BODY = (
    b'{"code":0,"server":"vid-1","streams":['
    b'{"id":"vid-2","name":"livestream","vhost":"v","app":"live","clients":12,"publish":{"active":true,"cid":"1"}},'
    b'{"id":"vid-3","name":"srs-probe","vhost":"v","app":"live","clients":0,"publish":{"active":false}}]}'
)


class Connection:
    """Answers in two parts and stays open, as SRS does."""

    def __init__(self, answer: bytes) -> None:
        self.parts = [answer[:40], answer[40:]]
        self.received = b""
        self.sent = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, _timeout: float) -> None:
        assert self.parts, "it reads on after the end of the answer"
        self.received += self.parts.pop(0)

    def close(self) -> None:
        self.closed = True


class Cluster:
    def __init__(self, answer: bytes) -> None:
        self.connection = Connection(answer)

    def port_forward(self, pod: str, port: int) -> Connection:
        if pod == "unreachable":
            raise UnreachableError("no")
        assert port == 1985
        return self.connection


def test_the_streams_of_a_pod_have_their_clients() -> None:
    head = f"HTTP/1.1 200 OK\r\nServer: SRS/4.0.6(Leo)\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    cluster = Cluster(head + BODY)
    found = streams(cast("LiveCluster", cluster), ["p", "unreachable"])
    assert found == {"p": [Stream("live/livestream", True, 12), Stream("live/srs-probe", False, 0)]}
    assert cluster.connection.closed
    assert cluster.connection.sent.startswith(b"GET /api/v1/streams/?count=")


@pytest.mark.parametrize(
    "body", [b"Redirect to /api/v1/streams/", b'{"code":1061}', b"[]"], ids=["redirect", "error", "list"]
)
def test_another_answer_is_unknown(body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    assert streams(cast("LiveCluster", Cluster(head + body)), ["p"]) == {}
