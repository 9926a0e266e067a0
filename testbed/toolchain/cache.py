"""The folder in which the tools are kept: one folder per tool, there whole or not at all."""

import hashlib
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial-"


class ToolError(Exception):
    """A tool cannot be had. The message says which, why, and what to do about it."""


def digest(*parts: object) -> str:
    """Twelve hex digits of whatever determines a tool; a `Path` to a folder stands for all its files."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(each for each in part.rglob("*") if each.is_file()):
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{file.relative_to(part).as_posix()} {content}\n".encode())
        else:
            total.update(f"{part!r}\n".encode())
    return total.hexdigest()[:12]


@contextmanager
def new_folder(folder: Path) -> Generator[Path]:
    """A scratch folder beside `folder` that becomes `folder` in one step at the block's end, if that is reached.

    So a failure, Ctrl-C or a power cut leaves no half tool behind that a later run would take for a whole one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{folder.name}-", dir=folder.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_partial(cache: Path) -> None:
    """Remove what killed runs left; only for the holder of the cache's lock."""
    for leftover in cache.glob(f"{_PARTIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)
