"""Which terminating pods `rollout cut` ends, what it asks first, and what it reports."""

import argparse
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.client import Configuration
from websocket import WebSocketConnectionClosedException

from cluster.live import LiveCluster
from rollout.command import CommandRejectedError, Context
from rollout.edges import signals
from rollout.verbs import cut as verb

DEADLINE = "2026-01-01T12:00:00Z"


class Cluster:
    """Edges of two releases; those of r6 are terminating and end when they are signalled."""

    namespace = "live"

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, failing: str = "", remaining: str = "", failures: float = float("inf")
    ) -> None:
        self.existing = {"r5-a": "r5", "r6-a": "r6", "r6-b": "r6"}
        self.failing, self.remaining, self.failures = failing, remaining, failures
        self.signalled: list[str] = []
        self.uids = {name: f"of {name}" for name in self.existing}
        self.selectors: list[str] = []
        self.seconds = 0.0
        monkeypatch.setattr(signals, "cut", self.cut)
        monkeypatch.setattr(signals.time, "sleep", self.sleep)
        monkeypatch.setattr(signals.time, "monotonic", lambda: self.seconds)

    def pods(self, selector: str = "") -> Any:
        self.selectors.append(selector)
        release = selector.rpartition("run=srs-edge-")[2] if "run=" in selector else ""
        return [
            {
                "metadata": {
                    "name": name,
                    "uid": self.uids.get(name),
                    **({"deletionTimestamp": DEADLINE} if owner == "r6" else {}),
                }
            }
            for name, owner in self.existing.items()
            if release in ("", owner)
        ]

    def log(self, _pod: str, _lines: int) -> str:
        return "2026-01-01T10:00:00Z [Trace] wait for 7 conns to quit\n"

    def cut(self, _live: LiveCluster, pods: list[str]) -> dict[str, str]:
        self.signalled += pods
        failing = {self.failing} if self.signalled.count(self.failing) <= self.failures else set()
        for pod in pods:
            if pod not in failing | {self.remaining}:
                del self.existing[pod]
        return dict.fromkeys(failing & set(pods), "Handshake status 403 Forbidden")

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def run(self, release: str | None = None, yes: bool = True) -> int:
        context = Context(Path(), "dev", yes=yes)
        context.live = cast("LiveCluster", self)
        return verb.run(context, argparse.Namespace(release=release))


def test_terminating_edges_are_reported_and_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch)
    assert cluster.run() == 0
    assert cluster.existing == {"r5-a": "r5"}
    output = capsys.readouterr()
    assert f"r6-a until {DEADLINE} at the latest (7 connections open at 2026-01-01T10:00:00Z)" in output.err
    assert output.out.endswith("2 of 2 pods ended\n")


def test_a_release_without_terminating_edges_is_not_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch)
    assert cluster.run("r5") == 0
    assert len(cluster.existing) == 3
    assert capsys.readouterr().out == "no edges of release r5 are terminating in namespace live\n"


def test_without_a_terminal_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(CommandRejectedError, match="--yes is required"):
        cluster.run(yes=False)
    assert len(cluster.existing) == 3


@pytest.mark.parametrize(("answer", "remaining"), [("", 3), ("n", 3), ("y", 1), ("Yes", 1)])
def test_it_asks_first(monkeypatch: pytest.MonkeyPatch, answer: str, remaining: int) -> None:
    cluster = Cluster(monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdin.readline", lambda: f"{answer}\n")
    with nullcontext() if remaining == 1 else pytest.raises(CommandRejectedError, match="not confirmed"):
        cluster.run(yes=False)
    assert len(cluster.existing) == remaining


def test_a_pod_that_cannot_be_signalled_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch, failing="r6-b")
    assert cluster.run() == 1
    output = capsys.readouterr()
    assert "error: r6-b could not be signalled: Handshake status 403 Forbidden\n" in output.err
    assert "1 of 2 pods ended" in output.out
    assert signals.RETRY_TIMEOUT <= cluster.seconds < signals.RETRY_TIMEOUT + 2, "the others have ended"


def test_a_pod_that_could_not_be_signalled_is_signalled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, failing="r6-b", failures=2)
    assert cluster.run() == 0
    assert cluster.signalled == ["r6-a", "r6-b", "r6-b", "r6-b"]


def test_a_pod_that_ends_by_itself_need_not_be_signalled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch, failing="r6-b")

    def end_after_five_seconds(seconds: float) -> None:
        cluster.seconds += seconds
        if cluster.seconds >= 5:
            cluster.existing.pop("r6-b", None)

    monkeypatch.setattr(signals.time, "sleep", end_after_five_seconds)
    assert cluster.run() == 0
    assert capsys.readouterr().out.endswith("2 of 2 pods ended\n")


def test_a_pod_that_replaces_one_of_the_same_name_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)

    def answer() -> str:
        cluster.uids["r6-b"] = "of the pod that the StatefulSet has created meanwhile"
        return "y\n"

    monkeypatch.setattr("sys.stdin.readline", answer)
    assert cluster.run(yes=False) == 0
    assert cluster.signalled == ["r6-a"]
    assert capsys.readouterr().out.endswith("2 of 2 pods ended\n")


def test_a_pod_that_still_exists_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Cluster(monkeypatch, remaining="r6-a").run() == 1
    assert "r6-a still exists 60 s after SIGINT" in capsys.readouterr().err


@pytest.mark.parametrize("error", [WebSocketConnectionClosedException("lost"), ConnectionResetError("lost")])
def test_a_node_that_closes_the_connection_is_a_reason(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def close(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(signals, "stream", close)
    live = SimpleNamespace(configuration=Configuration(host="https://127.0.0.1"), namespace="live")
    assert signals.cut(cast("LiveCluster", live), ["r6-a"]) == {"r6-a": "the connection is closed: lost"}
