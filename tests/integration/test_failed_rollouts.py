"""A bad release affects only its share: the update fails in time with the pod's own reason, and a revert fixes it."""

import copy
from collections.abc import Callable

import pytest

from stack import MESSAGE, STATE, DevStack, release

TIMEOUT = 6


def unschedulable(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 3), r6=release("v4.0.6", 1, resources={"cpu": "1000"}))


def image_cannot_be_pulled(stack: DevStack) -> None:
    annotations = {STATE: "image-pull-error"}
    stack.releases(r5=release("v4.0.5", 3), r6=release("v4.0.4044", 1, podAnnotations=annotations))


def crash_at_start(stack: DevStack) -> None:
    annotations = {STATE: "crash", MESSAGE: "check config : illegal directive foo"}
    stack.releases(
        r5=release("v4.0.5", 3),
        r6=release("v4.0.6", 1, podAnnotations=annotations),
    )


@pytest.mark.parametrize(
    ("add_bad_release", "reason"),
    [
        (unschedulable, "Unschedulable: 0/4 nodes are available: 4 Insufficient cpu"),
        (image_cannot_be_pulled, "ImagePull"),
        (crash_at_start, "check config : illegal directive foo"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_canary_that_never_becomes_ready_fails_the_update_with_its_reason(
    stack: DevStack, add_bad_release: Callable[[DevStack], None], reason: str
) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    before = copy.deepcopy(stack.config)
    stack.must_update()
    serving, snapshot = stack.endpoints(), stack.snapshot()

    add_bad_release(stack)
    stack.config["edge"]["rolloutTimeout"] = f"{TIMEOUT}s"
    failed = stack.update()
    assert not failed.ok
    assert failed.seconds < TIMEOUT + 30
    (pod,) = stack.pod_names("run=srs-edge-r6")
    assert f"edge release r6 (Deployment srs-edge-r6-deploy) is not ready after {TIMEOUT}s" in failed.output
    assert f"pod {pod}: " in failed.output
    assert reason in failed.output.split(f"pod {pod}: ", 1)[1]
    assert "Traceback" not in failed.output
    assert "KeyboardInterrupt" not in failed.output
    assert serving <= stack.endpoints(), "the other release lost pods"

    stack.config = before
    stack.must_update()
    assert stack.snapshot() == snapshot
    assert stack.endpoints() == serving


def test_an_image_that_crashes_leaves_the_old_pods_of_its_release(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    before = copy.deepcopy(stack.config)
    stack.must_update()
    serving = stack.endpoints()
    stack.config["edge"]["rolloutTimeout"] = f"{TIMEOUT}s"
    stack.releases(r5=release("v4.0.6", 1, podAnnotations={STATE: "crash", MESSAGE: "segmentation fault"}))
    failed = stack.update()
    assert not failed.ok
    assert "segmentation fault" in failed.output
    assert stack.endpoints() == serving
    stack.config = before
    stack.must_update()
    assert stack.endpoints() == serving, "the rollback needs no new pod"


def test_an_origin_that_never_becomes_ready_fails_the_update_with_its_reason(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.config["origin"]["replicas"] = 2
    before = copy.deepcopy(stack.config)
    stack.must_update()
    edges, snapshot = stack.pod_names(), stack.snapshot()

    stack.config["origin"]["image"] = "ossrs/srs:v4.0.271"
    stack.config["origin"]["rolloutTimeout"] = "20s"
    stack.config["origin"]["podAnnotations"] = {STATE: "crash", MESSAGE: "check config : illegal directive foo"}
    failed = stack.update()
    assert not failed.ok
    assert "origins (StatefulSet srs-origin) is not ready after 20s" in failed.output
    assert "pod srs-origin-2: " in failed.output, failed.output
    assert "check config : illegal directive foo" in failed.output
    assert "Traceback" not in failed.output
    assert stack.pod_names() == edges
    assert {"srs-origin-0", "srs-origin-1"} <= stack.pod_names("app=srs-origin"), "the earlier origins serve"

    stack.config = before
    stack.must_update()
    assert stack.snapshot() == snapshot
    assert stack.get("statefulset", "srs-origin")["status"]["readyReplicas"] == 2
