"""An update while a run is open: its own, one that leaves the releases as they are, and one that does not."""

from dataclasses import replace
from typing import Any

from model.config.stack import StackSettings
from model.run_record import RunRecord
from unit.update.live_objects import rendered, settings, state_after
from update.open_run import is_superseded
from update.plan import UpdatePlan, plan

R5 = {"image": "ossrs/srs:v4.0.6", "weight": 75}
R6 = {"image": "ossrs/srs:v4.0.6", "weight": 25}
CANARY = settings(edge__releases={"r5": R5, "r6": R6})


def run(**values: Any) -> RunRecord:
    return RunRecord(release="r6", steps=(25, 100), index=0, weights_before={"r5": 100}, token="t", **values)


def planned(desired: StackSettings, record: RunRecord | None, token: str = "") -> UpdatePlan:
    state = replace(state_after(CANARY), run=record)
    return plan(rendered(desired, state), state, None, token)


def test_an_update_from_a_file_without_the_canary_is_rejected() -> None:
    stable = settings(edge__releases={"r5": R5 | {"weight": 100}})
    is_open = run()
    (problem,) = planned(stable, is_open).rejections
    assert problem.reason == "RolloutRunOpen"
    possible = "An update that leaves the edges of its releases as they are is possible"
    assert str(problem) == (
        f"srs:edge.releases: (absent) r5, r6 must not change while {is_open.title} is open: wait until it has ended, "
        f"or end it with `rollout abort`. {possible}"
    )
    (problem,) = planned(stable, run(aborted_by="ci@runner")).rejections
    assert "aborted by ci@runner" in str(problem)
    assert str(problem).endswith(f" is open: run `rollout abort` again if its process has ended. {possible}")
    assert planned(stable, run(), token="of an earlier holder").rejections
    assert not planned(stable, run(), token="t").rejections
    assert not planned(stable, None).rejections


def test_an_update_that_leaves_the_releases_as_they_are_is_possible() -> None:
    assert not planned(CANARY, run()).rejections
    more_origins = settings(edge__releases={"r5": R5, "r6": R6}, origin__resources={"cpu": "2"})
    assert not planned(more_origins, run()).rejections


def test_a_run_that_cannot_be_read_is_a_warning() -> None:
    state = replace(state_after(CANARY), run_unknown="the user must be allowed to get leases")
    (warning,) = [text for text in plan(rendered(CANARY, state), state, None).warnings if "rollout run" in text]
    assert "leases" in warning


def test_an_update_of_a_run_that_has_ended_is_superseded() -> None:
    assert is_superseded(None, "t")
    assert is_superseded(run(), "other")
    assert not is_superseded(run(), "t")
    assert not is_superseded(run(), "")


def test_a_release_is_held_by_its_own_run_only() -> None:
    stable = settings(edge__releases={"r5": R5 | {"weight": 100}})
    state = replace(
        state_after(stable), run=RunRecord(release="r5", steps=(25,), pause_at=2, weights_before={"r5": 100}, token="t")
    )
    desired = rendered(stable, state)
    assert plan(desired, state, None, "t").pause_at == {desired.edges("r5"): 2}
    assert plan(desired, state, None).pause_at == {}
    assert state.run
    aborted = replace(state, run=state.run.model_copy(update={"aborted_by": "alice"}))
    assert plan(desired, aborted, None, "t").pause_at == {}, "the earlier revision gets all edges"
