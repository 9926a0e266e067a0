"""Figures, table and charts of recorded scenarios (tests/e2e/recorder.py)."""

import io
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
from PIL import Image

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")
"""Colours of versions, in the order of the legend."""

Scenario = Mapping[str, Any]


def figures(scenario: Scenario) -> dict[str, Any]:
    """The figures of a scenario, without its course over time."""
    summary = scenario["summary"]
    return {
        "scenario": scenario["title"],
        "players": summary["players_wanted"],
        "newConnections": summary["samples"],
        "playersDropped": scenario["players_dropped"],
        "encodersDropped": scenario["encoders_dropped"],
        "newConnectionsFailed": sum(summary["failed_by_what"].values()),
        "minimumReadyEdges": scenario["minimum_ready"],
        "longestSilenceSeconds": round(summary["longest_silence"], 2),
        "connectMilliseconds": summary["connect_ms"],
        "versions": summary["samples_by_version"],
        "schedulingLagMilliseconds": round(summary["max_sched_lag_ms"]),
    }


def page(scenarios: Sequence[Scenario]) -> str:
    """The report as Markdown."""
    size = scenarios[0]["size"]
    versions = sorted({version for scenario in scenarios for version in scenario["summary"]["samples_by_version"]})
    srs = "real SRS" if scenarios[0]["real"] else "**fake SRS** (testbed/streaming/fakesrs), not SRS itself"
    head = f"""\
# What happens to connections

Made by `make report`, with {srs}, versions {", ".join(versions)}; {size["players"]} players and an encoder connected
through a node port, {size["connects"]} new connections a second, on two cores that also run the control plane, Pulumi
and all pods. What each scenario asserts: [tests/e2e/README.md](../tests/e2e/README.md).

![Connections by version over time](connections.png)

"""
    return head + table([figures(scenario) for scenario in scenarios])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of figures."""
    columns = ["scenario", "players dropped", "encoders dropped", "new connections", "failed", "minimum of ready edges"]
    columns += ["longest silence", "new connection, median / 99 %"]
    head = f"| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}\n"
    return head + "".join(f"| {' | '.join(_cells(row))} |\n" for row in rows)


def _cells(row: Mapping[str, Any]) -> list[str]:
    connect: Mapping[str, float] | None = row["connectMilliseconds"]
    return [
        row["scenario"],
        f"{row['playersDropped']} of {row['players']}",
        str(row["encodersDropped"]),
        str(row["newConnections"]),
        str(row["newConnectionsFailed"]),
        str(row["minimumReadyEdges"]),
        f"{row['longestSilenceSeconds']:.1f} s",
        f"{connect['p50']:.0f} / {connect['p99']:.0f} ms" if connect else "",
    ]


def chart(scenarios: Sequence[Scenario], target: Path, columns: int) -> None:
    """Connections by version over time as a PNG: a panel per scenario with its steps."""
    ticks = [tick for scenario in scenarios for tick in scenario["ticks"]]
    versions = sorted({version for tick in ticks for version in tick["open_by_version"] | tick["samples_by_version"]})
    colours = dict(zip(versions, COLOURS * len(versions), strict=False))
    rows = -(-len(scenarios) // columns)
    size = (5.5 * columns, 1.9 * rows) if rows > 1 else (9, 3.2)
    plt.rcParams["font.size"] = 8 if rows > 1 else 10
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    panels = cast("list[Axes]", list(axes.flat))
    for panel, scenario in zip(panels, scenarios, strict=False):
        _panel(panel, scenario, colours)
    for panel in panels[len(scenarios) :]:
        panel.set_axis_off()
    handles = [Line2D([], [], color=colour, linewidth=5, label=f"SRS {name}") for name, colour in colours.items()]
    handles += [
        Line2D([], [], color="#bbbbbb", linewidth=8, label="connected players"),
        Line2D([], [], color="#888888", linewidth=1, label="new connections a second"),
        Line2D([], [], color="#222222", linewidth=1, linestyle=":", label="step"),
        Line2D([], [], color="#e45756", marker="x", linestyle="", label="dropped"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize="small")
    figure.supxlabel("seconds", fontsize="medium")
    save(figure, target)


def save(figure: Figure, target: Path) -> None:
    """Write a figure as a PNG with a palette, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    plt.close(figure)
    # A palette makes the file smaller than half; this method keeps the colours of small marks.
    Image.open(buffer).convert("RGB").quantize(128, Image.Quantize.FASTOCTREE).save(target, optimize=True)


def _panel(panel: Axes, scenario: Scenario, colours: Mapping[str, str]) -> None:
    ticks: list[Mapping[str, Any]] = scenario["ticks"]
    start = ticks[0]["t"]
    seconds = [tick["t"] - start for tick in ticks]
    players = [[tick["open_by_version"].get(version, 0) for tick in ticks] for version in colours]
    panel.stackplot(seconds, players, colors=list(colours.values()), alpha=0.55, linewidth=0)
    for version, colour in colours.items():
        connects = [tick["samples_by_version"].get(version, 0) for tick in ticks]
        if any(connects):
            panel.plot(seconds, connects, color=colour, linewidth=0.9)
    crowded = len(scenario["steps"]) > 4
    top = max(scenario["size"]["players"], *map(sum, zip(*players, strict=True))) * (1.7 if crowded else 1.3)
    panel.set_ylim(0, top)
    panel.set_xlim(0, seconds[-1])
    heights = (0.97, 0.87, 0.77, 0.67) if crowded else (0.97, 0.87)  # neighbours do not overlap
    for (time, title), height in zip(scenario["steps"], itertools.cycle(heights), strict=False):
        panel.axvline(time - start, color="#222222", linewidth=0.8, linestyle=":")
        late = time - start > 0.75 * seconds[-1]
        panel.text(time - start, top * height, f" {title} ", va="top", ha="right" if late else "left", fontsize="small")
    dropped: list[float] = [time - start for time in scenario["dropped_at"]]
    panel.plot(dropped, [top * 0.05] * len(dropped), "x", color="#e45756", markersize=4)
    panel.set_title(textwrap.fill(scenario["title"], 64), fontsize="medium", loc="left")
    panel.spines[["top", "right"]].set_visible(False)
