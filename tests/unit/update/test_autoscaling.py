"""Autoscalers of the stack and foreign ones, and the size of the fleet that an update starts from."""

import copy
from dataclasses import replace
from typing import Any, cast

import pytest

from cluster.live import Kind
from cluster.state import LiveState
from model.config.read import ConfigError
from model.config.stack import StackSettings
from model.names import STACK_ANNOTATION
from unit.model.desired.test_autoscalers import CONNECTIONS, CPU, fleet
from unit.update.live_objects import STACK, nothing, planned, rendered, settings, state_after
from update import plan_text
from update.autoscaling import live_autoscalers, retired
from update.plan import UpdatePlan

GROUPS = frozenset(["apps", "metrics.k8s.io", "keda.sh"])


def after(configured: StackSettings, **replicas: int) -> LiveState:
    """The state after an update with these settings, in which autoscalers have set replicas; all are ready."""
    state = state_after(configured)
    for release, count in replicas.items():
        deployment = state.objects["Deployment"][f"srs-edge-{release}-deploy"]
        deployment["spec"]["replicas"] = count
        deployment["status"] |= {"replicas": count, "readyReplicas": count}
    objects: dict[Kind, dict[str, Any]] = {**state.objects, "HorizontalPodAutoscaler": {}, "ScaledObject": {}}
    for item in rendered(configured).objects.values():
        if item.role != "autoscaler":
            continue
        meta = {"name": item.name, "annotations": {STACK_ANNOTATION: STACK}}
        spec = item.manifest["spec"]
        objects[cast("Kind", item.kind)][item.name] = {"metadata": meta, "spec": dict(spec)}
        if item.kind == "ScaledObject":
            objects["HorizontalPodAutoscaler"][f"keda-hpa-{item.name}"] = {
                "metadata": {"ownerReferences": [{"kind": "ScaledObject", "name": item.name}]},
                "spec": {"scaleTargetRef": spec["scaleTargetRef"]},
            }
    return replace(state, objects=objects, api_groups=GROUPS)


def own_warnings(update: UpdatePlan) -> list[str]:
    """The warnings about the size of the fleet."""
    return [item for item in update.warnings if getattr(item, "reason", "") in ("AutoscalerInactive", "FleetAtMaximum")]


def edges(update: UpdatePlan) -> dict[str | None, tuple[str, int, int]]:
    return {
        change.workload.release: (change.action, change.before, change.after)
        for change in update.changes
        if change.workload.release
    }


@pytest.mark.parametrize("scaling", [CPU, CONNECTIONS])
def test_an_update_changes_nothing_of_what_autoscalers_have_set(scaling: dict[str, Any]) -> None:
    configured = fleet(scaling, r5=90, r6=10, r7=0)
    update = planned(configured, after(configured, r5=41, r6=3))
    assert not update.rejections
    assert own_warnings(update) == []
    assert edges(update) == {"r5": ("none", 41, 41), "r6": ("none", 3, 3), "r7": ("none", 0, 0)}
    assert update.retired == ()


def test_a_promotion_has_the_live_total() -> None:
    """From 40 edges to 40, and not to the one that the canary's autoscaler had as its minimum."""
    before, promoted = fleet(CPU, r5=99, r6=1), fleet(CPU, r5=0, r6=100)
    state = after(before, r5=39, r6=1)
    update = planned(promoted, state)
    assert edges(update) == {"r5": ("scale", 39, 0), "r6": ("scale", 1, 40)}
    assert [item.release for item in update.steps[-1].declare] == ["r5"]
    assert "r6" in [item.release for item in update.steps[0].awaited]
    assert [(item.kind, item.name) for item in update.retired] == [("HorizontalPodAutoscaler", "srs-edge-r5")]
    removed = planned(fleet(CPU, r6=100), state)
    assert edges(removed) == {"r6": ("scale", 1, 40), "r5": ("delete", 39, 0)}
    assert removed.retired == (), "it is deleted with its release"


