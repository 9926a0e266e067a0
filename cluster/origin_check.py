"""Whether a new revision of edges is playable: one of its pods has been seen to reach an origin.

A ready pod is not proof of it. SRS is ready while no origin resolves: it connects to an origin only for a player, and
only its log reports what became of that. So the check is a player: it asks a ready pod by HTTP-FLV for a stream that
nobody publishes, and reads the log of the pod.

The player comes through the kubelet's port forwarding. The pod proxy of the API server would be simpler, but it needs
an API server that routes to pods (not with every network plugin) and whose address NetworkPolicies allow. Port
forwarding works wherever the log can be read, and connects inside the pod's own network. No other image and no shell is
needed.

The player is connected for about two seconds, and ends the pull with it. Hooks of the release (`on_play`) see it.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from cluster.live import ForbiddenError, LiveCluster, UnreachableError, ready_replicas
from cluster.port_forward import PortForward
from model.names import HTTP_PORT, ORIGIN

PATIENCE = timedelta(seconds=20)
"""How long a pod may log nothing about the pull: a name lookup and a connection take about 5 s each."""

ATTEMPTS = 3
"""Players without a result, after which the result is unknown."""

_LOG_LINES = 500
_STEP = 0.1
_STEPS = 10
"""Seconds between two reads of the log, and reads in one observation: a pull takes 0.1 s."""

# ossrs/srs, trunk/src/app/srs_app_edge.cpp, 4.0.5 to 6.0.157. "edge change" is logged when an origin has accepted the
# first pull of a player, "edge-pull" (newer versions) at every pull, "edge-fwr" for a publisher through the edge.
_REACHED = re.compile(r"edge change from \d+ to state \d+ \(pull\)|edge-(?:pull|fwr) publish url ")
_FAILED = re.compile(r"^(\S*) .*EdgeIngester: Ignore error, .*(edge pull rtmp://\S+ .*)$", re.MULTILINE)
_UNRESOLVED = "get address info"
"""The end of the message of a name lookup that fails (srs_tcp_connect)."""


@dataclass(frozen=True)
class OriginAccess:
    """Whether the pods of a revision reach an origin.

    failed: SRS reports that it does not. pending: no result yet. unknown: it cannot be found out. message: why, a line
    each; in the words of SRS if it failed.
    """

    result: Literal["reached", "failed", "pending", "unknown"]
    message: tuple[str, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.result in ("reached", "unknown")


REACHED = OriginAccess("reached")
PENDING = OriginAccess("pending")
NOT_CHECKED = OriginAccess("unknown")
"""Of what is no edge, or has no pods."""


@dataclass(frozen=True)
class Pulls:
    """What the log of an edge says about its pulls. reached: one of them reached an origin.

    failure: the last one that did not, as (time, message), None if there is none.
    """

    reached: bool
    failure: tuple[str, str] | None = None


def logged_pulls(log: str) -> Pulls:
    """Find the pulls in an SRS log with the kubelet's timestamps."""
    failures = _FAILED.findall(log)
    return Pulls(_REACHED.search(log) is not None, failures[-1] if failures else None)


_FULL = re.compile(r"max=(\d+), cur=\d+ for exceed connection limits")
"""SRS has refused a connection (ossrs/srs, trunk/src/app/srs_app_server.cpp, 4.0.5 to 7.0)."""


def connection_limit(log: str) -> int | None:
    """The `max_connections` that an SRS has reached, None if its log does not say so."""
    limits = _FULL.findall(log)
    return int(limits[-1]) if limits else None


def advice(failure: str) -> str:
    """What to check after a pull has failed with this message."""
    if failure.rstrip().endswith(_UNRESOLVED):
        return (
            "the name does not resolve: check srs:kubernetes.clusterDomain, and that NetworkPolicies allow the edges "
            "to ask cluster DNS"
        )
    return (
        "the origins do not answer: check that NetworkPolicies allow egress from the edges to the origins (TCP 1935), "
        "and the directives of the release"
    )


