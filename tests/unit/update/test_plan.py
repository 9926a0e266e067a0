"""What a plan rejects and warns about, and the order of its steps."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bad_configs import GOOD, SLB
from cluster.aborted import abort_mark
from cluster.state import LiveState
from model.config.stack import StackSettings
from model.names import ABORTED_ANNOTATION
from model.run_record import RunRecord
from unit.update.live_objects import nothing, origin, planned, rendered, settings, state_after
from update import plan_text
from update.order import ready_edges
from update.plan import UpdatePlan, plan

R5 = {"image": "ossrs/srs:v4.0.6", "weight": 75}
R6 = {"image": "ossrs/srs:v4.0.6", "weight": 25}


def paused(weight: int = 75) -> StackSettings:
    return settings(edge__releases={"r5": R5 | {"weight": weight, "paused": True}, "r6": R6 | {"weight": 100 - weight}})


def only(update: UpdatePlan) -> str:
    (problem,) = update.rejections
    return str(problem)


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


def test_an_aborted_update_is_rejected_and_its_earlier_revision_serves() -> None:
    updated = settings(edge__releases={"r5": R5})
    state = state_after(updated)
    deployment = state.edges["srs-edge-r5-deploy"]
    deployment["metadata"]["annotations"][ABORTED_ANNOTATION] = abort_mark(deployment, only_update=True)
    assert ready_edges(state) == {"r5": 4}
    assert only(planned(updated, state)) == (
        "srs:edge.releases.r5.image: 'ossrs/srs:v4.0.6' must change, or another setting of the release, because its "
        "update was aborted (`rollout abort`): restore the earlier ones, or continue the update: "
        "rollout resume --release r5"
    )
    assert not planned(settings(edge__releases={"r5": R5 | {"image": "ossrs/srs:v4.0.5"}}), state).rejections


def test_only_the_run_that_was_aborted_brings_its_release_back_as_it_was() -> None:
    desired = settings(edge__releases={"r5": R5, "r6": R6})
    run = RunRecord(release="r6", steps=(50,), index=0, weights_before={"r5": 75, "r6": 25}, aborted_by="alice")
    state = replace(aborted(state_after(desired), "r6"), run=run)
    update = plan(rendered(desired, state), state, None, run.token)
    assert (update.rejections, update.taken_back) == ((), ("srs-edge-r6-deploy",))
    for record, token in ((run, ""), (run.model_copy(update={"aborted_by": ""}), run.token)):
        update = plan(rendered(desired, state), replace(state, run=record), None, token)
        assert "AbortedRelease" in {problem.reason for problem in update.rejections}


def test_the_edges_of_an_aborted_release_serve_nobody_and_are_removed_at_once() -> None:
    state = aborted(state_after(settings(edge__releases={"r5": R5, "r6": R6})), "r6")
    assert ready_edges(state) == {"r5": 3, "r6": 0}
    update = planned(settings(edge__releases={"r5": R5, "r6": R6 | {"weight": 0}}), state)
    assert len(update.steps) == 1, "the other releases need not be ready before"


def test_paused_is_rejected_on_a_release_that_does_not_exist() -> None:
    assert only(planned(paused(), nothing())) == (
        "srs:edge.releases.r5.paused: true must be false on a release that does not exist yet: it would have no pods"
    )
    new = settings(edge__releases={"r5": R5, "r6": R6 | {"paused": True}})
    first, second = planned(new, state_after(settings(edge__releases={"r5": R5}))).rejections
    assert str(first).startswith("srs:edge.releases.r6.paused: true must be false on a release that does not exist")
    assert "while only 0 of 1 edges are ready: ready edges of r5 would be removed" in str(second)


def test_paused_is_rejected_together_with_a_change_of_replicas() -> None:
    assert only(planned(paused(weight=25), state_after(paused()))) == (
        "srs:edge.releases.r5.paused: true must not be combined with a change of the release's replicas (now 3, "
        "desired 1): Kubernetes would distribute the change over the old and the new pods; make one change after the "
        "other"
    )


def test_paused_is_accepted_on_a_release_that_keeps_its_replicas() -> None:
    update = planned(paused(), state_after(settings(edge__releases={"r5": R5, "r6": R6})))
    assert not update.rejections
    assert [edge.release for edge in update.paused] == ["r5"]
    assert not any(edge.release == "r5" for step in update.steps for edge in step.awaited)


@pytest.mark.parametrize(
    ("before", "ready", "after", "paused", "found"),
    [
        ({"r5": 2, "r6": 1}, {"r6": 0}, {"r5": 1, "r6": 1, "r7": 5}, ["r6"], {}),  # r7 is awaited
        (
            {"r5": 3, "r6": 1},
            {"r6": 0},
            {"r5": 2, "r6": 1},
            ["r6"],
            {"r6": "0 of 1 edges are ready: ready edges of r5"},
        ),
        (
            {"r5": 4, "r6": 1},
            {"r6": 0},
            {"r5": 3, "r6": 1},
            ["r6"],
            {"r6": "0 of 1 edges are ready: ready edges of r5"},
        ),
        (
            {"r5": 3, "r6": 3},
            {"r6": 1},
            {"r5": 2, "r6": 3},
            ["r6"],
            {"r6": "1 of 3 edges are ready: ready edges of r5"},
        ),
        ({"r4": 2, "r6": 3}, {"r6": 1}, {"r5": 2, "r6": 3}, ["r6"], {}),  # r5 replaces r4
        (
            {"r10": 1, "r9": 1, "r6": 2},  # r9 and r10 are removed
            {"r6": 0},
            {"r5": 1, "r6": 2},
            ["r6"],
            {"r6": "0 of 2 edges are ready: ready edges of r9, r10"},
        ),
        (
            {"r5": 3, "r6": 1, "r7": 1},
            {"r7": 0},
            {"r5": 2, "r6": 1, "r7": 1},
            ["r6", "r7"],  # r6 is complete
            {"r7": "0 of 1 edges are ready: ready edges of r5"},
        ),
        ({"r5": 3, "r6": 1}, {"r6": 0}, {"r5": 3, "r6": 1}, ["r6"], {}),
    ],
)
def test_a_paused_release_that_is_not_ready_replaces_no_edge(
    before: dict[str, int], ready: dict[str, int], after: dict[str, int], paused: list[str], found: dict[str, str]
) -> None:
    def with_weights(weights: dict[str, int], paused: Sequence[str] = ()) -> StackSettings:
        releases = {
            name: R5 | {"weight": weight} | ({"paused": True} if name in paused else {})
            for name, weight in weights.items()
        }
        return settings(edge__replicas=sum(weights.values()), edge__releases=releases)

    state = state_after(with_weights(before), ready)
    assert [str(problem) for problem in planned(with_weights(after, paused), state).rejections] == [
        f"srs:edge.releases.{name}.paused: true must be false while only {text} would be removed before other edges "
        "replace them"
        for name, text in found.items()
    ]


def test_the_class_of_the_hls_volume_cannot_change_and_the_volume_cannot_shrink() -> None:
    hls = {"enabled": True, "storageClass": "nas", "size": "10Gi"}
    state = state_after(settings(hls=hls))
    assert only(planned(settings(hls=hls | {"storageClass": "other"}), state)) == (
        "srs:hls.storageClass: 'other' must stay 'nas': the class of claim srs-hls is immutable, and another claim "
        "would lose the recordings and restart all origins. For another class, create another stack and move the "
        "streams to it"
    )
    smaller = only(planned(settings(hls=hls | {"size": "5Gi"}), state))
    assert smaller == "srs:hls.size: '5Gi' must be at least 10Gi: a volume cannot shrink"
    bigger = settings(hls=hls | {"size": "10.5Gi"})
    assert not planned(bigger, state).rejections
    fixed = LiveState("uid", state.namespace, state.objects, state.confs, claim_expandable=False)
    assert not planned(settings(hls=hls), fixed).rejections
    assert only(planned(bigger, fixed)) == (
        "srs:hls.size: '10.5Gi' must stay 10Gi: storage class nas does not allow volume expansion"
    )


def test_hls_can_be_disabled_and_keeps_the_recordings() -> None:
    state = state_after(settings(hls={"enabled": True, "storageClass": "nas"}))
    update = planned(settings(hls={"enabled": False}), state)
    assert not update.rejections
    assert "claim srs-hls stays with its recordings" in update.warnings[-1]


@pytest.mark.parametrize(("timeout", "rejected"), [("4m", True), ("241s", False)])
def test_new_origins_that_cannot_be_ready_in_time_are_rejected(timeout: str, rejected: bool) -> None:
    slow = {"image": "ossrs/srs:v4.0.6", "minReady": "2m", "rolloutTimeout": timeout}
    update = planned(settings(origin=slow | {"image": "ossrs/srs:v4.0.271"}), state_after(settings(origin=slow)))
    problem = "4m is too short: the 2 batches of the rolling update of origins take more than 4m"
    assert [str(item) for item in update.rejections] == [f"srs:origin.rolloutTimeout: {problem}"] * rejected


def test_a_rollout_that_cannot_complete_in_time_is_rejected() -> None:
    slow = {"edge__warmUp": "30s", "edge__minReady": "30s", "edge__rolloutTimeout": "3m"}
    state = state_after(settings(**slow))
    assert not planned(settings(**slow, edge__replicas=40), state).rejections, "a scale-up needs one batch"
    releases = {"r5": R5 | {"image": "ossrs/srs:v4.0.271"}, "r6": R6}
    message = only(planned(settings(**slow, edge__releases=releases), state))
    assert message == (
        "srs:edge.rolloutTimeout: 3m is too short: the 3 batches of the rolling update of edge release r5 take more "
        "than 3m"
    )
    assert not planned(settings(**slow, edge__releases=releases, edge__maxSurge=2), state).rejections, "two batches"
    enough = slow | {"edge__rolloutTimeout": "181s"}
    assert not planned(settings(**enough, edge__releases=releases), state).rejections


def test_a_release_that_gets_no_edge_needs_no_time_to_roll() -> None:
    """Its Deployment was deleted without its pods: they are ended, and nothing replaces them."""
    state = state_after(settings(edge__releases={"r5": R5}))
    labels = {"app": "srs-edge", "run": "srs-edge-r6"}
    left = {"name": "left", "labels": labels, "ownerReferences": [{"name": "srs-edge-r6-deploy-5d8f"}]}
    pod = {"metadata": left, "spec": {"terminationGracePeriodSeconds": 60}}
    update = planned(settings(edge__releases={"r5": R5, "r6": R6 | {"weight": 0}}), replace(state, pods=(pod,)))
    change = next(change for change in update.changes if change.workload.release == "r6")
    assert (change.action, change.before, change.after, update.rejections) == ("roll", 1, 0, ())


def test_pods_that_are_backends_take_longer_to_roll() -> None:
    """Each batch waits for the controller to look for ready pods again."""
    slow = {"edge__warmUp": "30s", "edge__minReady": "30s", "edge__rolloutTimeout": "200s", "edge__maxSurge": 1}
    slow |= {"edge__drain": {"timeout": "10m"}}
    releases = {"r5": R5 | {"image": "ossrs/srs:v4.0.271"}, "r6": R6}
    for backend, problems in (("ecs", 0), ("eni", 1)):
        now = slow | {"loadBalancer": SLB | {"backend": backend}}
        found = planned(settings(**now, edge__releases=releases), state_after(settings(**now))).rejections
        assert len(found) == problems
        if found:
            assert "the 3 batches of the rolling update of edge release r5 take more than 3m30s" in str(found[0])


def test_a_large_deviation_of_a_share_is_a_warning() -> None:
    warning, _ = planned(settings(edge__replicas=2), nothing()).warnings
    assert warning == (
        "release r5 gets 1 of 2 edges, 50 % of new viewers, 25 points from the desired 75 %; more edges come closer"
    )
    halves = {"r5": R5 | {"weight": 50}, "r6": R6 | {"weight": 50}}
    assert not planned(settings(edge__replicas=5, edge__releases=halves), nothing()).warnings, "60 % instead of 50"


def test_a_run_that_must_not_be_read_is_a_warning() -> None:
    update = planned(settings(), replace(nothing(), run_unknown="leases is forbidden"))
    assert "it cannot be checked whether a rollout run is open: leases is forbidden" in update.warnings


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
def test_replaced_origins_drain_and_drop_nobody(change: dict[str, Any]) -> None:
    state = state_after(settings(origin=ORIGIN))
    after = settings(origin=ORIGIN | change)
    update = planned(after, state)
    assert not update.warnings
    assert not plan_text.publishers_dropped(update)
    assert plan_text.peak_origin_pods(update, state) == 6
    lines = plan_text.text(update, rendered(after, state), state).splitlines()
    assert "  Publishers stay connected: 3 origins will drain, for up to 12h35s." in lines
    assert "  Up to 6 origins will exist at the same time." in lines
    assert any(line.startswith("  origins: rolling update, 3 replicas") for line in lines)


def test_new_origins_have_the_names_that_the_plan_has_chosen() -> None:
    state, after = state_after(settings(origin=ORIGIN)), settings(origin=ORIGIN | {"image": "ossrs/srs:v4.0.271"})
    update = planned(after, state)
    (change,) = [change for change in update.changes if change.workload.kind == "StatefulSet"]
    assert "spec.ordinals.start: 0 -> 3" in change.fields
    stateful_set = state.objects["StatefulSet"]["srs-origin"]
    draining = tuple(origin(stateful_set, number) for number in (5, 8, 11, 14))
    assert only(planned(after, replace(state, draining_origins=draining))).startswith(
        "srs:origin: 3 cannot be changed now: 3 consecutive names of 16 are needed for the new origins"
    )


def test_a_longer_drain_does_not_apply_to_open_connections() -> None:
    state = state_after(settings())
    update = planned(settings(edge__drain={"deregister": "5s", "timeout": "24h"}), state)
    assert any("keep the old limit of 12h35s" in warning for warning in update.warnings)
    change = next(change for change in update.changes if change.workload.release == "r5")
    assert change.reasons == ("grace period 12h35s -> 24h35s",)


def test_edges_that_are_going_to_reject_encoders_are_named() -> None:
    def found(desired: StackSettings, state: LiveState) -> list[str]:
        return [line for line in planned(desired, state).warnings if "exclusive" in line]

    own = {"to": "origins", "loadBalancer": {"kind": "service", "drainCeiling": "none"}}
    before, after = settings(publish=own), settings(publish=own | {"exclusive": True})
    (warning,) = found(after, state_after(before))
    assert "through srs-edge-service have to use Service srs-publish-service before their edge is replaced" in warning
    assert not found(after, state_after(after))
    assert not found(before, state_after(before))
    assert not found(after, replace(state_after(before), confs={})), "nothing is known of the edges"
    both = settings(
        publish=own | {"exclusive": True},
        loadBalancer={"kind": "nodePort", "rtmpPort": 31936, "httpPort": 30081, "service": "srs-edge-next"},
        formerLoadBalancer=GOOD["loadBalancer"],
    )
    assert "through srs-edge-next, srs-edge-service have to use" in found(both, state_after(before))[0]
