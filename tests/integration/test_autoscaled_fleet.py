"""A fleet that autoscalers have sized: its promotion, abort and rollback start from the live size.

The replicas are set by the scale subresource, as autoscalers do. The tests run in order and build on each other.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

import keda
from edit_oracle import EdgeWatch
from rollout_operator import Operator
from stack import READY_AFTER, DevStack, eventually, release, repeated
from testbed.cluster import EmbeddedCluster

EDGES = 40
TARGET = 100
"""Connections of one edge that the fleet is sized for."""

SLOW = {"podAnnotations": {READY_AFTER: "3s"}}
"""Edges that become ready slowly, which shows an early scale-down."""


@pytest.fixture(scope="module")
def operator(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A stack of 4 to 60 edges, which its autoscaler has scaled to 40, and whose file is committed."""
    keda.install(cluster.kubeconfig)
    stack = DevStack(tmp_path_factory.mktemp("fleet"), cluster.kubeconfig, "autoscaled")
    edge = stack.config["edge"]
    edge["rolloutTimeout"] = "3m"
    del edge["replicas"]
    edge["autoscaling"] = {
        "minimum": 4,
        "maximum": 60,
        "metric": "connections",
        "target": str(TARGET),
        "prometheus": "http://prometheus.monitoring:9090",
        "query": "sum(viewers)",
    }
    stack.releases(r5=release("v4.0.5", 100, **SLOW))
    stack.must_update()
    assert stack.replicas() == {"r5": 4}, "a new fleet has its minimum"
    created = Operator(stack)
    created.commit_first("Release r5")
    scale(stack, EDGES)
    yield created
    stack.clean_up()


def scale(stack: DevStack, edges: int) -> None:
    """The load of the fleet needs so many edges, and its autoscalers act until they are ready."""
    keda.settle(stack, edges * TARGET)
    eventually(lambda: stack.replicas() == wanted(stack), 60)


def wanted(stack: DevStack) -> dict[str, int]:
    """The replicas of each release, ready or not."""
    items = stack.get("deployments")["items"]
    edges = {item["metadata"]["name"]: item["spec"]["replicas"] for item in items}
    return {
        name.removeprefix("srs-edge-").removesuffix("-deploy"): count for name, count in edges.items() if "edge" in name
    }


@contextmanager
def watched(stack: DevStack) -> Generator[EdgeWatch]:
    """Record how many edges are ready while the block runs."""
    watch = EdgeWatch(stack)
    watch.start()
    watch.settle()
    watch.restart()
    try:
        yield watch
    finally:
        watch.stop()


@contextmanager
def load(stack: DevStack, edges: int) -> Generator[None]:
    """While the block runs, the autoscalers act on the load of so many edges, one after the other."""

    def act() -> None:
        for name in ("r5", "r6"):
            keda.act(stack, name, edges * TARGET)

    with repeated(act):
        yield


def test_an_update_without_new_weights_keeps_the_live_edges(operator: Operator) -> None:
    stack = operator.stack
    stack.config["edge"]["drain"] = {"deregister": "5s", "timeout": "6h"}
    stack.config["edge"]["maxSurge"] = "100%"
    with watched(stack) as edges:
        stack.must_update()
    assert stack.replicas() == {"r5": EDGES}
    assert edges.least_ready >= EDGES
    operator.git("commit", "--quiet", "-am", "Shorter drain")


def test_a_canary_runs_with_its_share_of_the_live_fleet(operator: Operator) -> None:
    stack = operator.stack
    with watched(stack) as edges:
        output = operator.run(
            "run", "--release", "r6", "--image", "ossrs/srs:v4.0.6", "--no-viewers", "--auto", "--commit",
            "--steps", "10,100", "--pause", "1s",
        )  # fmt: skip
    assert "step 1 of 2: 10 % of new viewers to r6 (4 of 40 edges, 10 %)" in output
    assert "step 2 of 2: 100 % of new viewers to r6 (36 of 40 edges, 90 % until its analysis has passed)" in output
    assert stack.replicas() == {"r5": 0, "r6": EDGES}
    assert edges.least_ready >= EDGES


def test_a_rollback_of_the_promotion_keeps_the_live_edges(operator: Operator) -> None:
    """And those that the autoscalers add while it runs."""
    stack = operator.stack
    with watched(stack) as edges, load(stack, EDGES + 4):
        operator.run("rollback", "--to", "HEAD~1", "--commit", "--yes")
    assert edges.least_ready >= EDGES
    scale(stack, EDGES + 4)
    assert operator.weights() == {"r5": 4, "r6": 36}
    assert stack.replicas() == {"r5": 5, "r6": 40}, "10 % of 44 is 4.4 edges, and an autoscaler rounds up"
    status = operator.json("status")
    assert status["fleet"] == {"edges": 45, "minimum": 4, "maximum": 60}
    assert {workload["action"] for workload in status["plan"]["workloads"]} == {"none"}


def test_an_abort_replaces_the_edges_of_the_live_fleet(operator: Operator) -> None:
    stack = operator.stack
    with watched(stack) as edges:
        aborted = operator.json("abort", "--release", "r5", "--commit", "--yes")
    assert aborted["remaining"] == {"ready": 40, "desired": 45}
    assert stack.replicas() == {"r5": 0, "r6": 45}
    assert edges.least_ready >= 40


def test_a_promotion_while_the_fleet_becomes_smaller_loses_no_edge_too_many(operator: Operator) -> None:
    stack = operator.stack
    with watched(stack) as edges, load(stack, EDGES):
        output = operator.run("promote", "--release", "r5", "--commit", "--yes")
    assert "receives all new viewers" in output
    assert edges.least_ready >= EDGES
    assert stack.replicas()["r6"] == 0
    scale(stack, EDGES)
    assert stack.replicas() == {"r5": EDGES, "r6": 0}