def test_weights_divide_the_live_total() -> None:
    state, divided = after(fleet(CPU, r5=100), r5=40), fleet(CPU, r5=75, r6=25)
    update = planned(divided, state)
    assert edges(update) == {"r5": ("scale", 40, 30), "r6": ("create", 0, 10)}
    assert "edge release r5: scale, 40 -> 30 edges" in plan_text.text(update, rendered(divided, state), state)


def test_a_new_fleet_has_its_minimum() -> None:
    update = planned(fleet(CPU, r5=75, r6=25), replace(nothing(), api_groups=GROUPS))
    assert not update.rejections
    assert own_warnings(update) == []
    assert edges(update) == {"r5": ("create", 0, 3), "r6": ("create", 0, 1)}


def test_the_size_stays_within_minimum_and_maximum() -> None:
    before = fleet(CPU, r5=100)
    assert edges(planned(before, after(before, r5=70)))["r5"] == ("scale", 70, 60)
    assert edges(planned(before, after(before, r5=0)))["r5"] == ("scale", 0, 4)
    smaller = fleet(CPU | {"maximum": 20}, r5=50, r6=50)
    assert edges(planned(smaller, after(before, r5=40))) == {"r5": ("scale", 40, 10), "r6": ("create", 0, 10)}
    assert rendered(before).shares["r5"].replicas == 4, "a new fleet has its minimum"


def test_a_fixed_fleet_becomes_one_that_breathes_with_the_same_edges() -> None:
    fixed = settings(edge__replicas=12, hls={"enabled": False}, demo={"enabled": False})
    state = replace(state_after(fixed), api_groups=GROUPS)
    update = planned(fleet(CPU, r5=75, r6=25), state)
    assert {name: item[1:] for name, item in edges(update).items()} == {"r5": (9, 9), "r6": (3, 3)}
    back = planned(fixed, after(fleet(CPU, r5=75, r6=25), r5=30, r6=10))
    assert {name: item[1:] for name, item in edges(back).items()} == {"r5": (30, 9), "r6": (10, 3)}
    assert {item.name for item in back.retired} == {"srs-edge-r5", "srs-edge-r6"}, "they would scale them up again"


def test_another_metric_retires_the_other_kind_of_autoscaler_first() -> None:
    state = after(fleet(CPU, r5=1))
    assert [item.kind for item in retired(rendered(fleet(CONNECTIONS, r5=1), state), state, [STACK])] == [
        "HorizontalPodAutoscaler"
    ]
    assert retired(rendered(fleet(CPU, r5=1), state), state, [STACK]) == []


def test_deployments_of_others_are_no_part_of_the_fleet() -> None:
    configured = fleet(CPU, r5=1)
    state = after(configured, r5=8)
    blue = state.objects["Deployment"]["srs-edge-blue-deploy"] = {
        **state.objects["Deployment"]["srs-edge-r5-deploy"],
        "metadata": {"name": "srs-edge-blue-deploy", "annotations": {STACK_ANNOTATION: "x/srs/other"}},
    }
    blue["spec"] = blue["spec"] | {"replicas": 30}
    assert rendered(configured, state).kept.edges == 8


def test_a_foreign_autoscaler_is_rejected_with_its_owner() -> None:
    fixed = settings()
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "srs-edge-r5-deploy"}}
    state = state_after(fixed)
    state.objects["HorizontalPodAutoscaler"]["hpa"] = {"metadata": {}, "spec": target}
    (problem,) = planned(fixed, state).rejections
    assert problem.reason == "ForeignAutoscaler"
    assert "edge.autoscaling: (absent) conflicts with HorizontalPodAutoscaler hpa on the edges of release r5" in str(
        problem
    )
    assert "kubectl -n live delete hpa hpa" in str(problem)
    assert "Or set edge.autoscaling instead of edge.replicas" in str(problem)

    owner = {"ownerReferences": [{"kind": "ScaledObject", "name": "viewers"}]}
    del state.objects["HorizontalPodAutoscaler"]["hpa"]
    state.objects["HorizontalPodAutoscaler"]["keda-hpa-viewers"] = {"metadata": owner, "spec": target}
    (problem,) = planned(fixed, state).rejections
    assert "ScaledObject viewers, which makes HorizontalPodAutoscaler keda-hpa-viewers," in str(problem)
    assert "kubectl -n live delete scaledobject viewers" in str(problem)
    viewers = {"metadata": {}, "spec": {"scaleTargetRef": {"name": "srs-edge-r5-deploy"}}}
    state.objects["ScaledObject"]["viewers"] = viewers
    (problem,) = planned(fixed, state).rejections
    assert "delete scaledobject viewers" in str(problem), "once, whether KEDA's objects may be read or not"

    configured = fleet(CPU, r5=1)
    state = after(configured)
    state.objects["HorizontalPodAutoscaler"]["hpa"] = {"metadata": {}, "spec": target}
    (problem,) = planned(configured, state).rejections
    assert str(problem).startswith("srs:edge.autoscaling: {minimum: 4, maximum: 60")
    assert "the stack's own autoscalers set the replicas" in str(problem)


