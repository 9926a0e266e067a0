"""Origins: an update drops no encoder, streams are spread, and neither their number nor a full one matters."""

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from e2e.expectations import assert_all_connected, assert_undisturbed
from e2e.live_stack import PROXY_DELAY, LiveStack
from e2e.viewers import SLOW_FIRST_FRAME, Audience, Size, Viewers
from model.names import PUBLISH_SERVICE
from stack import LOAD_BALANCER_CLASS, eventually
from testbed.containers.machine import ALL_NODES

STREAMS = 24
"""Streams that are published at the same time. By chance, one of two origins has fewer than 2 of them in 1 of 300,000
runs."""

ORIGINS = "app=srs-origin"


def encoders(stack: LiveStack, streams: int) -> Viewers:
    """Encoders of other streams, without players."""
    return Viewers(stack.cluster, Size(0, 0), publish=False, more_streams=streams)


def test_an_update_of_the_origins_drops_no_encoder(stack: LiveStack, audience: Audience, old: str, new: str) -> None:
    """Origins: a changed image, a changed srs.conf, back during the drain, a killed update, 3 to 5 to 2"""
    stack.config["origin"]["replicas"] = 3
    stack.must_update()
    with audience(first_frame=SLOW_FIRST_FRAME) as viewers, encoders(stack, 6) as others:
        first = stack.pod_names(ORIGINS)
        assert first == {"srs-origin-0", "srs-origin-1", "srs-origin-2"}
        viewers.step("a changed image, and one edge more")
        stack.config["origin"]["image"] = new
        stack.config["edge"]["replicas"] += 1  # its first viewer finds the stream of a draining origin
        assert "not checked" not in stack.must_update().output
        assert stack.pod_names(ORIGINS) == {"srs-origin-3", "srs-origin-4", "srs-origin-5"}
        assert stack.pods(ORIGINS, terminating=True), "origins with encoders drain"
        viewers.step("a changed srs.conf during the drain")
        stack.config["origin"]["srs"] = {"maxConnections": 900}
        stack.must_update()
        viewers.step("back during the drain")
        del stack.config["origin"]["srs"]
        stack.config["origin"]["image"] = old
        stack.must_update()
        viewers.step("a changed image, killed")
        stack.config["origin"]["image"] = new
        update = stack.start_update()
        eventually(lambda: len(stack.pod_names(ORIGINS)) > 3, 60)
        stack.kill(update)
        viewers.step("and back")
        stack.config["origin"]["image"] = old
        stack.must_update()
        edges = stack.pod_names()
        for replicas in (5, 2):
            viewers.step(f"{replicas} origins")
            stack.config["origin"]["replicas"] = replicas
            stack.must_update()
            assert len(stack.pod_names(ORIGINS)) == replicas
        assert stack.pod_names() == edges, "a changed number of origins replaces no edge"
        viewers.count(5)
        assert viewers.silent() == 0
        remaining = first & stack.pod_names(ORIGINS, terminating=True)
        assert remaining, "those that have encoders; by chance, one of them has none"
        assert {item["pod"] for item in json.loads(stack.rollout("draining", "--json").stdout)} >= remaining
    assert others.record.dropped == []
    assert others.record.failed == []
    assert_all_connected(others.record)
    assert_undisturbed(viewers.record)
    stack.wait_until_drained(ORIGINS, 30)


def test_an_origin_that_accepts_no_stream_drops_nobody(stack: LiveStack, audience: Audience) -> None:
    """New origins are ready, and their hook gives no answer"""
    stack.must_update()
    with audience(first_frame=SLOW_FIRST_FRAME) as viewers, encoders(stack, 6) as others:
        serving = stack.pod_names(ORIGINS)
        hooks = "http_hooks { enabled on; on_publish http://127.0.0.1:9/none; }"
        stack.config["origin"]["srs"] = {"vhostDirectives": hooks}
        failed = stack.update()
        assert not failed.ok
        assert "srs-origin-2 is ready and not usable" in failed.output
        assert "hook on_publish gives no answer" in failed.output
        eventually(lambda: stack.pod_names(ORIGINS) == serving, 10)
        del stack.config["origin"]["srs"]
        stack.must_update()
        assert stack.pod_names(ORIGINS) == serving
    assert others.record.dropped == []
    assert_undisturbed(viewers.record)


def test_without_a_drain_an_update_of_the_origins_drops_encoders(stack: LiveStack, new: str) -> None:
    """The control of the test above"""
    stack.config["origin"]["drain"] = {"deregister": "0s", "timeout": "0s"}
    stack.must_update()
    with encoders(stack, 6) as others:
        stack.config["origin"]["image"] = new
        stack.must_update()
        eventually(lambda: len(others.record.dropped) >= 6, 30)


def test_an_encoder_longer_than_the_drain_is_dropped_at_its_end(stack: LiveStack, new: str) -> None:
    """origin.drain.timeout is shorter than a stream"""
    stack.config["origin"]["drain"] = {"deregister": "1s", "timeout": "60s"}
    stack.must_update()
    with encoders(stack, 6) as others:
        started = time.time()
        stack.config["origin"]["image"] = new
        stack.must_update()
        eventually(lambda: len(others.record.dropped) >= 6, 90)
        assert others.record.dropped[0]["t"] - started > 1 + 60


