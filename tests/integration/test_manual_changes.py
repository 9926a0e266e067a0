"""Manual changes of objects that are no workloads: the preview reports them, and the update removes them."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from stack import DevStack
from testbed.cluster import EmbeddedCluster

KINDS = ("service", "networkpolicy", "pdb", "serviceaccount", "deployment")


@pytest.fixture(scope="module")
def stack(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A stack after its first update."""
    created = DevStack(tmp_path_factory.mktemp("manual"), cluster.kubeconfig, "manual-changes")
    created.must_update()
    yield created
    created.clean_up()


def specs(stack: DevStack) -> dict[str, Any]:
    """What the API server has of the stack's objects, without what changes by itself."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        for item in stack.get(kind)["items"]:
            metadata = item["metadata"]
            annotations = copy.deepcopy(metadata.get("annotations", {}))
            annotations.pop("deployment.kubernetes.io/revision", None)
            found[f"{kind}/{metadata['name']}"] = {
                "labels": metadata.get("labels"),
                "annotations": annotations,
                **{key: value for key, value in item.items() if key not in ("metadata", "status")},
            }
    return found


def patch(stack: DevStack, target: str, content: Any, form: str = "merge") -> None:
    stack.kubectl("patch", target, f"--type={form}", "-p", json.dumps(content))


def test_a_manual_change_is_announced_and_removed(stack: DevStack) -> None:
    before = specs(stack)
    edge = "service/srs-edge-service"
    patch(stack, edge, {"spec": {"selector": {"run": "srs-edge-r5"}, "sessionAffinity": "ClientIP"}})
    port = {"name": "extra", "port": 1936, "targetPort": 1935, "protocol": "TCP"}
    patch(stack, edge, [{"op": "add", "path": "/spec/ports/-", "value": port}], "json")
    patch(stack, "service/srs-origin-service", {"spec": {"sessionAffinity": "ClientIP"}})
    rule = {"ports": [{"port": 22, "protocol": "TCP"}]}
    patch(stack, "networkpolicy/srs-origin", [{"op": "add", "path": "/spec/ingress/-", "value": rule}], "json")
    patch(stack, "networkpolicy/srs-edge", {"spec": {"ingress": []}})
    patch(stack, "pdb/srs-edge", {"spec": {"minAvailable": 1}})
    for target in (edge, "networkpolicy/srs-edge", "deployment/srs-edge-r5-deploy", "serviceaccount/srs-origin"):
        stack.kubectl("label", target, "team=video")
    stack.kubectl("annotate", edge, "note=manual")

    preview = stack.preview()
    for line in (
        "selector run=srs-edge-r5 is removed (set by kubectl-patch)",
        "port 1936 is closed (set by kubectl-patch)",
        "sessionAffinity: removed (set by kubectl-patch)",
        "is closed: port 22 for everyone",
        "is opened: port 1935 for everyone",
        "minAvailable: 1 -> ",
        "metadata.labels.team: removed (set by kubectl-label)",
        "metadata.annotations.note: removed (set by kubectl-annotate)",
        "edge release r5: update without a restart of its pods",
    ):
        assert line in preview.output, f"{line}\n{preview.output}"

    pods = stack.pod_names()
    stack.must_update()
    assert specs(stack) == before
    assert stack.pod_names() == pods
    assert "(set by kubectl" not in stack.preview().output


def test_a_foreign_secret_is_not_overwritten(
    cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stack = DevStack(tmp_path_factory.mktemp("foreign"), cluster.kubeconfig, "foreign-secret")
    try:
        stack.config["kubernetes"]["createNamespace"] = False
        stack.kubectl("create", "namespace", stack.namespace)
        stack.kubectl("create", "secret", "generic", "srs-registry", "--from-literal=mine=1")
        stack.config["images"] = {"registry": {"server": "registry.example.com", "username": "u", "password": "p"}}
        stack.encrypt("images.registry.password", "hunter2")
        update = stack.update()
        assert not update.ok
        assert "Secret srs-registry (created with kubectl)" in update.output, update.output
        assert stack.get("secret", "srs-registry")["data"].keys() == {"mine"}
    finally:
        stack.clean_up()
