"""Whatever an operator changes, nobody who is connected is cut, and nobody new is turned away."""

import shutil
from pathlib import Path

from e2e.expectations import assert_nothing_hurt, assert_shares_fit
from e2e.live_stack import EDGES, LiveStack
from e2e.versions import version_of
from stack import eventually

STRETCH = 15.0
"""Seconds over which new connections are counted by version."""


def test_rolling_update_and_rollback_by_config(stack: LiveStack, audience, old: str, new: str) -> None:
    """Rolling update of the image in place, and back by the config"""
    stack.must_up()
    before = stack.pod_names()
    with audience() as viewers:
        viewers.step(f"to {version_of(new)}")
        stack.one_release(new)
        stack.must_up()
        assert not before & stack.pod_names(), "every edge was replaced, the encoder's own one too"
        viewers.step(f"back to {version_of(old)}")
        stack.one_release(old)
        stack.must_up()
        viewers.count(5)
    assert_nothing_hurt(viewers.story)
    assert viewers.least_ready >= EDGES
    assert set(viewers.story.samples) == {version_of(old), version_of(new)}


def test_canary_25_75_100_and_removal(stack: LiveStack, audience, old: str, new: str) -> None:
    """Canary: 25 %, 75 %, all, and the old release removed"""
    stack.must_up()
    counts = []
    with audience() as viewers:
        for weights in ((75, 25), (25, 75)):
            viewers.step(f"{weights[1]} %")
            stack.two_releases(old, new, weights)
            stack.must_up()
            percent = stack.real_percent()
            assert percent == {"r5": weights[0], "r6": weights[1]}
            counts.append((viewers.count(STRETCH), {version_of(old): percent["r5"], version_of(new): percent["r6"]}))
        viewers.step("100 %")
        stack.two_releases(old, new, (0, 100))
        stack.must_up()
        assert set(viewers.count(5)) == {version_of(new)}
        viewers.step("r5 removed")
        stack.releases(r6=stack.config["edge"]["releases"]["r6"])
        removal = stack.must_up()
        assert removal.seconds < 60
        viewers.count(5)
        assert viewers.open()[version_of(old)] == size_of(viewers), "the players are still on the old release"
    assert_nothing_hurt(viewers.story)
    assert viewers.least_ready >= EDGES
    assert_shares_fit(counts)


def size_of(viewers) -> int:
    """How many players there are."""
    return viewers.size.players


def test_rollback_in_the_middle_of_a_canary(stack: LiveStack, audience, old: str, new: str) -> None:
    """A canary step that is killed half-way, and the earlier config put back"""
    stack.must_up()
    with audience() as viewers:
        viewers.step("25 %")
        stack.two_releases(old, new, (75, 25))
        stack.must_up()
        viewers.step("75 %, killed")
        stack.two_releases(old, new, (25, 75))
        up = stack.begin_up()
        eventually(lambda: stack.get("deployment", "srs-edge-r6-deploy")["spec"]["replicas"] == 3)
        stack.kill(up)
        stack.cancel()
        viewers.step("back")
        stack.one_release(old)
        stack.must_up()
        viewers.count(5)
    assert_nothing_hurt(viewers.story)
    assert viewers.least_ready >= EDGES
    assert stack.replicas() == {"r5": EDGES}


def test_change_of_srs_conf(stack: LiveStack, audience, old: str) -> None:
    """Another srs.conf: the release rolls"""
    stack.must_up()
    before = stack.pod_names()
    with audience() as viewers:
        viewers.step("maxConnections")
        stack.one_release(old, srs={"maxConnections": 900})
        stack.must_up()
        viewers.count(5)
        assert not before & stack.pod_names()
    assert_nothing_hurt(viewers.story)
    assert viewers.least_ready >= EDGES


def test_scale_from_8_to_3_edges(stack: LiveStack, audience) -> None:
    """Fewer edges: from 8 to 3"""
    stack.config["edge"]["replicas"] = 8
    stack.must_up()
    with audience() as viewers:
        viewers.step("3 edges")
        stack.config["edge"]["replicas"] = 3
        stack.must_up()
        viewers.count(10)
        assert len(stack.endpoints()) == 3
        assert len(stack.pods(terminating=True)) > 0, "the others drain"
    assert_nothing_hurt(viewers.story)
    assert viewers.least_ready >= 3


def test_control_without_the_grace_settings_connections_are_cut(stack: LiveStack, audience, new: str) -> None:
    """Control: the same update with the grace settings taken away"""
    take_grace_away(stack)
    stack.must_up()
    with audience() as viewers:
        viewers.step(f"to {version_of(new)}")
        stack.one_release(new)
        stack.must_up()
        viewers.count(5)
    players = viewers.story.player_cuts
    assert len(players) >= viewers.size.players / 2, "a test that cannot show a cut measures nothing"
    assert any(cut["kind"] == "publish" for cut in viewers.story.cuts)
    assert viewers.story.failures, "nor one that cannot show a refused connection"


def take_grace_away(stack: LiveStack) -> None:
    """Give the stack a program of its own that does not ask SRS to quit gracefully, and no time to deregister."""
    model = stack.folder / "model"
    source = model.resolve()
    model.unlink()
    shutil.copytree(source, model)
    renderer: Path = model / "srs_conf.py"
    text = renderer.read_text()
    assert '"force_grace_quit on"' in text
    renderer.write_text(text.replace('"force_grace_quit on"', '"force_grace_quit off"'))
    stack.config["edge"]["drain"]["deregister"] = "0s"
