"""What the API server is asked before an update, and what its answer changes in the plan."""

import copy
from dataclasses import replace
from typing import Any

from cluster.admission import Admission, ObjectKey
from cluster.live import Kind, Object
from cluster.state import LiveState
from model.config.stack import StackSettings
from model.names import ORIGIN
from unit.update.live_objects import nothing, planned, rendered, settings, state_after
from unit.update.test_workload_changes import change_of
from update.prediction import Change, admitted
from update.review import reviewed_objects

R5: ObjectKey = ("Deployment", "srs-edge-r5-deploy")
ORIGINS: ObjectKey = ("StatefulSet", ORIGIN)
MIRROR = "mirror.example.com/"


def mirrored(content: Object) -> Object:
    """An object after a policy that writes images with another registry, and adds a label to pods."""
    found = copy.deepcopy(content)
    if "template" in found.get("spec", {}):
        template = found["spec"]["template"]
        template["metadata"]["labels"]["team"] = "video"
        for container in template["spec"]["containers"]:
            container["image"] = MIRROR + container["image"].removeprefix(MIRROR)
    return found


def reviewed(after: StackSettings, state: LiveState) -> LiveState:
    """The state with what a cluster with this policy would store."""
    objects = reviewed_objects(planned(after, state), rendered(after, state), state)
    return replace(state, admission=Admission({key: mirrored(content) for key, content in objects.items()}))


def mirrored_state(after: StackSettings) -> LiveState:
    """The state after an update in a cluster that has had this policy before."""
    state = state_after(after)
    for kind in ("Deployment", "StatefulSet", "ReplicaSet"):
        state.objects[kind].update({name: mirrored(live) for name, live in state.objects[kind].items()})
    return state


def test_only_what_an_update_creates_or_changes_is_reviewed() -> None:
    before, after = settings(), settings(edge__replicas=8)
    state = state_after(before)
    plain = reviewed_objects(planned(before, state), rendered(before, state), state)
    new = {key for key in plain if state.get(*key) is None}
    assert plain.keys() == new, "HLS and the demo stream are new, and nothing else"
    objects = reviewed_objects(planned(after, state), rendered(after, state), state)
    assert objects.keys() - plain.keys() == {
        R5,
        ("Deployment", "srs-edge-r6-deploy"),
        ("PodDisruptionBudget", "srs-edge"),
    }
    assert objects[R5]["spec"]["replicas"] == 6
    assert objects[R5]["metadata"]["uid"] == R5[1], "it is replaced, and not created"
    (created,) = (objects[key] for key in new if key[1] == "srs-demo-deploy")
    assert created["metadata"]["name"] == "srs-demo-deploy"
    assert "uid" not in created["metadata"]


def test_nothing_is_reviewed_without_a_namespace_or_of_a_rejected_plan() -> None:
    assert reviewed_objects(planned(settings(), nothing()), rendered(settings()), nothing()) == {}
    state, after = state_after(settings()), settings(hls={"enabled": True, "storageClass": "other", "size": "1Gi"})
    assert planned(after, state).rejections
    assert reviewed_objects(planned(after, state), rendered(after, state), state) == {}


def test_what_the_cluster_always_changes_is_no_change() -> None:
    state = mirrored_state(settings())
    noisy = planned(settings(), state)
    assert change_of(noisy).action == "roll"
    assert noisy.origins.removed, "this is what an update would do to the origins each time"
    quiet = planned(settings(), reviewed(settings(), state))
    assert change_of(quiet).action == "none"
    assert not quiet.origins.removed
    assert not quiet.origins.fresh


def test_what_the_cluster_changes_from_now_on_is_in_the_plan() -> None:
    state, after = state_after(settings()), settings(edge__replicas=8)
    assert change_of(planned(after, state)).action == "scale"
    change = change_of(planned(after, reviewed(after, state)))
    image = "image ossrs/srs:v4.0.5 -> mirror.example.com/ossrs/srs:v4.0.5 (by an admission policy of the cluster)"
    assert (change.action, change.terminated) == ("roll", 3)
    assert image in change.reasons
    assert "metadata.labels.team: (absent) -> video (by an admission policy of the cluster)" in change.reasons


