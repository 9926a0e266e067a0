"""The order of an update, and what it waits for."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from bad_configs import GOOD
from cluster.state import LiveState
from model.config.stack import StackSettings
from model.desired import workloads
from model.names import ABORTED_APP
from unit.update.live_objects import nothing, planned, rendered, settings, state_after, workload
from update.order import awaited, edge_order, ready_edges, steps, unready_pods, was_complete
from update.plan import UpdatePlan
from update.workload_changes import Action, WorkloadChange

R5 = {"image": "ossrs/srs:v4.0.6", "weight": 75}
R6 = {"image": "ossrs/srs:v4.0.6", "weight": 25}


def only(update: UpdatePlan) -> str:
    (problem,) = update.rejections
    return str(problem)


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


def test_a_new_cluster_has_no_warnings_and_awaits_nothing_before_the_end() -> None:
    update = planned(settings(), nothing())
    assert not update.warnings
    assert not any(step.awaited for step in update.steps)
    declared = [item.name for step in update.steps for item in step.declare]
    assert sorted(declared) == sorted(set(declared)), "each workload once"
    assert {"srs-origin", "srs-edge-r5-deploy", "srs-edge-r6-deploy", "nginx-origin-deploy"} <= set(declared)


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
        ({"r5": 2, "r6": 1}, {"r5": 1, "r6": 2, "r4": 1}, [], ["r5"]),  # r4 is removed at the end
    ],
)
def test_no_ready_edge_is_removed_before_its_replacement_is_ready(
    desired: dict[str, int], ready: dict[str, int], last: list[str], awaited: list[str]
) -> None:
    first, then, scale_up = edge_order(desired, ready)
    assert (then, scale_up) == (last, awaited)
    assert sorted(first + then) == sorted(desired)


SCALING = {"minimum": 4, "maximum": 60, "metric": "cpu", "target": "600m"}


@pytest.mark.parametrize(
    ("size", "last"),
    [({"replicas": 4}, {"r5", "r6"}), ({"autoscaling": SCALING}, {"r5"})],
    ids=["fixed", "scaled"],
)
def test_a_surplus_is_removed_last_while_autoscalers_may_want_it(size: dict[str, Any], last: set[str]) -> None:
    edge = {key: value for key, value in GOOD["edge"].items() if key != "replicas"} | {"releases": {"r5": R5, "r6": R6}}
    desired = settings(edge=edge | size, hls={}, demo={})
    state = state_after(desired, {"r5": 5})
    *_, step = steps(rendered(desired, state), state)
    assert {workload.release for workload in step.declare if workload.release} == last


def test_pods_that_are_not_ready_do_not_hold_capacity() -> None:
    canary = settings(edge__releases={"r5": R5 | {"weight": 25}, "r6": R6 | {"weight": 75}})
    crashing = state_after(canary, ready={"r6": 1})
    back = settings(edge__releases={"r5": R5})
    update = planned(back, crashing)
    assert update.early_scale_downs == {"srs-edge-r6-deploy": 1}, (
        "two of its three pods crash; the ready one stays for now"
    )
    assert planned(canary, crashing).early_scale_downs == {}


def with_unready_edge(desired: StackSettings, reason: str, *pods: str) -> LiveState:
    """Some edges of r5 are not ready. reason: of the Deployment's condition. pods: their names."""
    pods = pods or ("crashing",)
    state = state_after(desired, {"r5": 3 - len(pods)})
    live = state.objects["Deployment"]["srs-edge-r5-deploy"]
    live["status"]["conditions"] = [{"type": "Progressing", "status": "True", "reason": reason}]
    labels = {"app": "srs-edge", "run": "srs-edge-r5"}
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    status = {"containerStatuses": [waiting]}
    found = tuple({"metadata": {"name": name, "labels": labels}, "status": status} for name in pods)
    return replace(state, pods=(*state.pods, *found))


