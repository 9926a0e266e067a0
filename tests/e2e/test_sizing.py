"""What viewers, new connections and streams cost SRS: CPU, memory and descriptors of one edge and of its origin.

On request only (`make sizing`): it needs real SRS, ffmpeg and ten minutes. Load and SRS share the machine, so costs are
measured per unit, far below what would fill an edge; report/sizing.py computes from them.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2e.live_stack import TINY, LiveStack
from e2e.versions import version_of
from e2e.viewers import RTMP_PORT, STREAM, Size, Viewers
from testbed.containers.images import SrsImages

REQUEST = "SRS_SIZING"
pytestmark = pytest.mark.skipif(REQUEST not in os.environ, reason="takes ten minutes and needs real SRS: `make sizing`")

SECONDS, TRIES, CALM = 15.0, 4, 0.2
"""The length of a measurement, and how often it is repeated while SRS waits for a CPU for more of the time."""

BUSY = 1.5
"""Cores of the load and of SRS, of two, at which a series of steps ends."""

SERIES = {500: (50, 100, 200, 400, 800), 1000: (50, 100, 200, 400, 800), 2500: (50, 100, 200, 400)}
"""kbit/s of a stream: numbers of its players."""

CONNECTS = (50, 100, 200, 300)
"""New connections a second, each tenth of which plays until its first frame."""

FANS = ((1, 1, 8), (4, 1, 16), (8, 1, 32), (8, 2, 64), (8, 4, 96))
"""Streams of 1000 kbit/s, edges, players."""


def film(folder: Path, kbps: int) -> Path:
    """Ten seconds of H.264 with a constant bit rate and AAC, with a key frame every second."""
    target = folder / f"{kbps}.flv"
    source = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=44100"]
    rate = f"{kbps - 64}k"
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "25"]
    constant = ["-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate, "-nal-hrd", "cbr"]
    sound = ["-c:a", "aac", "-b:a", "64k"]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-t", "10", *video, *constant, *sound, str(target)], check=True)
    return target


@contextmanager
def published(stack: LiveStack, source: Path, streams: Sequence[str]) -> Generator[float]:
    """An encoder of these streams while the block runs; the actual kbit/s of each."""
    outputs = [part for name in streams for part in ("-c", "copy", "-f", "flv", f"rtmp://127.0.0.1:{RTMP_PORT}/{name}")]
    command = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(source), *outputs]
    entered = stack.cluster.machine.enter(stack.cluster.machine_pid, command)
    encoder = subprocess.Popen(entered, stdin=subprocess.DEVNULL)
    try:
        time.sleep(3)
        assert encoder.poll() is None
        yield source.stat().st_size * 8 / 10 / 1000
    finally:
        for process in psutil.Process(encoder.pid).children(recursive=True):
            process.terminate()
        encoder.terminate()
        encoder.wait()


def queued(process: psutil.Process) -> int:
    """Bytes in the send queues of a pod's sockets (wmem_queued, ss(8))."""
    ss = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "--", "ss", "-tmnH", "state", "established"]
    output = subprocess.run(ss, capture_output=True, text=True, check=True).stdout
    return sum(map(int, re.findall(r",w(\d+),", output)))


def measure(stack: LiveStack, viewers: Viewers, **step: Any) -> dict[str, Any]:
    """The measurement in which SRS has waited least: one that waits for a CPU sends more at once, which costs less."""
    tries: list[dict[str, Any]] = []
    while len(tries) < TRIES and not (tries and tries[-1]["waited"] < CALM):
        tries.append(_measure(stack, viewers) | step)
    return min(tries, key=lambda found: found["waited"])


