"""`kubectl drain` of a node under the PodDisruptionBudget."""

from e2e.expectations import assert_undisturbed
from e2e.live_stack import EDGES, LiveStack
from e2e.viewers import SLOW_FIRST_FRAME, Audience
from stack import eventually


def test_a_node_can_be_drained_while_a_removed_release_drains(stack: LiveStack, audience: Audience, new: str) -> None:
    """kubectl drain of a node, while pods of a removed release drain"""
    stack.must_update()
    try:
        with audience(first_frame=SLOW_FIRST_FRAME) as viewers:
            viewers.step("r6 takes over, r5 removed")
            stack.releases(r6=stack.config["edge"]["releases"]["r5"] | {"image": new})
            stack.must_update()
            assert stack.pods("run=srs-edge-r5", terminating=True), "the pods of r5 drain"
            evicted = {pod["metadata"]["name"] for pod in stack.pods() if pod["spec"]["nodeName"] == "node-2"}
            viewers.step("node-2 drained")
            draining = stack.drain_node("node-2")
            eventually(
                lambda: (
                    not evicted & stack.pod_names()
                    and {pod["spec"].get("nodeName") for pod in stack.pods()} == {"node-1"}
                    and stack.replicas() == {"r6": EDGES}
                ),
                120,
            )
            viewers.count(10)
            assert draining.poll() is None, "kubectl waits for pods with connections"
        assert draining.wait(60) == 0, draining.stdout.read() if draining.stdout else ""
    finally:
        stack.kubectl("uncordon", "node-2")
    # Of two origins, the one on that node was evicted. It kept its encoder, and is replaced now.
    eventually(lambda: len(stack.pod_names("app=srs-origin")) == 2, 60)
    eventually(lambda: stack.get("statefulset", "srs-origin")["status"]["readyReplicas"] == 2, 60)
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES - 1, "the budget allows one edge less"
