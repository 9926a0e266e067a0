"""The progress of long commands: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_HEARTBEAT_SECONDS = 60.0
"""How often a long step writes a line where there is no terminal."""


class Reporter:
    """Reports progress on standard error (standard output is for a command's result)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    def report(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False)

    @contextmanager
    def step(self, text: str) -> Generator["Step"]:
        """Report that the step `text` runs, and for how long, until the block ends; then that it is done."""
        began = time.monotonic()
        if self.console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            with Progress(*columns, console=self.console, transient=True) as display:
                yield Step(self, text, display, display.add_task(text, total=None))
        else:
            self.report(f"{text} …")
            yield Step(self, text, None, None)
        self.report(f"{text}: done in {duration(time.monotonic() - began)}")


class Step:
    """A running step that reports its progress."""

    def __init__(self, reporter: Reporter, text: str, display: Progress | None, task: TaskID | None) -> None:
        self._reporter = reporter
        self._text = text
        self._display = display
        self._task = task
        self._began = self._reported = time.monotonic()

    def on_bytes(self, done: int, total: int | None) -> None:
        """Report how many bytes of a download are done."""
        if self._display and self._task is not None:
            if len(self._display.columns) == 3:
                self._display.columns = (*self._display.columns, BarColumn(), DownloadColumn())
            self._display.update(self._task, completed=done, total=total)
        else:
            self._heartbeat(f"{done / 1e6:.0f}" + (f" of {total / 1e6:.0f} MB" if total else " MB"))

    def on_line(self, line: str) -> None:
        """Report the latest line of a build's output."""
        if self._display and self._task is not None:
            self._display.update(self._task, description=f"{self._text} ({line[:60]})")
        else:
            self._heartbeat(line)

    def _heartbeat(self, line: str) -> None:
        now = time.monotonic()
        if now - self._reported >= _HEARTBEAT_SECONDS:
            self._reported = now
            self._reporter.report(f"{self._text}: {duration(now - self._began)} so far; {line}")


def duration(seconds: float) -> str:
    """`12 s`, `3 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
