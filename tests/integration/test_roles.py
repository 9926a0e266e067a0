"""The documented roles, each used for what it is for: a preview, an update, and `rollout` by an operator.

One stack with what needs permissions of its own: an srs.conf with a secret, the login of a registry, and a PodMonitor.
The tests run in order and build on each other.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.identities import KUBECONFIG, apply_role, is_allowed, kubeconfig_of, run_script, write_stack_file
from integration.test_declared_objects import install_prometheus_kinds
from stack import ROOT, DevStack, eventually, release
from testbed.cluster import EmbeddedCluster

SECRETS = ("key-of-before", "key-of-after", "login-of-before", "login-of-after")


@pytest.fixture(scope="module")
def stack(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """The stack after its first update by an administrator, and the three roles."""
    created = DevStack(tmp_path_factory.mktemp("roles"), cluster.kubeconfig, "roles")
    (created.folder / "bin").symlink_to(ROOT / "bin")
    install_prometheus_kinds(cluster)
    created.config["monitoring"] = {"kind": "podMonitor"}
    created.config["publish"] = {"hook": "http://auth.example.com/publish?key=$(hookKey)"}
    created.config["images"] = {"registry": {"server": "registry.example.com", "username": "puller"}}
    created.releases(r5=release("v4.0.5", 100))
    set_secrets(created, *SECRETS[::2])
    created.must_update()
    for name in ("preview-role.yaml", "update-role.yaml", "operator-role.yaml"):
        apply_role(created, name)
    yield created
    created.clean_up()


def set_secrets(stack: DevStack, hook_key: str, password: str) -> None:
    stack.encrypt("secrets.hookKey", hook_key)
    stack.encrypt("images.registry.password", password)


def kubeconfig_file(stack: DevStack) -> Path:
    return stack.folder / KUBECONFIG


def test_a_preview_needs_no_secret_and_no_log(stack: DevStack) -> None:
    reader = kubeconfig_of(stack, "srs-preview", "srs-preview")
    set_secrets(stack, *SECRETS[1::2])
    stack.config["edge"]["replicas"] = 5
    preview = run_script(stack, "preview.sh", reader)
    assert preview.ok, preview.output
    assert "edge release r5: rolling update" in preview.output
    assert "cannot be checked" not in preview.output, "the identity of the cluster is readable"
    assert "must be allowed" not in preview.output
    assert "orbidden" not in preview.output
    assert not [secret for secret in SECRETS if secret in preview.output]
    log, port_forward = ["pods", "--subresource=log"], ["pods", "--subresource=portforward"]
    assert is_allowed(stack, kubeconfig_file(stack), "get", "pods")
    for denied in (["get", "secrets"], ["get", *log], ["create", *port_forward], ["patch", "deployments"]):
        assert not is_allowed(stack, kubeconfig_file(stack), *denied), denied


def test_an_update_needs_the_namespace_of_the_stack_only(stack: DevStack) -> None:
    updater = kubeconfig_of(stack, "srs-update", "srs-update")
    before = stack.pod_names()
    updated = run_script(stack, "update.sh", updater)
    assert updated.ok, updated.output
    assert "must be allowed" not in updated.output
    assert stack.replicas() == {"r5": 5}
    assert not stack.pod_names() & before, "a changed hook key rolls the edges"
    # A release is added and another one deleted.
    stack.releases(r6=release("v4.0.6", 100))
    updated = run_script(stack, "update.sh", updater)
    assert updated.ok, updated.output
    assert stack.replicas() == {"r6": 5}
    for denied in (
        ["get", "secrets", "-n", "kube-system"],
        ["create", "deployments", "-n", "default"],
        ["create", "pods"],
        ["create", "pods", "--subresource=exec"],
        ["create", "rolebindings"],
        ["patch", "pods"],
    ):
        assert not is_allowed(stack, kubeconfig_file(stack), *denied), denied


def test_an_operator_runs_sees_and_aborts_a_canary(stack: DevStack) -> None:
    kubeconfig_file(stack).write_text(kubeconfig_of(stack, "srs-operator", "srs-update"))
    write_stack_file(stack)
    before = stack.replicas()
    canary = ["run", "--release", "r7", "--image", "ossrs/srs:v4.0.5", "--no-viewers", "--auto"]
    run = rollout(stack, *canary, "--steps", "50", "--pause", "10m")
    eventually(lambda: run.poll() is not None or stack.replicas().get("r7"), 240)
    assert run.poll() is None, run.communicate()
    status = finished(rollout(stack, "status", "--json"))
    assert status["run"]["release"] == "r7"
    assert status["plan"]["workloads"]
    aborted = finished(rollout(stack, "abort", "--yes", "--json"))
    assert aborted["release"] == "r7"
    assert len(aborted["edges"]) >= 1
    output, errors = run.communicate(timeout=240)
    assert run.returncode == 4, output + errors
    assert stack.replicas() == before


def rollout(stack: DevStack, *arguments: str) -> "subprocess.Popen[str]":
    variables = {**os.environ, **stack.variables}
    variables.pop("KUBECONFIG", None)
    return subprocess.Popen(
        [str(ROOT / "bin/rollout"), *arguments, "--stack", stack.stack_name],
        cwd=stack.folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> Any:
    """The JSON that a verb prints."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    return json.loads(output)
