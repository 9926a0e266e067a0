"""What the verbs print: tables as text of a fixed width, short names."""

import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, RenderableType

from model.config.values import parse_image

WIDTH = 80
"""Columns of a terminal over ssh; wider output is for wider terminals."""


def text_of(renderable: RenderableType) -> str:
    """A renderable as plain text; on a terminal of its width."""
    width = max(WIDTH, Console().width) if sys.stdout.isatty() else WIDTH
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def save_svg(renderable: RenderableType, path: Path, title: str) -> None:
    """Write a picture of a terminal with a renderable."""
    console = Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True, color_system="truecolor")
    console.print(renderable)
    # Without fonts from the network: each text has its length.
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title), flags=re.DOTALL))


def short_image(image: str | None) -> str:
    """The tag of an image, or the beginning of its digest."""
    try:
        reference = parse_image(image or "")
    except ValueError:
        return image or ""
    return reference.tag or (reference.digest or "")[:15]


def age(since: str | None, now: datetime) -> str:
    """How long ago a time of Kubernetes was, such as `2h`."""
    if not since:
        return ""
    return short_duration((now - parse_time(since)).total_seconds())


def parse_time(text: str) -> datetime:
    """A time of Kubernetes (RFC 3339)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def short_duration(seconds: float) -> str:
    """A duration in its largest unit, as kubectl prints ages."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)
