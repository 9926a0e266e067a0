"""Viewers and encoders that stay connected while the cluster changes, and a record of their connections.

`rtmp-load` (testbed/streaming/rtmpload) opens the connections through a node port on 127.0.0.1, inside the network
namespace of the nodes. This module starts it and records its events for assertions and for the report.
"""

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from testbed.cluster import NODE_PORTS, EmbeddedCluster

RTMP_PORT, HTTP_PORT = NODE_PORTS
HTTPS_PORT = 30443
STREAM = "live/livestream"

READY_SECONDS = 60.0
"""Maximum time until all players have media."""

FIRST_FRAME = 5.0
"""Seconds within which a new connection has media: an edge tries a pull that has failed again after 3 s."""

SLOW_FIRST_FRAME = 20.0
"""The same while origins end. The name of one that has ended resolves for a moment more. An SRS that asks it for a
stream then waits 30 s before it asks the next origin (the loop over `coworkers` in srs_app_rtmp_conn.cpp). The pull of
the edge ends after 5 s of silence, and begins anew after 3 s (SRS_EDGE_INGESTER_TIMEOUT in srs_app_edge.cpp)."""


@dataclass(frozen=True)
class Size:
    """The load: players (a quarter of them over HTTP-FLV), and new connections a second."""

    players: int = 40
    connects: int = 20

    @classmethod
    def from_environment(cls) -> "Size":
        """The size in SRS_PLAYERS and SRS_CONNECTS."""
        return cls(int(os.environ.get("SRS_PLAYERS", "40")), int(os.environ.get("SRS_CONNECTS", "20")))


@dataclass
class Record:
    """The events of `rtmp-load`, the steps of the scenario with their times, and the summary at the end."""

    events: list[dict[str, Any]] = field(default_factory=list)
    steps: list[tuple[float, str]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [item for item in self.events if item["event"] == event]

    @property
    def dropped(self) -> list[dict[str, Any]]:
        """Connections that the client did not close."""
        return self.of("cut")

    @property
    def dropped_players(self) -> list[dict[str, Any]]:
        """Dropped connections of players."""
        return [connection for connection in self.dropped if connection["kind"] != "publish"]

    @property
    def dropped_encoders(self) -> list[dict[str, Any]]:
        """Dropped connections of encoders."""
        return [connection for connection in self.dropped if connection["kind"] == "publish"]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Connections that were refused, reset or not answered."""
        return self.of("failed")

    @property
    def failed_samples(self) -> list[dict[str, Any]]:
        """Failed new connections, without the failed reconnections of players and encoders."""
        return [connection for connection in self.failed if connection["what"] == "sample"]

    @property
    def longest_silence(self) -> float:
        """The longest time that a player was without media, in seconds."""
        return float(self.summary["longest_silence"])

    @property
    def samples(self) -> dict[str, int]:
        """New connections by the SRS version that answered."""
        return dict(self.summary["samples_by_version"])


class Viewers:
    """Keeps connections open while the block runs.

    reopen: whether dropped connections are opened again. publish: whether there is an encoder of the stream; without
    it, players play the stream of another encoder. settle: whether the block begins when all players have media.
    more_streams: how many other streams have an encoder, and no player. play: the streams that the players are spread
    over. rtmp, http: host and port. network: the prefix of a command that runs in another network than that of the
    nodes. ca: the authority of the edges' certificates: players use HTTPS-FLV, and new connections HTTPS. start_rate:
    players that connect per second. first_frame: how many seconds a new connection waits for media.
    """

    def __init__(
        self,
        cluster: EmbeddedCluster,
        size: Size,
        reopen: bool = True,
        publish: bool = True,
        settle: bool = True,
        more_streams: int = 0,
        play: Sequence[str] = (STREAM,),
        rtmp: str = f"127.0.0.1:{RTMP_PORT}",
        http: str = f"127.0.0.1:{HTTP_PORT}",
        network: Sequence[str] = (),
        ca: Path | None = None,
        start_rate: float = 40,
        first_frame: float = FIRST_FRAME,
    ) -> None:
        self.size = size
        self._settle = settle
        self.record = Record()
        self.minimum_ready = 0
        """The minimum of the edge Service's ready endpoints; set at the end of the block."""
        over_flv = size.players if ca else size.players // 4
        options = {
            "rtmp": rtmp,
            "http": f"127.0.0.1:{HTTPS_PORT}" if ca else http,
            "ca": ca or "",
            "publish": ",".join([STREAM] * publish + [f"{STREAM}-{number}" for number in range(more_streams)]),
            "play": ",".join(play),
            "players": size.players - over_flv,
            "flv-players": over_flv,
            "sample-rate": size.connects,
            "start-rate": start_rate,
            "media-timeout": f"{first_frame}s",
            "reopen": "true" if reopen else "false",
        }
        load = [str(cluster.tools.binaries["rtmp-load"]), *(f"-{name}={value}" for name, value in options.items())]
        self._command = [*network, *load] if network else cluster.machine.enter(cluster.machine_pid, load)
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        # It ends at the end of its standard input, so it cannot outlive this process.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._reader.start()
        try:
            if self._settle:
                self.wait(lambda: bool(self.record.of("ready")), READY_SECONDS, "all players have media")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def step(self, title: str) -> None:
        """Record that a step of the scenario starts now."""
        self.record.steps.append((time.time(), title))

    def wait(self, condition: Callable[[], bool], seconds: float, title: str) -> None:
        """Wait until a condition on the record is true."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition():
                remaining = deadline - time.monotonic()
                assert remaining > 0, f"not within {seconds} s: {title}; last: {self.record.events[-3:]}"
                assert self._process is not None
                assert self._process.poll() is None, f"rtmp-load ended: {self._errors()}"
                self._changed.wait(min(remaining, 0.5))

    def count(self, seconds: float, settle: float = 1.0) -> Counter[str]:
        """Wait, and count new connections by version during `seconds`, after `settle` seconds."""
        time.sleep(settle)
        begin = time.time()
        time.sleep(seconds)
        end = time.time()
        counted: Counter[str] = Counter()
        for tick in self.record.of("tick"):
            if begin + 1 < tick["t"] <= end:
                counted.update(tick["samples_by_version"])
        return counted

    def open(self) -> dict[str, int]:
        """Connected players by version."""
        ticks = self.record.of("tick")
        return dict(ticks[-1]["open_by_version"]) if ticks else {}

    def silent(self) -> int:
        """Players without media for more than a second."""
        return int(self.record.of("tick")[-1]["players_silent"])

    def servers(self) -> Counter[str]:
        """RTMP connections by the id of their server, as long as none was dropped."""
        assert not self.record.dropped
        return Counter(opened["server_id"] for opened in self.record.of("open") if opened["kind"] != "flv")

    def end(self) -> None:
        """Close all connections, as the end of the block does."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join()
        summaries = self.record.of("summary")
        assert summaries, f"rtmp-load ended without a summary: {self._errors()}"
        self.record.summary = summaries[-1]

    def _errors(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        return self._process.stderr.read()[-2000:]

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.record.events.append(json.loads(line))
                self._changed.notify_all()


class Audience(Protocol):
    """The type of the fixture `audience`."""

    def __call__(self, ca: Path | None = None, first_frame: float = FIRST_FRAME) -> AbstractContextManager[Viewers]:
        """Viewers, over HTTPS with `ca`."""
        ...
