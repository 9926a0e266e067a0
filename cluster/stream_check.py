"""Whether a new origin is usable: it accepts a stream, and an edge serves it.

A ready origin is no proof of it. With a hook that it cannot reach, it rejects every encoder; and an edge that asks
another origin is sent to it only if the origins reach each other's HTTP API. So the check is an encoder and a viewer:
it publishes silence on the new origin, and plays it by HTTP-FLV through an edge that serves viewers. Both come through
the kubelet's port forwarding, like the player of `cluster/origin_check.py`.

A hook of the origin (`on_publish`) sees this encoder, with the address 127.0.0.1. If it gives no answer, SRS rejects
every encoder, which is a failure; if it rejects this one, nothing is known. There is no check where srs.conf passes
streams on or records them (`Workload.probe_skipped`); HLS keeps no segment of it (`cluster/rtmp_publisher.py`).
"""

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta

from cluster.live import LiveCluster, UnreachableError
from cluster.origin_check import (
    ATTEMPTS,
    HOOK_PATIENCE,
    LOG_LINES,
    PATIENCE,
    REACHED,
    OriginAccess,
    logged_pulls,
    no_log,
    play,
    unanswered_hooks,
)
from cluster.rtmp_publisher import SILENCE, RtmpPublisher
from model.config.values import format_duration
from model.desired.workloads import PROBE_STREAM, Workload
from model.names import ORIGIN, RTMP_PORT

_STEP = 0.1
"""Seconds in which the origin or the edge may send something, before the next frame is published."""


def check_stream(live: LiveCluster, pod: str, origins: Workload, edges: Sequence[tuple[str, str]]) -> OriginAccess:
    """Publish a stream on an origin, and play it through edges until one serves it.

    edges: a ready pod, and where it serves the stream by HTTP-FLV. Takes a minute at most. The result is `reached`,
    `failed` or `unknown`.
    """
    if origins.probe_skipped:
        return OriginAccess("unknown", (origins.probe_skipped,))
    log = live.log(pod, LOG_LINES)
    if log is None:
        return no_log(pod)
    patience = HOOK_PATIENCE if origins.probe_asks else PATIENCE
    try:
        with closing(RtmpPublisher(live.port_forward(pod, RTMP_PORT), ORIGIN, *PROBE_STREAM)) as publisher:
            deadline = time.monotonic() + patience.total_seconds()
            while not publisher.accepted and not publisher.closed and time.monotonic() < deadline:
                publisher.advance(_STEP)
            if not publisher.accepted and not publisher.closed:
                return OriginAccess("failed", (f"pod {pod} has not accepted a stream in {format_duration(patience)}",))
            # SRS 4.0 accepts a stream before it asks the hook.
            access = _play(live, pod, publisher, edges, patience)
            return access if not publisher.closed else _rejected(live, pod, len(unanswered_hooks(log)))
    except UnreachableError as error:
        return OriginAccess("unknown", (str(error),))


def _rejected(live: LiveCluster, pod: str, earlier: int) -> OriginAccess:
    """What it means that an origin has ended the stream. earlier: unanswered hooks before the check."""
    time.sleep(_STEP * 5)  # the kubelet has the reason a moment later
    hooks = unanswered_hooks(live.log(pod, LOG_LINES) or "")
    if len(hooks) > earlier:
        advice = "check the URL of the hook, and that NetworkPolicies allow the origins to reach it"
        return OriginAccess("failed", (f"pod {pod}: {hooks[-1][1]}", advice))
    return OriginAccess("unknown", (f"SRS of pod {pod} rejects the encoder of the check, as a hook may do",))


def _play(
    live: LiveCluster, pod: str, publisher: RtmpPublisher, edges: Sequence[tuple[str, str]], patience: timedelta
) -> OriginAccess:
    """Play the published stream through one edge after the other, as long as it is published."""
    result = OriginAccess("unknown", ("there is no ready edge that could serve its stream",))
    deadline = time.monotonic() + patience.total_seconds()
    for edge, path in edges[:ATTEMPTS]:
        try:
            player = play(live, edge, path)
        except UnreachableError as error:
            result = OriginAccess("unknown", (str(error),))
            continue
        with closing(player):
            while not (player.closed or publisher.closed) and time.monotonic() < deadline:
                player.receive(_STEP)
                publisher.advance(_STEP)
                if SILENCE in player.received:
                    return REACHED
            if player.closed:
                result = OriginAccess("unknown", (f"SRS of pod {edge} rejects the player of the check",))
                continue
        if not logged_pulls(live.log(edge, LOG_LINES) or "").reached:
            # An edge of a release that this update may be about to fix.
            return OriginAccess("unknown", (f"edge {edge} has not reached any origin",))
        return OriginAccess(
            "failed",
            (
                f"pod {pod} accepts a stream, and edge {edge} has not served it in {format_duration(patience)}",
                "check that NetworkPolicies allow edges and origins to reach the origins (TCP 1935 and 1985)",
            ),
        )
    return result