def _measure(stack: LiveStack, viewers: Viewers) -> dict[str, Any]:
    """Cores: of the edges, of the origin with the streams, and of the load generator. waited: the part of the time."""
    edges = [stack.process(name) for name in stack.pod_names()]
    origin = stack.process(name := stack.origin_of_stream())
    load = [item for item in psutil.Process().children(recursive=True) if item.name() == "rtmp-load"]

    def used() -> list[float]:
        return [sum(stack.scheduled(item.pid)[0] for item in group) for group in (edges, [origin], load)]

    def waited() -> float:
        return max(stack.scheduled(edge.pid)[1] for edge in edges)

    before, idle, started, ticks = used(), waited(), time.monotonic(), len(viewers.record.events)
    time.sleep(SECONDS)
    seconds = time.monotonic() - started
    cores = [(after - early) / seconds for after, early in zip(used(), before, strict=True)]
    seen = [event for event in viewers.record.events[ticks:] if event["event"] == "tick"]
    return {
        "waited": (waited() - idle) / seconds,
        "players": sum(viewers.open().values()),
        "connects": sum(sum(tick["samples_by_version"].values()) for tick in seen) / max(1, len(seen)),
        "edge_cores": cores[0],
        "origin_cores": cores[1],
        "load_cores": cores[2],
        "edge_bytes": sum(process.memory_info().rss for process in edges),
        "origin_bytes": origin.memory_info().rss,
        "edge_files": sum(process.num_fds() for process in edges),
        "origin_connections": stack.rtmp_connections(name),
        "queued_bytes": sum(queued(process) for process in edges),
        "silence": max((tick["longest_silence"] for tick in seen), default=SECONDS),
    }


@pytest.mark.timeout(0)
def test_what_viewers_and_streams_cost(stack: LiveStack, images: SrsImages, new: str, tmp_path: Path) -> None:
    if not images.real or shutil.which("ffmpeg") is None:
        pytest.skip("it needs real SRS (SRS_IMAGES) and ffmpeg")
    stack.one_release(new, resources=TINY | {"memory": "4Gi"})
    stack.config["origin"] |= {"image": new, "replicas": 1}
    stack.config["edge"]["replicas"] = 1
    steps: list[dict[str, Any]] = []

    def record(step: dict[str, Any]) -> None:
        steps.append(step)
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in step.items()}, flush=True)
        if report := os.environ.get("SRS_REPORT"):
            Path(report).mkdir(parents=True, exist_ok=True)
            (Path(report) / "sizing.json").write_text(json.dumps({"version": version_of(new), "steps": steps}))

    for kbps, counts in SERIES.items():
        # SRS keeps the memory of players who have left: each series needs a new edge.
        fresh(stack, maxConnections=10000 + kbps)
        with published(stack, film(tmp_path, kbps), [STREAM]) as actual:
            for players in counts:
                with Viewers(stack.cluster, Size(players, 0), publish=False, start_rate=100) as viewers:
                    record(measure(stack, viewers, series="players", kbps=actual, edges=1, streams=1))
                    if kbps == max(SERIES) and players == counts[1]:
                        record(stalled(stack, viewers, kbps=actual))
                assert viewers.record.dropped == []
                if sum(steps[-1].get(key, 0) for key in ("edge_cores", "origin_cores", "load_cores")) > BUSY:
                    break
    fresh(stack, maxConnections=10000)
    for rate in (0, *CONNECTS):
        with Viewers(stack.cluster, Size(4, rate)) as viewers:
            step = measure(stack, viewers, series="connects", kbps=32, edges=1, streams=1)
        failed = len(viewers.record.failed) + len(viewers.record.of("nomedia"))
        record(step | {"connect_ms": viewers.record.summary["connect_ms"], "failed": failed})
    for streams, edges, players in FANS:
        stack.config["edge"]["replicas"] = edges
        stack.must_update()
        stack.wait_until_drained()
        names = [f"live/fan-{number}" for number in range(streams)]
        with (
            published(stack, tmp_path / "1000.flv", names) as actual,
            Viewers(stack.cluster, Size(players, 0), publish=False, play=names) as viewers,
        ):
            record(measure(stack, viewers, series="streams", kbps=actual, edges=edges, streams=streams))


def fresh(stack: LiveStack, **srs: int) -> None:
    """Replace the edges by a change of their srs.conf."""
    stack.config["edge"]["releases"]["r5"]["srs"] = srs
    stack.must_update()
    stack.wait_until_drained()


def stalled(stack: LiveStack, viewers: Viewers, **step: Any) -> dict[str, Any]:
    """The memory of an edge whose players have all stopped reading for a while."""
    (load,) = [item for item in psutil.Process().children(recursive=True) if item.name() == "rtmp-load"]
    load.send_signal(signal.SIGSTOP)
    try:
        time.sleep(SECONDS)
        (edge,) = [stack.process(name) for name in stack.pod_names()]
        figures = {"edge_bytes": edge.memory_info().rss, "queued_bytes": queued(edge)}
    finally:
        load.send_signal(signal.SIGCONT)
    time.sleep(2)
    return step | figures | {"series": "stalled", "players": viewers.size.players}
