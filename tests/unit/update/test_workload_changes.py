"""What an update does to a workload, and how many pods it needs."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from bad_configs import GOOD, SIX
from cluster.state import LiveState
from model.config.stack import StackSettings
from unit.update.live_objects import nothing, planned, rendered, settings, state_after, workload
from unit.update.test_origin_revisions import OTHER, draining, origins, serving
from update import plan_json, plan_text
from update.plan import UpdatePlan
from update.workload_changes import WorkloadChange

R5 = {"image": "ossrs/srs:v4.0.6", "weight": 75}
R6 = {"image": "ossrs/srs:v4.0.6", "weight": 25}


ORIGIN = {"image": "ossrs/srs:v4.0.6"}


def change_of(update: UpdatePlan, release: str = "r5") -> WorkloadChange:
    return next(change for change in update.changes if change.workload.release == release)


def test_another_number_of_origins_changes_no_edge() -> None:
    for before, after in ((2, 3), (3, 2)):
        now = state_after(settings(origin=ORIGIN | {"replicas": before}))
        update = planned(settings(origin=ORIGIN | {"replicas": after}), now)
        assert not update.warnings
        assert len(update.origins.removed) == max(0, before - after)
        assert {change.action for change in update.changes if change.workload.release} == {"none"}
        assert not any(step.awaited for step in update.steps)


def test_pods_that_are_not_ready_count_for_the_peak() -> None:
    """Both the crashing pod and the one that replaces it need capacity."""
    state = state_after(settings(edge__releases={"r5": R5, "r6": R6}), ready={"r6": 0})
    update = planned(settings(edge__releases={"r5": R5, "r6": R6 | {"image": "ossrs/srs:v4.0.271"}}), state)
    assert (change_of(update, "r6").terminated, change_of(update, "r6").peak) == (0, 2)
    assert plan_text.peak_edge_pods(update, state) == 5


def test_a_rolling_update_that_also_scales_up_begins_with_pods_of_the_old_revision() -> None:
    after = settings(edge__releases={"r5": R5, "r6": R6 | {"image": "ossrs/srs:v4.0.271", "weight": 75}})
    change = change_of(planned(after, state_after(settings(edge__releases={"r5": R5, "r6": R6}))), "r6")
    assert (change.before, change.after, change.peak) == (1, 2, 4)


def test_values_of_a_secret_key_are_not_shown() -> None:
    def patched(value: str) -> StackSettings:
        patch = {"spec": {"containers": [{"name": "srs", "env": [{"name": "TOKEN", "value": value}]}]}}
        releases = {"r5": R5 | {"podPatch": patch, "podAnnotations": {"example.com/key": value}}}
        return settings(edge__releases=releases).with_secret_keys(["edge"])

    before, after = patched("hunter2"), patched("hunter3")
    update = planned(after, state_after(before))
    (change,) = [change for change in update.changes if change.workload.release]
    assert change.action == "roll"
    assert "containers.srs.env.TOKEN.value: [secret] -> [secret]" in change.reasons
    text = plan_text.text(update, rendered(after), state_after(before))
    assert "hunter" not in text + json.dumps(plan_json.document(update, rendered(after), state_after(before)))
    assert rendered(after).objects["Deployment", "srs-edge-r5-deploy"].secret
    assert not rendered(settings()).objects["Deployment", "srs-edge-r5-deploy"].secret


@pytest.mark.parametrize("secret", ["edge", "origin", "hls"])
def test_only_values_of_the_secret_key_are_hidden(secret: str) -> None:
    """No value of nginx can be a secret."""

    def on_nodes(pool: str) -> StackSettings:
        nodes = {"nodeSelector": {"pool": pool}}
        return settings(
            edge=GOOD["edge"] | nodes, origin=GOOD["origin"] | nodes, hls=GOOD["hls"] | nodes
        ).with_secret_keys([secret])

    before = rendered(on_nodes("a"))
    state = state_after(on_nodes("a"))
    for item in before.workloads_of(before.hls):
        state.objects["Deployment"][item.name] = workload(item.name, before.workloads[item].manifest["spec"])
    update = planned(on_nodes("b"), state)
    reasons = {change.workload.title: change.reasons for change in update.changes if change.action == "roll"}
    shown = {"edge": ("edge release r5", "edge release r6"), "origin": ("origins",), "hls": ("nginx-origin",)}
    assert reasons == {
        title: ("nodeSelector.pool: [secret] -> [secret]" if key == secret != "hls" else "nodeSelector.pool: a -> b",)
        for key, titles in shown.items()
        for title in titles
    }


def test_an_srs_conf_that_is_not_known_is_shown_as_new_only_where_pods_are_replaced() -> None:
    state = replace(state_after(settings(edge__releases={"r5": R5, "r6": R6})), confs={})
    conf = {"srs": {"maxConnections": 500}}
    update = planned(settings(edge__replicas=8, edge__releases={"r5": R5 | conf, "r6": R6}), state)
    rolls, scales = change_of(update, "r5"), change_of(update, "r6")
    assert (rolls.action, scales.action) == ("roll", "scale")
    assert all(line.startswith("+") for line in rolls.conf_diff)
    assert "+max_connections 500;" in rolls.conf_diff
    assert scales.conf_diff == ()


def figures(change: WorkloadChange) -> tuple[Any, ...]:
    """action, before, after, peak, ready, terminated, dropped."""
    numbers = (change.before, change.after, change.peak, change.ready, change.terminated, change.dropped)
    return change.action, *numbers


UNABLE = {"image": "ossrs/srs:v5.0-r3", "allowDroppedConnections": True}
"""A release that cannot drain."""


@pytest.mark.parametrize(
    ("before", "after", "of_r6"),
    [
        ({"r5": R5, "r6": R6}, {"r5": R5, "r6": R6}, ("none", 1, 1, 1, 1, 0, 0)),
        ({"r5": R5, "r6": R6}, {"r5": R5}, ("delete", 1, 0, 1, 1, 1, 0)),
        ({"r5": R5, "r6": R6 | UNABLE}, {"r5": R5}, ("delete", 1, 0, 1, 1, 1, 1)),
        ({"r5": R5}, {"r5": R5, "r6": R6}, ("create", 0, 1, 1, 0, 0, 0)),
        ({"r6": R6}, {"r5": R5, "r6": R6}, ("scale", 4, 1, 4, 4, 3, 0)),
        ({"r6": R6 | UNABLE}, {"r5": R5, "r6": R6 | UNABLE}, ("scale", 4, 1, 4, 4, 3, 3)),
        ({"r6": R6 | UNABLE}, {"r5": R5, "r6": R6}, ("roll", 4, 1, 5, 4, 4, 4)),
        ({"r6": R6}, {"r5": R5, "r6": R6 | UNABLE}, ("roll", 4, 1, 5, 4, 4, 0)),
        ({"r5": R5, "r6": R6}, {"r6": R6 | UNABLE}, ("roll", 1, 4, 8, 1, 1, 0)),
        ({"r6": R6}, {"r5": R5, "r6": R6 | UNABLE | {"weight": 0}}, ("scale", 4, 0, 4, 4, 4, 0)),
        ({"r5": R5, "r6": R6 | UNABLE}, {"r5": R5, "r6": R6 | {"paused": True}}, ("update", 1, 1, 1, 1, 0, 0)),
    ],
)
def test_what_happens_to_the_pods_of_a_release(before: Any, after: Any, of_r6: tuple[Any, ...]) -> None:
    change = change_of(planned(settings(edge__releases=after), state_after(settings(edge__releases=before))), "r6")
    assert figures(change) == of_r6
    assert change.grace_seconds == (43235 if "r6" in before else 0)
    unseen = ["spec.replicas: 4 -> 0"] if of_r6[:3] == ("scale", 4, 0) else []
    assert [str(item) for item in change.unseen] == unseen, "the provider does not see what becomes 0"


def test_a_deployment_without_status_has_no_pods_yet() -> None:
    state = state_after(settings(edge__releases={"r5": R5, "r6": R6}))
    del state.edges["srs-edge-r6-deploy"]["status"]
    del state.objects["ReplicaSet"]["srs-edge-r6-deploy"]
    other = {"r5": R5, "r6": R6 | {"image": "ossrs/srs:v4.0.271"}}
    assert figures(change_of(planned(settings(edge__releases=other), state), "r6")) == ("roll", 1, 1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("status", "weight", "peak"),
    [({"replicas": 9}, 25, 9), ({}, 25, 1), ({"replicas": 3}, 0, 3), ({}, 0, 0)],
)
def test_pods_of_an_earlier_update_count_for_the_peak(status: dict[str, int], weight: int, peak: int) -> None:
    desired = settings(edge__releases={"r5": R5, "r6": R6 | {"weight": weight}})
    state = state_after(desired)
    state.edges["srs-edge-r6-deploy"]["status"] = status
    assert change_of(planned(desired, state), "r6").peak == peak
    removed = change_of(planned(settings(edge__releases={"r5": R5}), state), "r6")
    assert (removed.action, removed.peak) == ("delete", peak)


def test_pods_that_a_deleted_deployment_has_left_are_replaced() -> None:
    """`kubectl delete --cascade=orphan` leaves ReplicaSets, which a new Deployment takes over."""
    state = state_after(settings(edge__releases={"r5": R5, "r6": R6}))
    deployment = state.objects["Deployment"].pop("srs-edge-r6-deploy")

    def pod(name: str, run: str, owner: str, grace: int) -> dict[str, Any]:
        owners = {"ownerReferences": [{"kind": "ReplicaSet", "name": owner}]} if owner else {}
        labels = {"app": "srs-edge", "run": run}
        spec = {**deployment["spec"]["template"]["spec"], "terminationGracePeriodSeconds": grace}
        return {"metadata": {"name": name, "labels": labels, **owners}, "spec": spec}

    left = (
        pod("a", "srs-edge-r6", "srs-edge-r6-deploy-6f", 60),
        pod("b", "srs-edge-r6", "srs-edge-r6-deploy-6f", 90),
        pod("other release", "srs-edge-r5", "srs-edge-r6-deploy-6f", 99),
        pod("other owner", "srs-edge-r6", "other-6f", 99),
        pod("no owner", "srs-edge-r6", "", 99),
    )
    update = planned(settings(edge__releases={"r5": R5, "r6": R6}), replace(state, pods=(*state.pods, *left)))
    change = change_of(update, "r6")
    assert figures(change) == ("roll", 2, 1, 3, 2, 2, 0)
    assert (change.reasons, change.grace_seconds) == (
        ("2 pods of a deleted Deployment srs-edge-r6-deploy, which will be replaced",),
        90,
    )


def test_removed_releases_are_in_natural_order() -> None:
    before = settings(edge__releases={"r5": R5, "r10": R6, "r9": R6})
    update = planned(settings(edge__releases={"r5": R5}), state_after(before))
    assert [change.workload.release for change in update.changes if change.action == "delete"] == ["r9", "r10"]


def test_hls_and_demo_that_are_disabled_are_deleted() -> None:
    state = state_after(settings())
    desired = rendered(settings())
    for item in (*desired.workloads_of(desired.hls), *desired.workloads_of(desired.demo)):
        spec = desired.workloads[item].manifest["spec"]
        state.objects["Deployment"][item.name] = workload(item.name, spec)
    assert not [change for change in planned(settings(), state).changes if change.action == "delete"]
    update = planned(settings(hls={}, demo={}), state)
    deleted = {change.workload.name: figures(change) for change in update.changes if change.action == "delete"}
    assert deleted == {
        "nginx-origin-deploy": ("delete", 1, 0, 1, 1, 1, 0),
        "srs-demo-deploy": ("delete", 1, 0, 1, 1, 1, 0),
    }


def restarted(state: LiveState) -> LiveState:
    """The state after `kubectl rollout restart` of r5, and a pause."""
    state = copy.deepcopy(state)
    live = state.edges["srs-edge-r5-deploy"]
    live["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    live["spec"]["paused"] = True
    annotations = {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}
    fields = {"f:spec": {"f:template": {"f:metadata": annotations}}}
    live["metadata"]["managedFields"].append({"manager": "kubectl-rollout", "operation": "Update", "fieldsV1": fields})
    state.objects["ReplicaSet"]["srs-edge-r5-deploy"]["spec"]["template"] = live["spec"]["template"]
    return state


def test_manual_changes_are_reasons_and_what_the_provider_does_not_see_is_kept() -> None:
    state = restarted(state_after(settings(edge__releases={"r5": R5, "r6": R6})))
    change = change_of(planned(settings(edge__releases={"r5": R5, "r6": R6}), state))
    removed = "metadata.annotations.kubectl.kubernetes.io/restartedAt: removed (set by kubectl-rollout)"
    assert (change.action, change.reasons) == ("roll", (removed,))
    assert change.fields == ("spec.paused: true -> false", f"spec.template.{removed}")
    assert [str(item) for item in change.unseen] == ["spec.paused: true -> false"]


def hook(key: str, **edge: Any) -> dict[str, Any]:
    releases = {name: item | edge for name, item in {"r5": R5, "r6": R6}.items()}
    return {"publish": {"hook": f"http://auth/?key={key}"}, "edge__releases": releases}


def tls(name: str) -> dict[str, Any]:
    return {"tls": {"secretName": name}, "edge__releases": SIX}


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ({"edge__drain": {"timeout": "12h"}}, {"edge__drain": {"timeout": "24h"}}, "grace period 12h35s -> 24h35s"),
        (hook("hunter2"), hook("hunter3"), "a secret of srs.conf"),
        (hook("hunter2"), hook("hunter2", srs={"maxConnections": 500}), "srs.conf"),
        (tls("one"), tls("two"), "volumes.tls.secret.secretName: one -> two"),
    ],
)
def test_why_edges_roll(before: dict[str, Any], after: dict[str, Any], reasons: str) -> None:
    update = planned(settings(**after), state_after(settings(**before)))
    found = {change.reasons for change in update.changes if change.workload.release}
    assert found == {(reasons,)}


def test_a_changed_srs_conf_is_shown_as_a_diff() -> None:
    after = settings(edge__releases={"r5": R5 | {"srs": {"maxConnections": 500}}, "r6": R6})
    change = change_of(planned(after, state_after(settings(edge__releases={"r5": R5, "r6": R6}))))
    assert (change.action, change.reasons) == ("roll", ("srs.conf",))
    assert change.conf_diff == ("-max_connections 1000;", "+max_connections 500;")


def of_origins(settings: StackSettings, state: LiveState) -> WorkloadChange:
    (change,) = [change for change in planned(settings, state).changes if change.workload.kind == "StatefulSet"]
    return change


def without_set(state: LiveState) -> LiveState:
    return replace(state, objects={**state.objects, "StatefulSet": {}})


def of_an_earlier_program(state: LiveState) -> LiveState:
    """Origins that cannot drain."""
    state = copy.deepcopy(state)
    assert state.origins
    for item in (state.origins["spec"]["template"], *state.pods):
        item["metadata"]["annotations"].pop("srs/revision", None)
    return state


NOW, NEXT, FIVE = origins(), origins(**OTHER), origins(5)
AFTER, AFTER_NEXT = state_after(NOW), state_after(NEXT)
IMAGE_CHANGES = ("image ossrs/srs:v4.0.6 -> ossrs/srs:v4.0.271",)
DRAIN_SECONDS = 43235


@pytest.mark.parametrize(
    ("settings", "state", "expected", "grace", "reasons"),
    [
        (NOW, nothing(), ("create", 0, 3, 3, 0, 0, 0), 0, ()),
        (NOW, AFTER, ("none", 3, 3, 3, 3, 0, 0), 0, ()),
        (NEXT, AFTER, ("roll", 3, 3, 6, 3, 3, 0), DRAIN_SECONDS, IMAGE_CHANGES),
        (FIVE, AFTER, ("scale", 3, 5, 5, 3, 0, 0), 0, ()),
        (NOW, state_after(FIVE), ("scale", 5, 3, 5, 5, 2, 0), DRAIN_SECONDS, ()),
        (
            NOW,
            without_set(AFTER),
            ("roll", 3, 3, 6, 3, 3, 0),
            DRAIN_SECONDS,
            ("3 pods of a deleted StatefulSet srs-origin, which will be replaced",),
        ),
        (
            NOW,
            of_an_earlier_program(AFTER),
            ("roll", 3, 3, 6, 3, 3, 3),
            0,
            ("3 origins of an earlier revision",),
        ),
        (
            NEXT,
            replace(AFTER_NEXT, pods=AFTER.pods),  # an interrupted update
            ("roll", 3, 3, 6, 3, 3, 0),
            DRAIN_SECONDS,
            ("3 origins of an earlier revision",),
        ),
        (
            NOW,
            replace(AFTER, pods=AFTER.pods[:1]),
            ("roll", 3, 3, 3, 1, 0, 0),
            0,
            ("2 origins without a pod that runs",),
        ),
        (
            FIVE,
            draining(serving(AFTER, range(3, 6)), 2, 6),
            ("roll", 3, 5, 8, 3, 3, 0),
            DRAIN_SECONDS,
            ("3 origins under other names: earlier origins still drain under those next to them",),
        ),
    ],
)
def test_what_happens_to_the_origins(
    settings: StackSettings, state: LiveState, expected: tuple[Any, ...], grace: int, reasons: tuple[str, ...]
) -> None:
    change = of_origins(settings, state)
    assert figures(change) == expected
    assert (change.grace_seconds, change.reasons) == (grace, reasons)


def test_a_label_that_was_added_to_the_origins_is_removed_and_restarts_none() -> None:
    state = copy.deepcopy(AFTER)
    assert state.origins
    state.origins["metadata"]["labels"]["team"] = "x"
    labels = {"f:metadata": {"f:labels": {"f:team": {}}}}
    state.origins["metadata"]["managedFields"].append({"manager": "kubectl-label", "fieldsV1": labels})
    change = of_origins(NOW, state)
    assert figures(change) == ("update", 3, 3, 3, 3, 0, 0)
    assert change.fields == ("metadata.labels.team: removed (set by kubectl-label)",)
    assert [str(item) for item in change.unseen] == list(change.fields)


def test_a_changed_srs_conf_of_the_origins_is_shown_as_a_diff() -> None:
    change = of_origins(origins(srs={"maxConnections": 500}), AFTER)
    assert (change.action, change.reasons) == ("roll", ("srs.conf",))
    assert change.conf_diff == ("-max_connections 1000;", "+max_connections 500;")
