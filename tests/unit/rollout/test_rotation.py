"""A release leaves rotation and returns; pods that are created meanwhile stay out of it."""

from typing import Any, cast

import pytest

from cluster.aborted import is_aborted
from cluster.live import LiveCluster
from model.names import ABORTED_APP, EDGE_APP
from rollout import rotation


def pod(name: str, release: str, app: str = EDGE_APP, ready: bool = True, terminating: bool = False) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "labels": {"app": app, "run": f"srs-edge-{release}"},
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if terminating else {}),
        },
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), cast("dict[str, Any]", value))
        else:
            target[key] = value


class Cluster:
    """Edges of r5 and r6, and a Deployment of r6 with two ReplicaSets, one of them without pods."""

    def __init__(self) -> None:
        self.all_pods = [pod("a", "r5"), pod("b", "r6"), pod("c", "r6", ready=False), pod("d", "r6", terminating=True)]
        labels = {"app": EDGE_APP, "run": "srs-edge-r6"}
        self.item: dict[str, Any] = {
            "metadata": {"uid": "1", "name": "srs-edge-r6-deploy"},
            "spec": {"selector": {"matchLabels": {"run": "srs-edge-r6"}}, "template": {"metadata": {"labels": labels}}},
        }
        self.sets: list[dict[str, Any]] = [
            {
                "metadata": {"name": f"rs{count}", "ownerReferences": [{"uid": "1"}]},
                "spec": {"replicas": count, "template": {"metadata": {"labels": dict(labels)}}},
            }
            for count in (2, 0)
        ]

    def pods(self, selector: str) -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in selector.split(","))
        return [item for item in self.all_pods if wanted.items() <= item["metadata"]["labels"].items()]

    def deployment(self, name: str) -> Any:
        return self.item if name == "srs-edge-r6-deploy" else None

    def replica_sets(self, _selector: str) -> Any:
        return self.sets

    def patch(self, kind: str, name: str, content: dict[str, Any]) -> None:
        items = {"Pod": self.all_pods, "ReplicaSet": self.sets, "Deployment": [self.item]}[kind]
        (found,) = [item for item in items if item["metadata"]["name"] == name]
        merge(found, content)

    def out(self) -> set[str]:
        return {item["metadata"]["name"] for item in self.all_pods if item["metadata"]["labels"]["app"] == ABORTED_APP}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(rotation.time, "sleep", lambda _seconds: None)
    return Cluster()


def test_a_release_leaves_rotation_and_what_comes_later_too(cluster: Cluster) -> None:
    live = cast("LiveCluster", cluster)
    assert rotation.serving(live) == {"r5": 1, "r6": 1}
    assert rotation.take_out(live, "r6") == ["b", "c"], "a terminating pod is out of it already"
    assert cluster.out() == {"b", "c"}
    assert rotation.serving(live) == {"r5": 1}
    assert is_aborted(cluster.item)
    assert cluster.item["spec"]["paused"], "it creates no ReplicaSet with the old labels"
    created = [item["spec"]["template"]["metadata"]["labels"]["app"] for item in cluster.sets]
    assert created == [ABORTED_APP, EDGE_APP], "new pods have the label of aborted ones"

    # What an update in progress does after that.
    cluster.item["spec"]["paused"] = False
    cluster.all_pods.append(pod("e", "r6"))
    assert rotation.keep_out(live, "r6") == ["e"]
    assert cluster.item["spec"]["paused"]
    assert cluster.out() == {"b", "c", "e"}


def test_a_release_returns_as_it_was(cluster: Cluster) -> None:
    live = cast("LiveCluster", cluster)
    rotation.take_out(live, "r6")
    assert rotation.take_in(live, "r6") == ["b", "c"]
    assert (cluster.out(), is_aborted(cluster.item), cluster.item["spec"]["paused"]) == (set(), False, False)
    assert {item["spec"]["template"]["metadata"]["labels"]["app"] for item in cluster.sets} == {EDGE_APP}


def test_another_template_is_not_aborted(cluster: Cluster) -> None:
    rotation.take_out(cast("LiveCluster", cluster), "r6")
    cluster.item["spec"]["template"]["spec"] = {"containers": []}
    assert not is_aborted(cluster.item)


def test_a_release_without_a_deployment_has_nothing_to_take_out(cluster: Cluster) -> None:
    assert rotation.take_out(cast("LiveCluster", cluster), "r9") == []
