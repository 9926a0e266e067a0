"""The size of a fleet from its Deployments, also in the middle of an update."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.fleet import declared_share, fleet_size, is_own
from model.desired.replicas import apportion
from model.names import SHARE_ANNOTATION


def deployment(replicas: int, share: str | None) -> dict[str, Any]:
    annotations = {} if share is None else {SHARE_ANNOTATION: share}
    return {"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}}


@pytest.mark.parametrize(
    ("edges", "size"),
    [
        ([], None),
        ([(0, "0")], None),
        ([(36, "9/10"), (4, "1/10")], 40),  # a complete update
        ([(41, "9/10"), (6, "1/10")], 47),  # autoscalers have acted
        ([(40, "1"), (20, "1/2")], 40),  # interrupted, or failed: r6 is scaled up, r5 is not scaled down yet
        ([(40, "1"), (40, "1")], 40),  # the same, of a promotion
        ([(44, "1"), (44, "1")], 44),  # and autoscalers have acted meanwhile
        ([(36, "9/10"), (20, "1/2")], 40),
        ([(2, "4/5"), (2, "4/5")], 3),  # 2.5: no edge less
        ([(0, "0"), (40, "1")], 40),
        ([(36, "9/10"), (4, "1/10"), (3, "0")], 43),  # scaled up by hand
        ([(3, None), (1, None)], 4),  # before autoscaling
        ([(3, None), (1, None), (2, "1/2")], 4),  # the first update with autoscaling, interrupted
        ([(4, "x"), (4, "1/0")], 8),  # annotations changed by hand
    ],
)
def test_size_of_known_fleets(edges: list[tuple[int, str | None]], size: int | None) -> None:
    assert fleet_size(deployment(*item) for item in edges) == size


@pytest.mark.parametrize(
    ("edges", "size"),
    [
        ([(2, "4/5"), (2, "4/5")], 3),
        ([(2, "1/2"), (2, "3/5")], 3),  # 3.6
        ([(2, "4/5"), (4, "4/5")], 4),  # autoscalers have acted
        ([(3, None), (2, "2/3")], 3),
        ([(9, "9/10"), (1, "1/10")], 10),  # complete
    ],
)
def test_the_known_size_stays_until_a_whole_edge_differs(edges: list[tuple[int, str | None]], size: int) -> None:
    assert fleet_size([deployment(*item) for item in edges], 3) == size


@pytest.mark.parametrize(
    ("annotations", "own"),
    [
        ({"srs/stack": "organization/srs/dev"}, True),
        ({"srs/stack": "organization/srs/other", "pulumi.com/patchFieldManager": "srs"}, False),
        ({"pulumi.com/patchFieldManager": "srs"}, True),  # the name of the stack was removed by hand
        ({}, False),  # made by kubectl, beside the stack's
        (None, False),
    ],
)
def test_edges_of_others_are_no_part_of_the_fleet(annotations: dict[str, str] | None, own: bool) -> None:
    live = {"metadata": {"annotations": annotations}, "spec": {"replicas": 2}}
    assert is_own(live, lambda owner: owner == "organization/srs/dev") is own


def test_an_edge_out_of_rotation_is_no_part_of_the_fleet() -> None:
    canary = deployment(1, "0")
    canary["spec"]["template"] = {"metadata": {"labels": {"app": "srs-edge-aborted"}}}
    assert fleet_size([deployment(40, "1"), canary]) == 40


@given(
    weights=st.dictionaries(st.sampled_from("abc"), st.integers(1, 100), min_size=1),
    more=st.integers(0, 100),
    data=st.data(),
)
def test_a_move_of_weight_that_is_interrupted_anywhere_does_not_change_the_size(
    weights: dict[str, int], more: int, data: st.DataObject
) -> None:
    total = len(weights) + more
    after = {name: data.draw(st.integers(1, 100)) for name in weights}
    before_edges, after_edges = apportion(total, weights), apportion(total, after)
    updated = data.draw(st.sets(st.sampled_from(sorted(weights))))
    live = [
        deployment(after_edges[name], f"{after[name]}/{sum(after.values())}")
        if name in updated
        else deployment(before_edges[name], f"{weights[name]}/{sum(weights.values())}")
        for name in weights
    ]
    assert fleet_size(live, total) == total or len(weights) > 2
    shares = sum(declared_share(item) or 0 for item in live)
    # Each release is less than the number of releases from its share in whole edges.
    size = fleet_size(live)
    assert size is not None
    assert abs(size - total) <= len(weights) ** 2 / min(1, shares) + 1