def test_streams_are_spread(stack: LiveStack) -> None:
    """Edges publish to the origins through one Service"""
    stack.must_update()
    with encoders(stack, STREAMS):
        by_origin = {origin: stack.rtmp_connections(origin) for origin in stack.pod_names(ORIGINS)}
        assert sum(by_origin.values()) >= STREAMS
        assert min(by_origin.values()) >= 2, by_origin


def test_full_origins_keep_their_streams(stack: LiveStack, size: Size, old: str, new: str) -> None:
    """More encoders than the origins' maxConnections allow, and an update that needs more of them"""
    limit = 12  # of each of two origins; the stream has an encoder and a pull of each edge
    stack.config["origin"]["srs"] = {"maxConnections": limit}
    stack.must_update()
    with Viewers(stack.cluster, Size(size.players, 0)) as viewers:
        eventually(lambda: stack.rtmp_connections(stack.origin_of_stream()) > 1)
        with Viewers(stack.cluster, Size(0, 0), publish=False, settle=False, more_streams=4 * limit):
            origins = stack.pod_names("app=srs-origin")
            eventually(lambda: all(stack.rtmp_connections(origin) >= limit - 1 for origin in origins))
            stack.config["edge"]["rolloutTimeout"] = "25s"
            stack.two_releases(old, new, (75, 25))
            failed = stack.update()
            assert not failed.ok
            assert f"is full, with {limit} connections: raise srs:origin.srs.maxConnections" in failed.output
            time.sleep(20)
    assert_undisturbed(viewers.record, samples=False)
    pods = [*stack.pods("app=srs-origin"), *stack.pods()]
    assert {pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods} == {0}


HOOK_ADDRESS = f"{ALL_NODES[0].address}:9100"

HOOK = """
import http.server, json, sys

class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps([self.path, body["action"], body["stream"]]), flush=True)
        answer = b"0" if body["stream"] == "livestream" else b"403"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

host, port = sys.argv[1].split(":")
http.server.ThreadingHTTPServer((host, int(port)), Hook).serve_forever()
"""
"""A server that accepts encoders of the stream `livestream` only, and prints what it is asked."""


@contextmanager
def hook(stack: LiveStack) -> Generator[list[list[str]]]:
    """The server, and after the block what it was asked: path, action and stream."""
    command = [sys.executable, "-c", HOOK, HOOK_ADDRESS]
    entered = stack.cluster.machine.enter(stack.cluster.machine_pid, command)
    asked: list[list[str]] = []
    with subprocess.Popen(entered, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield asked
        finally:
            server.terminate()
            assert server.stdout is not None
            asked += [json.loads(line) for line in server.stdout]


def is_rejected(encoder: Viewers) -> bool:
    """Whether an encoder, which does not connect again, is rejected: 4.0 accepts it before it asks the hook."""
    with encoder:
        eventually(lambda: encoder.record.dropped or encoder.record.failed)
    return encoder.record.summary["publishers"] == 0


def test_a_hook_decides_who_publishes(stack: LiveStack, new: str) -> None:
    """publish.hook, with a secret: encoders through the edges, then, with publish.exclusive, at the origins"""
    empty, cluster = Size(0, 0), stack.cluster
    with hook(stack) as asked:
        stack.config["publish"] = {"hook": f"http://{HOOK_ADDRESS}/publish?key=$(hookKey)"}
        stack.encrypt("secrets.hookKey", "hunter2")
        stack.must_update()
        with Viewers(cluster, Size(4, 0)) as viewers:
            assert is_rejected(Viewers(cluster, empty, False, publish=False, settle=False, more_streams=1))
        assert_all_connected(viewers.record)

        own = {"kind": "service", "loadBalancerClass": LOAD_BALANCER_CLASS, "drainCeiling": "none", "protect": False}
        stack.config["publish"] |= {"to": "origins", "exclusive": True, "loadBalancer": own}
        with stack.load_balancer_controller():
            stack.must_update()
        (port,) = stack.get("service", PUBLISH_SERVICE)["spec"]["ports"]
        origins = f"127.0.0.1:{port['nodePort']}"
        time.sleep(PROXY_DELAY)  # earlier edges accept encoders
        assert is_rejected(Viewers(cluster, empty, False, settle=False)), "edges reject every encoder"
        assert is_rejected(Viewers(cluster, empty, False, publish=False, settle=False, more_streams=1, rtmp=origins))
        with Viewers(cluster, empty, rtmp=origins) as encoder, Viewers(cluster, Size(4, 0), publish=False) as viewers:
            stack.config["origin"]["image"] = new
            stack.must_update()
        assert encoder.record.dropped == viewers.record.dropped == []
        assert_all_connected(encoder.record)
        assert_all_connected(viewers.record)
    streams = ("livestream", "livestream-0", "srs-probe", "livestream-0", "livestream", "srs-probe")
    assert asked == [f"/publish?key=hunter2 on_publish {stream}".split() for stream in streams]