def test_an_edge_that_became_unready_earlier_fails_no_update_and_is_named() -> None:
    desired = settings(hls={}, demo={})
    update = planned(desired, with_unready_edge(desired, "NewReplicaSetAvailable"))
    assert "edge release r5" not in {workload.title for workload in update.awaited}
    assert update.warnings == (
        "edge release r5: 1 pod not ready before this update, which does not wait for it: crashing (CrashLoopBackOff)",
    )
    (warning,) = planned(desired, with_unready_edge(desired, "NewReplicaSetAvailable", "b", "a")).warnings
    assert warning == (
        "edge release r5: 2 pods not ready before this update, which does not wait for them: a (CrashLoopBackOff), "
        "b (CrashLoopBackOff)"
    )


def test_a_release_that_has_never_been_complete_is_awaited_again() -> None:
    desired = settings(hls={}, demo={})
    update = planned(desired, with_unready_edge(desired, "ProgressDeadlineExceeded"))
    assert "edge release r5" in {workload.title for workload in update.awaited}
    assert not update.warnings


@pytest.mark.parametrize(("ready", "is_awaited"), [(1, True), (4, False)])
def test_a_release_that_replaces_a_deleted_one_is_awaited(ready: int, is_awaited: bool) -> None:
    """After an interrupted update, all its edges are declared, and one is ready."""
    releases = {"r5": R5 | {"weight": 50}, "r6": R6 | {"weight": 50}}
    interrupted = settings(hls={}, demo={}, edge__replicas=8, edge__releases=releases)
    state = state_after(interrupted, {"r5": 3, "r6": ready})
    live = state.objects["Deployment"]["srs-edge-r6-deploy"]
    live["status"]["conditions"] = [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
    update = planned(settings(hls={}, demo={}, edge__replicas=4, edge__releases={"r6": releases["r6"]}), state)
    assert change_of(update, "r6").action == "none"
    assert ("edge release r6" in {workload.title for workload in update.awaited}) is is_awaited


def test_what_an_update_changes_is_awaited() -> None:
    before = settings(hls={}, demo={})
    state = with_unready_edge(before, "NewReplicaSetAvailable")
    update = planned(settings(hls={}, demo={}, edge__warmUp="20s"), state)
    assert "edge release r5" in {workload.title for workload in update.awaited}


def edges_of(release: str, action: Action, after: int) -> WorkloadChange:
    return WorkloadChange(workloads.edges(settings(), release), action, 1, after, 1)


@pytest.mark.parametrize(
    ("changes", "ready", "expected"),
    [
        ([("r5", "create", 1)], {}, ["r5"]),
        ([("r5", "none", 3), ("r6", "scale", 2)], {"r5": 3, "r6": 1}, ["r6"]),
        ([("r5", "update", 3), ("r6", "roll", 1)], {"r5": 3, "r6": 1}, ["r6"]),
        ([("r5", "none", 3)], {"r5": 2}, []),  # it has become unready since its last rollout
        ([("r6", "none", 1)], {"r6": -1}, ["r6"]),  # it has never been complete
        ([("r6", "none", 1), ("r4", "delete", 0)], {"r6": 1, "r4": -1}, []),
        ([("r5", "none", 3), ("r4", "delete", 0)], {"r5": 2, "r4": 1}, ["r5"]),  # an edge of r4 waits for it
        ([("r5", "none", 3), ("r6", "none", 2), ("r4", "delete", 0)], {"r5": 3, "r6": 1, "r4": 1}, ["r6"]),
        ([("r5", "none", 3), ("r6", "scale", 1), ("r4", "delete", 0)], {"r5": 2, "r6": 2, "r4": 2}, ["r6"]),
        ([("paused", "roll", 3), ("r6", "roll", 1)], {"paused": 3, "r6": 1}, ["r6"]),
    ],
    ids=str,
)
def test_what_must_be_complete_at_the_end(
    changes: list[tuple[str, Action, int]], ready: dict[str, int], expected: list[str]
) -> None:
    """ready: ready edges of what exists, -1 for one edge that is not ready and never was."""
    complete = {"conditions": [{"reason": "NewReplicaSetAvailable"}]}
    spec = {"replicas": 1, "template": {"metadata": {"labels": {"app": "srs-edge"}}, "spec": {}}}
    live: dict[str, Any] = {
        f"srs-edge-{name}-deploy": workload(f"srs-edge-{name}-deploy", spec, max(count, 0))
        for name, count in ready.items()
    }
    for name, count in ready.items():
        if count >= 0:
            live[f"srs-edge-{name}-deploy"]["status"] |= complete
    state = LiveState(objects={"Deployment": live})
    found = awaited([edges_of(*change) for change in changes], state, [workloads.edges(settings(), "paused")])
    assert [item.release for item in found] == expected


def test_pods_of_what_an_update_deletes_or_awaits_are_no_warning() -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
    pods = tuple(
        {"metadata": {"name": name, "labels": {"run": f"srs-edge-{name}"}}, "status": waiting}
        for name in ("r4", "r5", "r6")
    )
    changes = [edges_of("r4", "delete", 0), edges_of("r5", "none", 1), edges_of("r6", "none", 1)]
    (warning,) = unready_pods(changes, LiveState(pods=pods), [changes[1].workload])
    assert warning.startswith("edge release r6: 1 pod not ready before this update")


ON_DELETE = {"replicas": 3, "updateStrategy": {"type": "OnDelete"}}


@pytest.mark.parametrize(
    ("spec", "status", "complete"),
    [
        ({"replicas": 1}, {}, False),
        ({"replicas": 1}, {"conditions": [{}, {"reason": "NewReplicaSetAvailable"}]}, True),
        ({"replicas": 1}, {"conditions": [{"reason": "ReplicaSetUpdated"}]}, False),
        (ON_DELETE, {"updatedReplicas": 3, "currentRevision": "a", "updateRevision": "b"}, True),
        (ON_DELETE, {"updatedReplicas": 2, "currentRevision": "b", "updateRevision": "b"}, False),
        (ON_DELETE | {"replicas": 1}, {}, False),
        ({"replicas": 3, "updateStrategy": {}}, {"currentRevision": "b", "updateRevision": "b"}, True),
        ({"replicas": 3}, {"currentRevision": "a", "updateRevision": "b"}, False),
    ],
)
def test_whether_a_rollout_has_ever_been_complete(spec: Any, status: Any, complete: bool) -> None:
    assert was_complete({"spec": spec, "status": status}) is complete
    assert not was_complete({"spec": spec}), "its controller has not seen it yet"


def change_of(update: UpdatePlan, release: str = "r5") -> WorkloadChange:
    return next(change for change in update.changes if change.workload.release == release)


def test_an_edge_out_of_rotation_is_no_capacity() -> None:
    """Step 0 of a canary takes no edge away, and in the next step its edge replaces no other edge."""
    canary = {"image": R6["image"], "weight": 0, "outOfRotation": True}
    preview = settings(edge__releases={"r5": R5, "r6": canary})
    stable = state_after(settings(edge__releases={"r5": R5}))
    change = change_of(planned(preview, stable), "r6")
    assert (change.action, change.after) == ("create", 1)
    assert change_of(planned(preview, stable)).action == "none"
    template = rendered(preview).releases["r6"][-1].manifest["spec"]["template"]
    assert template["metadata"]["labels"]["app"] == ABORTED_APP, "no Service selects it"

    previewed = state_after(preview)
    assert planned(preview, previewed).ready_edges == {"r5": 4, "r6": 0}
    begun = planned(settings(edge__releases={"r5": R5, "r6": R6}), previewed)
    assert change_of(begun, "r6").rolls, "its pod gets the label of edges with viewers"
    assert [[item.name for item in step.declare][-1] for step in begun.steps] == [
        "srs-edge-r6-deploy",
        "srs-edge-r5-deploy",
    ]
    assert [item.name for item in begun.steps[0].awaited] == ["srs-edge-r6-deploy"]
