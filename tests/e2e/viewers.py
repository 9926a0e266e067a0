"""Viewers and encoders that stay connected while something is done to the cluster, and what happened to them.

`rtmp-load` (testbed/tools/streaming) holds the connections, inside the machine of the nodes, through a node port on
127.0.0.1 there; this module starts it, follows what it says, and keeps it for assertions and for the report.
"""

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.cluster import NODE_PORTS, EmbeddedCluster

RTMP_PORT, HTTP_PORT = NODE_PORTS

READY_SECONDS = 60.0
"""How long all players may take to play at first."""


@dataclass(frozen=True)
class Size:
    """How many do it: players (a quarter of them over HTTP-FLV), and new connections a second."""

    players: int = 40
    connects: int = 20

    @classmethod
    def from_environment(cls) -> "Size":
        """The size that SRS_PLAYERS and SRS_CONNECTS ask for."""
        return cls(int(os.environ.get("SRS_PLAYERS", "40")), int(os.environ.get("SRS_CONNECTS", "20")))


@dataclass
class Story:
    """What happened: events as `rtmp-load` says them, the steps that were taken, the summary at the end."""

    events: list[dict[str, Any]] = field(default_factory=list)
    steps: list[tuple[float, str]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [each for each in self.events if each["event"] == event]

    @property
    def cuts(self) -> list[dict[str, Any]]:
        """Connections that ended without having been closed from here."""
        return self.of("cut")

    @property
    def player_cuts(self) -> list[dict[str, Any]]:
        """Those of players, not of encoders."""
        return [cut for cut in self.cuts if cut["kind"] != "publish"]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """New connections that were refused, reset or not answered."""
        return self.of("failed")

    @property
    def longest_silence(self) -> float:
        """The longest time that a player was without media, in seconds."""
        return float(self.summary["longest_silence"])

    @property
    def samples(self) -> dict[str, int]:
        """New connections by the version that answered."""
        return dict(self.summary["samples_by_version"])


class Viewers:
    """Holds connections while the block runs.

    streams: what is played, and published, each through one connection to the edges. size: how many play and connect.
    reopen: whether those who are cut come back. publish: whether there are encoders; else somebody else's are played.
    """

    def __init__(
        self,
        cluster: EmbeddedCluster,
        size: Size,
        streams: Sequence[str] = ("live/livestream",),
        reopen: bool = True,
        publish: bool = True,
    ) -> None:
        self.size = size
        self.story = Story()
        self.least_ready = 0
        """The fewest ready endpoints of the edge Service meanwhile; known when the block has ended."""
        over_flv = size.players // 4
        options = {
            "rtmp": f"127.0.0.1:{RTMP_PORT}",
            "http": f"127.0.0.1:{HTTP_PORT}",
            "publish": ",".join(streams) if publish else "",
            "play": ",".join(streams),
            "players": size.players - over_flv,
            "flv-players": over_flv,
            "sample-rate": size.connects,
            "start-rate": 40,
            "reopen": "true" if reopen else "false",
        }
        load = [str(cluster.tools.binaries["rtmp-load"]), *(f"-{name}={value}" for name, value in options.items())]
        self._command = cluster.machine.enter(cluster.machine_pid, load)
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> "Viewers":
        # It ends when its standard input does: with this process, however that ends.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._reader.start()
        try:
            self.wait(lambda: bool(self.story.of("ready")), READY_SECONDS, "all players play")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def step(self, what: str) -> None:
        """Note that something is done now."""
        self.story.steps.append((time.time(), what))

    def wait(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until something holds of what was said so far."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not holds():
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds} s: {what}; last: {self.story.events[-3:]}"
                assert self._process is not None
                assert self._process.poll() is None, f"rtmp-load ended: {self._errors()}"
                self._changed.wait(min(left, 0.5))

    def count(self, seconds: float, settle: float = 1.0) -> Counter[str]:
        """Let so many seconds pass, after a moment to settle; the new connections meanwhile, by version."""
        time.sleep(settle)
        begin = time.time()
        time.sleep(seconds)
        end = time.time()
        counted: Counter[str] = Counter()
        for tick in self.story.of("tick"):
            if begin + 1 < tick["t"] <= end:
                counted.update(tick["samples_by_version"])
        return counted

    def open(self) -> dict[str, int]:
        """Players that are connected now, by version."""
        ticks = self.story.of("tick")
        return dict(ticks[-1]["open_by_version"]) if ticks else {}

    def silent(self) -> int:
        """Players that have been without media for more than a second, now."""
        return int(self.story.of("tick")[-1]["players_silent"])

    def servers(self) -> Counter[str]:
        """RTMP players and encoders that are connected, by the server that they have; before any was cut."""
        assert not self.story.cuts
        return Counter(opened["server_id"] for opened in self.story.of("open") if opened["kind"] != "flv")

    def end(self) -> None:
        """Close all connections; the end of the block does so, too."""
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
        summaries = self.story.of("summary")
        assert summaries, f"rtmp-load ended without a summary: {self._errors()}"
        self.story.summary = summaries[-1]

    def _errors(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        return self._process.stderr.read()[-2000:]

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.story.events.append(json.loads(line))
                self._changed.notify_all()
