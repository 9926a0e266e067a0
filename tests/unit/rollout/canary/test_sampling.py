"""Which release serves a viewer, and how `rollout sample` reports it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.live import LiveCluster
from rollout.canary.analysis import figures
from rollout.canary.sampling import Sampling, desired_shares
from rollout.canary.viewers import View
from rollout.command import CommandRejectedError
from rollout.edges.fleet import Fleet
from rollout.stack.stack_file import StackFile
from rollout.tables import sample_table

FILE = StackFile(
    Path("Pulumi.dev.yaml"),
    b"""config:
  srs:edge:
    replicas: 4
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 75}
      r6: {image: "ossrs/srs@sha256:0a", version: 4.0.6, weight: 25}
""",
)


def deployment(image: str, run: str, replicas: int, app: str = "srs-edge") -> dict[str, Any]:
    pod = {"metadata": {"labels": {"app": app, "run": run}}, "spec": {"containers": [{"image": image}]}}
    return {"spec": {"replicas": replicas, "template": pod}}


def pod(name: str, run: str, address: str, **metadata: str) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": address}
    return {"metadata": {"name": name, "labels": {"app": "srs-edge", "run": run}, **metadata}, "status": ready}


DEPLOYMENTS = {
    "srs-edge-r5-deploy": deployment("ossrs/srs:v4.0.5", "srs-edge-r5", 3),
    "srs-edge-r6-deploy": deployment("ossrs/srs@sha256:0a", "srs-edge-r6", 1),
    "nginx-origin": deployment("nginx:1.27", "nginx-origin", 1, app="nginx-origin"),
}
PODS = [
    pod("a", "srs-edge-r5", "10.0.0.5"),
    pod("a2", "srs-edge-r5", "10.0.0.8"),
    pod("a3", "srs-edge-r5", "10.0.0.9"),
    pod("b", "srs-edge-r6", "10.0.0.6"),
    pod("c", "srs-edge-r6", "10.0.0.7", deletionTimestamp="2026-11-25T20:00:00Z"),
]


def cluster(deployments: dict[str, Any]) -> LiveCluster:
    return cast("LiveCluster", SimpleNamespace(objects=lambda _kind: deployments, pods=lambda _selector: PODS))


def test_the_fleet_has_all_edges() -> None:
    fleet = Fleet.read(cluster(DEPLOYMENTS), FILE)
    assert fleet.replicas == {"r5": 3, "r6": 1}
    assert fleet.shares == {"r5": 75, "r6": 25}
    assert fleet.versions == {"r5": "4.0.5", "r6": "4.0.6"}
    assert fleet.addresses["10.0.0.7"] == "r6", "terminating pods serve, too"
    assert len(fleet.addresses) == 5
    assert [pod["metadata"]["name"] for pod in fleet.pods_of("r6")] == ["b"]
    assert desired_shares(FILE) == {"r5": 75, "r6": 25}


def test_the_revisions_of_an_update_in_place_are_told_apart() -> None:
    template = deployment("ossrs/srs:v4.0.6", "srs-edge-r5", 4)["spec"]["template"]
    earlier = deployment("ossrs/srs:v4.0.5", "srs-edge-r5", 4)["spec"]["template"]
    labels = {"matchLabels": {"run": "srs-edge-r5"}}
    item = {"metadata": {"uid": "1"}, "spec": {"replicas": 4, "selector": labels, "template": template}}

    def replica_set(name: str, content: dict[str, Any], replicas: int) -> dict[str, Any]:
        metadata = {"name": name, "ownerReferences": [{"uid": "1"}], "labels": {"pod-template-hash": name}}
        return {"metadata": metadata, "spec": {"replicas": replicas, "template": content}}

    pods = [pod(name, "srs-edge-r5", f"10.0.0.{number}") for number, name in enumerate(["new", "old", "old", "old"])]
    pods.append(pod("old", "srs-edge-r5", "10.0.0.9", deletionTimestamp="2026-11-25T20:00:00Z"))
    for number, entry in enumerate(pods):
        entry["metadata"]["labels"]["pod-template-hash"] = entry["metadata"]["name"]
        entry["metadata"]["name"] += str(number)
    live = cast(
        "LiveCluster",
        SimpleNamespace(
            objects=lambda _kind: {"srs-edge-r5-deploy": item},
            deployment=lambda _name: item,
            replica_sets=lambda _selector: [
                replica_set("old", earlier, 4),
                replica_set("new", template, 1),
                replica_set("older", deployment("ossrs/srs:v4.0.4", "srs-edge-r5", 0)["spec"]["template"], 0),
            ],
            pods=lambda _selector: pods,
        ),
    )
    fleet = Fleet.read(live, FILE, "r5")
    assert fleet.replicas == {"r5": 1, "r5 (earlier)": 4}
    assert fleet.ready == {"r5": 1, "r5 (earlier)": 3}
    assert fleet.versions == {"r5": "4.0.6", "r5 (earlier)": "4.0.5"}
    assert fleet.addresses["10.0.0.0"] == "r5"
    assert fleet.addresses["10.0.0.9"] == "r5 (earlier)", "terminating pods serve, too"
    assert Fleet.read(live, FILE).ready == {"r5": 4}


def sampling(deployments: dict[str, Any], *addresses: str) -> Sampling:
    return Sampling(cluster(deployments), lambda: FILE, addresses, 10, 5, 10)


def test_http_flv_is_rejected_for_releases_of_one_version() -> None:
    same = DEPLOYMENTS | {"srs-edge-r6-deploy": deployment("ossrs/srs:v4.0.5", "srs-edge-r6", 1)}
    file = FILE.with_releases({"r6": {"version": None}})
    both = Sampling(cluster(same), lambda: file, ["rtmp://a/b/c", "http://a/b/c.flv"], 10, 5, 10)
    with pytest.raises(CommandRejectedError, match="same SRS version"):
        both.check_identity()
    Sampling(cluster(same), lambda: file, ["rtmp://a/b/c"], 10, 5, 10).check_identity()
    over_http = sampling(DEPLOYMENTS, "http://a/b/c.flv")
    over_http.check_identity()
    planned = FILE.with_releases({"r7": {"image": "ossrs/srs:v4.0.6", "weight": 0}})
    over_http.check_identity(planned)
    with pytest.raises(CommandRejectedError, match="same SRS version"):
        over_http.check_identity(planned.with_releases({"r7": {"weight": 10}}))


def test_the_table_fits_into_80_columns_and_names_what_is_not_acceptable() -> None:
    sample = sampling(DEPLOYMENTS, "rtmp://a/b/c")
    views = [View("", 0, "4.0.5", "10.0.0.5", first_frame=0.25)] * 3
    views += [View("", 0, "4.0.6", "10.0.0.6", failure="no media"), View("", 0, failure="Connection refused")]
    data = figures(sample.sources.by_release(views), sample.fleet.shares, desired_shares(FILE), 0.01)
    text = sample_table(data | {"problems": ["r6 is bad"]})
    assert max(map(len, text.splitlines())) <= 80
    for expected in (
        "r5             3  75 % (9-100)    75 %     75 %",
        "r6: 1 failed: no media",
        "?: 1 failed: Connection refused",
    ):
        assert expected in text, text
    assert text.endswith("not acceptable: r6 is bad")
    assert sample_table(data | {"problems": []}).endswith("\nacceptable")
