"""What fails by itself hurts as little as it can: an origin, an edge, cluster DNS."""

import signal
import subprocess
import time
from contextlib import ExitStack

from e2e.expectations import STEADY_SILENCE, assert_nothing_hurt
from e2e.live_stack import EDGES, LiveStack
from e2e.versions import tells_encoders
from e2e.viewers import Size, Viewers
from stack import eventually
from testbed.containers.machine import ALL_NODES

ORIGIN_SILENCE = 15.0
"""Seconds that viewers may be without media when an origin goes: the edge retries after 3 s (ossrs/srs), and the
encoder has to notice and come back first."""

AWAY = 60.0
"""Seconds that cluster DNS is away."""


def test_an_origin_pod_is_deleted(stack: LiveStack, audience) -> None:
    """An origin pod is deleted: viewers stay and see a short silence"""
    stack.must_up()
    with audience() as viewers:
        before = stack.get("pod", "srs-origin-0")["metadata"]["uid"]
        viewers.step("srs-origin-0 deleted")
        stack.kubectl("delete", "pod", "srs-origin-0", "--wait=false")
        eventually(lambda: before not in {pod["metadata"]["uid"] for pod in stack.pods("app=srs-origin")})
        eventually(lambda: stack.get("statefulset", "srs-origin")["status"].get("readyReplicas") == 2, 60)
        viewers.step("srs-origin-0 is back")
        viewers.count(ORIGIN_SILENCE)
        assert viewers.silent() == 0, "all players have media again"
    players = viewers.story.player_cuts
    assert players == []
    refused = [each for each in viewers.story.failures if each["what"] == "sample"]
    assert refused == []
    assert viewers.story.longest_silence < ORIGIN_SILENCE
    assert viewers.story.summary["publishers"] == viewers.story.summary["publishers_wanted"]


def test_an_origin_vanishes_without_a_word(stack: LiveStack, size: Size, old: str) -> None:
    """An origin vanishes without closing its connections: in 4.0 its encoder stays connected to a dead stream"""
    stack.must_up()
    with ExitStack() as all_of_them:
        encoder = all_of_them.enter_context(Viewers(stack.cluster, Size(0, 0)))
        viewers = all_of_them.enter_context(Viewers(stack.cluster, Size(size.players, 0), publish=False))
        network = f"--net=/proc/{stack.process('srs-origin-0').pid}/ns/net"
        subprocess.run(["nsenter", network, "--", "ip", "link", "set", "eth0", "down"], check=True)
        stack.kubectl("delete", "pod", "srs-origin-0", "--grace-period=0", "--force")
        time.sleep(AWAY)
        if tells_encoders(old):
            assert encoder.story.cuts, "the edge cut it, so it came back"
        else:
            assert encoder.story.cuts == [], "the encoder is still connected"
            assert viewers.silent() == size.players, "the stream is dead"
            encoder.end()
            all_of_them.enter_context(Viewers(stack.cluster, Size(0, 0)))
        viewers.wait(lambda: viewers.silent() == 0, ORIGIN_SILENCE, "a new connection of the encoder is the cure")
    assert viewers.story.cuts == []


def test_an_edge_is_killed(stack: LiveStack, audience) -> None:
    """SRS of an edge is killed: only its own connections are lost, and come back"""
    stack.must_up()
    with audience() as viewers:
        victim = sorted(stack.pod_names())[0]
        peers = viewers.servers()
        viewers.step(f"{victim} killed")
        stack.process(victim).kill()
        viewers.wait(lambda: len(viewers.story.cuts) > 0, 10, "connections of the killed edge are cut")
        viewers.count(10)
        assert viewers.silent() == 0, "all players have media again"
    # HTTP tells no server's id.
    cuts = [cut for cut in viewers.story.cuts if cut["kind"] != "flv"]
    assert len({cut["server_id"] for cut in cuts}) == 1, "of one edge only"
    assert len(cuts) == peers[cuts[0]["server_id"]], "all of them, and nobody else"
    assert len(viewers.story.cuts) < viewers.size.players
    assert viewers.story.summary["players"] == viewers.story.summary["players_wanted"]
    assert viewers.story.summary["publishers"] == viewers.story.summary["publishers_wanted"]
    assert viewers.least_ready >= EDGES - 1


def test_the_nodes_software_is_restarted_while_pods_drain(stack: LiveStack, audience, new: str) -> None:
    """kubelet and containerd of all nodes are restarted while a removed release drains"""
    stack.must_up()
    with audience() as viewers:
        viewers.step("r6 takes over, r5 removed")
        stack.releases(r6=stack.config["edge"]["releases"]["r5"] | {"image": new})
        stack.must_up()
        time.sleep(5)  # their preStop is over
        draining = {pod["metadata"]["name"] for pod in stack.pods(terminating=True)}
        assert draining
        for name in ("kubelet", "containerd"):
            for process in stack.components(name):
                viewers.step(f"{name} restarted")
                process.send_signal(signal.SIGHUP)
                eventually(
                    lambda name=name, old=process: (
                        old not in (now := stack.components(name)) and len(now) == len(ALL_NODES)
                    )
                )
                viewers.count(10)
        assert {pod["metadata"]["name"] for pod in stack.pods(terminating=True)} == draining, "they drain on"
    assert_nothing_hurt(viewers.story)
    # A kubelet that starts takes its pods for not ready until it has probed them (kubernetes/kubernetes #100277).
    assert viewers.least_ready >= EDGES // 2
    stack.wait_until_drained()


def test_cluster_dns_is_away_for_a_minute(stack: LiveStack, audience) -> None:
    """Cluster DNS does not answer for 60 s"""
    stack.must_up()
    with audience() as viewers:
        viewers.step("DNS away")
        (dns,) = stack.components("coredns")
        dns.send_signal(signal.SIGSTOP)
        try:
            time.sleep(AWAY)
        finally:
            dns.send_signal(signal.SIGCONT)
        viewers.step("DNS is back")
        viewers.count(5)
    assert_nothing_hurt(viewers.story, STEADY_SILENCE)
    assert viewers.least_ready >= EDGES
