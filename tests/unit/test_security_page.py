"""The tables of docs/security.md say what the manifests, the settings and the workflows have."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from bad_configs import GOOD, NLB, SIX
from model.config.problems import _alternatives
from model.config.stack import StackSettings
from model.desired.objects import DesiredObject
from model.load_balancers.kinds import credentials
from testbed.environment import PROJECT
from unit.update.live_objects import rendered, settings

PAGE = (PROJECT / "docs/security.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the table of a section, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


SOURCES = {
    "[]": "everywhere",
    "[{'podSelector': {}}]": "pods of the namespace",
    "[{'namespaceSelector': {'matchLabels': {'kubernetes.io/metadata.name': 'live'}}}]": "namespace of Prometheus",
}


def ingress(policy: DesiredObject) -> Iterator[list[str]]:
    spec = policy.manifest["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    for rule in spec.get("ingress", []):
        apps = [source.get("podSelector", {}).get("matchLabels", {}).get("app") for source in rule.get("from", [])]
        known = apps == ["srs-edge", "srs-edge-aborted", "srs-origin"]
        source = "edges and origins" if known else SOURCES[str(rule.get("from", []))]
        yield [f"`{policy.name}`", ", ".join(str(port["port"]) for port in rule["ports"]), source]
    if not spec.get("ingress"):
        yield [f"`{policy.name}`", "none", "none"]


def test_the_network_policies() -> None:
    desired = rendered(
        settings(
            edge__releases=SIX,
            tls={"secretName": "live-tls"},
            monitoring={"kind": "annotations", "namespace": "live"},
            origin__image="ossrs/srs:v6.0.191",
            publish={"to": "origins", "exclusive": True, "loadBalancer": NLB | {"healthCheck": {"interval": "2s"}}},
            edge__drain={"timeout": "10m"},
        )
    )
    policies = [item for item in desired.objects.values() if item.kind == "NetworkPolicy"]
    found = [row for policy in policies for row in ingress(policy)]
    assert sorted(found) == sorted(table("Network"))
    assert GOOD["demo"]["enabled"]


def secrets(model: type[BaseModel], path: str = "srs:") -> Iterator[str]:
    """The keys of the config whose values are secret."""
    for name, field in model.model_fields.items():
        key = f"{path}{field.alias or name}"
        for kind in _alternatives(field.annotation):
            if kind is SecretStr or "SecretStr" in str(kind):
                yield key
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secrets(kind, f"{key}.")


def test_the_secrets() -> None:
    rows = "\n".join(row[0] for row in table("Secrets"))
    keys = [*secrets(StackSettings)]
    assert set(keys) == {"srs:secrets", "srs:publish.hook", "srs:images.registry.password"}
    assert all(f"`{key}`" in rows for key in keys)
    assert credentials(), "the key of the cloud"
    assert "key of Alibaba Cloud" in rows


def jobs() -> Iterator[list[Any]]:
    """Each job of the workflows: its name, its environment, and what its token may write."""
    for file in sorted((PROJECT / ".github/workflows").glob("*.yml")):
        workflow: Any = yaml.safe_load(file.read_text())
        for name, job in workflow["jobs"].items():
            permissions: dict[str, str] = job.get("permissions", workflow.get("permissions")) or {}
            environment = re.sub(r"\$\{\{.*?\}\}", "<stack>", job.get("environment", ""))
            writes = sorted(scope for scope, access in permissions.items() if access == "write")
            yield [f"{file.name}: {name}", environment, writes]


@pytest.mark.parametrize("job", [*jobs()], ids=lambda job: job[0])
def test_the_jobs_of_the_workflows(job: list[Any]) -> None:
    name, environment, writes = job
    (row,) = [row for row in table("Pull requests and workflows") if row[0] == name]
    assert row[2].partition("`")[2].partition("`")[0] == environment
    tokens = {
        "": "reads",
        "pull-requests": "writes comments",
        "contents": "writes the stack file",
        "actions": "starts canary.yml",
    }
    assert row[3] == tokens["".join(writes)]


def test_the_page_names_no_other_job() -> None:
    assert len(table("Pull requests and workflows")) == len([*jobs()])
