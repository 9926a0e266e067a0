"""What belongs to a stack: its cluster, its namespace and its objects."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.live import Kind
from cluster.state import LiveState
from model.config.stack import StackSettings
from unit.update.live_objects import STACK, metadata, nothing, planned, rendered, settings, state_after, workload
from update import plan_json
from update.ownership import Binding, Owner, foreign_owner, own_state
from update.plan import UpdatePlan


def only(update: UpdatePlan) -> str:
    (problem,) = update.rejections
    return str(problem)


# A different cluster or namespace, and foreign objects.

BOUND = Binding("c1", "uid", "live", True)


def kubernetes(**change: Any) -> StackSettings:
    config = {"kubeconfig": "k", "clusterId": "c1", "namespace": "live"}
    return settings(kubernetes=config | change)


@pytest.mark.parametrize(
    ("change", "uid", "message"),
    [
        ({"namespace": "other"}, "uid", "srs:kubernetes.namespace: 'other' must stay 'live': the stack runs there"),
        ({"clusterId": "c2"}, "uid", "srs:kubernetes.clusterId: 'c2' must stay 'c1', even if it is wrong: it"),
        ({"createNamespace": False}, "uid", "srs:kubernetes.createNamespace: false must stay true: the stack has"),
        (
            {},
            "other",
            "srs:kubernetes.kubeconfig: 'k' leads to another cluster (UID of kube-system other) than the one that the "
            "stack runs in (uid)",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_stack_stays_in_its_cluster_and_namespace(change: dict[str, Any], uid: str, message: str) -> None:
    desired = kubernetes(**change)
    live = state_after(kubernetes())
    update = planned(desired, LiveState(uid, live.namespace, live.objects, live.confs), BOUND)
    assert only(update).startswith(message)
    assert update.binding == BOUND, "a rejected update keeps the binding"


def test_a_cluster_whose_identity_must_not_be_read_is_a_warning() -> None:
    live = state_after(kubernetes())
    update = planned(kubernetes(), LiveState(None, live.namespace, live.objects, live.confs), BOUND)
    assert not update.rejections
    assert "the identity of the cluster cannot be checked" in update.warnings[0]
    assert replace(update.binding, stacks=()) == BOUND, "the UID of the last update is kept"
    first = planned(kubernetes(), LiveState(None)).binding
    assert first == Binding("c1", "", "live", True, (STACK,)), "the next update may bind it to the UID"


OUTPUT = {"clusterId": "c1", "clusterUid": "uid", "namespace": "live", "createdNamespace": True}


def test_a_binding_survives_the_stack_outputs() -> None:
    bound = replace(BOUND, stacks=("acme/srs/old", STACK))
    assert bound.to_output() == OUTPUT | {"stacks": ["acme/srs/old", STACK]}
    assert Binding.from_output(bound.to_output()) == bound
    assert Binding.from_output(OUTPUT) == BOUND, "an earlier version wrote no names"
    assert [Binding.from_output(value) for value in (None, {}, "x")] == [None] * 3


@pytest.mark.parametrize(
    ("namespace", "owner"),
    [
        ({"metadata": {"name": "live"}}, "of another application"),
        ({"metadata": metadata("live", **{"srs/stack": "organization/srs/other"})}, "of stack organization/srs/other"),
        ({"metadata": {"name": "live", "annotations": {"meta.helm.sh/release-name": "x"}}}, "of Helm release x"),
    ],
)
def test_a_namespace_of_others_is_never_owned(namespace: Any, owner: str) -> None:
    state = LiveState("uid", namespace)
    assert only(planned(kubernetes(), state)) == (
        f"srs:kubernetes.createNamespace: true cannot create namespace live, which exists ({owner}). Set "
        "createNamespace: false, which uses it and never deletes it, or choose another namespace"
    )
    assert not planned(kubernetes(createNamespace=False), state).rejections
    assert only(planned(kubernetes(createNamespace=False), nothing())) == (
        "srs:kubernetes.createNamespace: false needs namespace live to exist; create it, or set createNamespace: true"
    )


def fields(manager: str, *names: str, **more: str) -> dict[str, Any]:
    return {"manager": manager, "fieldsV1": {name: {} for name in names}, **more}


BY_HAND = Owner("created with kubectl", by_hand=True)
UNKNOWN = Owner("of another application")


@pytest.mark.parametrize(
    ("found", "owner"),
    [
        ({"annotations": {"srs/stack": STACK, "meta.helm.sh/release-name": "x"}}, None),
        ({"annotations": {"pulumi.com/patchFieldManager": "srs", "meta.helm.sh/release-name": "x"}}, None),
        ({"annotations": {"pulumi.com/patchFieldManager": "theirs"}}, UNKNOWN),
        ({"annotations": None, "labels": None}, UNKNOWN),
        ({"labels": {"app.kubernetes.io/managed-by": "Kustomize"}}, Owner("managed by Kustomize")),
        ({"ownerReferences": [{"kind": "Deployment", "name": "d"}]}, Owner("of Deployment d")),
        ({"managedFields": [fields("kubectl-create", "f:spec")]}, BY_HAND),
        ({"managedFields": [fields("before-first-apply", "f:data")]}, BY_HAND),
        ({"managedFields": [fields("kubectl", "f:spec"), fields("theirs", "f:metadata")]}, BY_HAND),
        ({"managedFields": [fields("kubectl", "f:spec"), fields("theirs", "f:spec", subresource="scale")]}, BY_HAND),
        ({"managedFields": [fields("kubectl", "f:spec"), fields("kube-controller-manager", "f:spec")]}, BY_HAND),
        ({"managedFields": [fields("kube-scheduler", "f:spec")]}, UNKNOWN),
        (
            {"managedFields": [{}, fields("theirs", "f:spec"), fields("kubectl", "f:spec")]},
            Owner("managed by kubectl, theirs"),
        ),
    ],
)
def test_whom_an_object_belongs_to(found: Any, owner: Owner | None) -> None:
    assert foreign_owner({"metadata": found}, [STACK]) == owner


def test_workloads_of_others_are_no_releases() -> None:
    """Such as the article's edges, applied by hand under another name; they crash."""
    state = state_after(kubernetes(), ready={"r6": 0})
    expected = planned(kubernetes(), state)
    spec = {"replicas": 3, "template": {"metadata": {"labels": {"app": "srs-edge"}}, "spec": {}}}
    theirs = workload("srs-edge-blue-deploy", spec, ready=1)
    theirs["metadata"]["annotations"] = {}
    objects = {**state.objects, "Deployment": {**state.objects["Deployment"], "srs-edge-blue-deploy": theirs}}
    state = replace(state, objects=objects)
    update = planned(kubernetes(), state)
    assert replace(update, foreign_edges={}) == expected, "no foreign object is scaled, or announced as deleted"
    shares = [
        item.get("sharePercent")
        for item in plan_json.document(update, rendered(kubernetes(), state), state)["workloads"]
    ]
    assert shares[:2] == [{"before": 75, "after": 60}, {"before": 0, "after": 20}], "but viewers reach theirs, too"


