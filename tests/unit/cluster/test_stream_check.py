"""Whether a new origin is usable, from what it and an edge answer."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from cluster import stream_check
from cluster.live import ForbiddenError, LiveCluster, UnreachableError
from cluster.rtmp_publisher import SILENCE
from cluster.stream_check import check_stream
from model.desired.workloads import Workload
from unit.cluster.test_origin_check import HOOK_LOG, PULL, REASON
from unit.cluster.test_rtmp_publisher import CONNECTED, HANDSHAKE, PUBLISHING, Connection

ORIGINS = Workload("StatefulSet", "srs-origin", "app=srs-origin", "origins", timedelta(minutes=1))
ACCEPTS = HANDSHAKE + CONNECTED + PUBLISHING
SERVES = b"HTTP/1.1 200 OK\r\n\r\nFLV" + SILENCE
UNANSWERED = HOOK_LOG.format(hook="on_publish", answer=f", status=0 : {REASON}")


class Rejects(Connection):
    """A server that closes the connection after its answer."""

    def receive(self, timeout: float) -> None:
        self.closed = not self.parts
        super().receive(timeout)


class Pods:
    """Pods by name: what each answers. log: of the origin, before and after the check. edge_log: of the edges."""

    def __init__(
        self,
        pods: Mapping[str, Connection | Exception],
        log: tuple[str | None, ...] = ("", ""),
        edge_log: str = PULL,
    ) -> None:
        self.pods, self.logs, self.edge_log = pods, list(log), edge_log
        self.asked: list[str] = []

    def log(self, pod: str, _lines: int) -> str | None:
        return self.logs.pop(0) if pod == "srs-origin-3" else self.edge_log

    def port_forward(self, pod: str, _port: int) -> Any:
        self.asked.append(pod)
        if isinstance(found := self.pods[pod], Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_check, "_STEP", 0)
    monkeypatch.setattr(stream_check, "PATIENCE", timedelta(seconds=0.05))


def checked(pods: Pods, origins: Workload = ORIGINS) -> tuple[str, str]:
    edges = [(name, f"/live/{name}.flv") for name in pods.pods if name.startswith("edge")]
    access = check_stream(cast(LiveCluster, pods), "srs-origin-3", origins, edges)
    connections = [pods.pods[name] for name in pods.asked]
    assert all(connection.closed for connection in connections if isinstance(connection, Connection))
    return access.result, "\n".join(access.message)


def test_an_origin_is_usable_when_an_edge_serves_its_stream() -> None:
    edge = Connection(SERVES)
    assert checked(Pods({"srs-origin-3": Connection(ACCEPTS), "edge-1": edge})) == ("reached", "")
    assert edge.sent == [b"GET /live/edge-1.flv HTTP/1.1\r\nHost: edge-1\r\n\r\n"]


def test_a_stream_that_no_edge_serves_is_a_failure() -> None:
    result, message = checked(Pods({"srs-origin-3": Connection(ACCEPTS), "edge-1": Connection(b"HTTP/1.1 200 OK")}))
    assert result == "failed"
    assert "accepts a stream, and edge edge-1 has not served it in" in message
    assert "1985" in message


def test_an_edge_that_reaches_no_origin_proves_nothing() -> None:
    pods = {"srs-origin-3": Connection(ACCEPTS), "edge-1": Connection(b"HTTP/1.1 200 OK")}
    assert checked(Pods(pods, edge_log="")) == ("unknown", "edge edge-1 has not reached any origin")


def test_an_edge_that_rejects_the_player_proves_nothing_and_another_one_is_asked() -> None:
    pods = {"srs-origin-3": Connection(ACCEPTS), "edge-1": Rejects(), "edge-2": UnreachableError("500")}
    assert checked(Pods(pods)) == ("unknown", "500")
    pods = {"srs-origin-3": Connection(ACCEPTS), "edge-1": UnreachableError("500"), "edge-2": Rejects()}
    assert checked(Pods(pods))[1] == "SRS of pod edge-2 rejects the player of the check"
    pods = {"srs-origin-3": Connection(ACCEPTS), "edge-1": Rejects(), "edge-2": Connection(SERVES)}
    assert checked(Pods(pods)) == ("reached", "")


def test_without_edges_nothing_is_known() -> None:
    assert checked(Pods({"srs-origin-3": Connection(ACCEPTS)})) == (
        "unknown",
        "there is no ready edge that could serve its stream",
    )


def test_a_hook_that_gives_no_answer_is_a_failure_and_its_url_a_secret() -> None:
    pods = Pods({"srs-origin-3": Rejects(ACCEPTS), "edge-1": Connection()}, ("", UNANSWERED))
    result, message = checked(pods, replace(ORIGINS, probe_asks=True))
    assert result == "failed"
    assert "hook on_publish gives no answer" in message
    assert "NetworkPolicies" in message
    assert "s3cret" not in message


def test_an_encoder_that_a_hook_rejects_proves_nothing() -> None:
    pods = Pods({"srs-origin-3": Rejects(HANDSHAKE + CONNECTED)}, (UNANSWERED, UNANSWERED))
    message = "SRS of pod srs-origin-3 rejects the encoder of the check, as a hook may do"
    assert checked(pods) == ("unknown", message), "that hook gave no answer before the check"


def test_an_origin_that_answers_nothing_fails() -> None:
    result, message = checked(Pods({"srs-origin-3": Connection(HANDSHAKE)}))
    assert (result, "has not accepted a stream in" in message) == ("failed", True)


def test_there_is_no_check_where_it_would_do_harm_or_cannot_be_done() -> None:
    skipped = replace(ORIGINS, probe_skipped="srs.conf has 'forward', which would pass the stream on")
    assert checked(Pods({}), skipped) == ("unknown", skipped.probe_skipped)
    assert checked(Pods({}, (None,))) == (
        "unknown",
        "pod srs-origin-3 has no log that can be read, as on a simulated node",
    )
    assert checked(Pods({"srs-origin-3": ForbiddenError("pods/portforward")})) == ("unknown", "pods/portforward")
