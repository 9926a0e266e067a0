"""An outage of one component affects as few connections as possible: an origin, an edge, a node, cluster DNS."""

import os
import signal
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from e2e.expectations import ORIGIN_SILENCE, assert_all_connected, assert_undisturbed
from e2e.live_stack import EDGES, LiveStack
from e2e.versions import can_drain, drops_dead_publishers
from e2e.viewers import Audience, Size, Viewers
from stack import eventually
from testbed.containers.images import SrsImages
from testbed.containers.machine import ALL_NODES

OUTAGE = 45.0
"""Seconds of an outage of cluster DNS, or of full edges: longer than failed probes take to make an edge not ready."""

FULL = 420.0 if os.environ.get("SRS_FAULTS") else OUTAGE
"""Seconds of full edges. A liveness probe that asks a full SRS has it killed after 300 s (ossrs/srs #4409), which only
`make test-faults` is long enough to show."""

BUFFER = 16384
"""Maximum bytes of a send buffer of the edges where an origin is lost. Linux enlarges it with the congestion window,
up to 4 MB: after one burst the stream of these tests, 4 kB/s, takes more than a minute to fill it (measured)."""

DROP_SECONDS = 60.0
"""Time in which an edge drops the encoder of a lost origin, if it ever does: 30 s after its buffers are full."""


def test_a_deleted_origin_pod_drops_nobody(stack: LiveStack, audience: Audience) -> None:
    """An origin pod is deleted: it drains, and is replaced when its encoder has left"""
    stack.must_update()
    with audience() as viewers:
        origin = stack.origin_of_stream()
        before = stack.get("pod", origin)["metadata"]["uid"]
        viewers.step(f"{origin} deleted")
        stack.kubectl("delete", "pod", origin, "--wait=false")
        viewers.count(20)
        assert stack.get("pod", origin)["metadata"]["uid"] == before, "it drains"
        assert viewers.silent() == 0
    assert_undisturbed(viewers.record)
    eventually(lambda: before not in {pod["metadata"]["uid"] for pod in stack.get("pods")["items"]}, 60)
    eventually(lambda: stack.get("statefulset", "srs-origin")["status"].get("readyReplicas") == 2, 60)


@contextmanager
def lost_origin(stack: LiveStack, size: Size, images: SrsImages, drops: bool) -> Generator[tuple[Viewers, Viewers]]:
    """An encoder and players, after an origin vanished without closing its connections.

    drops: whether edges of the version under test drop the encoder of such an origin.
    """
    image = next((name for name in images.names if can_drain(name) and drops_dead_publishers(name) == drops), None)
    if image is None:
        pytest.skip("SRS_IMAGES has no such version")
    stack.one_release(image)
    stack.config["origin"]["image"] = image
    stack.must_update()
    for edge in stack.pod_names():
        stack.run_in_network(edge, "sh", "-c", f"echo 4096 {BUFFER} {BUFFER} >/proc/sys/net/ipv4/tcp_wmem")
    with (
        Viewers(stack.cluster, Size(0, 0)) as encoder,
        Viewers(stack.cluster, Size(size.players, 0), publish=False) as viewers,
    ):
        origin = stack.origin_of_stream()
        stack.run_in_network(origin, "ip", "link", "set", "eth0", "down")
        stack.kubectl("delete", "pod", origin, "--grace-period=0", "--force")
        yield encoder, viewers
        assert viewers.record.dropped == []


def test_an_old_edge_keeps_the_encoder_of_a_lost_origin(stack: LiveStack, size: Size, images: SrsImages) -> None:
    """An origin vanishes without closing its connections: before 5.0.214 and 6.0.139 the stream is dead"""
    with lost_origin(stack, size, images, drops=False) as (encoder, viewers):
        time.sleep(DROP_SECONDS)
        assert encoder.record.dropped == []
        assert viewers.silent() == size.players, "the stream is dead"
        encoder.end()
        with Viewers(stack.cluster, Size(0, 0)):
            viewers.wait(lambda: viewers.silent() == 0, ORIGIN_SILENCE, "all players have media again")


