from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.toolchain.catalog import BUILDS, NODE_TOOLS, TOOLS
from testbed.toolchain.on_path import version_of

PINS = Path(__file__).parents[4] / "testbed" / "pins"

COMPATIBLE = [
    ("pulumi", "v3.259.0", True),
    ("pulumi", "v3.300.1", True),
    ("pulumi", "3.258.9", False),
    ("pulumi", "v4.0.0", False),
    ("kubectl", "Client Version: v1.33.0", True),
    ("kubectl", "Client Version: v1.35.9\nKustomize Version: v5.7.1", True),
    ("kubectl", "Client Version: v1.32.4-dispatcher", False),
    ("kubectl", "Client Version: v1.36.0", False),
    ("etcd", "etcd Version: 3.6.4\nGit SHA: x\nGo Version: go1.26.8", True),
    ("etcd", "etcd Version: 3.5.9", False),
    ("kube-apiserver", "Kubernetes v1.34.0", True),
    ("kube-apiserver", "Kubernetes v1.35.0", False),
    ("kube-controller-manager", "Kubernetes v1.33.4", False),
    ("kube-scheduler", "Kubernetes v1.34.4+vendor", True),
    ("kwok", "kwok version v0.8.0 go1.26.8 (linux/amd64)", True),
    ("kwok", "kwok version v0.7.0 go1.24.1 (linux/amd64)", False),
]


@pytest.mark.parametrize(("name", "output", "accepted"), COMPATIBLE)
def test_only_compatible_versions_are_used_from_path(
    name: str, output: str, accepted: bool, tmp_path: Path, write_tool: Callable[..., Path]
) -> None:
    tool = next(tool for tool in TOOLS if tool.name == name)
    version, _ = version_of(write_tool(tmp_path, name, output), tool.version_arguments)
    assert version is not None
    assert tool.accepts(version) is accepted


def test_pulumi_comes_with_its_language_host() -> None:
    pulumi = next(tool for tool in TOOLS if tool.name == "pulumi")
    assert {"pulumi-language-python", "pulumi-language-python-exec"} <= set(pulumi.binaries)


def test_kubernetes_publishes_its_servers_for_linux_only() -> None:
    unpublished = {tool.name for tool in TOOLS if tool.asset("darwin", "arm64") is None}
    assert unpublished == {"kube-apiserver", "kube-controller-manager", "kube-scheduler"}


def test_every_tool_has_a_build_and_every_build_a_pinned_module() -> None:
    assert {tool.build for tool in TOOLS + NODE_TOOLS} <= BUILDS.keys()
    builds = [*BUILDS.values(), *(part for build in BUILDS.values() for part in build.beside)]
    for build in builds:
        module = PINS / (build.directory or build.name)
        requires = "\nrequire " in (module / "go.mod").read_text()
        assert (module / "go.sum").exists() or not requires, build.name
