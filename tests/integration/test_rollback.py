"""Rollback is reverting the stack config, whatever happened in between."""

import copy
from collections.abc import Callable

import pytest

from stack import MESSAGE, READY_AFTER, STATE, DevStack, eventually, release


def updates_of_everything(stack: DevStack) -> None:
    stack.releases(
        r5=release("v4.0.6", 1, srs={"maxConnections": 2000}),
        r6=release("v4.0.271", 3, srs={"directives": "chunk_size 60000;"}),
    )
    stack.must_update()
    stack.releases(r6=release("v4.0.271", 1, srs={"directives": "chunk_size 50000;"}))
    stack.config["edge"]["replicas"] = 5
    stack.config["origin"]["srs"] = {"maxConnections": 500}
    stack.must_update()


def a_failed_update(stack: DevStack) -> None:
    crash = {STATE: "crash", MESSAGE: "check config : illegal directive foo"}
    stack.config["edge"]["rolloutTimeout"] = "4s"
    stack.releases(
        r5=release("v4.0.6", 1, srs={"directives": "chunk_size 50000;"}, podAnnotations=crash),
        r7=release("v4.0.6", 3, srs={"directives": "chunk_size 50000;"}, podAnnotations=crash),
    )
    assert not stack.update().ok


def an_interrupted_update(stack: DevStack) -> None:
    slow = {"podAnnotations": {READY_AFTER: "5s"}}
    stack.releases(
        r5=release("v4.0.6", 1, srs={"maxConnections": 2000}, **slow),
        r7=release("v4.0.271", 3, srs={"maxConnections": 2000}, **slow),
    )
    update = stack.start_update()
    eventually(lambda: "r7" in stack.replicas())
    stack.kill(update)


def manual_changes(stack: DevStack) -> None:
    stack.kubectl("rollout", "pause", "deploy/srs-edge-r5-deploy")
    stack.kubectl("scale", "deploy/srs-edge-r6-deploy", "--replicas=1")
    stack.kubectl("set", "image", "deploy/srs-edge-r6-deploy", "srs=ossrs/srs:v4.0.100")
    stack.kubectl("set", "env", "deploy/srs-edge-r6-deploy", "DEBUG=1")
    stack.kubectl("label", "service/srs-edge-service", "app.kubernetes.io/part-of=other", "--overwrite")


def an_undone_rollout(stack: DevStack) -> None:
    stack.releases(
        r5=release("v4.0.6", 1, srs={"maxConnections": 2000}), r6=release("v4.0.6", 1, srs={"maxConnections": 2000})
    )
    stack.must_update()
    stack.kubectl("rollout", "undo", "deploy/srs-edge-r5-deploy")
    stack.kubectl("rollout", "status", "deploy/srs-edge-r5-deploy", "--timeout=30s")
    stack.assert_successors_are_ready()  # the ConfigMap of the old revision exists


@pytest.mark.parametrize(
    "disturb",
    [updates_of_everything, a_failed_update, an_interrupted_update, manual_changes, an_undone_rollout],
    ids=lambda function: function.__name__,
)
def test_the_old_config_gives_the_old_cluster(stack: DevStack, disturb: Callable[[DevStack], None]) -> None:
    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 1, srs={"directives": "chunk_size 60000;"}))
    before = copy.deepcopy(stack.config)
    stack.must_update()
    snapshot = stack.snapshot()

    disturb(stack)
    assert stack.snapshot() != snapshot, "nothing changed in between"

    stack.config = before
    stack.must_update()
    assert stack.snapshot() == snapshot
    stack.assert_successors_are_ready()
    assert stack.must_update().changes == {}


def test_an_update_after_a_lost_state_leaves_no_stale_field(stack: DevStack) -> None:
    """An interrupted update may have created an object without recording it in the state; the next creates it again."""
    stack.releases(r5=release("v4.0.5", 1))
    empty = stack.stack.export_stack()
    stack.releases(r5=release("v4.0.6", 1, podAnnotations={"left": "behind"}, resources={"cpu": "50m"}))
    stack.must_update()
    stack.stack.import_stack(empty)

    stack.releases(r5=release("v4.0.5", 1))
    stack.must_update()
    template = stack.get("deployment", "srs-edge-r5-deploy")["spec"]["template"]
    assert "left" not in template["metadata"]["annotations"]
    assert template["spec"]["containers"][0]["image"] == "ossrs/srs:v4.0.5"
    stack.assert_successors_are_ready()
    assert stack.must_update().changes == {}


def test_a_release_that_was_removed_after_a_lost_state_is_deleted(stack: DevStack) -> None:
    """The engine deletes only what its state has, and the plan says that the release is deleted."""
    stack.releases(r5=release("v4.0.5", 1))
    empty = stack.stack.export_stack()
    stack.releases(r5=release("v4.0.5", 3), r6=release("v4.0.6", 1))
    stack.must_update()
    stack.stack.import_stack(empty)

    stack.releases(r5=release("v4.0.5", 1))
    assert "edge release r6: delete" in stack.preview().output
    stack.must_update()
    assert stack.replicas() == {"r5": 4}
    assert not stack.pods("run=srs-edge-r6")
    assert stack.must_update().changes == {}


def test_a_removed_release_can_be_restored_while_its_pods_drain(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 1))
    before = copy.deepcopy(stack.config)
    stack.must_update()
    snapshot = stack.snapshot()
    stack.releases(r6=release("v4.0.6", 1))
    stack.must_update()
    stack.config = before
    stack.must_update()
    assert len(stack.pods("run=srs-edge-r5", terminating=True)) == 2
    assert stack.snapshot() == snapshot
    stack.assert_successors_are_ready()
    assert stack.must_update().changes == {}


def test_one_of_two_releases_with_the_same_srs_conf_can_be_removed(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.6", 1), r6=release("v4.0.6", 1))
    stack.must_update()
    stack.releases(r6=release("v4.0.6", 1))
    stack.must_update()
    # Garbage collection deletes what belongs to r5.
    eventually(lambda: "NotFound" in stack.kubectl("get", "serviceaccount", "srs-edge-r5", check=False))
    stack.assert_successors_are_ready()
    assert stack.replicas() == {"r6": 4}
