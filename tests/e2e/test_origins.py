"""Edges reach the origins through one Service: streams are spread, and neither their number nor a full one matters."""

import time

from e2e.expectations import assert_all_connected, assert_undisturbed
from e2e.live_stack import LiveStack
from e2e.viewers import Audience, Size, Viewers
from stack import eventually

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
