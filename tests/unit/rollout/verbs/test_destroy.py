"""`rollout destroy` says what happens to connections, and ends them on demand."""

import argparse
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from cluster.live import LiveCluster
from rollout.command import Context
from rollout.verbs import destroy as verb


class Cluster:
    """Two edges and an origin, which terminate after the destroy."""

    namespace = "live"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
        self.code, self.ended, self.terminating = code, list[str](), False
        monkeypatch.setattr(verb.subprocess, "run", self.destroy)
        monkeypatch.setattr(verb, "open_connections", lambda *_: {})
        monkeypatch.setattr(verb, "end", self.end)

    def destroy(self, command: list[str], check: bool) -> "subprocess.CompletedProcess[str]":
        assert (command[:2], check) == (["pulumi", "destroy"], False)
        self.terminating = not self.code
        return subprocess.CompletedProcess(command, self.code)

    def end(self, _live: LiveCluster, pods: list[Any]) -> dict[str, str]:
        self.ended = [pod["metadata"]["name"] for pod in pods]
        return {"origin": "could not be signalled: 403"} if "origin" in self.ended else {}

    def pods(self, _selector: str = "") -> Any:
        deleted = {"deletionTimestamp": "2026-01-01T12:00:00Z"} if self.terminating else {}
        apps = {"a": "srs-edge", "b": "srs-edge-aborted", "origin": "srs-origin"}
        return [
            {
                "metadata": {"name": name, "labels": {"app": app}, **deleted},
                "spec": {"terminationGracePeriodSeconds": 43235},
            }
            for name, app in apps.items()
            if name not in self.ended
        ]

    def run(self, cut: bool = False) -> int:
        context = Context(Path(), "dev", yes=True)
        context.live = cast("LiveCluster", self)
        return verb.run(context, argparse.Namespace(cut=cut))


def test_a_destroy_says_who_stays_connected_and_drops_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch)
    assert cluster.run() == 0
    assert cluster.ended == []
    output = capsys.readouterr()
    assert "2 edges and 1 origin will drain, for up to 12h35s: no new connection is accepted" in output.err
    assert "3 pods are terminating in namespace live:" in output.out


def test_with_cut_the_pods_are_ended_and_a_failure_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(monkeypatch)
    assert cluster.run(cut=True) == 1
    assert cluster.ended == ["a", "b", "origin"]
    output = capsys.readouterr().err
    assert "2 edges and 1 origin will be deleted, and all their viewers and encoders disconnected." in output
    assert "error: origin could not be signalled: 403" in output


def test_nobody_is_disconnected_after_a_destroy_that_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, code=255)
    assert cluster.run(cut=True) == 1
    assert cluster.ended == []
