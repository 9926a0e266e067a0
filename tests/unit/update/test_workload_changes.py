"""What an update does to a workload, and how many pods it needs."""

import json

from model.config.stack import StackSettings
from unit.update.live_objects import planned, rendered, settings, state_after
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

    before, after = patched("hunter2-hunter2"), patched("hunter3-hunter3")
    update = planned(after, state_after(before))
    (change,) = [change for change in update.changes if change.workload.release]
    assert change.action == "roll"
    assert "containers.srs.env.TOKEN.value: [secret] -> [secret]" in change.reasons
    text = plan_text.text(update, rendered(after), state_after(before))
    assert "hunter" not in text + json.dumps(plan_json.document(update, rendered(after), state_after(before)))
    assert rendered(after).objects["Deployment", "srs-edge-r5-deploy"].secret
    assert not rendered(settings()).objects["Deployment", "srs-edge-r5-deploy"].secret
