"""python -m report.sizing RECORD: docs/sizing.md and docs/sizing.png from measured costs.

RECORD is what tests/e2e/test_sizing.py wrote.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from report.render import COLOURS, save
from testbed.environment import PROJECT

from matplotlib import pyplot as plt  # isort: skip  after report.render, which chooses the backend
from matplotlib.axes import Axes  # isort: skip

Step = Mapping[str, Any]
MIB = 2**20

USAGE = 0.6
"""Part of the one core that SRS can use which the tables plan with: the rest is for peaks, drains and first frames."""


@dataclass(frozen=True)
class Costs:
    """CPU seconds. base, player: of an edge and of each of its players in a second; mbit: of each Mbit sent to players;
    connection: of each new one.

    stream: of an origin, for each stream of 1 Mbit/s in a second; pull: for each edge that pulls one. Bytes: base and
    player of an edge without queues; queue: of each player who reads nothing at 2.5 Mbit/s. error: the largest error of
    the fit of an edge, in per cent of the measured value.
    """

    base: float
    player: float
    mbit: float
    connection: float
    stream: float
    pull: float
    base_bytes: float
    player_bytes: float
    queue_bytes: float
    error: float

    def cores(self, players: float, mbps: float, connects: float = 0) -> float:
        """Cores of one edge."""
        return self.base + players * (self.player + mbps * self.mbit) + connects * self.connection

    def players(self, mbps: float, cores: float = USAGE) -> int:
        """Players of one edge, without new connections."""
        return math.floor((cores - self.base) / (self.player + mbps * self.mbit))


def fit(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Least squares with the same weight for each relative error, or small loads would not count."""
    weights = 1 / np.array(values)
    matrix = np.array(rows) * weights[:, None]
    return list(map(float, np.linalg.lstsq(matrix, np.ones(len(values)), rcond=None)[0]))


def costs(steps: Sequence[Step]) -> Costs:
    """The costs that explain the measurements best."""
    edge = [step for step in steps if step["series"] in ("players", "connects")]

    def row(step: Step) -> list[float]:
        mbit = step["players"] * step["kbps"] / 1000
        return [1, step["players"], mbit, step["connects"]]

    base, player, mbit, connection = fit([row(step) for step in edge], [step["edge_cores"] for step in edge])
    players = [step for step in steps if step["series"] == "players"]
    fits = [float(np.dot((base, player, mbit, connection), row(step))) for step in players]
    player_bytes, base_bytes = np.polyfit([s["players"] for s in players], [s["edge_bytes"] for s in players], 1)
    streams = [step for step in steps if step["series"] == "streams"]
    pulls = [[1, step["streams"], step["origin_connections"] - step["streams"]] for step in streams]
    _, stream, pull = fit(pulls, [step["origin_cores"] for step in streams])
    (stalled,) = [step for step in steps if step["series"] == "stalled"]
    queues = stalled["queued_bytes"] + stalled["edge_bytes"] - base_bytes
    return Costs(
        base=base,
        player=player,
        mbit=mbit,
        connection=connection,
        stream=stream,
        pull=pull,
        base_bytes=float(base_bytes),
        player_bytes=float(player_bytes),
        queue_bytes=float(queues / stalled["players"] - player_bytes),
        error=100 * max(abs(value / step["edge_cores"] - 1) for value, step in zip(fits, players, strict=True)),
    )


def main() -> int:
    """Write page and chart."""
    record = json.loads(Path(sys.argv[1]).read_text())
    found = costs(record["steps"])
    print(found)
    docs = PROJECT / "docs"
    (docs / "sizing.md").write_text(page(record["version"], record["steps"], found))
    chart(record["steps"], found, docs / "sizing.png")
    return 0


def table(steps: Sequence[Step], columns: Mapping[str, Callable[[Step], object]]) -> str:
    """A Markdown table."""
    rows = [f"| {' | '.join(columns)} |", "|" + " ---: |" * len(columns)]
    rows += [f"| {' | '.join(str(cell(step)) for cell in columns.values())} |" for step in steps]
    return "\n".join(rows) + "\n"


