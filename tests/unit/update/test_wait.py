"""Waiting for a rollout: it ends when it is complete, at the deadline, or sooner where it is hopeless."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from cluster.live import LiveCluster, Unreachable
from cluster.rollout_status import Workload
from update import polling as wait
from update.polling import RolloutFailed, rolled_out

WORKLOAD = Workload("Deployment", "srs-edge-r6-deploy", "run=srs-edge-r6", "edge release r6")


class Cluster:
    """One Deployment of one pod, in the state that `state` gives at each look."""

    def __init__(self, state: Callable[[int], str]) -> None:
        self.state = state
        self.looks = 0

    def deployment(self, _name: str) -> dict[str, Any]:
        self.looks += 1
        if self.state(self.looks) == "away":
            raise Unreachable("the API server does not answer")
        ready = int(self.state(self.looks) == "ready")
        return {
            "metadata": {"generation": 1, "uid": "d"},
            "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": ready},
        }

    def replica_sets(self, _selector: str) -> list[dict[str, Any]]:
        def replica_set(revision: int) -> dict[str, Any]:
            return {
                "metadata": {
                    "ownerReferences": [{"uid": "d"}],
                    "annotations": {"deployment.kubernetes.io/revision": str(revision)},
                    "labels": {"pod-template-hash": f"hash{revision}"},
                }
            }

        return [replica_set(10), replica_set(9)]

    def pods(self, selector: str) -> list[dict[str, Any]]:
        assert selector == "run=srs-edge-r6,pod-template-hash=hash10", "the pods of the newest revision"
        waiting = {"reason": self.state(self.looks), "message": "m"}
        return [{"metadata": {"name": "p"}, "status": {"containerStatuses": [{"state": {"waiting": waiting}}]}}]

    def warnings(self, pod: str) -> list[str]:
        assert pod == "p"
        return ["old", 'MountVolume.SetUp failed: configmap "x" not found']


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "POLL", 0.01)
    monkeypatch.setattr(wait, "PATIENCE", timedelta(seconds=0.3))


def run(cluster: Cluster, timeout: float) -> list[str]:
    told: list[str] = []
    asyncio.run(rolled_out(cast(LiveCluster, cluster), WORKLOAD, timedelta(seconds=timeout), told.append))
    return told


def test_it_waits_until_the_rollout_is_complete_and_tells_what_is_new() -> None:
    told = run(Cluster(lambda look: "ready" if look > 5 else "PodInitializing"), timeout=10)
    assert told == ["0 of 1 ready; pod p: PodInitializing: m", ""]


def test_an_api_server_that_is_away_for_a_moment_is_no_failure() -> None:
    assert run(Cluster(lambda look: "ready" if look > 2 else "away"), timeout=10)[-1] == ""


def test_at_the_deadline_it_says_why() -> None:
    with pytest.raises(RolloutFailed) as failed:
        run(Cluster(lambda _: "ContainerCreating"), timeout=1)
    assert str(failed.value).splitlines() == [
        "edge release r6 (Deployment srs-edge-r6-deploy) is not ready after 1s: "
        "0 of 1 pods of the new revision are available",
        '  pod p: ContainerCreating: m: MountVolume.SetUp failed: configmap "x" not found',
    ]


def test_a_hopeless_pod_is_not_waited_for_to_the_end() -> None:
    begun = time.monotonic()
    with pytest.raises(RolloutFailed, match="ImagePullBackOff"):
        run(Cluster(lambda _: "ImagePullBackOff"), timeout=60)
    assert time.monotonic() - begun < 10


def test_a_pod_that_recovers_now_and_then_is_given_its_time() -> None:
    with pytest.raises(RolloutFailed, match="after 1s"):
        run(Cluster(lambda look: "ImagePullBackOff" if look % 5 else "ContainerCreating"), timeout=1)
