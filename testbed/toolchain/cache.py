"""The cache of tools: one folder per tool, installed atomically."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial-"


class ToolError(Exception):
    """A tool cannot be installed. The message names the tool, the reason and the fix."""


def digest(*parts: object) -> str:
    """Twelve hex digits over everything that determines a tool; a `Path` to a folder stands for all its files."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(path for path in part.rglob("*") if path.is_file()):
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{file.relative_to(part).as_posix()} {content}\n".encode())
        else:
            total.update(f"{part!r}\n".encode())
    return total.hexdigest()[:12]


@contextmanager
def new_folder(folder: Path) -> Generator[Path]:
    """A scratch folder beside `folder`, renamed to `folder` when the block ends without an exception.

    So a failure, Ctrl-C or a power cut never leaves an incomplete tool that a later run would use.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{folder.name}-", dir=folder.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_partial(cache: Path, is_ours: Callable[[str], bool]) -> None:
    """Remove the scratch folders of killed runs; only while holding the lock of these folders.

    is_ours: whether the lock is that of a folder, by its name.
    """
    for leftover in cache.glob(f"{_PARTIAL}*"):
        if is_ours(leftover.name.removeprefix(_PARTIAL)):
            shutil.rmtree(leftover, ignore_errors=True)