def page(version: str, steps: Sequence[Step], found: Costs) -> str:
    """The page as Markdown."""

    def of(series: str) -> list[Step]:
        return [step for step in steps if step["series"] == series]

    cores: dict[str, Callable[[Step], object]] = {
        "edge, cores": lambda step: f"{step['edge_cores']:.3f}",
        "longest silence": lambda step: f"{step['silence']:.1f} s",
        "waited": lambda step: f"{100 * step['waited']:.0f} %",
    }
    players = table(
        of("players"),
        {
            "kbit/s": lambda step: f"{step['kbps']:.0f}",
            "players": lambda step: step["players"],
            "Mbit/s": lambda step: f"{step['players'] * step['kbps'] / 1000:.0f}",
            "fit": lambda step: f"{found.cores(step['players'], step['kbps'] / 1000):.3f}",
            "memory": lambda step: f"{step['edge_bytes'] / MIB:.0f} MiB",
            "descriptors": lambda step: step["edge_files"],
            **cores,
        },
    )
    connects = table(
        of("connects"),
        {
            "new connections a second": lambda step: f"{step['connects']:.0f}",
            "median / 99 %": lambda s: (
                f"{s['connect_ms']['p50']:.0f} / {s['connect_ms']['p99']:.0f} ms" if s["connect_ms"] else ""
            ),
            "failed": lambda step: step["failed"],
            **cores,
        },
    )
    streams = table(
        of("streams"),
        {
            "streams": lambda step: step["streams"],
            "edges": lambda step: step["edges"],
            "pulls": lambda step: step["origin_connections"] - step["streams"],
            "origin, cores": lambda step: f"{step['origin_cores']:.3f}",
            "memory of the origin": lambda step: f"{step['origin_bytes'] / MIB:.0f} MiB",
        },
    )
    (stalled,) = of("stalled")
    capacity = table(
        [{"mbps": mbps} for mbps in (0.5, 1, 2, 4)],
        {
            "stream": lambda step: f"{step['mbps']:g} Mbit/s",
            "players": lambda step: f"{found.players(step['mbps']):,}",
            "Mbit/s": lambda step: f"{found.players(step['mbps']) * step['mbps']:,.0f}",
            "memory without queues": lambda step: f"{_memory(found, found.players(step['mbps'])):.0f} MiB",
        },
    )
    return PAGE.format(
        version=version,
        players=players,
        connects=connects,
        streams=streams,
        capacity=capacity,
        usage=f"{100 * USAGE:.0f} %",
        error=found.error,
        base_cores=found.base,
        player_ms=1000 * found.player,
        mbit_ms=1000 * found.mbit,
        connection_ms=1000 * found.connection,
        stream_ms=1000 * found.stream,
        pull_ms=1000 * found.pull,
        base=found.base_bytes / MIB,
        player_kib=found.player_bytes / 1024,
        queue=found.queue_bytes / MIB,
        stalled=stalled["players"],
        stalled_mbps=stalled["kbps"] / 1000,
        example_cores=found.cores(1000, 2, 10) / USAGE,
        example_memory=_memory(found, 1000),
        example_queues=_memory(found, 1000) + 1000 * found.queue_bytes / MIB,
        staging_cpu=found.players(2, 0.1),
        staging_stalled=_stalled(found, 256),
        production_stalled=_stalled(found, 1536),
        production_cpu=found.players(2, 1),
        example_origin=100 * 2 / 3 * (found.stream + 8 * found.pull) / USAGE,
    )


def _stalled(found: Costs, mib: float) -> int:
    """How many players may stall at the same time in so much memory."""
    return math.floor((mib * MIB - found.base_bytes) / (found.player_bytes + found.queue_bytes))


def _memory(found: Costs, players: float) -> float:
    return (found.base_bytes + players * found.player_bytes) / MIB


PAGE = Path(__file__).with_name("sizing_page.md").read_text()
"""The page, with the names of figures in braces."""


def chart(steps: Sequence[Step], found: Costs, target: Path) -> None:
    """Measured cores beside the fit, and memory, as a PNG."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    edge, memory, connects = cast("Sequence[Axes]", axes)
    players = [step for step in steps if step["series"] == "players"]
    for kbps, colour in zip(sorted({step["kbps"] for step in players}), COLOURS, strict=False):
        rows = [step for step in players if step["kbps"] == kbps]
        counts = [step["players"] for step in rows]
        edge.plot(counts, [step["edge_cores"] for step in rows], "o", color=colour, label=f"{kbps:.0f} kbit/s")
        edge.plot([0, max(counts)], [found.base, found.cores(max(counts), kbps / 1000)], color=colour, linewidth=1)
        memory.plot(counts, [step["edge_bytes"] / MIB for step in rows], "o-", color=colour, linewidth=1)
    rows = [step for step in steps if step["series"] == "connects"]
    connects.plot([s["connects"] for s in rows], [s["edge_cores"] for s in rows], "o-", color=COLOURS[0], linewidth=1)
    edge.legend(frameon=False, fontsize="small")
    labels = (
        (edge, "cores of an edge; lines: fit", "players"),
        (memory, "memory of an edge, MiB", "players"),
        (connects, "cores of an edge", "new connections a second"),
    )
    for panel, title, below in labels:
        panel.set_title(title, fontsize="medium", loc="left")
        panel.set_xlabel(below)
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, target)


if __name__ == "__main__":
    sys.exit(main())
