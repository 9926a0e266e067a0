"""How edges end: after their last connection, at the drain timeout, by `rollout cut`, or without a drain."""

import re
import time
from collections import Counter

import pytest

from e2e.expectations import ORIGIN_SILENCE
from e2e.live_stack import LiveStack
from e2e.versions import can_drain, version_of
from e2e.viewers import Audience, Size, Viewers
from stack import eventually
from testbed.containers.images import SrsImages

MARGIN = 30
"""Seconds between the drain timeout and the end of a pod's grace period (model/config/drain.py, DRAIN_MARGIN)."""


def test_a_pod_lives_until_its_last_connection_ends(stack: LiveStack, audience: Audience, old: str) -> None:
    """Drain: pods live as long as their connections"""
    stack.must_update()
    with audience() as viewers:
        viewers.step("a changed srs.conf")
        before = stack.pod_names()
        stack.one_release(old, srs={"maxConnections": 900})
        stack.must_update()
        viewers.count(20)
        assert stack.pod_names(terminating=True) == before, "they have connections"
    assert viewers.record.dropped == []
    assert stack.wait_until_drained() < 40, "they have no connections"


def test_connections_are_dropped_at_the_drain_timeout(stack: LiveStack, audience: Audience, old: str) -> None:
    """Drain: connections that are open at the drain timeout are dropped"""
    deregister, timeout = 2, 5
    stack.config["edge"]["drain"] = {"deregister": f"{deregister}s", "timeout": f"{timeout}s"}
    stack.must_update()
    with audience() as viewers:
        before = stack.pod_names()
        stack.one_release(old, srs={"maxConnections": 900})
        started = time.time()
        stack.must_update()
        grace = deregister + timeout + MARGIN
        viewers.wait(lambda: len(viewers.record.dropped) > 0, grace + 60, "connections are dropped")
        eventually(lambda: not any(stack.exists(pod) for pod in before), grace + 60)
        viewers.count(5)
        viewers.wait(lambda: viewers.silent() == 0, ORIGIN_SILENCE, "players have media from the new pods")
    assert viewers.record.dropped[0]["t"] - started > grace - 2
    assert len(viewers.record.dropped) == viewers.size.players + 1, "each player and the encoder once"


def test_a_destroy_drops_no_player_and_lists_the_draining_pods(stack: LiveStack, size: Size) -> None:
    stack.must_update()
    with Viewers(stack.cluster, size) as viewers:
        before = stack.pod_names()
        destroyed = stack.rollout("destroy", "--yes")
        assert destroyed.ok, destroyed.output
        assert destroyed.seconds < 30
        assert not [pod for pod in before if pod not in destroyed.output], destroyed.output
        assert "rollout cut" in destroyed.output
        time.sleep(10)
        assert stack.pod_names(terminating=True) == before
        assert viewers.record.dropped_players == []
    assert viewers.record.longest_silence < 5, "the origins drain as long as the encoder is connected"
    stack.wait_until_deleted()


@pytest.mark.parametrize("wait", [0, 10], ids=["in preStop", "in the drain"])
def test_cut_drops_draining_connections_at_once(stack: LiveStack, size: Size, wait: float) -> None:
    stack.must_update()
    with Viewers(stack.cluster, size, reopen=False) as viewers:
        before = stack.pod_names()
        assert stack.rollout("destroy", "--yes").ok
        time.sleep(wait)
        viewers.step("cut")
        cut = stack.rollout("cut", "--yes")
        assert cut.ok, cut.output
        assert cut.seconds < 30
        ended = re.search(r"(\d+) of \1 pods ended", cut.output)
        assert ended
        assert int(ended[1]) >= len(before), "edges, and the origin of the stream"
        viewers.wait(lambda: len(viewers.record.dropped) == size.players + 1, 10, "players and encoder are dropped")
    stack.wait_until_deleted()


def test_cut_of_one_release_drops_nobody_of_the_others(stack: LiveStack, size: Size, old: str, new: str) -> None:
    stack.two_releases(old, new, (50, 50))
    stack.must_update()
    with Viewers(stack.cluster, size, reopen=False) as viewers:
        stack.one_release(old)
        stack.must_update()
        assert "no edges of release r5 are terminating" in stack.rollout("cut", "--release", "r5").output
        assert "--yes is required" in stack.rollout("cut", "--release", "r6").output
        assert viewers.record.dropped == []
        on_canary = viewers.open()[version_of(new)]
        assert 0 < on_canary < size.players
        viewers.step("cut")
        cut = stack.rollout("cut", "--release", "r6", "--yes")
        assert cut.ok, cut.output
        viewers.wait(lambda: len(viewers.record.dropped) >= on_canary, 10, "players of the canary are dropped")
        viewers.count(5)
    assert Counter(player["version"] for player in viewers.record.dropped_players) == {version_of(new): on_canary}


def test_an_accepted_version_that_cannot_drain_drops_connections(
    stack: LiveStack, audience: Audience, images: SrsImages, new: str
) -> None:
    """SRS 5.0, with allowDroppedConnections: an update drops connections"""
    image = next((name for name in images.names if not can_drain(name)), None)
    if image is None:
        pytest.skip("SRS_IMAGES has no version that cannot drain, such as v5.0-r3")
    stack.one_release(image, allowDroppedConnections=True)
    stack.must_update()
    with audience() as viewers:
        viewers.step(f"{version_of(image)} to {version_of(new)}")
        stack.one_release(new)
        stack.must_update()
        viewers.count(5)
    assert len(viewers.record.dropped_players) >= viewers.size.players / 2
