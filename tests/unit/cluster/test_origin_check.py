"""Whether edges reach an origin, from lines that SRS 4.0.5 and 4.0.271 have logged."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from cluster import origin_check
from cluster.live import ForbiddenError, LiveCluster, UnreachableError
from cluster.origin_check import OriginCheck, Pulls, advice, logged_pulls

TIME = "2026-11-25T15:47:43.254123456Z"
START = f"{TIME} [2026-11-25 15:47:42.549][Trace][7044][556] HTTP-Server listen at tcp://127.0.0.1:24080, fd=9\n"
UNRESOLVED = (
    "edge pull rtmp://srs-origin-service.live.svc.wrong:1935/live/srs-probe failed, cto=5000ms, sto=500ms. : connect : "
    "tcp: connect srs-origin-service.live.svc.wrong:1935 to=5000ms : get address info"
)
REFUSED = (
    "edge pull rtmp://192.0.2.9:1935/live/srs-probe failed, cto=5000ms, sto=500ms. : connect : tcp: connect "
    "192.0.2.9:1935 to=5000ms : connect to 192.0.2.9:1935"
)


def failure(message: str, time: str = TIME) -> str:
    head = f"{time} \x1b[0m\x1b[33m[2026-11-25 15:47:43.254][Warn][7044][564][11] EdgeIngester: Ignore error, code=1029"
    trace = f"{time} thread [7044][564]: do_cycle() [src/app/srs_app_edge.cpp:266][errno=11]\n"
    return f"{head} : connect upstream : {message}\n{trace}"


HOOK_LOG = (
    "t2 [2026-11-29 10:00:30.001][Error][1][x1][4] serve error code=1011 : service cycle : http hook : http: {hook} "
    'failed, client_id=x1, url=http://auth/play?key=s3cret, request={{"action":"on_play","stream":"a, status=1 : http: '
    'client post"}}, response={answer}\n'
    "t2 thread [1][x1]: do_post() [src/app/srs_app_http_hooks.cpp:487][errno=62]\n"
)
REASON = "http: client post : http: parse response : parse message : grow buffer : read bytes : timeout 30000 ms"
NO_ANSWER = HOOK_LOG.format(hook="on_play", answer=f", status=0 : {REASON}")
HOOK = f"hook on_play gives no answer, so that SRS rejects the client: {REASON}"
REJECTED = HOOK_LOG.format(hook="on_play", answer="1, status=200 : http: response number code 1")

FULL = (
    f"{TIME} [Warn][7044][559][11] accept client failed, err is code=1035 : fd2conn : "
    "drop fd=41, max=20, cur=20 for exceed connection limits\n"
)
PULL = f"{TIME} [2026-11-25 15:48:12.003][Trace][8180][-548] edge change from 100 to state 101 (pull).\n"


@pytest.mark.parametrize(
    ("log", "pulls"),
    [
        (START, Pulls(False)),
        (START + failure(UNRESOLVED), Pulls(False, (TIME, UNRESOLVED))),
        (failure(UNRESOLVED) + failure(REFUSED, "t2"), Pulls(False, ("t2", REFUSED))),
        # An origin that is reached has no such stream, and closes the connection.
        (
            f"{PULL}{TIME} [Warn][8180][-548][104] origin disconnected, retry, error code=1007 : recv message",
            Pulls(True),
        ),
        # Since 4.0.271, and of a publisher.
        (f"{TIME} [Trace][9][a] edge-pull publish url rtmp://o:1935/live/x, stream=x as x\n", Pulls(True)),
        (f"{TIME} [Trace][9][a] edge-fwr publish url rtmp://o:1935/live/x\n", Pulls(True)),
        # The player ended, and with it the pull; a publisher has not been forwarded yet.
        (
            f"{TIME} [Warn][7044][564][4] EdgeIngester: Ignore error, code=1070 : do cycle pull : interrupted",
            Pulls(False),
        ),
        (f"{TIME} [Trace][7044][562] edge change from 101 to state 0 (init).", Pulls(False)),
        (f"{TIME} [Trace][7044][562] edge change from 0 to state 200 (push).", Pulls(False)),
        # A hook that gives no answer in 30 s, and one that rejects the player, whatever that asks for.
        (failure(REFUSED, "t1") + NO_ANSWER, Pulls(False, ("t2", HOOK))),
        (REJECTED, Pulls(False)),
    ],
)
def test_the_log_says_whether_a_pull_reached_an_origin(log: str, pulls: Pulls) -> None:
    assert logged_pulls(log) == pulls


def test_the_advice_fits_the_failure() -> None:
    assert "kubernetes.clusterDomain" in advice(UNRESOLVED)
    assert "egress" in advice(REFUSED)
    assert "http_hooks" in advice(HOOK)


class Edges:
    """Edge pods whose log and answer change while a player is connected.

    log: by the number of players so far. answer: of SRS to the player, None if it closes the connection. origins: the
    number of ready ones.
    """

    def __init__(self, log: Callable[[int], str | None], answer: bytes | None = b"", origins: int = 1) -> None:
        self.played: list[str] = []
        self.origin_log = START
        self.closed = answer is None
        self.received = answer or b""
        self._log, self._origins = log, origins
        self.open = 0

    def log(self, pod: str, _lines: int) -> str | None:
        return self.origin_log if pod == "srs-origin-0" else self._log(len(self.played))

    def pods(self, selector: str) -> Any:
        assert selector == "app=srs-origin"
        return [{"metadata": {"name": "srs-origin-0"}}]

    def stateful_set(self, _name: str) -> Any:
        return {"status": {"readyReplicas": self._origins}}

    def port_forward(self, pod: str, _port: int) -> Any:
        self.played.append(pod)
        self.open += 1
        return self

    def send(self, data: bytes) -> None:
        assert data.startswith(b"GET /live/srs-probe.flv HTTP/1.1\r\n")

    def receive(self, _timeout: float) -> None:
        pass

    def close(self) -> None:
        self.open -= 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin_check, "_STEP", 0.001)


def observed(edges: Edges, times: int = 1, pods: tuple[str, ...] = ("a", "b")) -> tuple[str, str]:
    check = OriginCheck(cast(LiveCluster, edges), "/live/srs-probe.flv")
    access = [check.observe(pods) for _ in range(times)][-1]
    check.close()
    assert edges.open == 0, "a player is still connected"
    return access.result, "\n".join(access.message)


def test_a_pull_of_a_viewer_is_enough_and_nothing_is_played() -> None:
    edges = Edges(lambda _: START + PULL)
    assert observed(edges) == ("reached", "")
    assert edges.played == []


def test_without_viewers_the_check_plays_until_the_pull_is_logged() -> None:
    edges = Edges(lambda players: START + PULL * players)
    assert observed(edges, times=2) == ("reached", "")
    assert edges.played == ["a"]


def test_a_failure_has_the_words_of_srs_and_every_pod_is_tried() -> None:
    edges = Edges(lambda players: "".join(failure(UNRESOLVED, f"t{n}") for n in range(players)))
    result, message = observed(edges, times=3)
    assert result == "failed"
    assert f"pod a: {UNRESOLVED}" in message
    assert "check srs:kubernetes.clusterDomain" in message
    assert edges.played == ["a", "b", "a"]


def test_an_old_failure_is_none_and_a_new_one_is_kept_until_a_pod_succeeds() -> None:
    assert observed(Edges(lambda _: failure(REFUSED, "before")))[0] == "pending"
    logs = [START, failure(REFUSED), failure(REFUSED), failure(REFUSED) + PULL]
    edges = Edges(lambda players: logs[players])
    assert [observed(edges, times=1)[0] for _ in range(3)] == ["failed", "pending", "reached"]
    edges = Edges(lambda players: logs[players])
    assert observed(edges, times=2)[0] == "failed", "no new failure, and no success either"


def test_while_no_origin_is_ready_no_edge_fails() -> None:
    result, message = observed(Edges(lambda players: failure(REFUSED) * players, origins=0))
    assert result == "pending"
    assert message.startswith("no origin is ready\npod a: edge pull rtmp://192.0.2.9:1935/live/srs-probe failed")


def test_an_edge_that_serves_no_stream_fails() -> None:
    result, message = observed(Edges(lambda _: START, answer=b"HTTP/1.1 404 Not Found\r\nServer: SRS/4.0.5(Leo)\r\n"))
    assert result == "failed"
    assert "404 Not Found" in message
    assert "srs.vhostDirectives" in message


def test_a_player_that_a_hook_rejects_proves_nothing() -> None:
    edges = Edges(lambda _: START, answer=None)
    assert observed(edges)[0] == "pending"
    result, message = observed(edges, times=origin_check.ATTEMPTS)
    assert (result, "hook" in message) == ("unknown", True)


def test_a_hook_that_gives_no_answer_is_a_failure_and_its_url_a_secret() -> None:
    result, message = observed(Edges(lambda players: NO_ANSWER * players, answer=None))
    assert result == "failed"
    assert message == f"pod a: {HOOK}\n{advice(HOOK)}"
    assert "s3cret" not in message


def test_the_check_waits_longer_than_srs_for_a_hook_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timedelta(seconds=30) < origin_check.HOOK_PATIENCE
    monkeypatch.setattr(origin_check, "PATIENCE", timedelta(0))
    edges = cast(LiveCluster, Edges(lambda _: START))
    assert OriginCheck(edges, "/live/srs-probe.flv", asks=True).observe(["a"]).message == ()
    assert "logs nothing about the pull" in OriginCheck(edges, "/live/srs-probe.flv").observe(["a"]).message[0]


def test_an_edge_that_is_full_is_reported_as_full() -> None:
    edges = Edges(lambda _: START + FULL, answer=None)
    result, message = observed(edges, times=origin_check.ATTEMPTS)
    assert (result, message) == ("unknown", "pod a is full, with 20 connections (maxConnections)")


def test_a_pull_that_a_full_origin_refuses_is_reported_as_such() -> None:
    edges = Edges(lambda players: failure(REFUSED) * players)
    edges.origin_log = START + FULL
    assert observed(edges) == (
        "failed",
        f"pod a: {REFUSED}\norigin srs-origin-0 is full, with 20 connections: raise srs:origin.srs.maxConnections",
    )


def test_a_log_that_cannot_be_read_proves_nothing_and_nothing_is_played() -> None:
    edges = Edges(lambda _: None)
    assert observed(edges) == ("unknown", "pod a has no log that can be read, as on a simulated node")
    assert edges.played == []


@pytest.mark.parametrize(("error", "times"), [(ForbiddenError("pods/portforward"), 1), (UnreachableError("500"), 3)])
def test_a_pod_that_cannot_be_connected_to_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, times: int
) -> None:
    def port_forward(_pod: str, _port: int) -> Any:
        raise error

    edges = Edges(lambda _: START)
    monkeypatch.setattr(edges, "port_forward", port_forward)
    assert observed(edges, times=times) == ("unknown", str(error))
