"""Tools that are installed on the machine already."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

Version = tuple[int, int, int]


def search_path(excluded: Iterable[Path], path: str | None = None) -> str:
    """PATH (or `path`) without the excluded folders and everything inside them.

    The testbed's own environment puts its cache on PATH; what is there was not installed by the user.
    """
    roots = [root.resolve() for root in excluded]
    folders = (os.environ.get("PATH", os.defpath) if path is None else path).split(os.pathsep)
    kept = [name for name in folders if name and not any(Path(name).resolve().is_relative_to(root) for root in roots)]
    return os.pathsep.join(kept)


def find_all(binaries: Iterable[str], path: str) -> dict[str, Path] | None:
    """The location of each binary on `path`; None if one is missing."""
    found = {name: shutil.which(name, path=path) for name in binaries}
    return {name: Path(location) for name, location in found.items() if location} if all(found.values()) else None


def version_of(binary: Path, arguments: Sequence[str]) -> tuple[Version | None, str]:
    """The version that a binary prints, and the text it is from; None and the reason if there is none."""
    environment = os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        result = subprocess.run(
            [str(binary), *arguments], capture_output=True, text=True, timeout=30, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    text = (result.stdout + result.stderr).strip()
    match = re.search(r"v?(\d+)\.(\d+)\.(\d+)[-+.\w]*", text)
    if match is None or result.returncode:
        return None, text.splitlines()[-1] if text else f"exit code {result.returncode}"
    return (int(match[1]), int(match[2]), int(match[3])), match[0]
