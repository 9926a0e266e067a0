"""The canary of the article, step by step, on live objects."""

import pytest

from stack import READY_AFTER, DevStack, eventually, release


def canary(stack: DevStack, r5: int | None, r6: int | None) -> None:
    """Set the weights; None removes a release. Pods become ready slowly, which shows an early scale-down."""
    slow = {"podAnnotations": {READY_AFTER: "3s"}}
    stack.releases(
        **({} if r5 is None else {"r5": release("v4.0.5", r5, **slow)}),
        **({} if r6 is None else {"r6": release("v4.0.6", r6, **slow)}),
    )


def releases_of(stack: DevStack, pods: set[str]) -> set[str]:
    return {pod["metadata"]["labels"]["run"] for pod in stack.pods() if pod["metadata"]["name"] in pods}


def test_canary_steps_keep_capacity_and_end_with_one_release(stack: DevStack) -> None:
    canary(stack, 100, None)
    stack.must_update()
    assert stack.replicas() == {"r5": 4}

    with stack.watched_endpoints() as ready:
        for r5, r6, expected in [
            (75, 25, {"r5": 3, "r6": 1}),
            (25, 75, {"r5": 1, "r6": 3}),
            (0, 100, {"r5": 0, "r6": 4}),
        ]:
            canary(stack, r5, r6)
            stack.must_update()
            assert stack.replicas() == expected
            assert releases_of(stack, stack.endpoints()) == {f"srs-edge-{name}" for name, n in expected.items() if n}
        canary(stack, None, 100)
        removal = stack.must_update()
    assert removal.changes["srs-edge-r5-deploy"] == "delete"
    assert removal.seconds < 180, "the deletion waits for pods that drain for hours"
    assert stack.replicas() == {"r6": 4}
    assert len(stack.pods("run=srs-edge-r5", terminating=True)) == 4, "the pods of r5 drain"
    assert min(ready) >= 4, ready
    assert stack.stack.outputs()["releases"].value["r6"]["actualPercent"] == 100


def test_a_replaced_release_is_removed_after_the_new_one_is_ready(stack: DevStack) -> None:
    canary(stack, 100, None)
    stack.must_update()
    with stack.watched_endpoints() as ready:
        canary(stack, None, 100)
        stack.must_update()
    assert stack.replicas() == {"r6": 4}
    assert min(ready) >= 4, ready


def test_a_part_of_an_update_takes_no_edge_away(stack: DevStack) -> None:
    """`pulumi up --target`: the engine leaves the other release as it is, and its rollout is complete."""
    canary(stack, 75, 25)
    stack.must_update()
    canary(stack, 25, 75)
    part = stack.update("--target", "**::srs-edge-r5-deploy")
    assert not part.ok
    assert "edge release r6 has 1 of 3 declared edges: it was changed during this update, or left out" in part.output
    assert stack.replicas() == {"r5": 3, "r6": 1}
    stack.must_update()
    assert stack.replicas() == {"r5": 1, "r6": 3}


@pytest.mark.parametrize(
    ("r5", "replicas"), [(25, {"r5": 1, "r6": 3}), (None, {"r6": 4})], ids=["scaled_down", "removed"]
)
def test_capacity_never_dips_in_the_update_after_an_interrupted_one(
    stack: DevStack, r5: int | None, replicas: dict[str, int]
) -> None:
    canary(stack, 75, 25)
    stack.must_update()
    with stack.watched_endpoints() as ready:
        canary(stack, r5, 75)
        update = stack.start_update()
        # Killed when the Deployment of r6 has all replicas and its new pods are not ready.
        eventually(lambda: stack.get("deployment", "srs-edge-r6-deploy")["spec"]["replicas"] == replicas["r6"])
        stack.kill(update)
        stack.must_update()
    assert stack.replicas() == replicas
    assert min(ready) >= 4, ready


def test_capacity_never_dips_in_the_update_after_a_failed_one(stack: DevStack) -> None:
    canary(stack, 75, 25)
    stack.must_update()
    with stack.watched_endpoints() as ready:
        canary(stack, 25, 75)
        stack.config["edge"]["rolloutTimeout"] = "2s"  # less than the pods need
        failed = stack.update()
        assert not failed.ok
        assert stack.replicas()["r5"] == 3
        stack.config["edge"]["rolloutTimeout"] = "60s"
        stack.must_update()
    assert stack.replicas() == {"r5": 1, "r6": 3}
    assert min(ready) >= 4, ready


def test_preview_of_a_weight_change_names_only_the_deployments_that_change(stack: DevStack) -> None:
    canary(stack, 75, 25)
    stack.must_update()
    canary(stack, 25, 75)
    preview = stack.preview()
    # The stack is listed because its outputs contain the shares.
    assert {name: op for name, op in preview.changes.items() if name != "srs-dev"} == {
        "srs-edge-r5-deploy": "update",
        "srs-edge-r6-deploy": "update",
    }
    assert stack.replicas() == {"r5": 3, "r6": 1}, "a preview changes nothing"
