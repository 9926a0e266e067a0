"""Which fields an apply changes: exactly those that make a workload roll."""

import copy
from typing import Any

import pytest

from unit.update.live_objects import rendered, settings, workload
from update.prediction import applied, apply_changes

RESTART = {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}}
DEBUG = {
    "f:spec": {
        "f:template": {"f:spec": {"f:containers": {'k:{"name":"srs"}': {".": {}, "f:env": {'k:{"name":"DEBUG"}': {}}}}}}
    }
}


def desired(**change: Any) -> dict[str, Any]:
    return {"spec": rendered(settings(**change)).objects["Deployment", "srs-edge-r5-deploy"].manifest["spec"]}


def live(**change: Any) -> dict[str, Any]:
    return workload("srs-edge-r5-deploy", desired(**change)["spec"])


def test_the_same_config_changes_nothing_whatever_the_api_server_has_added() -> None:
    assert apply_changes(desired(), live()) == []


def test_quantities_are_compared_by_value() -> None:
    current = live()
    container = current["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "0.1", "memory": "268435456"}, "limits": {"memory": "256Mi"}}
    assert apply_changes(desired(), current) == []


def test_a_changed_field_is_named_with_both_values() -> None:
    (change,) = apply_changes(desired(edge__replicas=8), live())
    assert str(change) == "spec.replicas: 3 -> 6"


def test_a_manual_change_is_reverted() -> None:
    current = live()
    current["spec"]["template"]["spec"]["containers"][0]["image"] = "ossrs/srs:v4.0.100"
    (change,) = apply_changes(desired(), current)
    assert str(change) == "spec.template.spec.containers.srs.image: ossrs/srs:v4.0.100 -> ossrs/srs:v4.0.5"


def test_fields_that_kubectl_added_vanish_with_the_next_update_and_not_before() -> None:
    for manager, fields, path in (
        ("kubectl-rollout", RESTART, "metadata.annotations.kubectl.kubernetes.io/restartedAt"),
        ("kubectl-set", DEBUG, "spec.containers.srs.env"),
    ):
        current = live()
        current["metadata"]["managedFields"].append(
            {"manager": manager, "operation": "Update", "fieldsV1": copy.deepcopy(fields)}
        )
        assert apply_changes(desired(), current) == [], "no field of ours differs, so nothing is applied"
        replicas, removed = apply_changes(desired(edge__replicas=8), current)
        assert replicas.path == ("spec", "replicas")
        assert str(removed) == f"spec.template.{path}: removed (set by {manager})"


def test_fields_of_controllers_are_left_alone() -> None:
    current = live()
    revision = {"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}}
    current["metadata"]["managedFields"].append(
        {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": revision}
    )
    assert len(apply_changes(desired(edge__replicas=8), current)) == 1


def test_a_field_of_an_earlier_config_is_removed() -> None:
    current = live()
    selector = {"f:spec": {"f:template": {"f:spec": {"f:nodeSelector": {}}}}}
    current["metadata"]["managedFields"].append({"manager": "srs", "operation": "Apply", "fieldsV1": selector})
    (change,) = apply_changes(desired(), current)
    assert str(change) == "spec.template.spec.nodeSelector: removed"


@pytest.mark.parametrize(
    ("field", "value", "changes"),
    [
        ("schedulerName", "default-scheduler", []),
        ("schedulerName", "volcano", ["spec.template.spec.schedulerName: removed"]),
        ("enableServiceLinks", False, ["spec.template.spec.enableServiceLinks: removed"]),
    ],
)
def test_a_removed_field_changes_nothing_if_the_api_server_sets_the_same(
    field: str, value: Any, changes: list[str]
) -> None:
    declared, current = desired(), live()
    declared["spec"]["template"]["spec"].pop(field, None)
    current["spec"]["template"]["spec"][field] = value
    current["metadata"]["managedFields"] = [
        {
            "manager": "srs",
            "operation": "Apply",
            "fieldsV1": {"f:spec": {"f:template": {"f:spec": {f"f:{field}": {}}}}},
        }
    ]
    assert [str(change) for change in apply_changes(declared, current)] == changes


@pytest.mark.parametrize(
    ("image", "policy", "is_changed"),
    [
        ("nginx:1.29", "IfNotPresent", False),
        ("nginx:1.29", "Always", True),
        ("registry.example.com:5000/nginx", "Always", False),
        ("nginx:latest", "IfNotPresent", True),
    ],
)
def test_the_default_pull_policy_depends_on_the_tag(image: str, policy: str, is_changed: bool) -> None:
    current = live()
    declared = desired()
    for item in (current, declared):
        item["spec"]["template"]["spec"]["containers"].append({"name": "shipper", "image": image})
    current["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = policy
    containers = {'k:{"name":"shipper"}': {"f:imagePullPolicy": {}}}
    current["metadata"]["managedFields"] = [
        {
            "manager": "srs",
            "operation": "Apply",
            "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": containers}}}},
        }
    ]
    assert bool(apply_changes(declared, current)) is is_changed


def test_an_item_is_found_by_its_key_and_not_by_another_value() -> None:
    """A=B and B=C: the change of B must not empty A, whose value is B."""
    current, declared = live(), desired()
    current["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "A", "value": "B"},
        {"name": "B", "value": "C"},
    ]
    declared["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "A", "value": "B"},
        {"name": "B", "value": ""},
    ]
    changes = apply_changes(declared, current)
    result = applied(current, changes)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert result == [{"name": "A", "value": "B"}, {"name": "B", "value": ""}]


def test_a_mount_is_found_by_its_path() -> None:
    current, declared = live(), desired()
    container = current["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [*container["volumeMounts"], {"name": "tmp", "mountPath": "/cache"}]
    mounts = {"f:volumeMounts": {'k:{"mountPath":"/cache"}': {".": {}}}}
    containers = {"f:containers": {'k:{"name":"srs"}': mounts}}
    current["metadata"]["managedFields"] = [
        {"manager": "srs", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {"f:spec": containers}}}}
    ]
    result = applied(current, apply_changes(declared, current))
    paths = [mount["mountPath"] for mount in result["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]]
    assert "/cache" not in paths
    assert "/tmp" in paths
