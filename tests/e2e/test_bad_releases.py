"""A release that is bad hurts nobody: the up fails with the pod's own reason, and every connection goes on."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.expectations import assert_nothing_hurt
from e2e.live_stack import EDGES, LiveStack
from testbed.containers.images import SrsImages, crashing_image
from testbed.containers.machine import ALL_NODES

UNKNOWN = {"directives": "no_such_directive on;"}


@pytest.fixture
def crashing(stack: LiveStack, images: SrsImages, new: str, tmp_path: Path) -> str:
    """The new image, made to crash 5 s after its SRS is ready."""
    machine = stack.cluster.machine
    archive = tmp_path / "crashing.tar"
    source = images.archive_of(new) or machine.export_image(ALL_NODES[0], new, tmp_path / "exported.tar")
    name = new.replace("ossrs/srs:", "crashing/srs:")
    crashing_image(source, new, name, stack.cluster.tools.binaries["streaming"], archive)
    for node in ALL_NODES:
        machine.import_image(node, archive)
    return name


def as_canary(stack: LiveStack, old: str, image: str, **more: object) -> None:
    stack.two_releases(old, image, (75, 25), **more)


def in_place(stack: LiveStack, _old: str, image: str, **more: object) -> None:
    stack.one_release(image, **more)


@pytest.mark.parametrize("put", [as_canary, in_place])
def test_a_release_that_crashes_at_start_or_after_it_is_ready(
    stack: LiveStack, audience, put: Callable[..., None], old: str, new: str, crashing: str
) -> None:
    """A release that crashes at its start, then one that crashes later"""
    stack.config["edge"] |= {"warmUp": "8s", "rolloutTimeout": "40s"}
    stack.must_up()
    good, serving = copy.deepcopy(stack.config), stack.endpoints()
    with audience() as viewers:
        for what, image, more, reason in (
            ("unknown directive", new, {"srs": UNKNOWN}, "no_such_directive"),
            ("crash after 5 s", crashing, {}, "crash on purpose"),
        ):
            viewers.step(what)
            put(stack, old, image, **more)
            failed = stack.up()
            assert not failed.ok
            assert reason in failed.output, failed.output
            assert failed.seconds < 40 + 30
            assert serving <= stack.endpoints()
            viewers.step("back")
            stack.config = copy.deepcopy(good)
            stack.must_up()
            assert stack.endpoints() == serving, "going back needs no new pod"
    assert_nothing_hurt(viewers.story)
    assert viewers.least_ready >= EDGES
