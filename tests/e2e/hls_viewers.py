"""Players of HLS, and the playlists that they get, while the cluster changes.

A player is ffmpeg, which plays in real time and writes a line for each frame of video (its muxer `framecrc`). Both run
inside the network namespace of the nodes.
"""

import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from testbed.cluster import EmbeddedCluster

MEDIA_CLOCK = 90_000
"""Units of a second in the times of MPEG-TS."""

READER = """
import json, sys, time, urllib.error, urllib.request

last = None
while True:
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError:
        text = ""
    except OSError:
        text = last  # a lost connection, as while nginx rolls: a player asks again
    if text != last:
        print(json.dumps(text), flush=True)
    last = text
    time.sleep(0.2)
"""
"""A program that prints a playlist each time that it has changed; "" if there is none (404)."""


@dataclass(frozen=True)
class Playlist:
    """A playlist. sequence: EXT-X-MEDIA-SEQUENCE. segments: names. breaks: numbers of those after a discontinuity."""

    sequence: int
    segments: tuple[str, ...]
    breaks: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Playlist | None":
        """The playlist in a text; None for ""."""
        if not text:
            return None
        found = re.search(r"^#EXT-X-MEDIA-SEQUENCE:(\d+)$", text, re.MULTILINE)
        assert found, text
        sequence = int(found[1])
        segments: list[str] = []
        breaks: list[int] = []
        for line in text.splitlines():
            if line == "#EXT-X-DISCONTINUITY":
                breaks.append(sequence + len(segments))
            elif line and not line.startswith("#"):
                segments.append(line)
        return cls(sequence, tuple(segments), tuple(breaks))

    @property
    def end(self) -> int:
        """The number after that of the last segment."""
        return self.sequence + len(self.segments)


def assert_goes_on(playlists: Sequence[Playlist | None]) -> None:
    """Each playlist continues the one before, as a player expects it (RFC 8216, section 6.2.2)."""
    for before, after in itertools.pairwise(playlists):
        assert before is not None, "the stream has a playlist"
        assert after is not None, f"the playlist is deleted after {before}"
        assert after.sequence >= before.sequence, (before, after)
        assert after.end > before.end, (before, after)
        both = max(before.end - after.sequence, 0)
        assert before.segments[len(before.segments) - both :] == after.segments[:both], (before, after)
        # SRS marks the first segment of each publish.
        assert set(after.breaks) <= set(before.breaks), (before, after)


@dataclass
class Played:
    """What a player has played.

    frames: of each frame of video, when it was played (time.monotonic) and its media time, both in seconds. ended:
    whether the player has ended by itself. errors: what it has reported.
    """

    frames: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    ended: bool = False
    errors: str = ""


def assert_played_through(played: Played, pause: float, gap: float) -> None:
    """The player has played all the time, without an error.

    pause: maximum time without a frame, in seconds. gap: maximum difference of the media times of two frames.
    """
    assert not played.ended, played.errors
    assert played.errors == ""
    assert len(played.frames) > 1, "it has played"
    for (before, position), (after, next_position) in itertools.pairwise(played.frames):
        assert after - before < pause, f"no frame for {after - before:.1f} s at {position:.1f} s"
        assert 0 < next_position - position < gap, f"from {position:.2f} s to {next_position:.2f} s"


class _Program:
    """A program in the network of the nodes, whose lines a thread reads while a block runs."""

    def __init__(self, cluster: EmbeddedCluster, command: Sequence[str]) -> None:
        self._command = cluster.machine.enter(cluster.machine_pid, command)
        self._reader = threading.Thread(target=self._read)
        self.errors = ""
        """Its standard error, at the end of the block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._reader.join()
        self._process.wait()
        assert self._process.stderr is not None
        self.errors = self._process.stderr.read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._take(line)

    def _take(self, line: str) -> None:
        raise NotImplementedError


class Playlists(_Program):
    """The playlists at a URL while the block runs, each time that it has changed; None while there is none."""

    def __init__(self, cluster: EmbeddedCluster, url: str) -> None:
        super().__init__(cluster, [sys.executable, "-c", READER, url])
        self.all: list[Playlist | None] = []

    @property
    def last(self) -> Playlist | None:
        """The present one."""
        return self.all[-1] if self.all else None

    def _take(self, line: str) -> None:
        self.all.append(Playlist.parse(json.loads(line)))


class HlsPlayer(_Program):
    """A player that begins when the block begins, and is not started again; its record is complete at the end."""

    def __init__(self, cluster: EmbeddedCluster, url: str) -> None:
        read = ["ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-i", url]
        super().__init__(cluster, [*read, "-map", "0:v", "-c", "copy", "-flush_packets", "1", "-f", "framecrc", "-"])
        self.record = Played()

    def __exit__(self, *arguments: object) -> None:
        self.record.ended = self._process.poll() is not None
        super().__exit__(*arguments)
        self.record.errors = self.errors

    def _take(self, line: str) -> None:
        if not line.startswith("#"):
            self.record.frames.append((time.monotonic(), int(line.split(",")[1]) / MEDIA_CLOCK))
