"""How edges end: with the last connection or when the drain time is over; a destroy; a version that cannot drain."""

import time

import pytest

from e2e.live_stack import LiveStack
from e2e.versions import can_drain, version_of
from e2e.viewers import Size, Viewers
from stack import eventually
from testbed.containers.images import SrsImages

MARGIN = 30
"""Seconds that a pod is given after the drain time (model/settings.py, DRAIN_MARGIN)."""


def test_a_pod_lives_until_its_last_connection_ends(stack: LiveStack, audience, old: str) -> None:
    """Drain: pods live as long as their connections, and not longer"""
    stack.must_up()
    with audience() as viewers:
        viewers.step("another srs.conf")
        before = stack.pod_names()
        stack.one_release(old, srs={"maxConnections": 900})
        stack.must_up()
        viewers.count(20)
        assert {pod["metadata"]["name"] for pod in stack.pods(terminating=True)} == before, "they have connections"
    assert viewers.story.cuts == []
    assert stack.wait_until_drained() < 40, "they had none any more"


def test_connections_are_cut_when_the_drain_time_is_over(stack: LiveStack, audience, old: str) -> None:
    """Drain: what is open longer than the drain time is cut when it is over"""
    deregister, timeout = 2, 5
    stack.config["edge"]["drain"] = {"deregister": f"{deregister}s", "timeout": f"{timeout}s"}
    stack.must_up()
    with audience() as viewers:
        before = stack.pod_names()
        stack.one_release(old, srs={"maxConnections": 900})
        begun = time.time()
        stack.must_up()
        grace = deregister + timeout + MARGIN
        viewers.wait(lambda: len(viewers.story.cuts) > 0, grace + 60, "connections are cut")
        first = viewers.story.cuts[0]["t"]
        eventually(lambda: not any(stack.is_there(pod) for pod in before), grace + 60)
        viewers.count(5)
        assert viewers.silent() == 0, "players have come back on the new pods"
    assert first - begun > grace - 2, "nobody is cut before"
    assert len(viewers.story.cuts) == viewers.size.players + 1, "everybody was cut once, the encoder too"


def test_destroy_while_connections_are_open(stack: LiveStack, size: Size) -> None:
    """`pulumi destroy` while connections are open"""
    stack.must_up()
    with Viewers(stack.cluster, size) as viewers:
        before = stack.pod_names()
        said = stack.rollout("destroy", "--yes")
        assert said.ok, said.output
        assert said.seconds < 30
        for pod in before:
            assert pod in said.output, "it says what still drains"
        assert "python -m rollout cut" in said.output, "and how to cut it"
        time.sleep(10)
        assert {pod["metadata"]["name"] for pod in stack.pods(terminating=True)} == before
        assert viewers.story.player_cuts == []
    stack.wait_until_gone()


@pytest.mark.parametrize("waited", [0, 10], ids=["in preStop", "in the drain"])
def test_what_drains_can_be_cut_at_once(stack: LiveStack, size: Size, waited: float) -> None:
    """`rollout cut` after a destroy"""
    stack.must_up()
    with Viewers(stack.cluster, size, reopen=False) as viewers:
        before = stack.pod_names()
        assert stack.rollout("destroy", "--yes").ok
        time.sleep(waited)
        viewers.step("cut")
        said = stack.rollout("cut", "--yes")
        assert said.ok, said.output
        assert said.seconds < 30
        assert f"{len(before)} of {len(before)} edges are cut and gone" in said.output
        viewers.wait(lambda: len(viewers.story.cuts) == size.players + 1, 10, "everybody is cut, the encoder too")
    stack.wait_until_gone()


def test_only_what_drains_of_one_release_is_cut(stack: LiveStack, size: Size, old: str, new: str) -> None:
    """`rollout cut --release` leaves those who are on other pods"""
    stack.two_releases(old, new, (50, 50))
    stack.must_up()
    with Viewers(stack.cluster, size, reopen=False) as viewers:
        stack.one_release(old)
        stack.must_up()
        assert "no edge of release r5 drains" in stack.rollout("cut", "--release", "r5").output
        assert "--yes is needed" in stack.rollout("cut", "--release", "r6").output
        assert viewers.story.cuts == []
        on_canary = viewers.open()[version_of(new)]
        assert 0 < on_canary < size.players
        viewers.step("cut")
        said = stack.rollout("cut", "--release", "r6", "--yes")
        assert said.ok, said.output
        viewers.wait(lambda: len(viewers.story.cuts) >= on_canary, 10, "those of the canary are cut")
        viewers.count(5)
    cut_players = viewers.story.player_cuts
    assert len(cut_players) == on_canary
    assert {cut["version"] for cut in cut_players} == {version_of(new)}


def test_a_version_that_cannot_drain_is_refused_or_cuts(
    stack: LiveStack, audience, images: SrsImages, new: str
) -> None:
    """SRS 5.0, with the operator's consent: an update cuts connections"""
    cutting = [name for name in images.names if not can_drain(name)]
    if not cutting:
        pytest.skip("SRS_IMAGES has no version that cannot drain, such as v5.0-r3")
    stack.one_release(cutting[0])
    refused = stack.up()
    assert not refused.ok
    assert "cuts every connection when it quits" in refused.output
    stack.one_release(cutting[0], allowCuts=True)
    stack.must_up()
    with audience() as viewers:
        viewers.step(f"{version_of(cutting[0])} to {version_of(new)}")
        stack.one_release(new)
        stack.must_up()
        viewers.count(5)
    assert len(viewers.story.player_cuts) >= viewers.size.players / 2