def test_foreign_autoscalers_and_revisions_are_seen() -> None:
    """What another stack scales, and which pods exist, decides what an update may do; nothing else of it does."""
    theirs: dict[str, Any] = {"x": {"metadata": metadata("x", **{"srs/stack": "acme/srs/other"})}}
    kinds: tuple[Kind, ...] = ("HorizontalPodAutoscaler", "ScaledObject", "ReplicaSet", "ControllerRevision")
    seen = own_state(rendered(settings()), LiveState(objects=dict.fromkeys((*kinds, "Deployment"), theirs)), [STACK])
    assert seen.objects == dict.fromkeys(kinds, theirs) | {"Deployment": {}}


def test_objects_of_an_earlier_version_belong_to_the_stack() -> None:
    state = state_after(kubernetes())
    for kind, objects in state.objects.items():
        for item in objects.values() if kind != "ReplicaSet" else []:
            del item["metadata"]["annotations"]["srs/stack"]
            item["metadata"]["annotations"]["pulumi.com/patchFieldManager"] = "srs"
    assert not planned(kubernetes(), state).rejections


def test_a_renamed_stack_keeps_its_objects_also_after_an_interrupted_update() -> None:
    state = state_after(settings())
    for name in ("socs", "srs-edge-service"):
        state.objects["Service"][name]["metadata"]["annotations"]["srs/stack"] = "acme/srs/old"
    bound = replace(BOUND, cluster_id="testbed")
    assert "of stack acme/srs/old" in only(planned(settings(), state, bound))
    renamed = replace(bound, stacks=("acme/srs/old",))
    update = planned(settings(), state, renamed)
    assert not update.rejections
    assert update.binding.stacks == ("acme/srs/old", STACK)
    assert not planned(settings(), state, Binding.from_output(update.binding.to_output())).rejections
