"""The publisher of the check of a new origin, against what SRS 4.0.6 answers."""

from cluster.rtmp_publisher import SILENCE, RtmpPublisher

HANDSHAKE = b"\x03" + b"s" * 1536 + b"t" * 1536
CONNECTED = b"\x02\0\x07_result...NetConnection.Connect.Success..."
PUBLISHING = b"...onFCPublish...NetStream.Publish.Start...onStatus...NetStream.Publish.Start"


class Connection:
    """What a server sends, in parts, and what it has received."""

    def __init__(self, *parts: bytes) -> None:
        self.parts, self.sent = list(parts), list[bytes]()
        self.received, self.closed = b"", False

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def receive(self, timeout: float) -> None:  # noqa: ARG002
        if self.parts:
            self.received += self.parts.pop(0)

    def close(self) -> None:
        self.closed = True


def test_a_stream_is_published_in_the_order_of_the_protocol() -> None:
    connection = Connection(HANDSHAKE[:2000], HANDSHAKE[2000:], CONNECTED, PUBLISHING)
    publisher = RtmpPublisher(connection, "srs-origin", "live", "probe")
    assert [len(data) for data in connection.sent] == [1537]
    publisher.advance(0)
    assert len(connection.sent) == 1, "the handshake is not complete"
    publisher.advance(0)
    assert connection.sent[1].startswith(b"s" * 1536 + b"\x03\0\0\0")
    assert b"rtmp://srs-origin/live" in connection.sent[1]
    publisher.advance(0)
    commands = [
        connection.sent[2].index(word) for word in (b"releaseStream", b"FCPublish", b"createStream", b"publish")
    ]
    assert commands == sorted(commands)
    assert not publisher.accepted
    publisher.advance(0)
    assert publisher.accepted
    assert SILENCE in connection.sent[3]
    publisher.advance(0)
    assert connection.sent[4].endswith(SILENCE)
    assert len(connection.sent[4]) == 12 + len(SILENCE), "the configuration is sent once"
    publisher.close()
    assert publisher.closed


def test_a_long_message_is_sent_in_chunks_of_128_bytes() -> None:
    connection = Connection(HANDSHAKE)
    publisher = RtmpPublisher(connection, "h" * 100, "live", "probe")
    publisher.advance(0)
    message = connection.sent[1][1536:]
    length = int.from_bytes(message[4:7], "big")
    assert 128 < length <= 256
    assert message[12 + 128] == 0xC3
    assert len(message) == 12 + length + 1
