"""Pods by revision: which of them an update replaces, and which cannot drain."""

import copy
from typing import Any

import pytest

from cluster.state import LiveState
from model.config.stack import StackSettings
from unit.update.live_objects import planned, rendered, settings, state_after
from update import plan_text
from update.plan import UpdatePlan
from update.revisions import Outdated, drops_connections, outdated_pods
from update.workload_changes import WorkloadChange

R5 = {"image": "ossrs/srs:v4.0.6", "weight": 75}
R6 = {"image": "ossrs/srs:v4.0.6", "weight": 25}


def paused(weight: int = 75) -> StackSettings:
    return settings(edge__releases={"r5": R5 | {"weight": weight, "paused": True}, "r6": R6 | {"weight": 100 - weight}})


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


def test_pods_whose_revision_is_not_known_are_replaced_by_a_changed_template() -> None:
    state = state_after(settings())
    state.objects["ReplicaSet"].clear()
    assert change_of(planned(CHANGED, state)).action == "roll"
    assert change_of(planned(settings(), state)).action == "none"


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
    assert (change.action, change.terminated) == ("roll", 0), "the pod of the bad revision has no viewers"
    assert change.peak == 4, "and it needs capacity until it has ended"
    assert change.reasons[0] == "image ossrs/srs:v4.0.271 -> ossrs/srs:v4.0.5"


def test_pods_that_are_not_ready_have_no_connections_to_drain() -> None:
    state = state_after(settings(edge__releases={"r5": R5, "r6": R6}), ready={"r6": 0})
    without = settings(edge__releases={"r5": R5})
    update = planned(without, state)
    assert change_of(update, "r6").terminated == 0
    assert "will drain" not in plan_text.text(update, rendered(without, state), state)


def test_the_running_version_decides_whether_connections_are_dropped() -> None:
    cannot = settings(
        edge__releases={"r5": R5 | {"image": "ossrs/srs:v5.0-r3", "allowDroppedConnections": True}, "r6": R6}
    )
    update = planned(settings(), state_after(cannot))
    assert change_of(update).dropped == 3
    (warning,) = update.warnings
    assert warning.startswith("edge release r5: the connections of 3 edges are dropped, because their SRS version")
    text = plan_text.text(update, rendered(settings()), state_after(cannot))
    assert "The connections of 3 edges are dropped: their SRS version cannot drain." in text
    assert "stay open" not in text
    update = planned(cannot, state_after(settings()))
    assert (change_of(update).terminated, change_of(update).dropped) == (3, 0), "those that run now can drain"
    assert not any("dropped" in warning for warning in update.warnings)


DIGEST = "registry.example.com/srs@sha256:" + "0" * 64


def containers(**images: str) -> dict[str, Any]:
    return {"containers": [{"name": name, "image": image} for name, image in images.items()]}


@pytest.mark.parametrize(
    ("pod", "drops"),
    [
        (containers(srs="ossrs/srs:v5.0-r3"), True),
        (containers(srs="ossrs/srs:v4.0.6"), False),
        (containers(shipper="ossrs/srs:v4.0.6", srs="ossrs/srs:v5.0-r3"), True),
        (containers(shipper="ossrs/srs:v5.0-r3", srs="ossrs/srs:v4.0.6"), False),
        (containers(srs=DIGEST), True),  # the config names its version
        (containers(srs=DIGEST.replace("0", "1")), False),
        (containers(srs="ossrs/srs:develop"), False),
        (containers(srs="ossrs/srs"), False),
        (containers(shipper="ossrs/srs:v5.0-r3"), False),
        ({}, False),
    ],
    ids=str,
)
def test_what_is_not_known_to_drop_connections_drains(pod: dict[str, Any], drops: bool) -> None:
    image = {"image": DIGEST, "version": "5.0.100", "weight": 75, "allowDroppedConnections": True}
    assert drops_connections({"spec": pod}, settings(edge__releases={"r5": image, "r6": R6})) is drops


NEW, OLD, DROPS, DROPS_TOO = "ossrs/srs:v4.0.6", "ossrs/srs:v4.0.5", "ossrs/srs:v5.0-r3", "ossrs/srs:v5.0-r2"


@pytest.mark.parametrize(
    ("revisions", "outdated"),
    [
        ([], Outdated(0, 0, 0, current=False)),
        ([(NEW, 0, 0), (OLD, 0, 0)], Outdated(0, 0, 0, current=False)),
        ([(NEW, 1, 0)], Outdated(0, 0, 0, current=True)),
        ([(NEW, 1, 1), (OLD, 3, 2)], Outdated(3, 2, 0, current=True)),
        ([(OLD, 3, 2), (DROPS, 2, 1), (DROPS_TOO, 3, 3)], Outdated(8, 6, 4, current=False)),
    ],
    ids=str,
)
def test_pods_are_counted_by_revision(revisions: list[tuple[str, int, int]], outdated: Outdated) -> None:
    """revisions: image, pods and ready pods of each."""

    def template(image: str, **labels: str) -> dict[str, Any]:
        return {"metadata": {"labels": {"app": "srs-edge", **labels}}, "spec": containers(srs=image)}

    replica_sets: dict[str, Any] = {
        image: {
            "metadata": {"ownerReferences": [{"uid": "u"}]},
            "spec": {"template": template(image, **{"pod-template-hash": image})},
            "status": {"replicas": pods, "readyReplicas": ready},
        }
        for image, pods, ready in revisions
    }
    state = LiveState(objects={"ReplicaSet": replica_sets})
    assert outdated_pods({"metadata": {"uid": "u"}}, template(NEW), state, settings()) == outdated