@pytest.mark.parametrize(
    ("spec", "rejected"),
    [
        ({"scaleTargetRef": {"name": "srs-edge-r5-deploy"}}, True),
        ({"scaleTargetRef": {"kind": "Deployment", "name": "srs-edge-r5-deploy"}}, True),
        ({"scaleTargetRef": {"kind": "StatefulSet", "name": "srs-edge-r5-deploy"}}, False),
        ({"scaleTargetRef": {"kind": "Deployment", "name": "web"}}, False),
        ({"scaleTargetRef": None}, False),
        (None, False),
    ],
)
def test_autoscalers_of_other_workloads_are_accepted(spec: Any, rejected: bool) -> None:
    state = state_after(settings())
    state.objects["ScaledObject"]["viewers"] = {"metadata": {"ownerReferences": None}, "spec": spec}
    assert bool(planned(settings(), state).rejections) == rejected


def test_autoscalers_are_listed_by_release() -> None:
    releases = {name: {"image": "ossrs/srs:v4.0.6", "weight": 1} for name in ("r5", "r9", "r10")}
    state = state_after(settings(edge__releases=releases))
    state.objects["ScaledObject"]["web"] = {"metadata": {}, "spec": {"scaleTargetRef": {"name": "web"}}}
    for kind, release in (("ScaledObject", "r10"), ("ScaledObject", "r9"), ("HorizontalPodAutoscaler", "r10")):
        spec = {"scaleTargetRef": {"name": f"srs-edge-{release}-deploy"}}
        state.objects[cast("Kind", kind)][f"of-{release}"] = {"metadata": {}, "spec": spec}
    assert [(item.kind, item.name) for item in live_autoscalers(state)] == [
        ("ScaledObject", "of-r9"),
        ("HorizontalPodAutoscaler", "of-r10"),
        ("ScaledObject", "of-r10"),
    ]


def test_what_keda_makes_is_foreign_unless_the_stack_has_declared_its_scaled_object() -> None:
    configured = fleet(CONNECTIONS, r5=1)
    state = after(configured)
    assert not planned(configured, state).rejections
    for owner in ({"kind": "ScaledObject", "name": "other"}, {"kind": "Operator", "name": "srs-edge-r5"}):
        (hpa,) = state.objects["HorizontalPodAutoscaler"].values()
        hpa["metadata"]["ownerReferences"] = [owner]
        (problem,) = planned(configured, state).rejections
        assert problem.reason == "ForeignAutoscaler"


def test_a_missing_metrics_api_is_rejected_with_an_alternative() -> None:
    configured = fleet(CONNECTIONS, r5=1)
    state = replace(state_after(configured), api_groups=frozenset(["metrics.k8s.io"]))
    (problem,) = planned(configured, state).rejections
    assert problem.reason == "MetricsApiMissing"
    assert "edge.autoscaling.metric: 'connections' needs the API keda.sh" in str(problem)
    assert str(problem).endswith("install KEDA, or use metric cpu")
    both = frozenset(["metrics.k8s.io", "external.metrics.k8s.io"])
    (problem,) = planned(configured, replace(state, api_groups=both)).rejections
    assert str(problem).endswith("install KEDA, or use metric cpu or external")
    (problem,) = planned(configured, replace(state, api_groups=frozenset())).rejections
    assert str(problem).endswith("install KEDA")
    assert not planned(configured, replace(state, cluster_uid=None, unreachable="no answer")).rejections
    assert not planned(configured, replace(state, api_groups=None)).rejections, "it may not be known"


