"""Table, page and chart of a run of the benchmark."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import matplotlib as mpl
from rich.table import Table

from bench.phases import PHASES
from bench.records import PRODUCT, SCENARIOS, Record, ratio, targets
from bench.tools.tool import Tool
from model.config.values import plural

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

BEGIN, END = "<!-- begin figures -->\n", "<!-- end figures -->\n"
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756")


def _rows(record: Record) -> list[tuple[str, list[str]]]:
    """The rows of the table: the title, and a cell for each tool."""
    seconds = {SCENARIOS[scenario]: figures for scenario, figures in record["seconds"].items()}
    last = "from its command to the last new connection on the earlier version"
    titles = list(seconds)
    titles.insert(titles.index(SCENARIOS["move"]) + 1, last)
    seconds[last] = record["without_earlier"]
    names = record["tools"]
    rows = [(title, [_cell(seconds[title], name) for name in names]) for title in titles]
    rows.append(("fewest ready edges in the weight move, of 4", [str(min(record["minimum_ready"][n])) for n in names]))
    over = [zip(record["seconds"]["first"][name], record["needs"][name], strict=True) for name in names]
    median = [statistics.median(total - need for total, need in pairs) for pairs in over]
    cells = [f"{value:.1f} s" if value >= 0 else "returns earlier" for value in median]
    rows.insert(1, ("the part of it over what its pods need", cells))
    return rows


def _cell(figures: dict[str, list[float]], name: str) -> str:
    if name not in figures:
        return "–"
    median = f"{statistics.median(figures[name]):.1f} s"
    return median if name == PRODUCT else f"{median} ({ratio(figures[PRODUCT], figures[name]):.2f})"


def text_table(record: Record) -> Table:
    """The table for a terminal."""
    table = Table("", *record["tools"])
    for title, cells in _rows(record):
        table.add_row(title, *cells)
    return table


def write_page(record: Record, tools: Sequence[type[Tool]], page: Path) -> None:
    """Write the generated part of docs/performance.md."""
    names = record["tools"]
    lines = [
        f"Made by `make bench`: {plural(record['rounds'], 'round')}, {record['machine']}. Medians; in brackets the "
        "time of this program divided by that of the tool, as the median of paired runs.",
        "",
        *markdown(["", *names], [[title, *cells] for title, cells in _rows(record)]),
        "",
        *[f"- {note}" for tool in tools for note in tool.notes],
        *[f"- {tool.title}: {SCENARIOS[what]}: {why}." for tool in tools for what, why in tool.cannot.items()],
        "",
        "![Seconds of each command by tool](performance.png)",
        "",
        "| target | limit | measured | |",
        "| --- | ---: | ---: | --- |",
        *[f"| {t.title} | {t.limit} | {t.measured} | {'met' if t.met else 'missed'} |" for t in targets(record)],
        "",
        "Where the time of this program goes, of one run of each command:",
        "",
        *markdown(
            ["", *[SCENARIOS[scenario] for scenario in record["phases"]]],
            [[title, *[f"{run[name]:.2f} s" for run in record["phases"].values()]] for name, title in PHASES.items()],
        ),
    ]
    write_figures(page, lines)


def write_figures(page: Path, lines: Sequence[str]) -> None:
    """Replace the generated part of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, with figures to the right of its first column."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def chart(record: Record, target: Path) -> None:
    """Bars of medians, with the fastest and the slowest run, a panel for each scenario."""
    names = record["tools"]
    panels = {SCENARIOS[name]: figures for name, figures in record["seconds"].items()}
    panels["until no new connection\nreaches the earlier version"] = record["without_earlier"]
    figure, axes = plt.subplots(2, -(-len(panels) // 2), figsize=(11, 5), layout="constrained")
    for panel, (title, figures) in zip(cast("list[Axes]", list(axes.flat)), panels.items(), strict=False):
        for place, (name, colour) in enumerate(zip(reversed(names), COLOURS[len(names) - 1 :: -1], strict=True)):
            if name not in figures:
                panel.text(0, place, " cannot", va="center", color="#777777")
                continue
            median = statistics.median(figures[name])
            spread = [[median - min(figures[name])], [max(figures[name]) - median]]
            panel.barh(place, median, color=colour, xerr=spread, error_kw={"elinewidth": 1, "ecolor": "#222222"})
            panel.text(max(figures[name]), place, f"  {median:.1f} s", va="center", fontsize="small")
        panel.set_yticks(range(len(names)), list(reversed(names)))
        panel.set_xlim(0, 1.25 * max(max(values) for values in figures.values()))
        panel.set_title(title, fontsize="medium", loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("seconds: median, with the fastest and the slowest run", fontsize="medium")
    figure.savefig(target, dpi=100)
    plt.close(figure)