class OriginCheck:
    """The check of one rollout. It has one player at a time, on one ready pod after the other; `close` ends it."""

    def __init__(self, live: LiveCluster, path: str) -> None:
        """path: see `Workload.probe_path`."""
        self._live = live
        self._path = path
        self._player: _Player | None = None
        self._players = 0
        self._without_result = 0
        self._final: OriginAccess | None = None
        self._failed: OriginAccess | None = None

    def observe(self, pods: Sequence[str]) -> OriginAccess:
        """Observe for about a second at most. pods: the ready ones of the revision. Raises UnreachableError.

        While no origin is ready, no edge has failed: both may have just been created.
        """
        if self._final:
            return self._final
        access = self._observe(pods) if pods else PENDING
        if access.result == "failed":
            self._failed = access
        elif access.result != "reached" and self._failed:
            access = self._failed  # only success refutes what SRS has reported
        if access.is_final:
            self._final = access
            self.close()
        elif access.result == "failed" and not self._is_any_origin_ready():
            return OriginAccess("pending", ("no origin is ready", *access.message))
        elif access.result == "failed" and (full := self._full_origins()):
            return OriginAccess("failed", (access.message[0], *full))
        return access

    def _full_origins(self) -> list[str]:
        """The origins that refuse connections, a line each."""
        logs = {
            pod["metadata"]["name"]: self._live.log(pod["metadata"]["name"], _LOG_LINES) or ""
            for pod in self._live.pods(f"app={ORIGIN}")
        }
        return [
            f"origin {pod} is full, with {limit} connections: raise srs:origin.srs.maxConnections"
            for pod, log in sorted(logs.items())
            if (limit := connection_limit(log))
        ]

    @property
    def is_final(self) -> bool:
        """Whether there is nothing left to observe."""
        return self._final is not None

    def _is_any_origin_ready(self) -> bool:
        origins = self._live.stateful_set(ORIGIN)
        return origins is not None and ready_replicas(origins) > 0

    def close(self) -> None:
        """End the player."""
        if self._player:
            self._player.connection.close()
            self._player = None

    def _observe(self, pods: Sequence[str]) -> OriginAccess:
        player = self._player
        if player is None or player.pod not in pods:
            self.close()
            pod = pods[self._players % len(pods)]
            self._players += 1
            log = self._live.log(pod, _LOG_LINES)
            if log is None:
                return OriginAccess("unknown", (f"the log of pod {pod} cannot be read",))
            pulls = logged_pulls(log)
            if pulls.reached:
                return REACHED
            try:
                player = self._player = _Player(self._live, pod, self._path, pulls.failure)
            except ForbiddenError as error:
                return OriginAccess("unknown", (str(error),))
            except UnreachableError as error:
                return self._no_result(str(error))
        access = PENDING
        for _ in range(_STEPS):
            access = player.observe(self._live)
            if access.result != "pending":
                break
        if access.result == "pending":
            return access
        self.close()
        return self._no_result(*access.message) if access.result == "unknown" else access

    def _no_result(self, *message: str) -> OriginAccess:
        self._without_result += 1
        return OriginAccess("unknown" if self._without_result >= ATTEMPTS else "pending", message)


class _Player:
    """A player of the probe stream on a pod. earlier: the last failure that the log had before."""

    def __init__(self, live: LiveCluster, pod: str, path: str, earlier: tuple[str, str] | None) -> None:
        self.pod = pod
        self._earlier = earlier
        self._started = time.monotonic()
        self.connection: PortForward = live.port_forward(pod, HTTP_PORT)
        self.connection.send(f"GET {path} HTTP/1.1\r\nHost: {pod}\r\n\r\n".encode())

    def observe(self, live: LiveCluster) -> OriginAccess:
        """Wait a moment, and look at the answer and at the log."""
        self.connection.receive(_STEP)
        closed = self.connection.closed
        if not closed:
            time.sleep(_STEP / 2)
        log = live.log(self.pod, _LOG_LINES) or ""
        pulls = logged_pulls(log)
        if pulls.reached:
            return REACHED
        if pulls.failure and pulls.failure != self._earlier:
            _, message = pulls.failure
            return OriginAccess("failed", (f"pod {self.pod}: {message}", advice(message)))
        # An edge starts to answer when it has media; it has none of this stream.
        status, _, _ = self.connection.received.partition(b"\r\n")
        if b" 404 " in status:
            return OriginAccess(
                "failed",
                (
                    f"pod {self.pod}: SRS answers {status.decode(errors='replace')!r} to every HTTP-FLV player",
                    "check the directives of the release (srs.directives, srs.vhostDirectives)",
                ),
            )
        if closed and (limit := connection_limit(log)):
            return OriginAccess("unknown", (f"pod {self.pod} is full, with {limit} connections (maxConnections)",))
        if closed:
            return OriginAccess("unknown", (f"SRS of pod {self.pod} rejects the player, as a hook may do",))
        if time.monotonic() - self._started > PATIENCE.total_seconds():
            return OriginAccess("unknown", (f"SRS of pod {self.pod} logs nothing about the pull",))
        return PENDING
