"""What a plan rejects and warns about, and the order of its steps."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from cluster.aborted import abort_mark
from cluster.live import Kind
from cluster.state import LiveState
from model.names import ABORTED_ANNOTATION
from model.settings.stack import StackSettings
from unit.update.live_objects import STACK, metadata, nothing, settings, state_after, workload
from update import report
from update.autoscaling import keep_autoscaled_replicas
from update.order import edge_order, ready_edges
from update.ownership import Binding
from update.plan import UpdatePlan, plan
from update.workload_changes import WorkloadChange

R5 = {"image": "ossrs/srs:v4.0.6", "weight": 75}
R6 = {"image": "ossrs/srs:v4.0.6", "weight": 25}


def planned(desired: StackSettings, state: LiveState, bound: Binding | None = None) -> UpdatePlan:
    return plan(desired, state, STACK, bound)


def paused(weight: int = 75) -> StackSettings:
    return settings(edge__releases={"r5": R5 | {"weight": weight, "paused": True}, "r6": R6 | {"weight": 100 - weight}})


def only(update: UpdatePlan) -> str:
    (problem,) = update.rejections
    return str(problem)


# Aborted releases.


def aborted(state: LiveState, release: str) -> LiveState:
    """The state after `rollout abort` of a release."""
    state = copy.deepcopy(state)
    deployment = state.edges[f"srs-edge-{release}-deploy"]
    deployment["metadata"]["annotations"][ABORTED_ANNOTATION] = abort_mark(deployment)
    deployment["spec"]["paused"] = True
    return state


def test_an_aborted_release_is_rejected_until_it_is_changed() -> None:
    canary = {"r5": R5, "r6": R6}
    state = aborted(state_after(settings(edge__releases=canary)), "r6")
    assert only(planned(settings(edge__releases=canary), state)) == (
        "srs:edge.releases.r6.weight: 25 must be 0, because the release was aborted and receives no new viewers "
        "(`rollout abort`). Or change its image or its config, or take it back: rollout resume --release r6"
    )
    for r6 in (R6 | {"weight": 0}, R6 | {"image": "ossrs/srs:v4.0.7"}, None):
        desired = settings(edge__releases={"r5": R5} | ({"r6": r6} if r6 else {}))
        assert not planned(desired, state).rejections, r6


def test_the_edges_of_an_aborted_release_serve_nobody_and_are_removed_at_once() -> None:
    state = aborted(state_after(settings(edge__releases={"r5": R5, "r6": R6})), "r6")
    assert ready_edges(state) == {"r5": 3, "r6": 0}
    update = planned(settings(edge__releases={"r5": R5, "r6": R6 | {"weight": 0}}), state)
    assert len(update.steps) == 1, "the other releases need not be ready before"


# Paused releases.


def test_paused_is_rejected_on_a_release_that_does_not_exist() -> None:
    assert only(planned(paused(), nothing())) == (
        "srs:edge.releases.r5.paused: true must be false on a release that does not exist yet: it would have no pods"
    )


def test_paused_is_rejected_together_with_a_change_of_replicas() -> None:
    assert "(now 3, desired 1)" in only(planned(paused(weight=25), state_after(paused())))


def test_paused_is_accepted_on_a_release_that_keeps_its_replicas() -> None:
    update = planned(paused(), state_after(settings(edge__releases={"r5": R5, "r6": R6})))
    assert not update.rejections
    assert [edge.release for edge in update.paused] == ["r5"]
    assert not any(edge.release == "r5" for step in update.steps for edge in step.awaited)


@pytest.mark.parametrize(
    ("before", "after", "rejected"),
    [
        ({"r5": 2, "r6": 1}, {"r5": 1, "r6": 1, "r7": 5}, False),  # r7 is awaited
        ({"r5": 3, "r6": 1}, {"r5": 2, "r6": 1}, True),
        ({"r5": 4, "r6": 1}, {"r5": 3, "r6": 1}, True),
        ({"r4": 1, "r5": 3, "r6": 1}, {"r5": 3, "r6": 1}, True),  # r4 is removed
        ({"r5": 3, "r6": 1}, {"r5": 3, "r6": 1}, False),
    ],
)
def test_a_paused_release_that_is_not_ready_replaces_no_edge(
    before: dict[str, int], after: dict[str, int], rejected: bool
) -> None:
    def with_weights(weights: dict[str, int]) -> dict[str, Any]:
        releases = {name: R5 | {"weight": weight} for name, weight in weights.items()}
        return {"edge__replicas": sum(weights.values()), "edge__releases": releases}

    state = state_after(settings(**with_weights(before)), ready={"r6": 0})
    pausing = with_weights(after)
    pausing["edge__releases"]["r6"]["paused"] = True
    if not rejected:
        assert not planned(settings(**pausing), state).rejections
        return
    lost = "r4" if "r4" in before else "r5"
    assert only(planned(settings(**pausing), state)) == (
        "srs:edge.releases.r6.paused: true must be false while only 0 of 1 edges are ready: ready edges of "
        f"{lost} would be removed before others replace them"
    )


# Another cluster, another namespace, objects of others.

BOUND = Binding("c1", "uid", "live", True)


def kubernetes(**change: Any) -> StackSettings:
    config = {"kubeconfig": "k", "clusterId": "c1", "namespace": "live"}
    return settings(kubernetes=config | change)


@pytest.mark.parametrize(
    ("change", "uid", "message"),
    [
        ({"namespace": "other"}, "uid", "srs:kubernetes.namespace: 'other' must stay 'live'"),
        ({"clusterId": "c2"}, "uid", "srs:kubernetes.clusterId: 'c2' must stay 'c1'"),
        ({"createNamespace": False}, "uid", "srs:kubernetes.createNamespace: false must stay true"),
        ({}, "other", "srs:kubernetes.kubeconfig: 'k' leads to another cluster"),
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
    assert update.binding == BOUND, "the UID of the last update is kept"


def test_a_binding_survives_the_stack_outputs() -> None:
    assert Binding.from_output(BOUND.to_output()) == BOUND
    assert Binding.from_output(None) is None


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
    message = only(planned(kubernetes(), state))
    assert "createNamespace: true cannot create namespace live" in message
    assert f"which exists ({owner}). Set createNamespace: false" in message
    assert not planned(kubernetes(createNamespace=False), state).rejections
    assert "needs namespace live to exist" in only(planned(kubernetes(createNamespace=False), nothing()))


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
    assert replace(update, foreign_edges={}) == expected, "nothing of others is scaled, or announced as deleted"
    shares = [item.get("sharePercent") for item in report.as_json(update, kubernetes(), state)["workloads"]]
    assert shares[:2] == [{"before": 75, "after": 60}, {"before": 0, "after": 20}], "but viewers reach theirs, too"


def test_objects_of_an_earlier_version_belong_to_the_stack() -> None:
    state = state_after(kubernetes())
    for kind, objects in state.objects.items():
        for item in objects.values() if kind != "ReplicaSet" else []:
            del item["metadata"]["annotations"]["srs/stack"]
            item["metadata"]["annotations"]["pulumi.com/patchFieldManager"] = "srs"
    assert not planned(kubernetes(), state).rejections


# HLS.


def test_the_class_of_the_hls_volume_cannot_change_and_the_volume_cannot_shrink() -> None:
    hls = {"enabled": True, "storageClass": "nas", "size": "10Gi"}
    state = state_after(settings(hls=hls))
    assert "must stay 'nas'" in only(planned(settings(hls=hls | {"storageClass": "other"}), state))
    assert "must be at least 10Gi" in only(planned(settings(hls=hls | {"size": "5Gi"}), state))
    bigger = settings(hls=hls | {"size": "10.5Gi"})
    assert not planned(bigger, state).rejections
    fixed = LiveState("uid", state.namespace, state.objects, state.confs, claim_expandable=False)
    assert "must stay 10Gi: storage class nas does not allow volume expansion" in only(planned(bigger, fixed))


def test_origins_wait_for_the_claim_of_hls() -> None:
    hls = {"enabled": True, "storageClass": "nas"}
    first, second = planned(settings(hls=hls), state_after(settings(hls={}))).steps
    assert ([item.name for item in first.declare], first.claim) == (["nginx-origin-deploy"], True)
    assert "srs-origin" in [item.name for item in second.declare]
    assert not any(step.claim for step in planned(settings(hls=hls), state_after(settings(hls=hls))).steps)
    pending = state_after(settings(hls=hls))
    pending.objects["PersistentVolumeClaim"]["srs-hls"]["status"]["phase"] = "Pending"
    other_class = only(planned(settings(hls=hls | {"storageClass": "other"}), pending))
    assert "has no volume yet. Delete it: kubectl -n live delete pvc srs-hls" in other_class


def test_hls_can_be_disabled_and_keeps_the_recordings() -> None:
    state = state_after(settings(hls={"enabled": True, "storageClass": "nas"}))
    update = planned(settings(hls={"enabled": False}), state)
    assert not update.rejections
    assert "claim srs-hls stays with its recordings" in update.warnings[-1]


# Autoscalers, timeouts.


def with_autoscaler(state: LiveState) -> LiveState:
    target = {"kind": "Deployment", "name": "srs-edge-r5-deploy"}
    objects: dict[Kind, dict[str, Any]] = {**state.objects}
    objects["HorizontalPodAutoscaler"] = {"hpa": {"spec": {"scaleTargetRef": target}}}
    return LiveState("uid", state.namespace, objects, state.confs)


def test_an_autoscaler_on_a_release_is_rejected_where_the_weight_decides() -> None:
    message = only(planned(settings(), with_autoscaler(state_after(settings()))))
    assert "edge.releases.r5.autoscaled: false must be true, because HorizontalPodAutoscaler hpa scales" in message
    assert "kubectl -n live delete hpa hpa" in message


def test_an_autoscaled_release_keeps_its_replicas() -> None:
    desired = settings(edge__releases={"r5": R5 | {"autoscaled": True}, "r6": R6})
    state = with_autoscaler(state_after(desired))
    state.objects["Deployment"]["srs-edge-r5-deploy"]["spec"]["replicas"] = 9
    kept = keep_autoscaled_replicas(desired, state)
    update = planned(kept, state)
    assert not update.rejections
    assert not update.warnings
    assert {change.action for change in update.changes if change.workload.release} == {"none"}
    assert {name: share.replicas for name, share in kept.edge.shares.items()} == {"r5": 9, "r6": 1}
    assert kept.edge.shares["r6"].actual == 10

    none = keep_autoscaled_replicas(
        settings(edge__releases={"r5": R5 | {"autoscaled": True, "weight": 0}, "r6": R6}), state
    )
    assert none.edge.shares["r5"].replicas == 0, "weight 0 keeps the release without pods"
    assert keep_autoscaled_replicas(desired, nothing()).edge.shares["r5"].replicas == 3, "a new release has its weight"
    assert (
        "no HorizontalPodAutoscaler has Deployment srs-edge-r5-deploy" in planned(kept, state_after(kept)).warnings[0]
    )


def test_a_rollout_that_cannot_complete_in_time_is_rejected() -> None:
    slow = {"edge__warmUp": "30s", "edge__minReady": "30s", "edge__rolloutTimeout": "3m"}
    state = state_after(settings(**slow))
    assert not planned(settings(**slow, edge__replicas=40), state).rejections, "a scale-up needs one batch"
    releases = {"r5": R5 | {"image": "ossrs/srs:v4.0.271"}, "r6": R6}
    message = only(planned(settings(**slow, edge__releases=releases), state))
    assert "edge.rolloutTimeout: 3m is too short: edge release r5 rolls in 3 batches, which take more" in message


# Warnings.


def test_a_new_cluster_has_no_warnings_and_awaits_nothing_before_the_end() -> None:
    update = planned(settings(), nothing())
    assert not update.warnings
    assert not any(step.awaited for step in update.steps)
    declared = [item.name for step in update.steps for item in step.declare]
    assert sorted(declared) == sorted(set(declared)), "each workload once"
    assert {"srs-origin", "srs-edge-r5-deploy", "srs-edge-r6-deploy", "nginx-origin-deploy"} <= set(declared)


def test_a_large_deviation_of_a_share_is_a_warning() -> None:
    warning = planned(settings(edge__replicas=2), nothing()).warnings[0]
    assert "r5 gets 1 of 2 edges, 50 % of new viewers, 25 points from the desired 75 %" in warning


ORIGIN = {"image": "ossrs/srs:v4.0.6"}


@pytest.mark.parametrize(
    "change",
    [
        {"image": "ossrs/srs:v4.0.271"},
        {"srs": {"maxConnections": 500}},
        {"resources": {"cpu": "2"}},
        {"nodeSelector": {"pool": "a"}},
        {"tolerations": [{"key": "pool", "operator": "Exists"}]},
        {"podAnnotations": {"a": "b"}},
        {"podPatch": {"metadata": {"labels": {"a": "b"}}}},
    ],
    ids=str,
)
def test_every_restart_of_the_origins_is_a_warning(change: dict[str, Any]) -> None:
    state = state_after(settings(origin=ORIGIN))
    assert not planned(settings(origin=ORIGIN), state).warnings
    (warning,) = planned(settings(origin=ORIGIN | change), state).warnings
    assert "drops its publishers once" in warning
    after = settings(origin=ORIGIN | change)
    assert not planned(after, state_after(after)).warnings


def test_another_number_of_origins_changes_no_edge() -> None:
    for before, after in ((2, 3), (3, 2)):
        now = state_after(settings(origin=ORIGIN | {"replicas": before}))
        update = planned(settings(origin=ORIGIN | {"replicas": after}), now)
        assert f"their number changes from {before} to {after}" in update.warnings[0]
        assert "HLS players have to be started again" in update.warnings[0]
        assert {change.action for change in update.changes if change.workload.release} == {"none"}
        assert not any(step.awaited for step in update.steps)


def test_a_longer_drain_does_not_apply_to_open_connections() -> None:
    state = state_after(settings())
    update = planned(settings(edge__drain={"deregister": "5s", "timeout": "24h"}), state)
    assert any("keep the old limit of 12h35s" in warning for warning in update.warnings)
    change = next(change for change in update.changes if change.workload.release == "r5")
    assert change.reasons == ("grace period 12h35s -> 24h35s",)


# Which pods an update terminates.


def change_of(update: UpdatePlan, release: str = "r5") -> WorkloadChange:
    return next(change for change in update.changes if change.workload.release == release)


def revision(state: LiveState, desired: StackSettings, ready: int, release: str = "r5") -> None:
    """Add a ReplicaSet of a release with the template of these settings."""
    name = f"srs-edge-{release}-deploy"
    other = copy.deepcopy(state_after(desired).objects["ReplicaSet"][name])
    other["status"] = {"replicas": ready, "readyReplicas": ready}
    state.objects["ReplicaSet"][f"{name}-other"] = other


CHANGED = settings(edge__releases={"r5": R5 | {"image": "ossrs/srs:v4.0.271"}, "r6": R6})


def test_a_paused_rolling_update_is_announced_when_it_continues() -> None:
    pausing = settings(edge__releases={"r5": R5 | {"image": "ossrs/srs:v4.0.271", "paused": True}, "r6": R6})
    assert change_of(planned(pausing, state_after(settings()))).action == "update"
    state = state_after(pausing)
    state.objects["ReplicaSet"].update(state_after(settings()).objects["ReplicaSet"])  # no pod of the new revision
    assert change_of(planned(pausing, state)).action == "none"
    change = change_of(planned(CHANGED, state))
    assert (change.action, change.terminated) == ("roll", 3)
    assert change.reasons == ("3 pods of an earlier revision",)


def test_an_interrupted_rolling_update_is_announced_when_it_continues() -> None:
    state = state_after(CHANGED)
    state.objects["ReplicaSet"]["srs-edge-r5-deploy"]["status"] = {"replicas": 1, "readyReplicas": 1}
    revision(state, settings(), ready=2)
    change = change_of(planned(CHANGED, state))
    assert (change.action, change.terminated) == ("roll", 2)
    assert change_of(planned(CHANGED, state), "r6").action == "none"


def test_a_rollback_keeps_the_pods_of_the_revision_that_it_restores() -> None:
    state = state_after(CHANGED)
    state.objects["ReplicaSet"]["srs-edge-r5-deploy"]["status"] = {"replicas": 1, "readyReplicas": 0}
    revision(state, settings(), ready=3)
    change = change_of(planned(settings(), state))
    assert (change.action, change.terminated) == ("roll", 0), "the pod of the bad revision serves nobody"
    assert change.peak == 4, "and it needs capacity until it has ended"
    assert change.reasons[0] == "image ossrs/srs:v4.0.271 -> ossrs/srs:v4.0.5"


def test_pods_that_are_not_ready_have_no_connections_to_drain() -> None:
    state = state_after(settings(edge__releases={"r5": R5, "r6": R6}), ready={"r6": 0})
    without = settings(edge__releases={"r5": R5})
    update = planned(without, state)
    assert change_of(update, "r6").terminated == 0
    assert "will drain" not in report.text(update, without, state)


def test_pods_that_are_not_ready_count_for_the_peak() -> None:
    """Both the crashing pod and the one that replaces it need capacity."""
    state = state_after(settings(edge__releases={"r5": R5, "r6": R6}), ready={"r6": 0})
    update = planned(settings(edge__releases={"r5": R5, "r6": R6 | {"image": "ossrs/srs:v4.0.271"}}), state)
    assert (change_of(update, "r6").terminated, change_of(update, "r6").peak) == (0, 2)
    assert report.peak_edge_pods(update, state) == 5


def test_a_rolling_update_that_also_scales_up_begins_with_pods_of_the_old_revision() -> None:
    after = settings(edge__releases={"r5": R5, "r6": R6 | {"image": "ossrs/srs:v4.0.271", "weight": 75}})
    change = change_of(planned(after, state_after(settings(edge__releases={"r5": R5, "r6": R6}))), "r6")
    assert (change.before, change.after, change.peak) == (1, 2, 4)


def test_the_running_version_decides_whether_connections_are_dropped() -> None:
    cannot = settings(
        edge__releases={"r5": R5 | {"image": "ossrs/srs:v5.0-r3", "allowDroppedConnections": True}, "r6": R6}
    )
    update = planned(settings(), state_after(cannot))
    assert change_of(update).dropped == 3
    (warning,) = update.warnings
    assert warning.startswith("edge release r5: the connections of 3 edges are dropped, because their SRS version")
    text = report.text(update, settings(), state_after(cannot))
    assert "The connections of 3 edges are dropped: their SRS version cannot drain." in text
    assert "stay open" not in text
    update = planned(cannot, state_after(settings()))
    assert (change_of(update).terminated, change_of(update).dropped) == (3, 0), "those that run now can drain"
    assert not any("dropped" in warning for warning in update.warnings)


# The order.


def test_ready_edges_include_those_of_removed_releases() -> None:
    state = state_after(settings(), ready={"r5": 2})
    objects = copy.deepcopy(dict(state.objects["Deployment"]))
    objects["srs-edge-r4-deploy"] = workload(
        "srs-edge-r4-deploy", {"replicas": 3, "template": {"metadata": {"labels": {"app": "srs-edge"}}, "spec": {}}}
    )
    assert ready_edges(LiveState(objects={"Deployment": objects})) == {"r4": 3, "r5": 2, "r6": 1}


@pytest.mark.parametrize(
    ("desired", "ready", "last", "awaited"),
    [
        ({"r5": 3, "r6": 1}, {"r5": 4}, ["r5"], ["r6"]),  # a canary starts
        ({"r5": 1, "r6": 3}, {"r5": 3, "r6": 1}, ["r5"], ["r6"]),
        ({"r5": 3, "r6": 1}, {"r5": 1, "r6": 3}, ["r6"], ["r5"]),  # and is rolled back
        ({"r5": 4}, {}, [], ["r5"]),  # everything is new
        ({"r5": 1, "r6": 3}, {"r5": 3, "r6": 2}, ["r5"], ["r6"]),  # the earlier update was interrupted
        ({"r5": 4, "r6": 0}, {"r5": 4, "r6": 1}, [], []),  # a surplus is removed immediately
        ({"r10": 2, "r9": 2}, {}, [], ["r9", "r10"]),
        ({"r5": 3, "r6": 1}, {"r5": 2, "r6": 1}, [], ["r5"]),  # one pod of r5 is not ready: r6 is not blocked
        ({"r5": 3, "r6": 1}, {"r5": 2, "r6": 2}, ["r6"], ["r5"]),  # but no ready edge is removed before it is
        ({"r5": 2, "r6": 1}, {"r5": 1, "r6": 3}, ["r6"], ["r5"]),
        ({"r5": 2, "r6": 1}, {"r5": 1, "r6": 2, "r4": 3}, [], ["r5"]),  # r4 is removed at the end
    ],
)
def test_no_ready_edge_is_removed_before_its_replacement_is_ready(
    desired: dict[str, int], ready: dict[str, int], last: list[str], awaited: list[str]
) -> None:
    first, then, scale_up = edge_order(desired, ready)
    assert (then, scale_up) == (last, awaited)
    assert sorted(first + then) == sorted(desired)


def test_pods_that_are_not_ready_do_not_hold_capacity() -> None:
    canary = settings(edge__releases={"r5": R5 | {"weight": 25}, "r6": R6 | {"weight": 75}})
    crashing = state_after(canary, ready={"r6": 1})
    back = settings(edge__releases={"r5": R5})
    update = planned(back, crashing)
    assert update.trims == {"srs-edge-r6-deploy": 1}, "two of its three pods crash; the ready one stays for now"
    assert planned(canary, crashing).trims == {}


# The report.


def test_the_report_starts_with_connections_and_names_the_reasons() -> None:
    before = settings(edge__releases={"r5": R5, "r6": R6})
    conf = {"maxConnections": 5}
    after = settings(edge__releases={"r5": R5 | {"weight": 25}, "r6": R6 | {"weight": 75, "srs": conf}})
    state = state_after(before)
    update = planned(after, state)
    assert report.text(update, after, state).splitlines() == [
        "Update plan for namespace live:",
        "  Open connections stay open: 3 edges will drain, for up to 12h35s.",
        "  Up to 9 edge pods will exist at the same time.",
        "  edge release r5: scale, 3 -> 1 edge, 75 % -> 25 % of new viewers",
        "  edge release r6: rolling update, 1 -> 3 edges, 25 % -> 75 % of new viewers",
        "    srs.conf",
        "      -max_connections 1000;",
        "      +max_connections 5;",
        "  origins: unchanged, 3 replicas",
        "  nginx-origin: create, 1 replica",
        "  srs-demo: create, 1 replica",
    ]
    data = report.as_json(update, after, state)
    assert data["peakEdgePods"] == 9
    assert data["publishersDropped"] is False
    assert [item["action"] for item in data["workloads"][:3]] == ["scale", "roll", "none"]


def test_the_report_shows_no_secret_of_srs_conf() -> None:
    def hook(key: str) -> StackSettings:
        return settings(publish={"hook": f"http://auth.example.com/?key={key}"}).with_conf_key("key")

    def text(before: StackSettings, after: StackSettings) -> str:
        state = state_after(before)
        update = planned(after, state)
        lines = report.text(update, after, state)
        assert "hunter" not in lines + json.dumps(report.as_json(update, after, state))
        return lines

    added = text(settings(), hook("hunter2"))
    assert "    srs.conf\n      +    http_hooks {\n      +        enabled on;\n      +        on_publish $(pub" in added
    assert "    a secret of srs.conf\n" in text(hook("hunter2"), hook("hunter3"))
    assert "rolling update" not in text(hook("hunter2"), hook("hunter2"))
    removed = text(hook("hunter2"), settings())
    assert "      -        on_publish $(publish.hook);\n" in removed


def test_the_report_of_an_unreachable_cluster_says_so() -> None:
    state = LiveState(unreachable="the API server https://127.0.0.1:1 does not answer")
    lines = report.text(planned(settings(), state), settings(), state).splitlines()
    assert lines[0] == "The cluster cannot be reached: the API server https://127.0.0.1:1 does not answer."
    assert "connections is unknown" in lines[1]
