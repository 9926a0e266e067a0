"""Versions that are named in several places agree: the testbed's tools, Go modules, Python packages, CI and README."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from testbed.toolchain import versions

ROOT = Path(__file__).parents[2]
PINS = ROOT / "testbed/pins"
PROVIDER_MODULES = {
    "4.25.0": "v4.0.0-20260115033456-f47bc2d6f199",  # pulumi-kubernetes: releases have no tag of the Go module
    "3.97.0": "v1.285.0",  # pulumi-alicloud: the Terraform provider of the release
}
MODULES = {
    "pulumi": {"github.com/pulumi/pulumi/pkg/v3": f"v{versions.PULUMI_VERSION}"},
    "pulumi-language-python": {"github.com/pulumi/pulumi/sdk/v3": f"v{versions.LANGUAGE_HOST_VERSION}"},
    "pulumi-resource-kubernetes": {
        "github.com/pulumi/pulumi-kubernetes/provider/v4": PROVIDER_MODULES.get(versions.PROVIDER_VERSION)
    },
    "pulumi-resource-alicloud": {
        "github.com/aliyun/terraform-provider-alicloud": PROVIDER_MODULES.get(versions.ALICLOUD_VERSION)
    },
    "kubernetes": {
        "k8s.io/kubernetes": versions.KUBERNETES_VERSION,
        "k8s.io/component-base": versions.KUBERNETES_VERSION.replace("v1.", "v0."),
        "go.etcd.io/etcd/server/v3": versions.ETCD_VERSION,
    },
    "kwok": {"sigs.k8s.io/kwok": versions.KWOK_VERSION},
    "coredns": {"github.com/coredns/coredns": versions.COREDNS_VERSION},
}
PACKAGES = {
    "pulumi": versions.PULUMI_VERSION,
    "pulumi-kubernetes": versions.PROVIDER_VERSION,
    "pulumi-alicloud": versions.ALICLOUD_VERSION,
}
GO = ".".join(map(str, versions.GO_MINIMUM[:2]))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHON = PROJECT["project"]["requires-python"].removeprefix(">=")


@pytest.mark.parametrize("pin", MODULES)
def test_go_modules_have_the_versions_of_the_tools(pin: str) -> None:
    text = (PINS / pin / "go.mod").read_text()
    required = dict(re.findall(r"^(?:require )?\s*(\S+) (v\S+)$", text, re.MULTILINE))
    assert {module: required[module] for module in MODULES[pin]} == MODULES[pin]


def test_kubernetes_modules_have_one_version() -> None:
    replaced = re.findall(r"=> k8s\.io/\S+ (v\S+)", (PINS / "kubernetes/go.mod").read_text())
    assert set(replaced) == {MODULES["kubernetes"]["k8s.io/component-base"]}


def test_python_packages_have_the_versions_of_the_tools() -> None:
    declared = dict(line.split("==") for line in PROJECT["project"]["dependencies"] if "==" in line)
    locked = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert declared == PACKAGES
    assert {name: locked[name] for name in PACKAGES} == PACKAGES


def test_a_newer_provider_may_create_what_exists() -> None:
    """From 4.29 on it rejects the creation of an existing object (pulumi-kubernetes #2926) without the option
    `upsertExistingObjects`, which earlier ones do not have. An srs.conf that returns (A, B, A) is a ConfigMap that was
    kept, and is created again."""
    newer = tuple(int(part) for part in versions.PROVIDER_VERSION.split(".")[:2]) >= (4, 29)
    assert ("upsert_existing_objects=True" in (ROOT / "update/run.py").read_text()) is newer


def test_go_has_one_minimum_version() -> None:
    modules = [*PINS.glob("*/go.mod"), ROOT / "testbed/streaming/go.mod"]
    named = {re.findall(r"^go (\d+\.\d+)", module.read_text(), re.MULTILINE)[0] for module in modules}
    assert named == {GO}
    assert versions.GO_WHEEL_VERSION.startswith(f"{GO}.")


def test_python_has_one_minimum_version() -> None:
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{PYTHON.replace('.', '')}"
    assert PROJECT["tool"]["basedpyright"]["pythonVersion"] == PYTHON


def test_workflows_use_the_versions_of_the_project() -> None:
    used: dict[str, set[str]] = {}
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job.get("steps", []):  # a job that calls another workflow has none
                for key, value in step.get("with", {}).items():
                    if key.endswith("-version"):
                        used.setdefault(key, set()).add(str(value))
    assert used["pulumi-version"] == {versions.PULUMI_VERSION}
    assert used["go-version"] == {GO}
    (python,) = used["python-version"]
    assert [int(part) for part in python.split(".")] >= [int(part) for part in PYTHON.split(".")]


def test_the_readme_names_the_minimum_versions() -> None:
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"Python (\d\.\d+)", readme)) == {PYTHON}
    assert set(re.findall(r"\b3\.\d{3}\b", readme)) == {versions.PULUMI_VERSION.rpartition(".")[0]}
