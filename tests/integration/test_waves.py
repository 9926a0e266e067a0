"""One change through several stacks, as docs/waves.md describes it: `rollout run` for each, and stacks that share their
releases. A namespace of its own stands for the cluster of each."""

import copy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_operator import Operator
from stack import ROOT, DevStack, release
from testbed.cluster import EmbeddedCluster

IMAGE = ("--release", "r6", "--image", "ossrs/srs:v4.0.6")
RUN = ("run", *IMAGE, "--no-viewers", "--auto", "--commit", "--steps", "100", "--pause", "1s")


def write_project(folder: Path, edge: dict[str, Any]) -> None:
    """Pulumi.yaml with the edges of all stacks."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    project["config"]["srs:edge"]["default"] = edge
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))


@pytest.fixture
def regions(cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[dict[str, Operator]]:
    """Two stacks with the same edges, in one repository."""
    eu = DevStack(tmp_path, cluster.kubeconfig, "wave-eu", "eu")
    us = copy.copy(eu)
    us.stack_name, us.namespace, us.config = "us", f"{eu.namespace}-us", copy.deepcopy(eu.config)
    us.config["kubernetes"]["namespace"] = us.namespace
    (tmp_path / "Pulumi.yaml").unlink()
    edge = eu.config["edge"] | {"releases": {"r5": release("v4.0.5", 100)}, "rolloutTimeout": "20s"}
    write_project(tmp_path, edge)
    stacks = (eu, us)
    for stack in stacks:
        del stack.config["edge"]
        stack.must_update()
    created = {stack.stack_name: Operator(stack) for stack in stacks}
    created["eu"].commit_first("Two regions", "Pulumi.yaml", "Pulumi.us.yaml")
    yield created
    for stack in stacks:
        stack.clean_up()


def test_a_wave_stops_at_the_stack_that_fails_and_goes_on_from_there(
    regions: dict[str, Operator], tmp_path_factory: pytest.TempPathFactory
) -> None:
    eu, us = regions["eu"], regions["us"]
    assert eu.stack.replicas() == us.stack.replicas() == {"r5": 4}
    us.stack.kubectl("create", "quota", "full", "--hard=pods=5")  # one origin and four edges

    # for stack in eu us; do rollout run …; done
    eu.run(*RUN)
    us.run(*RUN, code=4)
    assert eu.stack.replicas() == {"r5": 0, "r6": 4}
    assert {name: count for name, count in us.stack.replicas().items() if count} == {"r5": 4}
    assert eu.edge()["releases"]["r6"]["weight"] == 100
    assert us.edge()["releases"].keys() == {"r5"}, "its own change is reverted"

    # Where the wave is, in the checkout of another operator, without what was written here.
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "checkout"
    shutil.copytree(eu.stack.folder, elsewhere, symlinks=True, ignore=shutil.ignore_patterns("backend"))
    first = eu.git("rev-list", "--max-parents=0", "HEAD").strip()
    subprocess.run(["git", "checkout", "--quiet", first, "--", "."], cwd=elsewhere, check=True)
    for operator, serving in ((eu, {"r6": 100}), (us, {"r5": 100})):
        status = operator.json("status", "--no-plan", folder=elsewhere)
        assert {item["name"]: item["actualPercent"] for item in status["releases"] if item["ready"]} == serving
        assert status["run"] is None

    us.stack.kubectl("delete", "quota", "full")
    us.run(*RUN)
    assert us.stack.replicas() == {"r5": 0, "r6": 4}

    # The stacks share their edges again.
    own = {name: regions[name].edge() for name in regions}
    assert own["eu"]["releases"] == own["us"]["releases"]
    write_project(eu.stack.folder, own["eu"])
    for operator in regions.values():
        document = yaml.safe_load(operator.file.read_text())
        del document["config"]["srs:edge"]
        operator.file.write_text(yaml.safe_dump(document))
        status = operator.json("status")
        assert {workload["action"] for workload in status["plan"]["workloads"]} == {"none"}

    # Revert all of it.
    for operator in regions.values():
        operator.run("promote", "--release", "r5", "--yes", "--commit")
        assert operator.stack.replicas() == {"r5": 4, "r6": 0}