def test_an_autoscaler_that_does_not_work_is_a_warning() -> None:
    configured = fleet(CPU, r5=1)
    state = after(configured)
    state.objects["HorizontalPodAutoscaler"]["srs-edge-r5"]["status"] = {
        "conditions": [
            {"type": "AbleToScale", "status": "True"},
            {"type": "ScalingActive", "status": "False", "message": "no metrics returned from resource metrics API"},
        ]
    }
    (warning,) = own_warnings(planned(configured, state))
    assert "does not scale release r5: no metrics returned from resource metrics API; its edges stay" in warning
    (warning,) = own_warnings(planned(configured, after(configured, r5=60)))
    assert "the fleet has its maximum of 60 edges" in warning
    fixed = fleet(CPU | {"minimum": 60}, r5=1)
    assert own_warnings(planned(fixed, after(fixed))) == [], "as configured"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"type": "AbleToScale", "status": "False", "message": "m", "reason": "R"}, "m"),
        ({"type": "ScalingActive", "status": "False", "reason": "R"}, "R"),
        ({"type": "ScalingLimited", "status": "False", "message": "m"}, None),
        ({"type": "ScalingActive", "status": "Unknown", "message": "m"}, None),
    ],
)
def test_which_conditions_of_an_autoscaler_are_a_warning(condition: dict[str, str], message: str | None) -> None:
    configured = fleet(CPU, r5=1, r6=0)
    state = after(configured)
    state.objects["HorizontalPodAutoscaler"].clear()
    for name, release in (("unused", "r6"), ("foreign", "r7"), ("srs-edge-r5", "r5")):
        target = {"name": f"srs-edge-{release}-deploy"}
        state.objects["HorizontalPodAutoscaler"][name] = {
            "metadata": {"annotations": {STACK_ANNOTATION: STACK}},
            "spec": {"scaleTargetRef": target},
            "status": {"conditions": [condition]},
        }
    found = own_warnings(planned(configured, state))
    ending = "its edges stay as many as they are"
    assert found == (
        [f"HorizontalPodAutoscaler srs-edge-r5 does not scale release r5: {message}; {ending}"] * bool(message)
    )


def test_each_release_has_its_own_disruption_budget() -> None:
    names = set(rendered(fleet(CPU, r5=75, r6=25)).objects)
    assert ("PodDisruptionBudget", "srs-edge") not in names
    assert {("PodDisruptionBudget", "srs-edge-r5"), ("PodDisruptionBudget", "srs-edge-r6")} <= names
    assert {("HorizontalPodAutoscaler", "srs-edge-r5"), ("HorizontalPodAutoscaler", "srs-edge-r6")} <= names
    assert ("ScaledObject", "srs-edge-r5") in rendered(fleet(CONNECTIONS, r5=1)).objects


def test_autoscaled_is_rejected_with_what_to_write_instead() -> None:
    releases = {"r5": {"image": "ossrs/srs:v4.0.5", "weight": 1, "autoscaled": True}}
    with pytest.raises(
        ConfigError, match=r"r5.autoscaled: true does not exist any more: set edge.autoscaling .* delete your"
    ):
        settings(edge__releases=releases)


def test_edges_of_somebody_else_do_not_change_the_size_of_the_fleet() -> None:
    configured = fleet(CPU, r5=90, r6=10)
    state = after(configured, r5=36, r6=4)
    blue = copy.deepcopy(state.objects["Deployment"]["srs-edge-r5-deploy"])
    blue["metadata"] = {"name": "srs-edge-blue-deploy"}
    state.objects["Deployment"]["srs-edge-blue-deploy"] = blue
    assert edges(planned(configured, state)) == {"r5": ("none", 36, 36), "r6": ("none", 4, 4)}
    moved = planned(fleet(CPU, r5=50, r6=50), state)
    assert {name: count for name, (_, _, count) in edges(moved).items()} == {"r5": 20, "r6": 20}
