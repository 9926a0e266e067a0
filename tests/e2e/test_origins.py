"""Edges reach the origins through one Service: streams are spread, and neither their number nor a full one matters."""

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from e2e.expectations import assert_all_connected, assert_undisturbed
from e2e.live_stack import LiveStack
from e2e.viewers import Audience, Size, Viewers
from model.names import PUBLISH_SERVICE
from stack import LOAD_BALANCER_CLASS, eventually
from testbed.containers.machine import ALL_NODES

STREAMS = 24
"""Streams that are published at the same time. By chance, one of two origins has fewer than 2 of them in 1 of 300,000
runs."""

SILENCE = 15.0
"""Maximum silence of a player in seconds when its origin restarts, as in test_outages."""


def test_streams_are_spread_and_another_number_of_origins_drops_no_viewer(stack: LiveStack, audience: Audience) -> None:
    """Two origins, then three: they restart one by one"""
    stack.must_update()
    edges = stack.pod_names()
    with Viewers(stack.cluster, Size(0, 0), publish=False, more_streams=STREAMS):
        by_origin = {origin: stack.rtmp_connections(origin) for origin in stack.pod_names("app=srs-origin")}
        assert sum(by_origin.values()) >= STREAMS
        assert min(by_origin.values()) >= 2, by_origin
    with audience() as viewers:
        viewers.step("3 origins")
        stack.config["origin"]["replicas"] = 3
        stack.must_update()
        viewers.count(SILENCE)
        assert viewers.silent() == 0, "all players have media again"
    assert stack.pod_names() == edges, "no edge is replaced"
    assert viewers.record.dropped_players == []
    assert viewers.record.failed_samples == []
    assert viewers.record.longest_silence < SILENCE
    assert_all_connected(viewers.record)


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


def test_a_hook_decides_who_publishes(stack: LiveStack) -> None:
    """publish.hook, with a secret: encoders through the edges, then, with publish.exclusive, at the origins"""
    nobody, cluster = Size(0, 0), stack.cluster
    with hook(stack) as asked:
        stack.config["publish"] = {"hook": f"http://{HOOK_ADDRESS}/publish?key=$(hookKey)"}
        stack.encrypt("secrets.hookKey", "hunter2")
        stack.must_update()
        with Viewers(cluster, Size(4, 0)) as viewers:
            assert is_rejected(Viewers(cluster, nobody, False, publish=False, settle=False, more_streams=1))
        assert_all_connected(viewers.record)

        own = {"kind": "service", "loadBalancerClass": LOAD_BALANCER_CLASS, "drainCeiling": "none", "protect": False}
        stack.config["publish"] |= {"to": "origins", "exclusive": True, "loadBalancer": own}
        with stack.load_balancer_controller():
            stack.must_update()
        (port,) = stack.get("service", PUBLISH_SERVICE)["spec"]["ports"]
        origins = f"127.0.0.1:{port['nodePort']}"
        assert is_rejected(Viewers(cluster, nobody, False, settle=False)), "edges reject every encoder"
        assert is_rejected(Viewers(cluster, nobody, False, publish=False, settle=False, more_streams=1, rtmp=origins))
        with Viewers(cluster, nobody, rtmp=origins) as encoder, Viewers(cluster, Size(4, 0), publish=False) as viewers:
            pass
        assert_all_connected(encoder.record)
        assert_all_connected(viewers.record)
    asks = [f"/publish?key=hunter2 on_publish {stream}".split() for stream in ("livestream", "livestream-0")]
    assert asked == [asks[0], asks[1], asks[1], asks[0]]
