"""What viewers saw, on a terminal: a progress bar and tables."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from model.config.values import natural_key
from rollout.canary.analysis import Sources
from rollout.canary.viewers import View
from rollout.show import text_of


@contextmanager
def progress(viewers: int, seconds: float, sources: Sources) -> Generator[Callable[[View], None]]:
    """A progress bar on standard error, if that is a terminal, with the viewers of each release so far."""
    counts: Counter[str] = Counter()
    console = Console(stderr=True)
    columns = (BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"viewers, {seconds:g} s each", total=viewers)

        def on_view(view: View) -> None:
            counts[sources.release(view) or "?"] += 1
            described = ", ".join(f"{release} {counts[release]}" for release in sorted(counts, key=natural_key))
            bar.update(task, advance=1, description=described)

        yield on_view


def sample_table(data: Mapping[str, Any]) -> str:
    """The figures of `rollout.canary.analysis.figures` as a table, with the problems below."""
    table = Table(
        title="New viewers by release",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("release", overflow="fold")
    for heading in ("viewers", "share", "actual", "desired", "first frame", "stalled", "failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = {**data["releases"], **({"?": data["unknown"]} if data["unknown"]["viewers"] else {})}
    for release, row in rows.items():
        known = release != "?"
        low, high = row["intervalPercent"] if known else (None, None)
        table.add_row(
            release,
            f"{row['viewers']}",
            f"{row['sharePercent']:.0f} % ({low:.0f}-{high:.0f})" if known and row["viewers"] else "",
            _percent(row["actualPercent"]) if known else "",
            _percent(row["desiredPercent"]) if known else "",
            _seconds(row["firstFrameSeconds"]["median"]),
            f"{row['stalled']}",
            f"{row['failed']}",
        )
    lines = [text_of(table)]
    for release, row in rows.items():
        for reason, count in row["failures"].items():
            lines.append(f"{release}: {count} failed: {reason}")
    outcome = data.get("outcome", "not acceptable")
    lines += [f"{'not acceptable' if outcome == 'failed' else outcome}: {problem}" for problem in data["problems"]]
    if not data["problems"]:
        lines.append("acceptable")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"
