"""Which fields an apply changes: exactly those that make a workload roll."""

import copy
from typing import Any

import pytest

from model.config.problems import REDACTED
from unit.update.live_objects import rendered, settings, workload
from update.prediction import EARLIER, Change, applied, apply_changes, masked, unseen_changes

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
    assert change == Change(("spec", "template", "spec", "nodeSelector"), "", None, EARLIER)
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


NAMED = [{"name": "a", "v": 1}, {"name": "b", "v": 2}]


@pytest.mark.parametrize(
    ("declared", "current", "lines"),
    [
        ({"f": "x" * 60}, {}, [f"spec.f: (absent) -> {'x' * 60}"]),
        ({"f": "x" * 61}, {"f": True}, [f"spec.f: true -> {'x' * 57}..."]),
        ({"m": {"k": 1, "none": None}}, {}, ["spec.m.k: (absent) -> 1"]),
        ({"l": NAMED}, {"l": [{"name": "x"}, {"name": "a", "v": 3}]}, ["spec.l.a.v: 3 -> 1", "spec.l.b: added"]),
        ({"l": [1, 2]}, {"l": [1]}, ["spec.l: [1] -> [1, 2]"]),
        ({"l": [1, 2]}, {"l": [1, 3]}, ["spec.l.1: 3 -> 2"]),
        ({"l": [{"name": "a"}] * 2}, {"l": [{"name": "a"}, {"name": "b"}]}, ["spec.l.1.name: b -> a"]),
        ({"l": ["a"]}, {}, ["spec.l: (absent) -> ['a']"]),
        ({"a": {}, "b": [], "c": "", "d": 0, "e": False}, {}, []),
        ({"f": ""}, {"f": "x"}, ["spec.f: x -> "]),
        ({"requests": {"cpu": "0.5"}, "limits": {"cpu": 2}}, {"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}}, []),
        ({"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "1024Mi"}}, []),
        ({"sizeLimit": "1Gi"}, {}, ["spec.sizeLimit: (absent) -> 1Gi"]),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, ["spec.limits.cpu: 2 -> 1"]),
        ({"size": "1Gi"}, {"size": "1024Mi"}, ["spec.size: 1024Mi -> 1Gi"]),
    ],
)
def test_fields_are_compared_as_the_api_server_keeps_them(declared: Any, current: Any, lines: list[str]) -> None:
    before = {"metadata": {}, "spec": current}
    changes = apply_changes({"spec": declared}, before)
    assert [str(change) for change in changes] == lines
    assert apply_changes({"spec": declared}, applied(before, changes)) == []


def managed(manager: str, fields: Any, operation: str = "Apply", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


@pytest.mark.parametrize(
    ("entry", "removed"),
    [
        (managed("srs", {"f:spec": {"f:old": {}}}), "spec.old: removed"),
        (managed("srs", {"f:spec": {"f:old": {}}}, "Update"), None),
        (managed("srs-2", {"f:spec": {"f:old": {}}}), None),
        (managed("srs", {"f:spec": {"f:old": {}}}, subresource="status"), None),
        (managed("srs", {"f:metadata": {"f:labels": {"f:old": {}}}}), None),
        (managed("srs", {"f:spec": {".": {}, "f:set": {"v:x": {}}, "f:empty": {}}}), None),
        (managed("srs", {"f:spec": {"f:ports": {'k:{"port":1,"protocol":"TCP"}': {}}}}), None),
        (managed("srs", {"f:spec": {"f:ports": {'k:{"port":1,"protocol":"UDP"}': {}}}}), "spec.ports.1: removed"),
        (managed("srs", {"f:spec": {"f:ports": {'k:{"port":7,"protocol":"TCP"}': {}}}}), "spec.ports.7: removed"),
        (managed("srs", {"f:spec": {"f:ports": {'k:{"name":"x"}': {}}}}), "spec.ports.x: removed"),
        (managed("srs", {"f:spec": {"f:gone": {'k:{"name":"a"}': {}}}}), "spec.gone: removed"),
        (managed("kubectl-edit", {"f:spec": {"f:old": {}}}, "Update"), "spec.old: removed (set by kubectl-edit)"),
        (managed("before-first-apply", {"f:spec": {"f:old": {}}}), "spec.old: removed (set by before-first-apply)"),
        (managed("helm", {"f:spec": {"f:old": {}}}), None),
        ({"manager": "srs", "operation": "Apply"}, None),
    ],
)
def test_fields_that_are_not_declared_are_removed_if_the_provider_absorbs_their_manager(
    entry: Any, removed: str | None
) -> None:
    ports = {"ports": [{"port": 1}], "set": ["x"]}
    current = {"metadata": {"managedFields": [{}, entry]}, "spec": {**ports, "old": "x", "empty": {}, "other": 1}}
    changes = apply_changes({"spec": {**ports, "other": 2}}, current)
    assert [str(change) for change in changes] == ["spec.other: 1 -> 2", *([removed] if removed else [])]
    assert ("old" in applied(current, changes)["spec"]) is (not removed or "old" not in removed)


@pytest.mark.parametrize(
    ("declared", "current", "fields", "lines"),
    [
        (
            {"a": 1},
            [{"port": 1}],
            {'k:{"port":1,"protocol":"TCP"}': {}},
            ["spec.f.a: (absent) -> 1", "spec.f.1: removed"],
        ),
        (["x"], {"a": 1}, {"f:a": {}}, ["spec.f: {a: 1} -> ['x']", "spec.f.a: removed"]),
    ],
)
def test_a_value_of_another_type_is_predicted_too(declared: Any, current: Any, fields: Any, lines: list[str]) -> None:
    """By `podPatch`, for example; the API server rejects it."""
    metadata = {"managedFields": [managed("srs", {"f:spec": {"f:f": fields}})]}
    changes = apply_changes({"spec": {"f": declared}}, {"metadata": metadata, "spec": {"f": current}})
    assert [str(change) for change in changes] == lines


def test_the_provider_does_not_see_what_becomes_empty() -> None:
    becomes_empty, set_again = Change(("spec", "paused"), True, False), Change(("spec", "replicas"), 0, 1)
    removed = Change(("spec", "old"), "", None, "kubectl")
    assert unseen_changes([becomes_empty, set_again, removed]) == [becomes_empty]


def test_values_that_may_be_secret_are_not_shown() -> None:
    image = Change(("spec", "template", "spec", "containers", "srs", "image"), "a", "b")
    assert masked(image) == image
    path = ("spec", "template", "spec", "containers", "srs", "env", "KEY")
    assert masked(Change(path, "a", "b")) == Change(path, REDACTED, REDACTED)
    assert masked(Change(path, None, "b", "kubectl")) == Change(path, None, REDACTED, "kubectl")


def test_items_are_changed_by_their_keys() -> None:
    live_object = {"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2}], "args": ["x", "y"]}}
    changes = [
        Change(("spec", "ports", "2"), "", None, "kubectl"),
        Change(("spec", "ports", "a", "port"), 1, 3),
        Change(("spec", "ports", "gone"), "", None, "kubectl"),
        Change(("spec", "ports", "b"), None, {"name": "b"}),
        Change(("spec", "args", "1"), "", None, "kubectl"),
        Change(("spec", "new", "deep"), None, 1),
        Change(("spec", "absent"), "", None, "kubectl"),
    ]
    assert applied(live_object, changes) == {
        "spec": {"ports": [{"port": 3, "name": "a"}, {"name": "b"}], "args": ["x"], "new": {"deep": 1}}
    }
    assert live_object["spec"]["args"] == ["x", "y"], "the live object stays as it is"
