"""Whether a new revision of edges is playable: one of its pods has been seen to reach an origin.

A ready pod is not proof of it. SRS is ready while no origin resolves: it connects to an origin only for a player, and
only its log reports what became of that. So the check is a player: it asks a ready pod by HTTP-FLV for a stream that
has no publisher, and reads the log of the pod.

The player comes through the kubelet's port forwarding. The pod proxy of the API server would be simpler, but it needs
an API server that routes to pods (not with every network plugin) and whose address NetworkPolicies allow. Port
forwarding works wherever the log can be read, and connects inside the pod's own network. No other image and no shell is
needed.

The player is connected for about two seconds, and ends the pull with it. Hooks of the release (`on_play`) see it. One
that gives no answer lets SRS reject every viewer while its pods are ready, so it is a failure as well; one that answers
may reject this player and no other. A hook `on_publish` is not asked: the stream has no publisher.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from cluster.live import ForbiddenError, LiveCluster, UnreachableError, ready_replicas
from cluster.port_forward import PortForward
from model.config.values import plural
from model.names import HTTP_PORT, ORIGIN

PATIENCE = timedelta(seconds=20)
"""How long a pod may log nothing about the pull: a name lookup and a connection take about 5 s each."""

HOOK_PATIENCE = timedelta(seconds=35)
"""The same where SRS asks a hook first: it waits 30 s for its answer (SRS_HTTP_CLIENT_TIMEOUT)."""

ATTEMPTS = 3
"""Players without a result, after which the result is unknown."""

LOG_LINES = 500
"""Lines of a log in which a check looks for what it has caused."""

_STEP = 0.1
_STEPS = 10
"""Seconds between two reads of the log, and reads in one observation: a pull takes 0.1 s."""

# ossrs/srs, trunk/src/app/srs_app_edge.cpp, 4.0.5 to 6.0.157. "edge change" is logged when an origin has accepted the
# first pull of a player, "edge-pull" (newer versions) at every pull, "edge-fwr" for a publisher through the edge.
_REACHED = re.compile(r"edge change from \d+ to state \d+ \(pull\)|edge-(?:pull|fwr) publish url ")
_FAILED = re.compile(r"^(\S*) .*EdgeIngester: Ignore error, .*(edge pull rtmp://\S+ .*)$", re.MULTILINE)
# srs_app_http_hooks.cpp, the same versions. The last status of the line: what a viewer asks for is before it.
_HOOK = re.compile(r"^(\S*) .*http: (on_\w+) failed, .*, (?:status|code)=-?\d+ : (http: .*)$", re.MULTILINE)
_NO_ANSWER = ("http: client post", "http: init client")
"""How its reason begins if the hook has given no answer (`do_post`); an answer that rejects the client is none of ours.
"""
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
"""The result for a workload that is no edge, or has no pods."""


def no_log(pod: str) -> OriginAccess:
    """The result if the log of a pod cannot be read."""
    return OriginAccess("unknown", (f"pod {pod} has no log that can be read, as on a simulated node",))


@dataclass(frozen=True)
class Pulls:
    """What the log of an edge says about its pulls. reached: one of them reached an origin.

    failure: the last one that did not, as (time, message), None if there is none.
    """

    reached: bool
    failure: tuple[str, str] | None = None


def logged_pulls(log: str) -> Pulls:
    """Find the pulls in an SRS log with the kubelet's timestamps."""
    failures = sorted([*_FAILED.findall(log), *unanswered_hooks(log)], key=lambda failure: failure[0])
    return Pulls(_REACHED.search(log) is not None, failures[-1] if failures else None)


def unanswered_hooks(log: str) -> list[tuple[str, str]]:
    """The hooks that have given SRS no answer, as (time, message). The message has no URL, which may be secret."""
    return [
        (time, f"hook {hook} gives no answer, so that SRS rejects the client: {reason}")
        for time, hook, reason in _HOOK.findall(log)
        if reason.startswith(_NO_ANSWER)
    ]


_FULL = re.compile(r"max=(\d+), cur=\d+ for exceed connection limits")
"""SRS has refused a connection (ossrs/srs, trunk/src/app/srs_app_server.cpp, 4.0.5 to 7.0)."""


def connection_limit(log: str) -> int | None:
    """The `max_connections` that an SRS has reached, None if its log does not say so."""
    limits = _FULL.findall(log)
    return int(limits[-1]) if limits else None


def advice(failure: str) -> str:
    """What to check after a pull has failed with this message."""
    if failure.startswith("hook "):
        return "check the URL of http_hooks, and that NetworkPolicies allow the edges to reach it"
    if failure.rstrip().endswith(_UNRESOLVED):
        return (
            "the name does not resolve: check srs:kubernetes.clusterDomain, and that NetworkPolicies allow the edges "
            "to ask cluster DNS"
        )
    return (
        "the origins do not answer: check that NetworkPolicies allow egress from the edges to the origins (TCP 1935), "
        "and the directives of the release"
    )


def play(live: LiveCluster, pod: str, path: str) -> PortForward:
    """Begin to play a stream by HTTP-FLV through an edge. path: where the edge serves it. Raises UnreachableError."""
    connection = live.port_forward(pod, HTTP_PORT)
    connection.send(f"GET {path} HTTP/1.1\r\nHost: {pod}\r\n\r\n".encode())
    return connection


class OriginCheck:
    """The check of one rollout. It has one player at a time, on one ready pod after the other; `close` ends it."""

    def __init__(self, live: LiveCluster, path: str, asks: bool = False) -> None:
        """path, asks: see `Workload.probe_path` and `Workload.probe_asks`."""
        self._live = live
        self._path = path
        self._patience = HOOK_PATIENCE if asks else PATIENCE
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
            pod["metadata"]["name"]: self._live.log(pod["metadata"]["name"], LOG_LINES) or ""
            for pod in self._live.pods(f"app={ORIGIN}")
        }
        return [
            f"origin {pod} is full, with {plural(limit, 'connection')}: raise srs:origin.srs.maxConnections"
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
            log = self._live.log(pod, LOG_LINES)
            if log is None:
                return no_log(pod)
            pulls = logged_pulls(log)
            if pulls.reached:
                return REACHED
            try:
                player = self._player = _Player(self._live, pod, self._path, pulls.failure, self._patience)
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

    def __init__(
        self, live: LiveCluster, pod: str, path: str, earlier: tuple[str, str] | None, patience: timedelta
    ) -> None:
        self.pod = pod
        self._earlier = earlier
        self._patience = patience
        self._started = time.monotonic()
        self.connection = play(live, pod, path)

    def observe(self, live: LiveCluster) -> OriginAccess:
        """Wait a moment, and look at the answer and at the log."""
        self.connection.receive(_STEP)
        closed = self.connection.closed
        # SRS writes the reason before it closes the connection; the kubelet has it a moment later.
        time.sleep(_STEP * 5 if closed else _STEP / 2)
        log = live.log(self.pod, LOG_LINES) or ""
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
            full = f"pod {self.pod} is full, with {plural(limit, 'connection')} (maxConnections)"
            return OriginAccess("unknown", (full,))
        if closed:
            return OriginAccess("unknown", (f"SRS of pod {self.pod} rejects the player, as a hook may do",))
        if time.monotonic() - self._started > self._patience.total_seconds():
            return OriginAccess("unknown", (f"SRS of pod {self.pod} logs nothing about the pull",))
        return PENDING
