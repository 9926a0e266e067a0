"""python -m report.autoscaling RECORD PNG: figures and chart of a fleet that followed its connections.

RECORD is what tests/e2e/test_autoscaling.py wrote. The figures are in docs/autoscaling.md.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl

from report.render import COLOURS, save

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

Seen = Mapping[str, Any]
"""An observation of the fleet (tests/e2e/fleet_course.py)."""


def main() -> int:
    """Print the figures, and draw the chart."""
    record, target = map(Path, sys.argv[1:])
    content = json.loads(record.read_text())
    print(*figures(content), sep="\n")
    chart(content, target)
    return 0


def figures(content: Mapping[str, Any]) -> list[str]:
    """What the documentation has: times, sizes, shares and the fullest edge."""
    course: list[Seen] = content["course"]
    start = course[0]["time"]
    lines: list[str] = [f"{time - start:6.0f} s  {title}" for time, title in content["steps"]]
    for before, after in pairwise(course):
        for key in ("wanted", "ready"):
            if before[key] != after[key]:
                lines.append(f"{after['time'] - start:6.0f} s  {key} {_edges(before[key])} -> {_edges(after[key])}")
    lines.sort(key=lambda line: float(line.split()[0]))
    most = max((max(seen["connections"].values(), default=0), seen["time"] - start) for seen in course)
    lines.append(f"most connections of one edge: {most[0]}, at {most[1]:.0f} s")
    for summary in content["summaries"]:
        lines.append(
            f"players {summary['players_wanted']}, new connections {summary['samples']}, dropped "
            f"{len(summary['cuts'])}, failed {summary['failed_by_what']}, longest silence "
            f"{summary['longest_silence']:.1f} s, scheduling lag {summary['max_sched_lag_ms']:.0f} ms"
        )
    return lines


def _edges(edges: Mapping[str, int]) -> str:
    return " + ".join(str(count) for count in edges.values())


def chart(content: Mapping[str, Any], target: Path) -> None:
    """Players, the connections of the fullest edge, and edges by release over time, as a PNG."""
    course: list[Seen] = content["course"]
    start = course[0]["time"]
    seconds = [seen["time"] - start for seen in course]
    figure, axes = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True, layout="constrained")
    above, below = cast("Sequence[Axes]", axes)
    open_by_time = [_players(content["players"], seen["time"]) for seen in course]
    above.plot(seconds, open_by_time, color="#222222", linewidth=1, label="players")
    fullest = [max(seen["connections"].values(), default=0) for seen in course]
    above.plot(seconds, fullest, color="#e45756", linewidth=1, label="connections of the fullest edge")
    above.set_ylim(0, max(open_by_time) * 1.2)
    releases = list(course[0]["wanted"])
    ready = [[seen["ready"][name] for seen in course] for name in releases]
    draining = [len(seen["draining"]) for seen in course]
    below.stackplot(
        seconds, ready, labels=[f"ready edges of {name}" for name in releases], colors=COLOURS, alpha=0.55, linewidth=0
    )
    wanted = [sum(seen["wanted"].values()) for seen in course]
    below.step(seconds, wanted, color="#222222", linewidth=1, where="post", label="edges that the autoscalers want")
    below.plot(seconds, draining, color="#888888", linewidth=1, linestyle="--", label="edges that drain")
    below.set_ylim(0, max(wanted) * 1.1)
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    for time, title in content["steps"]:
        if time < course[-1]["time"]:
            for panel in (above, below):
                panel.axvline(time - start, color="#222222", linewidth=0.8, linestyle=":")
            above.text(time - start, max(open_by_time) * 1.18, f" {title}", va="top", fontsize="small")
    for panel in (above, below):
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize="small")
        panel.set_xlim(0, seconds[-1])
        panel.spines[["top", "right"]].set_visible(False)
    below.set_xlabel("seconds")
    save(figure, target)


def _players(records: Sequence[Sequence[Sequence[float]]], time: float) -> float:
    """The open connections of all players at a time: of each record, those of its last tick."""
    total = 0.0
    for ticks in records:
        before = [count for moment, count in ticks if moment <= time]
        if before and time - ticks[-1][0] < 2:
            total += before[-1]
    return total


if __name__ == "__main__":
    sys.exit(main())
