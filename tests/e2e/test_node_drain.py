"""`kubectl drain` of a node under the PodDisruptionBudget."""

import subprocess

from e2e.live_stack import EDGES, LiveStack
from stack import eventually


def drain(stack: LiveStack, node: str) -> "subprocess.Popen[str]":
    """Begin to drain a node. kubectl ends when the last pod has left, which may take as long as its connections."""
    command = ["kubectl", "--kubeconfig", str(stack.kubeconfig), "drain", node, "--delete-emptydir-data", "--force"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_node_is_drained_also_while_a_removed_release_drains(stack: LiveStack, audience, new: str) -> None:
    """kubectl drain of a node, while pods of a removed release drain"""
    stack.must_up()
    try:
        with audience() as viewers:
            viewers.step("r6 takes over, r5 removed")
            stack.releases(r6=stack.config["edge"]["releases"]["r5"] | {"image": new})
            stack.must_up()
            assert stack.pods("run=srs-edge-r5", terminating=True), "the pods of r5 drain"
            stranded = {pod["metadata"]["name"] for pod in stack.pods() if pod["spec"]["nodeName"] == "node-2"}
            viewers.step("node-2 drained")
            draining = drain(stack, "node-2")
            eventually(
                lambda: (
                    not stranded & stack.pod_names()
                    and {pod["spec"]["nodeName"] for pod in stack.pods()} == {"node-1"}
                    and stack.replicas() == {"r6": EDGES}
                ),
                120,
            )
            viewers.count(10)
            assert draining.poll() is None, "kubectl waits for the pods that still have connections"
        assert draining.wait(60) == 0, draining.stdout.read() if draining.stdout else ""
    finally:
        stack.kubectl("uncordon", "node-2")
    origins = stack.get("statefulset", "srs-origin")["status"]
    assert origins["readyReplicas"] == 2
    # An origin may have been on that node: viewers then see a short silence, as when one is deleted.
    assert_nothing_hurt_but_origins(viewers)
    assert viewers.least_ready >= EDGES - 1, "the budget is one edge less"


def assert_nothing_hurt_but_origins(viewers) -> None:
    """No player was cut or turned away."""
    assert viewers.story.player_cuts == []
    assert [each for each in viewers.story.failures if each["what"] == "sample"] == []
