"""What a plan says about Services, policies and the other objects that are no workloads, and how they are corrected."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import bad_configs
from bad_configs import LOGIN
from cluster.state import LiveState
from model.desired.objects import DesiredObject, Kind
from model.load_balancers.exposed_service import IDENTITY
from model.names import FIELD_MANAGER, HLS_CLAIM
from unit.update.live_objects import planned, rendered, settings, state_after
from update import plan_json, plan_text
from update.object_changes import ObjectChange, correction, differences

SERVICE: tuple[Kind, str] = ("Service", "srs-edge-service")


def changed(manager: str, fields: Any, change: Any, target: tuple[Kind, str] = SERVICE) -> LiveState:
    """The state after an update, and then a change by another field manager.

    fields: that it has set, in the notation of `managedFields`.
    """
    state = state_after(settings())
    live = state.objects[target[0]][target[1]]
    live["metadata"].setdefault("managedFields", []).append(
        {"manager": manager, "operation": "Update", "fieldsV1": fields}
    )
    change(live)
    return state


def only(state: LiveState) -> ObjectChange:
    """The only object that changes."""
    (change,) = [change for change in planned(settings(), state).objects if change.action != "none"]
    return change


def merge(live: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def corrected(state: LiveState, target: tuple[Kind, str] = SERVICE) -> dict[str, Any]:
    """The object after its correction, in which nothing differs any more."""
    item: DesiredObject = rendered(settings()).objects[target]
    live = state.objects[target[0]][target[1]]
    result = merge(live, correction(item, live, list(differences(item, live))))
    assert list(differences(item, result)) == []
    return result


def test_nothing_changes_after_an_update() -> None:
    state = state_after(settings())
    plan = planned(settings(), state)
    assert {change.action for change in plan.objects} == {"none"}
    assert len(plan.objects) > 12
    data = plan_json.document(plan, rendered(settings()), state)["objects"]
    assert {"kind": "NetworkPolicy", "name": "srs-edge", "action": "none", "changes": []} in data


def test_the_contents_of_configurations_and_secrets_are_not_compared() -> None:
    """They are not read; a changed srs.conf has another name, and what becomes of a Secret only the engine knows."""
    hook = {"hook": "http://auth/?key=$(key)"}
    images = {"registry": LOGIN}
    secret = settings(publish=hook, secrets={"key": "hunter2-hunter2"}, images=images)
    plan = planned(secret, state_after(secret))
    assert {change.action for change in plan.objects} == {"none"}
    assert len([change for change in plan.objects if change.kind == "Secret"]) > 1


@pytest.mark.parametrize("target", [SERVICE, ("NetworkPolicy", "srs-origin")])
def test_an_object_that_does_not_exist_is_created(target: tuple[Kind, str]) -> None:
    state = state_after(settings())
    del state.objects[target[0]][target[1]]
    assert only(state) == ObjectChange(*target, "create")


def test_a_key_that_was_added_to_the_selector_is_removed() -> None:
    """The selector is one value for the API server (`mapType: atomic`), so its manager has all of it."""
    state = changed(
        "kubectl-patch",
        {"f:spec": {"f:selector": {}}},
        lambda live: live["spec"]["selector"].update(run="srs-edge-r5"),
    )
    change = only(state)
    assert change.lines == (
        "selector run=srs-edge-r5 is removed (set by kubectl-patch): pods without it have had no connections",
    )
    assert corrected(state)["spec"]["selector"] == {"app": "srs-edge"}
    text = plan_text.text(planned(settings(), state), rendered(settings()), state)
    assert "  Service srs-edge-service: update\n    selector run=srs-edge-r5 is removed" in text


def test_a_port_that_was_added_is_closed_and_node_ports_stay() -> None:
    port = {"name": "extra", "port": 1936, "targetPort": 1935, "protocol": "TCP", "nodePort": 30001}
    state = changed(
        "kubectl-edit",
        {"f:spec": {"f:ports": {'k:{"port":1936,"protocol":"TCP"}': {".": {}, "f:port": {}}}}},
        lambda live: live["spec"]["ports"].append(port),
    )
    assert only(state).lines == ("port 1936 is closed (set by kubectl-edit)",)
    assert [(change.before, change.after) for change in only(state).changes] == [(port, None)]
    ports = corrected(state)["spec"]["ports"]
    assert [(port["port"], port["nodePort"]) for port in ports] == [(1935, 31935), (8080, 30080)]


def test_node_ports_that_the_api_server_has_allocated_stay() -> None:
    """Cloud load balancers send connections to them."""
    desired = settings(loadBalancer=bad_configs.SERVICE)
    live = state_after(desired).services["srs-edge-service"]
    for port in live["spec"]["ports"]:
        port |= {"nodePort": 30000 + port["port"]}
    live["spec"]["ports"][1]["targetPort"] = 9090
    live["spec"]["ports"].append({"name": "extra", "port": 1936, "protocol": "TCP"})
    item = rendered(desired).objects[SERVICE]
    ports = merge(live, correction(item, live, list(differences(item, live))))["spec"]["ports"]
    assert [(port["port"], port["targetPort"], port["nodePort"]) for port in ports] == [
        (1935, 1935, 31935),
        (8080, 8080, 38080),
    ]


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda ports: ports.pop(), "port 8080 is opened"),
        (lambda ports: ports[1].update(targetPort=9090), "ports.8080.targetPort: 9090 -> 8080"),
        (lambda ports: ports[1].update(appProtocol="http"), "ports.8080.appProtocol: removed (set by kubectl-edit)"),
        (
            lambda ports: ports.append({"name": "quic", "port": 8080, "protocol": "UDP", "targetPort": 8080}),
            "port 8080 is closed (set by kubectl-edit)",
        ),
    ],
)
def test_ports_that_were_edited_by_hand_are_put_right(edit: Any, line: str) -> None:
    owned = {'k:{"port":8080,"protocol":"TCP"}': {"f:appProtocol": {}}, 'k:{"port":8080,"protocol":"UDP"}': {".": {}}}
    state = changed("kubectl-edit", {"f:spec": {"f:ports": owned}}, lambda live: edit(live["spec"]["ports"]))
    assert only(state).lines == (line,)
    assert corrected(state)["spec"]["ports"] == state_after(settings()).services["srs-edge-service"]["spec"]["ports"]


def test_a_service_that_lost_all_its_ports_gets_them_back() -> None:
    target: tuple[Kind, str] = ("Service", "socs")
    state = changed("kubectl-edit", {}, lambda live: live["spec"].pop("ports"), target)
    assert [port["port"] for port in corrected(state, target)["spec"]["ports"]] == [1935, 1985]


def test_secret_annotations_are_not_shown() -> None:
    annotations = {"annotations": {"example.com/key": "hunter2"}}
    desired = settings(loadBalancer=bad_configs.SERVICE | annotations).with_secret_keys(["loadBalancer"])
    state = state_after(desired)
    state.services["srs-edge-service"]["metadata"]["annotations"]["example.com/key"] = "hunter3"
    plan = planned(desired, state)
    lines = [line for change in plan.objects for line in change.lines]
    assert lines == ["metadata.annotations.example.com/key: [secret] -> [secret]"]
    assert "hunter" not in json.dumps(plan_json.document(plan, rendered(desired), state))


def test_session_affinity_is_removed_with_its_settings() -> None:
    affinity = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}
    state = changed(
        "some-tool", {"f:spec": {"f:sessionAffinity": {}}}, lambda live: live["spec"].update(copy.deepcopy(affinity))
    )
    assert only(state).lines == (
        "sessionAffinity: removed (set by some-tool)",
        "sessionAffinityConfig: removed",
    )
    assert not affinity.keys() & corrected(state)["spec"].keys()


def test_what_the_api_server_and_controllers_set_stays() -> None:
    """Allocated values, defaults, and labels and annotations of a cloud controller."""
    allocated = {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilyPolicy": "SingleStack"}
    defaults = {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}

    def change(live: dict[str, Any]) -> None:
        live["spec"] |= allocated | defaults | {"ipFamilies": ["IPv4"], "healthCheckNodePort": 30002}
        live["metadata"]["labels"]["service.beta.kubernetes.io/hash"] = "1"
        live["metadata"]["annotations"]["service.beta.kubernetes.io/some"] = "2"
        live["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}

    fields = {
        "f:spec": {f"f:{key}": {} for key in (*allocated, *defaults)},
        "f:metadata": {
            "f:labels": {"f:service.beta.kubernetes.io/hash": {}},
            "f:annotations": {"f:service.beta.kubernetes.io/some": {}},
        },
    }
    state = changed("cloud-controller-manager", fields, change)
    assert {change.action for change in planned(settings(), state).objects} == {"none"}


def test_a_volume_that_its_claim_was_bound_to_stays() -> None:
    def change(live: dict[str, Any]) -> None:
        live["spec"] |= {"volumeName": "pv-1", "volumeMode": "Filesystem"}

    fields = {"f:spec": {"f:volumeName": {}}}
    state = changed("kube-controller-manager", fields, change, ("PersistentVolumeClaim", HLS_CLAIM))
    assert {change.action for change in planned(settings(), state).objects} == {"none"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda spec: spec["groups"][0]["rules"][0].update(keep_firing_for="0s"), None),
        (lambda spec: spec["groups"][0].update(interval="30s"), None),
        (lambda spec: spec["groups"][0]["rules"][0].update({"for": "9h"}), "groups.0.rules.0.for: 9h -> 1m"),
        (lambda spec: spec["groups"].append({"name": "other"}), "groups: "),
        (lambda spec: spec.update(groups=None), "groups: "),
    ],
)
def test_an_operator_may_add_fields_to_its_objects_and_change_none(change: Any, line: str | None) -> None:
    desired = settings(monitoring={"kind": "podMonitor"})
    state = state_after(desired)
    change(state.objects["PrometheusRule"]["srs"]["spec"])
    lines = [line for change in planned(desired, state).objects for line in change.lines]
    assert [found for found in lines if not line or found.startswith(line)] == lines
    assert bool(lines) == bool(line)


def test_a_selector_that_was_removed_is_put_back() -> None:
    state = changed("kubectl-edit", {}, lambda live: live["spec"].pop("selector"))
    assert only(state).lines == ("selector: added",)
    assert corrected(state)["spec"]["selector"] == {"app": "srs-edge"}


def test_what_is_absent_has_its_default() -> None:
    state = state_after(settings())
    del state.services["nginx-origin-service"]["spec"]["type"]
    del state.services["nginx-origin-service"]["spec"]["ports"][0]["protocol"]
    assert {change.action for change in planned(settings(), state).objects} == {"none"}


@pytest.mark.parametrize(
    ("key", "name", "manager", "removed"),
    [
        ("labels", "team", "kubectl-label", True),
        ("labels", "team", "some-tool", True),
        ("labels", "example.com/team", "some-tool", False),
        ("labels", "example.com/team", "kubectl-label", True),
        ("annotations", "note", "kubectl-annotate", True),
        ("annotations", "kubectl.kubernetes.io/last-applied-configuration", "kubectl-client-side-apply", False),
        ("annotations", "srs/aborted", "srs-rollout", False),
        ("annotations", "srs/aborted", "kubectl-annotate", False),
        ("annotations", "pulumi.com/patchForce", "kubectl-annotate", False),
    ],
)
@pytest.mark.parametrize("target", [SERVICE, ("Deployment", "srs-edge-r5-deploy")])
def test_labels_and_annotations_by_hand_are_removed(
    key: str, name: str, manager: str, removed: bool, target: tuple[Kind, str]
) -> None:
    fields = {"f:metadata": {f"f:{key}": {".": {}, f"f:{name}": {}}}}
    state = changed(manager, fields, lambda live: live["metadata"][key].update({name: "x"}), target)
    update = planned(settings(), state)
    found = [line for change in update.objects for line in change.lines]
    found += [line for change in update.changes for line in change.fields if change.workload.name == target[1]]
    assert found == ([f"metadata.{key}.{name}: removed (set by {manager})"] if removed else [])
    assert [change.before for item in update.objects for change in item.changes] == (
        ["x"] if removed and target == SERVICE else []
    )
    if target[0] == "Deployment" and removed:
        (change,) = [change for change in update.changes if change.workload.release == "r5"]
        assert change.action == "update"
        assert [unseen.path[-1] for unseen in change.unseen] == [name]


@pytest.mark.parametrize("manager", [{}, {"manager": FIELD_MANAGER}])
def test_a_manager_that_is_not_known_or_is_this_program_has_no_name(manager: dict[str, Any]) -> None:
    """Both the name and the fields of an entry are optional (Kubernetes API, `ManagedFieldsEntry`)."""
    state = state_after(settings())
    live = state.services["srs-edge-service"]
    live["metadata"]["managedFields"] = [manager]
    live["spec"]["selector"]["run"] = "srs-edge-r5"
    assert only(state).lines == ("selector run=srs-edge-r5 is removed: pods without it have had no connections",)


@pytest.mark.parametrize("live", ["other", None])
@pytest.mark.parametrize(("key", "name"), [("labels", "app"), ("annotations", IDENTITY)])
def test_labels_and_annotations_that_were_changed_or_removed_are_put_right(
    key: str, name: str, live: str | None
) -> None:
    state = state_after(settings())
    found = state.services["srs-edge-service"]["metadata"][key]
    value = found.pop(name)
    if live:
        found[name] = live
    (change,) = only(state).changes
    assert (change.path, change.before, change.after) == (("metadata", key, name), live, value)
    assert corrected(state)["metadata"][key][name] == value


@pytest.mark.parametrize(
    ("name", "edit", "lines"),
    [
        ("srs-edge", lambda rules: [*rules, {"ports": [{"port": 22}]}], ["is closed: port 22 for everyone"]),
        ("srs-edge", lambda rules: [*rules, {}], ["is closed: port any for everyone"]),
        ("srs-edge", lambda rules: [*rules, {"ports": [{"protocol": "UDP"}]}], ["is closed: port any for everyone"]),
        (
            "srs-edge",
            lambda rules: [rules[0] | {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, *rules[1:]],
            [
                "is closed: port 1935 for {ipBlock: {cidr: '10.0.0.0/8'}}",
                "is closed: port 8080 for {ipBlock: {cidr: '10.0.0.0/8'}}",
                "is opened: port 1935 for everyone",
                "is opened: port 8080 for everyone",
            ],
        ),
        ("srs-edge", lambda rules: rules[:1], ["is opened: port 1985 for {podSelector: {}}"]),
        ("nginx-origin", lambda _: None, ["is opened: port 8080 for everyone"]),
        ("srs-demo", lambda _: [{}], ["is closed: port any for everyone"]),
    ],
)
def test_what_a_network_policy_closes_and_opens_is_said(name: str, edit: Any, lines: list[str]) -> None:
    target: tuple[Kind, str] = ("NetworkPolicy", name)

    def change(live: dict[str, Any]) -> None:
        live["spec"]["ingress"] = edit(live["spec"].get("ingress"))

    state = changed("kubectl-patch", {"f:spec": {"f:ingress": {}}}, change, target)
    assert list(only(state).lines) == lines
    desired = rendered(settings()).objects[target].manifest["spec"]
    assert corrected(state, target)["spec"].get("ingress") == desired.get("ingress")


def test_a_changed_config_says_which_ports_a_policy_opens_and_closes() -> None:
    origins = {"to": "origins", "loadBalancer": {"kind": "service", "drainCeiling": "none"}}
    before, after = settings(), settings(publish=origins)

    def lines(now: Any, then: Any) -> list[str]:
        objects = planned(now, state_after(then)).objects
        return [line for change in objects if change.kind == "NetworkPolicy" for line in change.lines]

    assert lines(after, before) == ["is opened: port 1935 for everyone"]
    assert lines(before, after) == ["is closed: port 1935 for everyone"]


def test_objects_that_are_not_declared_any_more_are_deleted_but_claims_stay() -> None:
    deleted = [
        (change.kind, change.name)
        for change in planned(settings(hls={}), state_after(settings())).objects
        if change.action == "delete"
    ]
    assert deleted == [
        ("Service", "nginx-origin-service"),
        ("PodDisruptionBudget", "nginx-origin"),
        ("NetworkPolicy", "nginx-origin"),
    ]


OLD = "srs-edge-r5-0123456789"
TEMPLATE = {"spec": {"volumes": [{"name": "config", "configMap": {"name": OLD}}]}}
"""The pod template of an earlier revision."""


def deleted_configurations(
    change: Callable[[dict[Any, Any]], None] = lambda _objects: None, **fields: Any
) -> list[str]:
    """What is deleted of a stack with an earlier srs.conf of release r5. change: of the live objects."""
    state = state_after(settings())
    objects: dict[Any, Any] = copy.deepcopy(dict(state.objects))
    current = next(name for name in objects["ConfigMap"] if name.startswith("srs-edge-r5-"))
    objects["ConfigMap"][OLD] = copy.deepcopy(objects["ConfigMap"][current])
    change(objects)
    plan = planned(settings(), replace(state, objects=objects, **fields))
    deleted = [change for change in plan.objects if change.action == "delete"]
    assert {change.kind for change in deleted} <= {"ConfigMap"}
    return [change.name for change in deleted]


def test_a_configuration_is_deleted_when_nothing_that_is_kept_mounts_it() -> None:
    assert deleted_configurations() == [OLD]
    owner = {"metadata": {"ownerReferences": [{"uid": "x"}]}, "status": {}}
    kept = owner | {"spec": {"template": {**TEMPLATE, "metadata": {}}}}
    assert not deleted_configurations(lambda objects: objects["ReplicaSet"].update(old=kept))
    revision = owner | {"data": {"spec": {"template": TEMPLATE}}}
    assert not deleted_configurations(lambda objects: objects["ControllerRevision"].update(old=revision))
    pod = {"metadata": {"name": "p", "labels": {"run": "srs-edge-r5"}}, **TEMPLATE}
    assert not deleted_configurations(terminating=(pod,))


def test_configurations_stay_while_it_is_not_known_what_mounts_them_or_whose_they_are() -> None:
    assert not deleted_configurations(lambda objects: objects.pop("ControllerRevision"))
    assert deleted_configurations(lambda objects: objects.pop("Secret")) == [OLD], "previews read no Secrets"
    foreign = {"metadata": {"name": OLD, "labels": {"app": "srs-edge-r5"}}}
    assert not deleted_configurations(lambda objects: objects["ConfigMap"].update({OLD: foreign}))


def test_a_kind_that_must_not_be_read_is_left_out() -> None:
    state = state_after(settings())
    objects = dict(state.objects)
    del objects["NetworkPolicy"]
    plan = planned(settings(), replace(state, objects=objects))
    assert not [change for change in plan.objects if change.kind == "NetworkPolicy"]
