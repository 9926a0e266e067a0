"""What a plan rejects and warns about, and the order of its steps."""

import copy
import json
from typing import Any

import pytest

from bad_configs import GOOD
from cluster.state import LiveState
from model.config import read_settings
from model.names import config_hash
from model.settings.stack import StackSettings
from update.plan import edge_order, plan, ready_edges


def settings(**edge: Any) -> StackSettings:
    config = copy.deepcopy(GOOD)
    config["edge"].update(edge)
    return read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})


def paused(weight: int = 75) -> StackSettings:
    return settings(
        releases={
            "r5": {"image": "ossrs/srs:v4.0.6", "weight": weight, "paused": True},
            "r6": {"image": "ossrs/srs:v4.0.6", "weight": 100 - weight},
        }
    )


def edge(replicas: int, ready: int = 0) -> dict[str, Any]:
    return {"spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}


def edges(**ready: int) -> LiveState:
    return LiveState(edges={f"srs-edge-{name}-deploy": edge(count, count) for name, count in ready.items()})


def origins(settings: StackSettings, **change: Any) -> dict[str, Any]:
    config = f"srs-origin-{config_hash(settings.origin_conf)}"
    pod = {
        "containers": [{"image": settings.origin.image}],
        "volumes": [{"configMap": {"name": config}}, {"emptyDir": {}}],
    }
    return {"spec": {"replicas": settings.origin.replicas, "template": {"spec": pod}} | change}


def test_paused_is_rejected_on_a_release_that_does_not_exist() -> None:
    (problem,) = plan(paused(), LiveState()).rejections
    assert str(problem) == (
        "srs:edge.releases.r5.paused: True must be false on a release that does not exist yet: it would have no pods"
    )


def test_paused_is_rejected_together_with_a_change_of_replicas() -> None:
    (problem,) = plan(paused(weight=25), edges(r5=3)).rejections
    assert "(now 3, desired 1)" in str(problem)


def test_paused_is_accepted_on_a_release_that_keeps_its_replicas() -> None:
    update = plan(paused(), edges(r5=3))
    assert not update.rejections
    assert [workload.release for workload in update.paused] == ["r5"]
    assert not any(workload.release == "r5" for step in update.steps for workload in step.awaited)


def test_ready_edges_include_those_of_removed_releases() -> None:
    state = LiveState(edges={"srs-edge-r5-deploy": edge(3, ready=2), "srs-edge-r4-deploy": edge(3, ready=3)})
    assert ready_edges(state) == {"r5": 2, "r4": 3}


def test_a_new_cluster_has_no_warnings_and_awaits_nothing_before_the_end() -> None:
    update = plan(settings(), LiveState())
    assert not update.warnings
    assert not any(step.awaited for step in update.steps)
    declared = [workload.name for step in update.steps for workload in step.declare]
    assert sorted(declared) == sorted(set(declared)), "each workload once"
    assert {"srs-origin", "srs-edge-r5-deploy", "srs-edge-r6-deploy", "nginx-origin-deploy"} <= set(declared)


def test_a_large_deviation_of_a_share_is_a_warning() -> None:
    (warning, _) = plan(settings(replicas=2), LiveState()).warnings
    assert "r5 gets 1 of 2 edges, 50 % of new viewers, 25 points from the desired 75 %" in warning


def test_a_restart_of_the_origins_is_a_warning() -> None:
    now = settings()
    assert not plan(now, LiveState(origins=origins(now))).warnings
    (warning,) = plan(
        now, LiveState(origins=origins(now, template={"spec": {"containers": [{"image": "x"}]}}))
    ).warnings
    assert "drops its publishers once" in warning
    (warning,) = plan(now, LiveState(origins=origins(now, replicas=2))).warnings
    assert "from 2 to 3 (origins first)" in warning
    (warning,) = plan(now, LiveState(origins=origins(now, replicas=5))).warnings
    assert "(edges first)" in warning


def test_more_origins_are_awaited_before_edges_and_fewer_come_after_them() -> None:
    now = settings()
    more = plan(now, LiveState(origins=origins(now, replicas=2)))
    assert [workload.name for workload in more.steps[0].awaited] == ["srs-origin"]
    fewer = plan(now, LiveState(origins=origins(now, replicas=5)))
    assert [workload.name for workload in fewer.steps[-1].declare] == ["srs-origin"]
    assert {workload.release for workload in fewer.steps[-2].awaited} == {"r5", "r6"}


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
        ({"r5": 2, "r6": 1}, {"r5": 1, "r6": 4}, ["r6"], ["r5"]),
        ({"r5": 2, "r6": 1}, {"r5": 1, "r6": 2, "r4": 3}, [], ["r5"]),  # r4 is removed at the end
    ],
)
def test_no_ready_edge_is_removed_before_its_replacement_is_ready(
    desired: dict[str, int], ready: dict[str, int], last: list[str], awaited: list[str]
) -> None:
    first, then, scale_up = edge_order(desired, ready)
    assert (then, scale_up) == (last, awaited)
    assert sorted(first + then) == sorted(desired)
