"""A bad release hurts only its share: the up fails in time with the pod's own reason; the config is the way back."""

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
        r6=release("v4.0.6", 1, srs={"directives": "foo on;"}, podAnnotations=annotations),
    )


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (unschedulable, "Unschedulable: 0/4 nodes are available: 4 Insufficient cpu"),
        (image_cannot_be_pulled, "ImagePull"),
        (crash_at_start, "check config : illegal directive foo"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_release_that_never_gets_ready(stack: DevStack, break_it: Callable[[DevStack], None], reason: str) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    before = copy.deepcopy(stack.config)
    stack.must_up()
    serving, snapshot = stack.endpoints(), stack.snapshot()

    break_it(stack)
    stack.config["edge"]["rolloutTimeout"] = f"{TIMEOUT}s"
    failed = stack.up()
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
    stack.must_up()
    assert stack.snapshot() == snapshot
    assert stack.endpoints() == serving


def test_an_image_that_crashes_in_place_leaves_the_old_pods(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    before = copy.deepcopy(stack.config)
    stack.must_up()
    serving = stack.endpoints()
    stack.config["edge"]["rolloutTimeout"] = f"{TIMEOUT}s"
    stack.releases(r5=release("v4.0.6", 1, podAnnotations={STATE: "crash", MESSAGE: "segmentation fault"}))
    failed = stack.up()
    assert not failed.ok
    assert "segmentation fault" in failed.output
    assert stack.endpoints() == serving
    stack.config = before
    stack.must_up()
    assert stack.endpoints() == serving, "going back needs no new pod"


def test_an_origin_that_never_gets_ready(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.config["origin"]["replicas"] = 2
    before = copy.deepcopy(stack.config)
    stack.must_up()
    edges, snapshot = stack.pod_names(), stack.snapshot()

    stack.config["origin"]["image"] = "ossrs/srs:v4.0.271"
    stack.config["origin"]["rolloutTimeout"] = "20s"  # more than the grace of the old pod
    stack.config["origin"]["podAnnotations"] = {STATE: "crash", MESSAGE: "check config : illegal directive foo"}
    failed = stack.up()
    assert not failed.ok
    assert "origins (StatefulSet srs-origin) is not ready after 20s" in failed.output
    assert "pod srs-origin-1: " in failed.output, failed.output
    assert "check config : illegal directive foo" in failed.output
    assert "Traceback" not in failed.output
    assert stack.pod_names() == edges
    assert "drops its publishers once" in failed.output

    stack.config = before
    stack.must_up()
    assert stack.snapshot() == snapshot
    assert stack.get("statefulset", "srs-origin")["status"]["readyReplicas"] == 2


def test_another_number_of_origins(stack: DevStack) -> None:
    stack.must_up()
    stack.config["origin"]["replicas"] = 2
    more = stack.preview()
    assert "the number of origins changes from 1 to 2 (origins first)" in more.output
    stack.must_up()
    assert stack.get("statefulset", "srs-origin")["status"]["readyReplicas"] == 2
    stack.config["origin"]["replicas"] = 1
    fewer = stack.must_up()
    assert "from 2 to 1 (edges first)" in fewer.output
    assert stack.get("statefulset", "srs-origin")["status"]["readyReplicas"] == 1
