"""A real Prometheus scrapes the edges as docs/monitoring.md describes, and evaluates the stack's alert rules."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from e2e.live_stack import TINY, LiveStack
from e2e.prometheus import documented, prometheus
from e2e.versions import can_drain, has_exporter
from e2e.viewers import Audience, Size, Viewers
from stack import ROOT, eventually
from testbed.containers.images import SrsImages


def panels() -> Generator[str]:
    """The expressions of the dashboard, and what it finds the namespaces with."""
    dashboard = json.loads((ROOT / "docs/dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"].removeprefix("label_values(").removesuffix(", namespace)")


def test_prometheus_sees_the_edges_and_alerts(
    stack: LiveStack, audience: Audience, size: Size, images: SrsImages, tmp_path: Path
) -> None:
    """Prometheus: edges and origins as targets, an edge that is nearly full, no ready edge"""
    limit = 100 + 2 * size.players
    image = next((name for name in images.names if has_exporter(name) and can_drain(name)), None)
    if image is None:
        pytest.skip("SRS_IMAGES has no version with an exporter")
    stack.config["monitoring"] = {"kind": "annotations"}
    stack.config["origin"]["image"] = image
    stack.config["edge"]["replicas"] = 1
    stack.releases(r5={"image": image, "weight": 100, "resources": TINY, "srs": {"maxConnections": limit}})
    stack.must_update()
    (edge,) = stack.pod_names()
    rules: dict[str, Any] = stack.stack.outputs()["alertRules"].value
    for rule in rules["groups"][0]["rules"]:
        if "for" in rule:
            rule["for"] = "3s"
    folder = tmp_path / "prometheus"
    folder.mkdir()
    # Nothing here waits for the end of a drain, which such frequent scrapes would keep alive.
    with prometheus(stack, folder, rules, interval="2s") as query, audience() as viewers:
        eventually(lambda: len(query('up{job="srs"} == 1')) == 3, 60)
        targets = [item["metric"] for item in query("up == 1")]
        labels = {(item["pod"], item["role"], item.get("release")) for item in targets if item["job"] == "srs"}
        assert labels == {(edge, "edge", "r5"), *((pod, "origin", None) for pod in stack.pod_names("app=srs-origin"))}

        def alerts() -> set[str]:
            """The names of the alerts that have been pending or firing."""
            return {item["metric"]["alertname"] for item in query("count_over_time(ALERTS[10m])")}

        def firing(name: str) -> list[dict[str, Any]]:
            return query(f'ALERTS{{alertname="{name}", alertstate="firing"}}')

        clients = f'srs_clients{{namespace="{stack.namespace}", role="edge"}}'
        eventually(lambda: any(float(item["value"][1]) > size.players for item in query(clients)))
        viewers.count(5)
        assert alerts() == set(), "nothing is wrong"
        viewers.step("the edge is nearly full")
        with Viewers(stack.cluster, Size(limit * 92 // 100 - size.players, 0), publish=False):
            eventually(lambda: firing("SrsEdgeNearlyFull"))
            (alert,) = firing("SrsEdgeNearlyFull")
            assert alert["metric"]["pod"] == edge
            assert alert["metric"]["release"] == "r5"
        eventually(lambda: not firing("SrsEdgeNearlyFull"))
        assert alerts() == {"SrsEdgeNearlyFull"}
        viewers.step("no edge is ready")
        stack.kubectl("scale", "deployment/srs-edge-r5-deploy", "--replicas=0")
        eventually(lambda: firing("SrsNoReadyEdge"))
        assert alerts() == {"SrsEdgeNearlyFull", "SrsNoReadyEdge"}
        for rule in rules["groups"][0]["rules"]:
            query(rule["expr"])
        for example in documented("canary.md", "queries"):
            assert query(example["query"].replace("$canary", "r5"))
        for panel in panels():
            expression = panel.replace("$namespace", stack.namespace).replace("$__rate_interval", "10s")
            assert query(f"count_over_time(({expression})[10m:1s])"), f"{panel}: has never had a value"
    assert viewers.record.dropped == []
