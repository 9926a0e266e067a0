"""Rollback is putting the earlier stack config back, whatever happened in between."""

import copy
from collections.abc import Callable

import pytest

from stack import MESSAGE, READY_AFTER, STATE, DevStack, eventually, release


def change_everything(stack: DevStack) -> None:
    stack.releases(
        r5=release("v4.0.6", 1, srs={"maxConnections": 2000}),
        r6=release("v4.0.271", 3, srs={"directives": "chunk_size 60000;"}),
    )
    stack.must_up()
    stack.releases(r6=release("v4.0.271", 1, srs={"directives": "chunk_size 50000;"}))
    stack.config["edge"]["replicas"] = 5
    stack.config["origin"]["srs"] = {"maxConnections": 500}
    stack.must_up()


def a_failed_up(stack: DevStack) -> None:
    crash = {STATE: "crash", MESSAGE: "check config : illegal directive foo"}
    stack.config["edge"]["rolloutTimeout"] = "4s"
    stack.releases(
        r5=release("v4.0.6", 1, srs={"directives": "foo on;"}, podAnnotations=crash),
        r7=release("v4.0.6", 3, srs={"directives": "foo on;"}, podAnnotations=crash),
    )
    assert not stack.up().ok


def a_killed_up(stack: DevStack) -> None:
    slow = {"podAnnotations": {READY_AFTER: "5s"}}
    stack.releases(
        r5=release("v4.0.6", 1, srs={"maxConnections": 2000}, **slow),
        r7=release("v4.0.271", 3, srs={"maxConnections": 2000}, **slow),
    )
    up = stack.begin_up()
    eventually(lambda: "r7" in stack.replicas())
    stack.kill(up)
    stack.cancel()


def a_hand_on_kubectl(stack: DevStack) -> None:
    stack.kubectl("scale", "deploy/srs-edge-r5-deploy", "--replicas=1")
    stack.kubectl("set", "image", "deploy/srs-edge-r6-deploy", "srs=ossrs/srs:v4.0.100")
    stack.kubectl("set", "env", "deploy/srs-edge-r6-deploy", "DEBUG=1")
    stack.kubectl("label", "service/srs-edge-service", "app.kubernetes.io/part-of=other", "--overwrite")


def a_rollout_undo(stack: DevStack) -> None:
    stack.releases(
        r5=release("v4.0.6", 1, srs={"maxConnections": 2000}), r6=release("v4.0.6", 1, srs={"maxConnections": 2000})
    )
    stack.must_up()
    stack.kubectl("rollout", "undo", "deploy/srs-edge-r5-deploy")
    stack.kubectl("rollout", "status", "deploy/srs-edge-r5-deploy", "--timeout=30s")
    stack.assert_successors_are_ready()  # the ConfigMap of the old revision is there


@pytest.mark.parametrize(
    "happening",
    [change_everything, a_failed_up, a_killed_up, a_hand_on_kubectl, a_rollout_undo],
    ids=lambda function: function.__name__,
)
def test_the_old_config_gives_the_old_cluster(stack: DevStack, happening: Callable[[DevStack], None]) -> None:
    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 1, srs={"directives": "chunk_size 60000;"}))
    before = copy.deepcopy(stack.config)
    stack.must_up()
    snapshot = stack.snapshot()

    happening(stack)
    assert stack.snapshot() != snapshot, "nothing happened in between"

    stack.config = before
    stack.must_up()
    assert stack.snapshot() == snapshot
    stack.assert_successors_are_ready()
    assert stack.must_up().changes == {}


def test_an_up_whose_state_was_lost_leaves_no_field_behind(stack: DevStack) -> None:
    """A killed up may have made an object and not have written it into the state; the next up makes it again."""
    stack.releases(r5=release("v4.0.5", 1))
    empty = stack.stack.export_stack()
    stack.releases(r5=release("v4.0.6", 1, podAnnotations={"left": "behind"}, resources={"cpu": "50m"}))
    stack.must_up()
    stack.stack.import_stack(empty)

    stack.releases(r5=release("v4.0.5", 1))
    stack.must_up()
    template = stack.get("deployment", "srs-edge-r5-deploy")["spec"]["template"]
    assert "left" not in template["metadata"]["annotations"]
    assert template["spec"]["containers"][0]["image"] == "ossrs/srs:v4.0.5"
    stack.assert_successors_are_ready()
    assert stack.must_up().changes == {}


def test_a_removed_release_comes_back_while_its_pods_still_drain(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 1))
    before = copy.deepcopy(stack.config)
    stack.must_up()
    snapshot = stack.snapshot()
    stack.releases(r6=release("v4.0.6", 1))
    stack.must_up()
    stack.config = before
    stack.must_up()
    assert len(stack.pods("run=srs-edge-r5", terminating=True)) == 2
    assert stack.snapshot() == snapshot
    stack.assert_successors_are_ready()
    assert stack.must_up().changes == {}


def test_of_two_releases_with_the_same_srs_conf_one_can_go(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.6", 1), r6=release("v4.0.6", 1))
    stack.must_up()
    stack.releases(r6=release("v4.0.6", 1))
    stack.must_up()
    # Garbage collection has taken what r5 had.
    eventually(lambda: "NotFound" in stack.kubectl("get", "serviceaccount", "srs-edge-r5", check=False))
    stack.assert_successors_are_ready()
    assert stack.replicas() == {"r6": 4}
