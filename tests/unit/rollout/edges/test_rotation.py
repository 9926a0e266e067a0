"""A release leaves rotation and returns; pods that are created meanwhile stay out of it."""

import copy
from functools import partial
from typing import Any, cast

import pytest

from cluster.aborted import is_aborted, is_out_of_rotation, is_update_aborted
from cluster.live import LiveCluster
from model.names import ABORTED_APP, EDGE_APP
from rollout.edges import rotation


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
    assert rotation.keep_out(partial(rotation.take_out, live, "r6")) == ["e"]
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


class Updating(Cluster):
    """The only release r6, of whose 4 edges an update in place has replaced 2."""

    def __init__(self) -> None:
        super().__init__()
        self.all_pods = [pod(name, "r6") for name in ("old1", "old2", "new1", "new2")]
        for item in self.all_pods:
            item["metadata"]["labels"]["pod-template-hash"] = item["metadata"]["name"][:3]
        self.item["spec"] |= {"replicas": 4, "template": self.template("v4.0.6")}
        self.item["metadata"]["generation"] = 1
        self.item["status"] = {"observedGeneration": 1}
        self.sets = []
        for name, image in (("old", "v4.0.5"), ("new", "v4.0.6")):
            template = self.template(image)
            template["metadata"]["labels"]["pod-template-hash"] = name
            metadata = {"name": name, "ownerReferences": [{"uid": "1"}], "labels": {"pod-template-hash": name}}
            self.sets.append({"metadata": metadata, "spec": {"replicas": 2, "template": template}})

    def deployment(self, name: str) -> Any:
        return copy.deepcopy(super().deployment(name))

    def template(self, image: str) -> dict[str, Any]:
        return {"metadata": {"labels": {"app": EDGE_APP, "run": "srs-edge-r6"}}, "spec": {"image": image}}

    def replicas(self) -> list[int]:
        return [item["spec"]["replicas"] for item in self.sets]


def update_of(cluster: Updating) -> rotation.Update:
    update = rotation.update_in_place(cast("LiveCluster", cluster), "r6")
    assert update
    return update


def test_the_new_revision_of_the_only_release_leaves_rotation_and_the_earlier_one_serves() -> None:
    cluster = Updating()
    live, update = cast("LiveCluster", cluster), update_of(cluster)
    assert rotation.take_out_update(live, update) == ["new1", "new2"]
    assert (cluster.out(), rotation.serving(live)) == ({"new1", "new2"}, {"r6": 2})
    assert (is_update_aborted(cluster.item), is_out_of_rotation(cluster.item)) == (True, False)
    assert cluster.item["spec"]["paused"]
    assert [item["spec"]["template"]["metadata"]["labels"]["app"] for item in cluster.sets] == [EDGE_APP, ABORTED_APP]
    assert cluster.replicas() == [2, 2], "not before the pause is observed: the update would scale it up again"
    cluster.item["metadata"]["generation"] = 2
    rotation.take_out_update(live, update)
    assert cluster.replicas() == [2, 2]
    cluster.item["status"]["observedGeneration"] = 2
    rotation.take_out_update(live, update)
    assert cluster.replicas() == [2, 0]
    assert update_of(cluster) == update, "an abort that was interrupted can be carried out again"


def test_an_abort_of_an_update_does_not_touch_the_revision_of_a_later_one() -> None:
    cluster = Updating()
    update = update_of(cluster)
    cluster.item["spec"]["template"] = cluster.template("v4.0.5")  # a rollback meanwhile
    assert rotation.take_out_update(cast("LiveCluster", cluster), update) == ["new1", "new2"]
    assert not is_aborted(cluster.item)
    assert "paused" not in cluster.item["spec"]


def test_an_update_is_aborted_only_if_an_earlier_revision_of_the_only_release_serves() -> None:
    cluster = Updating()
    live = cast("LiveCluster", cluster)
    cluster.all_pods.append(pod("other", "r5"))
    assert rotation.update_in_place(live, "r6") is None, "another release serves"
    cluster.all_pods = cluster.all_pods[2:4]
    assert rotation.update_in_place(live, "r6") is None, "no edge of the earlier revision is left"
    cluster = Updating()
    for item in cluster.sets[1:]:
        item["spec"]["replicas"] = 0
    cluster.all_pods = cluster.all_pods[:2]
    assert rotation.update_in_place(cast("LiveCluster", cluster), "r6") is None, "it has not begun"
    assert rotation.update_in_place(live, "r9") is None


def test_a_release_without_a_deployment_has_nothing_to_take_out(cluster: Cluster) -> None:
    assert rotation.take_out(cast("LiveCluster", cluster), "r9") == []
