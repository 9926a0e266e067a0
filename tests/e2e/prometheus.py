"""A real Prometheus in the network of the nodes, which scrapes the edges as docs/monitoring.md describes."""

import json
import re
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from e2e.live_stack import LiveStack
from e2e.programs import go, running
from stack import ROOT

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
def prometheus(stack: LiveStack, folder: Path, rules: Mapping[str, Any], interval: str) -> Generator[Query]:
    """Prometheus with the scrape job of the documentation and these rules, and kube-state-metrics.

    interval: between two scrapes of an edge; one below 20 s keeps draining edges alive (docs/monitoring.md).
    """
    (job,) = documented("monitoring.md", "scrape_configs")
    for discovery in job["kubernetes_sd_configs"]:
        discovery |= {"kubeconfig_file": str(stack.kubeconfig), "namespaces": {"names": [stack.namespace]}}
    job["scrape_interval"] = interval
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
