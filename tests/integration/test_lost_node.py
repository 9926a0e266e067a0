"""A node that does not return: what an update says, and what ends the pods on it.

In a cluster of its own, because other tests count the nodes. `make test-faults` loses one during a canary, too.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import READY_AFTER, DevStack, eventually, is_ready, release
from testbed.cluster import EmbeddedCluster
from testbed.environment import environment
from testbed.toolchain.install import ensure_tools


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedCluster]:
    tools, state = ensure_tools(), tmp_path / "cluster"
    created = EmbeddedCluster(state, tools, report=lambda _line: None)
    try:
        created.start(2)
        for name, value in environment(state, tools).items():
            monkeypatch.setenv(name, value)
        yield created
    finally:
        created.stop()


def lose(cluster: EmbeddedCluster, stack: DevStack, node: str) -> None:
    """End the simulated kubelet of a node, and do what the node controller does about 50 seconds later."""
    stack.kubectl("annotate", "node", node, "kwok.x-k8s.io/node-")
    (kwok,) = (component.pid for component in cluster.status() if component.name == "kwok")
    assert kwok
    os.kill(kwok, signal.SIGKILL)
    eventually(lambda: "stopped" in {component.state for component in cluster.status()}, 10)
    cluster.start()
    not_ready = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    for pod in [*stack.pods("app=srs-origin"), *stack.pods()]:
        if pod["spec"]["nodeName"] == node:
            stack.kubectl("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--patch", not_ready)
    # As `unreachable`, which the node controller would remove until the last heartbeat is 50 seconds old.
    stack.kubectl("taint", "node", node, "example.com/lost:NoExecute")


def test_the_pods_of_a_lost_node_are_replaced_when_the_node_is_deleted(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    (tmp_path / "stack").mkdir()
    stack = DevStack(tmp_path / "stack", cluster.kubeconfig, "lost-node")
    stack.config["origin"] |= {"replicas": 2, "rolloutTimeout": "10s"}
    stack.must_update()
    node = stack.get("pod", "srs-origin-0")["spec"]["nodeName"]
    edges = {pod["metadata"]["name"] for pod in stack.pods() if pod["spec"]["nodeName"] == node}
    assert edges

    lose(cluster, stack, node)
    eventually(lambda: len(stack.endpoints()) == 4 and not stack.endpoints() & edges, 30)
    assert stack.pod_names(terminating=True) == edges, "they are replaced, and remain"
    assert stack.pod_names("app=srs-origin", terminating=True) == {"srs-origin-0"}

    stack.config["edge"]["replicas"] = 5
    warning = f"node {node} does not answer, and {len(edges) + 1} pods on it will not end. If it is lost for good: "
    assert f"{warning}kubectl delete node {node}. Until then srs-origin-0 is not replaced" in stack.preview().output
    stack.must_update()  # nothing waits for the origin of that node

    stack.kubectl("delete", "node", node)
    eventually(lambda: not stack.pods("", terminating=True) and len(stack.pods("app=srs-origin")) == 2, 90)
    assert stack.must_update().changes == {}


@pytest.mark.skipif(not os.environ.get("SRS_FAULTS"), reason="takes minutes: make test-faults")
def test_a_canary_step_goes_on_when_a_node_is_lost(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    stack = DevStack(tmp_path / "stack", cluster.kubeconfig, "lost-node-canary")
    stack.config["origin"]["replicas"] = 2  # the loss of the only one would be a change: it gets another name
    stack.config["edge"]["rolloutTimeout"] = "150s"
    slow = {"podAnnotations": {READY_AFTER: "15s"}}
    stack.releases(r5=release("v4.0.5", 75), r6=release("v4.0.6", 25, **slow))
    stack.must_update()

    stack.releases(r5=release("v4.0.5", 25), r6=release("v4.0.6", 75, **slow))
    update = stack.start_update()
    eventually(lambda: len(stack.pods()) == 6, 60)
    # Where a new edge is about to become ready.
    node = next(pod["spec"]["nodeName"] for pod in stack.pods() if not is_ready(pod))
    remaining = {pod["metadata"]["name"] for pod in stack.pods() if is_ready(pod) and pod["spec"]["nodeName"] != node}
    with stack.watched_endpoints() as counts:
        lose(cluster, stack, node)
        assert update.wait(200) == 0
    assert min(counts) >= len(remaining), counts
    assert stack.replicas() == {"r5": 1, "r6": 3}
    assert len(stack.endpoints()) == 4
    assert stack.must_update().changes == {}