def test_a_declared_change_and_that_of_the_cluster_are_both_in_the_plan() -> None:
    r5 = {"image": "ossrs/srs:v4.0.271", "weight": 75, "podAnnotations": {"example.com/owner": "video"}}
    after = settings(edge__releases={"r5": r5, "r6": {"image": "ossrs/srs:v4.0.6", "weight": 25}})
    state = mirrored_state(settings())
    change = change_of(planned(after, reviewed(after, state)))
    assert change.reasons[0] == "metadata.annotations.example.com/owner: (absent) -> video"
    assert (
        f"image {MIRROR}ossrs/srs:v4.0.5 -> {MIRROR}ossrs/srs:v4.0.271 (by an admission policy of the cluster)"
        in change.reasons
    )


def test_what_the_cluster_denies_is_rejected() -> None:
    state = replace(state_after(settings()), admission=Admission(denied={R5: "policy 'x' denied request: no"}))
    (problem,) = planned(settings(), state).rejections
    assert str(problem).startswith("srs:kubernetes.namespace: 'live' rejects Deployment srs-edge-r5-deploy: policy 'x'")
    assert problem.reason == "DeniedByAdmission"


def test_what_cannot_be_asked_is_warned_of() -> None:
    new: ObjectKey = ("Deployment", "srs-edge-r9-deploy")
    other: ObjectKey = ("Deployment", "srs-edge-r6-deploy")
    state = replace(state_after(settings()), admission=Admission(unknown=(R5, new, other, ("Service", "socs"))))
    (warning,) = planned(settings(), state).warnings
    assert warning.startswith(
        "it cannot be asked whether policies of the cluster change srs-edge-r5-deploy, srs-edge-r6-deploy: "
    )


def test_a_label_that_the_cluster_adds_to_a_workload_stays() -> None:
    state = state_after(settings())
    live = state.edges[R5[1]]
    live["metadata"]["labels"]["team"] = "video"
    fields = {"f:metadata": {"f:labels": {"f:team": {}}}}
    live["metadata"]["managedFields"].append({"manager": "x", "operation": "Update", "fieldsV1": fields})
    assert change_of(planned(settings(), state)).unseen
    update = planned(settings(), replace(state, admission=Admission({R5: copy.deepcopy(live)})))
    assert (change_of(update).action, change_of(update).unseen) == ("none", ())


def test_a_label_that_the_cluster_adds_to_a_service_stays() -> None:
    state = state_after(settings())
    kind: Kind = "Service"
    service = state.objects[kind]["socs"]
    service["metadata"]["labels"] = service["metadata"].get("labels", {}) | {"team": "video"}
    fields = {"f:metadata": {"f:labels": {"f:team": {}}}}
    service["metadata"]["managedFields"] = [{"manager": "srs", "operation": "Apply", "fieldsV1": fields}]

    def action(now: LiveState) -> str:
        return next(change.action for change in planned(settings(), now).objects if change.name == "socs")

    assert action(state) == "update"
    assert action(replace(state, admission=Admission({(kind, "socs"): copy.deepcopy(service)}))) == "none"


def test_changes_after_admission() -> None:
    def template(**spec: Any) -> Object:
        return {"spec": {"template": {"spec": spec}}}

    path = ("spec", "template", "spec", "nodeName")
    live, declared = template(nodeName="a", hostNetwork=True), Change(path, "a", "b")
    assert admitted([declared], live, None) == [declared], "unknown"
    assert admitted([declared], live, template(nodeName="b", hostNetwork=True)) == [declared]
    undone = template(nodeName="a", hostNetwork=False)
    other = Change(("spec", "template", "spec", "hostNetwork"), True, False)
    assert admitted([declared, other], live, undone) == [other]
    assert admitted([declared], live, template(nodeName="c", hostNetwork=True)) == [
        Change(path, "a", "c", by_admission=True)
    ]
    removed = Change(("spec", "template", "spec", "hostNetwork"), True, None, by_admission=True)
    assert admitted([declared], live, template(nodeName="b")) == [declared, removed]
    by_hand = Change(path, "a", None, "kubectl-edit")
    assert admitted([by_hand], live, template(hostNetwork=True)) == [by_hand]
    whole = Change(("spec", "template"), live["spec"]["template"], {})
    assert admitted([whole], live, {"spec": {}}) == [whole], "its parts are not listed once more"
