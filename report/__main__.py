"""`make report`: the scenarios of tests/e2e at a given size, as figures, a table and a chart in docs/.

The scenarios are the tests themselves, which keep what they saw (tests/e2e/recorder.py).
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl

from testbed.environment import PROJECT

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

SEEN = PROJECT / ".testbed-report"
DOCS = PROJECT / "docs"
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")
"""Of versions, in the order in which they appear in the legend."""

Scenario = Mapping[str, Any]


def main() -> int:
    """Run the scenarios and write the report; the exit code is pytest's."""
    parser = argparse.ArgumentParser(prog="python -m report", description="The report on running pods.")
    parser.add_argument("--players", type=int, default=200)
    parser.add_argument("--connects", type=int, default=100, help="new connections a second")
    parser.add_argument("--render-only", action="store_true", help="of what the last run saw")
    arguments = parser.parse_args()
    code = 0
    if not arguments.render_only:
        for old in SEEN.glob("*.json"):
            old.unlink()
        size = {"SRS_PLAYERS": str(arguments.players), "SRS_CONNECTS": str(arguments.connects)}
        command = [sys.executable, "-m", "pytest", "tests/e2e"]
        code = subprocess.run(
            command, cwd=PROJECT, env=os.environ | size | {"SRS_REPORT": str(SEEN)}, check=False
        ).returncode
    scenarios = [json.loads(file.read_text()) for file in SEEN.glob("*.json")]
    if not scenarios:
        print("error: no scenario left figures; see the output above", file=sys.stderr)
        return code or 1
    scenarios.sort(key=lambda scenario: scenario["begun"])
    (DOCS / "connections.json").write_text(json.dumps([figures(each) for each in scenarios], indent=1) + "\n")
    (DOCS / "connections.md").write_text(page(scenarios))
    chart(scenarios, DOCS / "connections.png")
    print(f"written: {', '.join(f'docs/connections.{end}' for end in ('md', 'json', 'svg'))}")
    return code


def figures(scenario: Scenario) -> dict[str, Any]:
    """What is told of a scenario, without its course."""
    summary = scenario["summary"]
    return {
        "scenario": scenario["title"],
        "players": summary["players_wanted"],
        "newConnections": summary["samples"],
        "playersCut": scenario["players_cut"],
        "encodersCut": scenario["encoders_cut"],
        "newConnectionsFailed": sum(summary["failed_by_what"].values()),
        "leastReadyEdges": scenario["least_ready"],
        "longestSilenceSeconds": round(summary["longest_silence"], 2),
        "connectMilliseconds": summary["connect_ms"],
        "versions": summary["samples_by_version"],
        "schedulingLagMilliseconds": round(summary["max_sched_lag_ms"]),
    }


def page(scenarios: Sequence[Scenario]) -> str:
    """The report as Markdown."""
    size = scenarios[0]["size"]
    versions = sorted({version for each in scenarios for version in each["summary"]["samples_by_version"]})
    what = "real SRS" if scenarios[0]["real"] else "**the stand-in for SRS** (testbed/tools/streaming), not SRS itself"
    head = f"""\
# What happens to connections

Made by `make report`, with {what}, versions {", ".join(versions)}; {size["players"]} players and an encoder connected
through a node port, {size["connects"]} new connections a second, on two cores that also run the control plane, Pulumi
and all pods. What each scenario asserts: [tests/e2e/README.md](../tests/e2e/README.md).

![Connections by version over time](connections.png)

"""
    columns = ["scenario", "players cut", "encoders cut", "new connections", "failed", "least ready edges"]
    columns += ["longest silence", "new connection, median / 99 %"]
    head += f"| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}\n"
    return head + "".join(f"| {' | '.join(_row(figures(each)))} |\n" for each in scenarios)


def _row(told: Mapping[str, Any]) -> list[str]:
    connect: Mapping[str, float] | None = told["connectMilliseconds"]
    return [
        told["scenario"],
        f"{told['playersCut']} of {told['players']}",
        str(told["encodersCut"]),
        str(told["newConnections"]),
        str(told["newConnectionsFailed"]),
        str(told["leastReadyEdges"]),
        f"{told['longestSilenceSeconds']:.1f} s",
        f"{connect['p50']:.0f} / {connect['p99']:.0f} ms" if connect else "",
    ]


def chart(scenarios: Sequence[Scenario], target: Path) -> None:
    """Connections by version over time, a panel per scenario, with the steps marked."""
    versions = sorted({version for each in scenarios for tick in each["ticks"] for version in tick["open_by_version"]})
    colours = dict(zip(versions, COLOURS * len(versions), strict=False))
    rows = (len(scenarios) + 1) // 2
    plt.rcParams.update({"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "srs"})
    figure, axes = plt.subplots(rows, 2, figsize=(11, 1.9 * rows), squeeze=False, layout="constrained")
    panels = cast("list[Axes]", list(axes.flat))
    for panel, scenario in zip(panels, scenarios, strict=False):
        _panel(panel, scenario, colours)
    for panel in panels[len(scenarios) :]:
        panel.set_axis_off()
    handles = [Line2D([], [], color=colour, linewidth=5, label=f"SRS {name}") for name, colour in colours.items()]
    handles.append(Line2D([], [], color="#222222", linewidth=0.8, linestyle=":", label="step"))
    handles.append(Line2D([], [], color="#e45756", marker="x", linestyle="", label="cut or failed"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    figure.supylabel("players connected (area), new connections a second (line)")
    figure.supxlabel("seconds")
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def _panel(panel: Axes, scenario: Scenario, colours: Mapping[str, str]) -> None:
    ticks: list[Mapping[str, Any]] = scenario["ticks"]
    begin = ticks[0]["t"]
    seconds = [tick["t"] - begin for tick in ticks]
    stack = [[tick["open_by_version"].get(version, 0) for tick in ticks] for version in colours]
    panel.stackplot(seconds, stack, colors=list(colours.values()), alpha=0.55, linewidth=0)
    for version, colour in colours.items():
        samples = [tick["samples_by_version"].get(version, 0) for tick in ticks]
        if any(samples):
            panel.plot(seconds, samples, color=colour, linewidth=0.9)
    top = max(scenario["size"]["players"], *map(sum, zip(*stack, strict=True))) * 1.3
    panel.set_ylim(0, top)
    panel.set_xlim(0, seconds[-1])
    height = 0.97
    for at, what in scenario["steps"]:
        panel.axvline(at - begin, color="#222222", linewidth=0.8, linestyle=":")
        panel.text(at - begin, top * height, f" {what}", va="top", fontsize=7)
        height = 0.87 if height > 0.9 else 0.97  # neighbours do not cover each other
    hurt: list[float] = [cut["t"] - begin for cut in scenario["summary"]["cuts"] or []]
    panel.plot(hurt, [top * 0.05] * len(hurt), "x", color="#e45756", markersize=4)
    panel.set_title(scenario["title"], fontsize=8.5, loc="left")
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    sys.exit(main())
