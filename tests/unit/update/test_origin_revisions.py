"""Which origins an update keeps, creates and drains."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.state import LiveState
from model.config.stack import StackSettings
from unit.update.live_objects import nothing, origin, rendered, settings, state_after
from update.origin_revisions import OriginPlan, origin_plan, origin_problems, origin_warnings

IMAGE: dict[str, Any] = {"image": "ossrs/srs:v4.0.6"}
OTHER: dict[str, Any] = {"image": "ossrs/srs:v4.0.271"}
DELETED: dict[str, Any] = {"deletionTimestamp": "2026-01-01T12:00:00Z"}


def origins(replicas: int = 3, **change: Any) -> StackSettings:
    return settings(origin=IMAGE | {"replicas": replicas} | change)


def serving(state: LiveState, ordinals: range) -> LiveState:
    """The state in which the origins have other ordinals."""
    state = copy.deepcopy(state)
    stateful_set = state.origins
    assert stateful_set is not None
    stateful_set["spec"] |= {"ordinals": {"start": ordinals.start}, "replicas": len(ordinals)}
    return replace(state, pods=tuple(origin(stateful_set, number) for number in ordinals))


def draining(state: LiveState, *ordinals: int) -> LiveState:
    assert state.origins is not None
    return replace(state, draining_origins=tuple(origin(state.origins, number, **DELETED) for number in ordinals))


def planned(desired: StackSettings, state: LiveState) -> OriginPlan:
    return origin_plan(rendered(desired, state), state)


def names(*ordinals: int) -> tuple[str, ...]:
    return tuple(f"srs-origin-{number}" for number in ordinals)


def test_the_first_update_creates_them() -> None:
    plan = planned(origins(), nothing())
    assert (plan.ordinals, plan.fresh, plan.surges, plan.peak) == (range(3), (0, 1, 2), False, 3)
    assert plan.live == range(0)


def test_new_origins_have_other_names_than_those_that_still_drain_without_a_set() -> None:
    """The StatefulSet was deleted; its origins drain for hours."""
    stateful_set = state_after(origins()).origins
    drain = tuple(origin(stateful_set, number, **DELETED) for number in (0, 1))
    plan = planned(origins(), replace(nothing(), draining_origins=drain))
    assert (plan.ordinals, plan.fresh, plan.draining) == (range(2, 5), (2, 3, 4), names(0, 1))


def test_nothing_changes() -> None:
    plan = planned(origins(), state_after(origins()))
    assert (plan.ordinals, plan.fresh, plan.removed, plan.kept) == (range(3), (), {}, names(0, 1, 2))
    assert (plan.ready, plan.live, plan.peak) == ({*names(0, 1, 2)}, range(3), 3)


def test_another_revision_gets_other_names_next_to_the_earlier_ones() -> None:
    state = state_after(origins())
    plan = planned(origins(**OTHER), state)
    assert (plan.ordinals, plan.fresh, plan.surges) == (range(3, 6), (3, 4, 5), True)
    assert (plan.first, plan.all, plan.peak) == (range(4), range(6), 6)
    assert (plan.checked, plan.earlier) == (3, range(3))
    assert plan.removed == dict.fromkeys(names(0, 1, 2), 43235)
    assert plan.dropped == []


def test_names_below_are_used_when_those_above_drain() -> None:
    state = draining(serving(state_after(origins()), range(3, 6)), 6, 7, 8)
    plan = planned(origins(**OTHER), state)
    assert (plan.ordinals, plan.first, plan.all) == (range(3), range(2, 6), range(6))
    assert (plan.checked, plan.earlier) == (2, range(3, 6))


def test_an_interrupted_update_goes_on_and_can_be_taken_back() -> None:
    before = state_after(origins())
    state = serving(state_after(origins(**OTHER)), range(6))
    state = replace(state, pods=(*before.pods, *state.pods[3:]))
    plan = planned(origins(**OTHER), state)
    assert (plan.ordinals, plan.fresh, plan.surges, tuple(plan.removed)) == (range(3, 6), (), True, names(0, 1, 2))
    plan = planned(origins(), state)
    assert (plan.ordinals, plan.fresh, plan.surges, tuple(plan.removed)) == (range(3), (), True, names(3, 4, 5))


def test_origins_that_never_ran_are_replaced_under_their_names() -> None:
    before = state_after(origins())
    bad = serving(state_after(origins(**OTHER)), range(4))
    assert bad.origins is not None
    state = replace(bad, pods=(*before.pods, origin(bad.origins, 3, ready=False)))
    plan = planned(origins(image="ossrs/srs:v4.0.268"), state)
    assert (plan.ordinals, plan.fresh) == (range(3, 6), (3, 4, 5))


def test_another_number_restarts_none() -> None:
    plan = planned(origins(5), state_after(origins(3)))
    assert (plan.ordinals, plan.fresh, plan.removed, plan.surges) == (range(5), (3, 4), {}, False)
    plan = planned(origins(2), state_after(origins(5)))
    assert (plan.ordinals, tuple(plan.removed), plan.surges) == (range(2), names(2, 3, 4), False)


def test_more_origins_grow_downwards_where_others_drain() -> None:
    state = draining(serving(state_after(origins(3)), range(3, 6)), 6, 7)
    plan = planned(origins(5), state)
    assert (plan.ordinals, plan.fresh, plan.removed) == (range(1, 6), (1, 2), {})


def test_an_origin_that_drains_on_its_node_is_replaced_later() -> None:
    state = state_after(origins())
    state = draining(replace(state, pods=state.pods[:2]), 2)
    plan = planned(origins(), state)
    assert (plan.ordinals, plan.fresh, plan.removed) == (range(3), (), {})
    (warning,) = origin_warnings(origins(), plan)
    assert warning == (
        "srs-origin-2 is draining outside of an update, as on a drained node, and will be replaced when its publishers "
        "have left"
    )
    (warning,) = origin_warnings(origins(), replace(plan, draining=names(1, 2, 3)))
    assert warning.startswith("srs-origin-1, srs-origin-2 are draining")
    assert warning.endswith("when their publishers have left")
    assert not list(origin_warnings(origins(), plan, names(2))), "its node is lost, and so are its publishers"


def test_an_only_origin_on_a_lost_node_gets_a_successor_of_another_name() -> None:
    state = draining(replace(state_after(origins(1)), pods=()), 0)
    plan = planned(origins(1), state)
    assert (plan.ordinals, plan.fresh, plan.removed, plan.surges) == (range(1, 2), (1,), {}, False)


def test_without_free_names_nothing_is_changed() -> None:
    state = draining(serving(state_after(origins()), range(3, 6)), 0, 8, 11, 14)
    plan = planned(origins(**OTHER), state)
    assert plan.ordinals is None
    (problem,) = origin_problems(origins(**OTHER), plan)
    assert str(problem) == (
        "srs:origin: 3 cannot be changed now: 3 consecutive names of 16 are needed for the new origins, and 4 origins "
        "still drain (srs-origin-0, srs-origin-8, srs-origin-11, srs-origin-14). Wait until their publishers have left "
        "(rollout draining), or drop these: rollout cut"
    )
    assert (plan.kept, plan.ready, plan.start, plan.peak) == (names(3, 4, 5), {*names(3, 4, 5)}, 3, 3)
    (problem,) = origin_problems(origins(), replace(plan, draining=names(8)))
    assert "and 1 origin still drains (srs-origin-8)" in str(problem)


@pytest.mark.parametrize(
    ("drain", "ordinals"), [((5, 8, 11, 12), range(13, 16)), ((5, 8, 11, 13), None), ((2,), range(3, 6))]
)
def test_which_names_are_free(drain: tuple[int, ...], ordinals: range | None) -> None:
    """Also those of a live origin that drains on its node are used when it has ended."""
    state = state_after(origins())
    state = draining(
        replace(state, pods=tuple(state.pods[number] for number in range(3) if number not in drain)), *drain
    )
    assert planned(origins(**OTHER), state).ordinals == ordinals


def test_origins_that_were_just_created_have_no_status() -> None:
    state = copy.deepcopy(state_after(origins()))
    assert state.origins is not None
    del state.origins["status"]
    del state.pods[0]["status"]
    state.pods[1]["status"] = {}
    plan = planned(origins(), replace(state, pods=state.pods[:2]))
    assert (plan.ordinals, plan.removed, plan.ready) == (range(3), {}, frozenset())


def unready(pod: Any) -> Any:
    """An origin that runs, and may have connections, but is not ready."""
    status = {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [{"state": {"running": {}}}]}
    return {**pod, "status": status}


def test_an_origin_that_runs_keeps_its_name_although_it_is_not_ready() -> None:
    state = state_after(origins())
    state = replace(state, pods=(*state.pods[:2], unready(state.pods[2])))
    plan = planned(origins(**OTHER), state)
    assert (plan.ordinals, tuple(plan.removed)) == (range(3, 6), names(0, 1, 2))


def test_fewer_origins_are_those_that_are_ready() -> None:
    state = state_after(origins(3))
    assert state.origins is not None
    for first in (unready(state.pods[0]), origin(state.origins, 0, ready=False)):
        plan = planned(origins(2), replace(state, pods=(first, *state.pods[1:])))
        assert (plan.ordinals, plan.kept) == (range(1, 3), names(1, 2))


def test_fewer_origins_are_those_that_exist() -> None:
    state = state_after(origins(4))
    plan = planned(origins(2), replace(state, pods=tuple(map(unready, state.pods[2:]))))
    assert (plan.ordinals, plan.kept) == (range(2, 4), names(2, 3))


def test_origins_that_a_deleted_set_has_left_are_replaced_next_to_them() -> None:
    state = serving(state_after(origins()), range(3, 6))
    plan = planned(origins(), replace(state, objects={**state.objects, "StatefulSet": {}}))
    assert (plan.live, plan.ordinals, plan.surges) == (range(3, 6), range(6, 9), True)


def test_origins_of_an_earlier_version_of_the_program_drop_their_publishers() -> None:
    state = copy.deepcopy(state_after(origins()))
    assert state.origins is not None
    for template in (state.origins["spec"]["template"], *state.pods):
        template["metadata"]["annotations"].pop("srs/revision", None)
    plan = planned(origins(), state)
    assert (plan.ordinals, plan.dropped) == (range(3, 6), list(names(0, 1, 2)))
    for hls, players in (
        ({}, ""),
        ({"enabled": True, "storageClass": "nas"}, ", but HLS players have to be started again (docs/hls.md)"),
    ):
        (warning,) = origin_warnings(settings(origin=IMAGE, hls=hls), plan)
        assert warning == (
            "3 origins that this version of the program has not created cannot drain: each drops its publishers once, "
            f"and they reconnect; viewers stay connected and have no media for a few seconds{players}. Later updates "
            "drop none"
        )


@pytest.mark.parametrize("has_set", [True, False])
def test_the_articles_origins_are_replaced_under_their_names(has_set: bool) -> None:
    """The article's edges, which go on beside the stack's, have these names in their srs.conf."""
    state = copy.deepcopy(state_after(origins()))
    for pod in state.pods:
        pod["metadata"]["annotations"] = {}
        pod["metadata"]["labels"]["controller-revision-hash"] = "article"
        pod["spec"] = {key: value for key, value in pod["spec"].items() if key != "serviceAccountName"}
    if not has_set:
        state = replace(state, objects={**state.objects, "StatefulSet": {}})
    plan = planned(origins(), state)
    assert (plan.ordinals, plan.surges, plan.peak) == (range(3), False, 3)
    assert plan.in_place == names(0, 1, 2)[::-1]
    assert plan.dropped == list(names(0, 1, 2))
    state = replace(state, pods=(*state_after(origins()).pods[:1], *state.pods[1:]))
    if has_set:
        assert planned(origins(), state).in_place == names(1, 2)[::-1], "an interrupted update goes on"


@pytest.mark.parametrize(
    ("live", "replicas", "ordinals", "in_place"),
    [
        (range(1, 4), 3, range(1, 4), names(3, 2, 1)),
        (range(13, 16), 3, range(13, 16), names(15, 14, 13)),
        (range(13, 16), 5, range(8, 13), ()),  # there are 16 names
    ],
)
def test_foreign_origins_have_any_names(live: range, replicas: int, ordinals: range, in_place: tuple[str, ...]) -> None:
    state = copy.deepcopy(serving(state_after(origins()), live))
    for pod in state.pods:
        pod["metadata"]["labels"]["controller-revision-hash"] = "article"
        pod["metadata"]["annotations"] = {}
        pod["spec"] = {key: value for key, value in pod["spec"].items() if key != "serviceAccountName"}
    plan = planned(origins(replicas), state)
    assert (plan.ordinals, plan.in_place) == (ordinals, in_place)


@pytest.mark.parametrize(("replicas", "count"), [(1, 16), (5, 16), (6, 32), (10, 32), (11, 64)])
def test_there_are_names_for_three_revisions(replicas: int, count: int) -> None:
    assert origins(replicas).origin.name_count == count


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 11),
    st.sets(st.integers(0, 15), max_size=4),
    st.booleans(),
)
def test_no_name_is_used_twice(before: int, after: int, start: int, drain: set[int], rolls: bool) -> None:
    """New origins have names that no pod has; nothing ready is removed before its replacement is ready."""
    live = range(start, start + before)
    state = draining(serving(state_after(origins(before)), live), *sorted(drain - set(live)))
    plan: OriginPlan = planned(origins(after, **(OTHER if rolls else {})), state)
    if plan.ordinals is None:
        return
    assert len(plan.ordinals) == after
    assert not set(plan.ordinals) & (drain - set(live))
    assert not set(plan.fresh) & set(live)
    assert set(plan.first) | set(plan.all) <= set(range(16))
    assert plan.surges == rolls
    if rolls:
        assert len(plan.removed) == before
