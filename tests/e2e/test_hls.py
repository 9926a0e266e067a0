"""HLS: players play through updates of the origins, and what they get when an encoder reconnects during a drain."""

import os
import time
from pathlib import Path

import pytest

from e2e.hls_viewers import HlsPlayer, Playlists, assert_goes_on, assert_played_through
from e2e.live_stack import LiveStack
from e2e.versions import leaves_hls_files
from e2e.viewers import STREAM, Size, Viewers
from model.desired.hls import NGINX_PORT
from model.names import HLS, SRS_HOME
from stack import eventually

ORIGINS = "app=srs-origin"

NODE_PORT = 30090
"""Node port of nginx, for this test: the network of the nodes has no route to the addresses of Services."""

FRAGMENT = 2
"""Seconds of a segment: SRS ends it with the next key frame, and the encoder has one each 1.024 s."""

PAUSE = 2 * FRAGMENT
"""Maximum time without a frame, in seconds."""

GAP = 0.1
"""Maximum difference of the media times of two frames, in seconds; the encoder's is 0.032."""


@pytest.fixture
def url(stack: LiveStack) -> str:
    """The URL of the stream's HLS, after the first update with HLS."""
    stack.config["hls"] = {"enabled": True, "storageClass": "testbed-rwx", "size": "1Gi"}
    stack.config["origin"]["srs"] = {"vhostDirectives": f"hls {{ hls_fragment {FRAGMENT}; hls_window 12; }}"}
    stack.must_update()
    stack.kubectl("create", "service", "nodeport", "hls", f"--tcp={NGINX_PORT}", f"--node-port={NODE_PORT}")
    stack.kubectl("set", "selector", "service", "hls", f"app={HLS}")
    return f"http://127.0.0.1:{NODE_PORT}/{STREAM}.m3u8"


def segments(playlists: Playlists) -> int:
    """How many segments the stream has had."""
    return playlists.last.end if playlists.last else 0


def ended_stream(stack: LiveStack) -> list[Path]:
    """The files of a stream that ended two hours ago, on the volume."""
    root = Path(f"/proc/{stack.process(stack.origin_of_stream()).pid}/root")
    folder = root / SRS_HOME.removeprefix("/") / "objs/nginx/html/live"
    ended = time.time() - 7200
    segment = f"ended-{int(ended * 1000)}-7.ts"
    files = [folder / segment, folder / "ended.m3u8"]
    for path, text in zip(files, ("", f"#EXTM3U\n#EXTINF:2.000, no desc\n{segment}\n"), strict=True):
        path.write_text(text)
        os.utime(path, (ended, ended))
    return files


def test_hls_players_play_through_updates_of_the_origins(stack: LiveStack, url: str, newest: str) -> None:
    """HLS: the image and the number of the origins change, then their srs.conf and their number"""
    no_players = Size(0, 0)
    with Playlists(stack.cluster, url) as playlists, Viewers(stack.cluster, no_players) as encoder:
        eventually(lambda: segments(playlists) >= 3)
        begin = len(playlists.all) - 1
        with HlsPlayer(stack.cluster, url) as player:
            origin = stack.origin_of_stream()
            ended = ended_stream(stack)
            stack.config["origin"] |= {"image": newest, "replicas": 3}
            stack.must_update()
            if leaves_hls_files(newest):
                eventually(lambda: not any(path.exists() for path in ended), 10)
            stack.config["origin"]["srs"] |= {"maxConnections": 900}
            stack.config["origin"]["replicas"] = 1
            stack.must_update()
            assert origin in stack.pod_names(ORIGINS, terminating=True), "the origin of the stream drains"
            after = segments(playlists) + 3
            eventually(lambda: segments(playlists) >= after)
        seen = playlists.all[begin:]
    assert encoder.record.dropped == []
    assert_goes_on(seen)
    assert_played_through(player.record, PAUSE, GAP)


def test_an_encoder_that_reconnects_during_a_drain(stack: LiveStack, url: str, new: str) -> None:
    """HLS: the encoder reaches a new origin, while the earlier ones drain for other encoders"""
    cluster, no_players = stack.cluster, Size(0, 0)
    others = Viewers(cluster, no_players, publish=False, more_streams=12)
    with Playlists(cluster, url) as playlists, others:
        with Viewers(cluster, no_players):
            stack.config["origin"]["image"] = new
            stack.must_update()
            eventually(lambda: playlists.last and playlists.last.sequence > 0)
            before = len(playlists.all)
        with Viewers(cluster, no_players):
            eventually(lambda: playlists.last and playlists.last.sequence == 0 and segments(playlists) >= 3)
            begin = len(playlists.all) - 1
            with HlsPlayer(cluster, url) as player:
                eventually(lambda: segments(playlists) >= 8)
            assert len(stack.pod_names(ORIGINS, terminating=True)) == 2, "they drain"
    earlier, later = playlists.all[before - 1 : begin], playlists.all[begin:]
    assert others.record.dropped == []
    # The earlier origin ends its last segment, and does not write again.
    starts = [item.sequence for item in earlier if item is not None]
    assert starts == sorted(starts, key=lambda sequence: sequence == 0)
    assert_goes_on(later)
    assert_played_through(player.record, PAUSE, GAP)
