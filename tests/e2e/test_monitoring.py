"""A real Prometheus scrapes the edges as docs/monitoring.md describes, and evaluates the stack's alert rules."""

import json
import re
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.live_stack import TINY, LiveStack
from e2e.programs import go, running
from e2e.versions import can_drain, has_exporter
from e2e.viewers import Audience, Size, Viewers
from stack import ROOT, eventually
from testbed.containers.images import SrsImages

ADDRESS, OBJECTS, TELEMETRY = "127.0.0.1:9090", "127.0.0.1:9091", "127.0.0.1:9092"
"""Addresses of Prometheus and kube-state-metrics, in the network of the nodes."""

GO = {"GOFLAGS": "-tags=remove_all_sd,enable_kubernetes_sd"}
"""As in the Makefile, whose build has the same parts."""

Query = Callable[[str], list[dict[str, Any]]]
"""Ask Prometheus: the result of an expression, as its API has it."""


def tool(name: str) -> str:
    """The program of a tool in testbed/pins/prometheus, built if necessary."""
    return go("prometheus", "tool", "-n", name, environment=GO)


def documented(page: str, key: str) -> Any:
    """The value of a key in the one YAML example of a page that has it."""
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    (example,) = [values for example in examples if key in (values := yaml.safe_load(example))]
    return example[key]


@contextmanager
def prometheus(stack: LiveStack, folder: Path, rules: dict[str, Any]) -> Generator[Query]:
    """Prometheus with the scrape job of the documentation and these rules, and kube-state-metrics."""
    (job,) = documented("monitoring.md", "scrape_configs")
    for discovery in job["kubernetes_sd_configs"]:
        discovery |= {"kubeconfig_file": str(stack.kubeconfig), "namespaces": {"names": [stack.namespace]}}
    # Nothing here waits for the end of a drain, which so frequent scrapes would keep alive.
    job["scrape_interval"] = "2s"
    objects = {"job_name": "objects", "honor_labels": True, "static_configs": [{"targets": [OBJECTS]}]}
    (folder / "rules.json").write_text(json.dumps(rules))
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "1s"},
        "rule_files": ["rules.json"],
        "scrape_configs": [job, objects],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    host, port = OBJECTS.split(":")
    commands = {
        "prometheus": [
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={ADDRESS}",
        ],
        "kube-state-metrics": [
            f"--kubeconfig={stack.kubeconfig}",
            f"--namespaces={stack.namespace}",
            "--resources=deployments,statefulsets,pods",
            f"--host={host}",
            f"--port={port}",
            f"--telemetry-host={host}",
            f"--telemetry-port={TELEMETRY.split(':')[1]}",
        ],
    }
    enter = stack.cluster.machine.enter(stack.cluster.machine_pid, [])
    promtool = tool("promtool")

    def query(expression: str) -> list[dict[str, Any]]:
        command = [*enter, promtool, "query", "instant", "--format=json", f"http://{ADDRESS}", expression]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{expression}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    with ExitStack() as started:
        for name, options in commands.items():
            started.enter_context(running(stack.cluster, [tool(name), *options], folder / f"{name}.log"))
        yield query


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
    with prometheus(stack, folder, rules) as query, audience() as viewers:
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
