"""Which draining pods `python -m rollout cut` ends, what it asks first, and what it says."""

from typing import Any, cast

import pytest

from cluster.live import LiveCluster
from rollout import __main__ as rollout

GOING = "2026-01-01T12:00:00Z"


class Cluster:
    """Edges of two releases; those of r6 drain, and go when they were told to and had some looks more."""

    namespace = "live"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusing: str = "", lasting: str = "") -> None:
        self.there = {"r5-a": "r5", "r6-a": "r6", "r6-b": "r6"}
        self.refusing, self.lasting = refusing, lasting
        self.selectors: list[str] = []
        self.seconds = 0.0
        monkeypatch.setattr(rollout, "cut", self.cut)
        monkeypatch.setattr(rollout.time, "sleep", self.sleep)
        monkeypatch.setattr(rollout.time, "monotonic", lambda: self.seconds)

    def pods(self, selector: str = "") -> Any:
        self.selectors.append(selector)
        release = selector.rpartition("run=srs-edge-")[2] if "run=" in selector else ""
        return [
            {"metadata": {"name": name, **({"deletionTimestamp": GOING} if of == "r6" else {})}}
            for name, of in self.there.items()
            if release in ("", of)
        ]

    def log(self, _pod: str, _lines: int) -> str:
        return "2026-01-01T10:00:00Z [Trace] wait for 7 conns to quit\n"

    def cut(self, _live: LiveCluster, pods: list[str]) -> dict[str, str]:
        for pod in pods:
            if pod not in (self.refusing, self.lasting):
                del self.there[pod]
        return {self.refusing: "Handshake status 403 Forbidden"} if self.refusing else {}

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def run(self, release: str | None = None, yes: bool = True) -> int:
        return rollout.cut_draining(cast("LiveCluster", self), release, yes)


def test_what_drains_is_told_and_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster(monkeypatch)
    assert cluster.run() == 0
    assert cluster.there == {"r5-a": "r5"}
    said = capsys.readouterr().out
    assert f"r6-a until {GOING} at the latest (7 connections open at 2026-01-01T10:00:00Z)" in said
    assert said.endswith("2 of 2 edges are cut and gone\n")


def test_a_release_that_does_not_drain_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch)
    assert cluster.run("r5") == 0
    assert len(cluster.there) == 3
    assert capsys.readouterr().out == "no edge of release r5 drains in namespace live\n"


def test_where_nobody_can_be_asked_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(ValueError, match="--yes is needed"):
        cluster.run(yes=False)
    assert len(cluster.there) == 3


@pytest.mark.parametrize(("answer", "left"), [("", 3), ("n", 3), ("y", 1), ("Yes", 1)])
def test_it_asks(monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    cluster = Cluster(monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _question: answer)
    assert cluster.run(yes=False) == (0 if left == 1 else 1)
    assert len(cluster.there) == left


def test_a_pod_that_cannot_be_told_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Cluster(monkeypatch, refusing="r6-b").run() == 1
    said = capsys.readouterr()
    assert said.err == "error: r6-b was not cut: Handshake status 403 Forbidden\n"
    assert "1 of 2 edges are cut and gone" in said.out


def test_a_pod_that_stays_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert Cluster(monkeypatch, lasting="r6-a").run() == 1
    assert "r6-a was told to end and is still there after 60 s" in capsys.readouterr().err
