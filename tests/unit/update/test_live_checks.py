"""What is refused, and what is said, when the config is held against the live cluster."""

import copy
import json
from typing import Any

from bad_configs import GOOD
from cluster.draining import describe, open_connections
from cluster.state import LiveState, consequences, refusals
from model.config import read_settings
from model.names import config_hash
from model.settings import StackSettings


def settings(**edge: Any) -> StackSettings:
    config = copy.deepcopy(GOOD)
    config["edge"].update(edge)
    return read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})


def held(weight: int = 75) -> StackSettings:
    return settings(
        releases={
            "r5": {"image": "ossrs/srs:v4.0.6", "weight": weight, "paused": True},
            "r6": {"image": "ossrs/srs:v4.0.6", "weight": 100 - weight},
        }
    )


def edge(replicas: int, ready: int = 0) -> dict[str, Any]:
    return {"spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}


def origins(of: StackSettings, **change: Any) -> dict[str, Any]:
    config = f"srs-origin-{config_hash(of.origin_conf)}"
    pod = {"containers": [{"image": of.origin.image}], "volumes": [{"configMap": {"name": config}}, {"emptyDir": {}}]}
    return {"spec": {"replicas": of.origin.replicas, "template": {"spec": pod}} | change}


def test_hold_is_refused_on_a_release_that_does_not_exist() -> None:
    (problem,) = refusals(held(), LiveState())
    assert str(problem) == (
        "srs:edge.releases.r5.paused: True must be false on a release that does not exist yet: it would get no pods"
    )


def test_hold_is_refused_together_with_a_change_of_replicas() -> None:
    (problem,) = refusals(held(weight=25), LiveState(edges={"srs-edge-r5-deploy": edge(3)}))
    assert "(now 3, wanted 1)" in str(problem)


def test_hold_of_a_release_that_keeps_its_replicas() -> None:
    assert not refusals(held(), LiveState(edges={"srs-edge-r5-deploy": edge(3)}))


def test_ready_counts_what_is_there() -> None:
    state = LiveState(edges={"srs-edge-r5-deploy": edge(3, ready=2), "srs-edge-r4-deploy": edge(3, ready=3)})
    assert state.ready(settings()) == {"r5": 2}


def test_a_new_cluster_has_nothing_to_say() -> None:
    assert not list(consequences(settings(), LiveState()))


def test_a_share_that_is_far_off_is_said() -> None:
    line = next(iter(consequences(settings(replicas=2), LiveState())))
    assert "r5 gets 1 of 2 edges, 50 % of new viewers, 25 points off the wished 75 %" in line


def test_a_change_of_the_origins_is_said() -> None:
    now = settings()
    assert not list(consequences(now, LiveState(origins=origins(now))))
    (line,) = consequences(now, LiveState(origins=origins(now, template={"spec": {"containers": [{"image": "x"}]}})))
    assert "drops its publishers once" in line
    (line,) = consequences(now, LiveState(origins=origins(now, replicas=2)))
    assert "from 2 to 3 (origins first)" in line
    (line,) = consequences(now, LiveState(origins=origins(now, replicas=5)))
    assert "(edges first)" in line


def test_a_terminating_namespace_names_its_pods() -> None:
    pods = [{"metadata": {"name": f"p{i}", "deletionTimestamp": f"2026-01-01T{i:02}:00:00Z"}} for i in range(12)]
    lines = describe("12 pods drain", pods).splitlines()
    assert lines[0] == "12 pods drain:"
    assert lines[1] == "  p0 until 2026-01-01T00:00:00Z at the latest"
    assert lines[-1] == "  and 2 more, the last one until 2026-01-01T11:00:00Z"


def test_a_draining_pod_says_how_many_connections_it_has() -> None:
    log = (
        "2026-01-01T10:00:00.123456789Z [2026-01-01 10:00:00.123][Trace][1][x] wait for 7 conns to quit\n"
        "2026-01-01T10:00:09.5Z [2026-01-01 10:00:09.500][Trace][1][x] wait for 3 conns to quit\n"
        "2026-01-01T10:00:10Z [2026-01-01 10:00:10.000][Trace][1][x] client finished\n"
    )
    assert open_connections(log) == "3 connections open at 2026-01-01T10:00:09Z"
    assert open_connections("2026-01-01T10:00:00Z [Trace] listeners closed\n") is None
    pods = [{"metadata": {"name": "p0", "deletionTimestamp": "2026-01-01T12:00:00Z"}}]
    told = describe("1 pods drain", pods, {"p0": "3 connections open at 2026-01-01T10:00:09Z"})
    assert "  p0 until 2026-01-01T12:00:00Z at the latest (3 connections open at 2026-01-01T10:00:09Z)" in told