def test_a_new_edge_drops_the_encoder_of_a_lost_origin(stack: LiveStack, size: Size, images: SrsImages) -> None:
    """An origin vanishes without closing its connections: from 5.0.214 and 6.0.139 on its encoder is dropped"""
    with lost_origin(stack, size, images, drops=True) as (encoder, viewers):
        encoder.wait(lambda: len(encoder.record.dropped) > 0, DROP_SECONDS, "the encoder is dropped")
        viewers.wait(lambda: viewers.silent() == 0, ORIGIN_SILENCE, "all players have media again")


def test_a_killed_edge_drops_only_its_own_connections(stack: LiveStack, audience: Audience) -> None:
    """SRS of an edge is killed: only its own connections are dropped, and they connect again"""
    stack.must_update()
    with audience() as viewers:
        victim = max(stack.pod_names(), key=stack.rtmp_connections)
        connections = viewers.servers()
        viewers.step(f"{victim} killed")
        stack.process(victim).kill()
        viewers.wait(lambda: len(viewers.record.dropped) > 0, 10, "the killed edge drops connections")
        viewers.count(10)
        viewers.wait(lambda: viewers.silent() == 0, ORIGIN_SILENCE, "all players have media again")
    # HTTP-FLV connections have no server id.
    dropped = Counter(item["server_id"] for item in viewers.record.dropped if item["kind"] != "flv")
    assert len(dropped) == 1, "of one edge"
    assert dropped.items() <= connections.items(), "all of them"
    assert len(viewers.record.dropped) < viewers.size.players
    assert viewers.record.failed, "tests that cannot show refused connections would measure nothing"
    assert_all_connected(viewers.record)
    assert viewers.minimum_ready >= EDGES - 1


@pytest.mark.timeout(900)
def test_full_edges_keep_their_viewers(stack: LiveStack, size: Size) -> None:
    """More players than maxConnections allows try to connect, and an update adds edges"""
    stack.config["edge"]["releases"]["r5"]["srs"] = {"maxConnections": size.players // 2}
    stack.must_update()
    crowd = Size(size.players * 2, 0)  # more than the remaining capacity of the edges
    with stack.watched_endpoints() as ready, Viewers(stack.cluster, Size(size.players, 0)) as viewers:
        with Viewers(stack.cluster, crowd, publish=False, settle=False) as others:
            time.sleep(FULL)
            assert others.record.failed, "the edges are full"
            stack.config["edge"]["replicas"] = EDGES + 1
            stack.must_update()
            time.sleep(5)
            assert others.record.dropped == []
        assert min(ready) >= EDGES
    assert_undisturbed(viewers.record, samples=False)
    assert {pod["status"]["containerStatuses"][0]["restartCount"] for pod in stack.pods()} == {0}


def test_a_restart_of_kubelet_and_containerd_drops_nobody(stack: LiveStack, audience: Audience, new: str) -> None:
    """kubelet and containerd of all nodes are restarted while a removed release drains"""
    stack.must_update()
    with audience() as viewers:
        viewers.step("r6 takes over, r5 removed")
        stack.releases(r6=stack.config["edge"]["releases"]["r5"] | {"image": new})
        stack.must_update()
        time.sleep(5)  # until the end of preStop
        draining = stack.pod_names(terminating=True)
        assert draining
        for name in ("kubelet", "containerd"):
            for process in stack.components(name):
                viewers.step(f"{name} restarted")
                process.send_signal(signal.SIGHUP)
                eventually(
                    lambda name=name, old=process: (
                        old not in (running := stack.components(name)) and len(running) == len(ALL_NODES)
                    )
                )
                viewers.count(10)
        assert stack.pod_names(terminating=True) == draining
    assert_undisturbed(viewers.record)
    # After its start, a kubelet reports its pods as not ready until it has probed them (kubernetes/kubernetes #100277).
    assert viewers.minimum_ready >= EDGES // 2
    stack.wait_until_drained()


def test_an_outage_of_cluster_dns_affects_nobody(stack: LiveStack, audience: Audience) -> None:
    """Cluster DNS does not answer for 45 s"""
    stack.must_update()
    with audience() as viewers:
        viewers.step("DNS is stopped")
        (dns,) = stack.components("coredns")
        dns.send_signal(signal.SIGSTOP)
        try:
            time.sleep(OUTAGE)
        finally:
            dns.send_signal(signal.SIGCONT)
        viewers.step("DNS is resumed")
        viewers.count(5)
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES
