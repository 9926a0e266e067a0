"""How long an up waits for a namespace that is still terminating."""

from datetime import timedelta
from typing import Any, cast

import pytest

from cluster import namespace
from cluster.live import LiveCluster
from cluster.namespace import StillTerminating, wait_until_gone

GOING = {"metadata": {"name": "live", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
POD = {"metadata": {"name": "p0", "deletionTimestamp": "2026-01-01T12:00:00Z"}}


class Cluster:
    """A namespace that has pods for some looks, and is there for some looks more; time passes with each look."""

    namespace = "live"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, with_pods: int, empty: int) -> None:
        self.looks, self.with_pods, self.empty = 0, with_pods, empty
        self.told: list[str] = []
        monkeypatch.setattr(namespace.time, "monotonic", lambda: self.looks * namespace.POLL)
        monkeypatch.setattr(namespace.time, "sleep", lambda _seconds: None)

    def live_namespace(self) -> Any:
        self.looks += 1
        return GOING if self.looks <= self.with_pods + self.empty else None

    def pods(self) -> Any:
        return [POD] if self.looks <= self.with_pods else []

    def log(self, _pod: str, _lines: int) -> str:
        return ""

    def wait(self, minutes: float) -> None:
        wait_until_gone(cast("LiveCluster", self), timedelta(minutes=minutes), self.told.append)


def test_a_namespace_that_is_not_going_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, 0, 0)
    cluster.wait(1)
    assert cluster.looks == 1
    assert cluster.told == []


def test_pods_are_waited_for_until_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, with_pods=1000, empty=0)
    with pytest.raises(StillTerminating, match="it waits for 1 pods:\n  p0 until 2026-01-01T12:00:00Z"):
        cluster.wait(1)
    assert cluster.looks == pytest.approx(60 / namespace.POLL, abs=2)
    assert len(cluster.told) == 1


def test_an_empty_namespace_is_waited_for_until_its_controller_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, with_pods=10, empty=140)
    cluster.wait(1)
    assert "its last pod has gone, and Kubernetes removes it within 5 minutes" in cluster.told[-1]


def test_an_empty_namespace_that_does_not_go_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, with_pods=10, empty=10_000)
    with pytest.raises(StillTerminating, match="its last pod has gone"):
        cluster.wait(1)
