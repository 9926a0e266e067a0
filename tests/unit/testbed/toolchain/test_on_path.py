import os
from collections.abc import Callable
from pathlib import Path

from testbed.toolchain.on_path import find_all, search_path, version_of


def test_a_binary_that_does_not_run_has_no_version(tmp_path: Path, write_tool: Callable[..., Path]) -> None:
    broken = write_tool(tmp_path, "broken", "1.2.3")
    broken.write_text("#!/bin/sh\necho liberal 1.2.3: no such library >&2; exit 127\n")
    assert version_of(broken, []) == (None, "liberal 1.2.3: no such library")
    assert version_of(tmp_path / "absent", [])[0] is None


def test_all_binaries_of_a_tool_must_be_on_path(tmp_path: Path, write_tool: Callable[..., Path]) -> None:
    names = ("pulumi", "pulumi-language-python")
    write_tool(tmp_path, "pulumi", "v3.259.0")
    assert find_all(names, str(tmp_path)) is None
    write_tool(tmp_path, "pulumi-language-python", "v3.259.0")
    assert find_all(names, str(tmp_path)) == {name: tmp_path / name for name in names}


def test_the_cache_and_the_virtual_environment_are_excluded_from_path(tmp_path: Path) -> None:
    cache, venv, own = tmp_path / "cache", tmp_path / "venv" / "bin", tmp_path / "own"
    path = os.pathsep.join(map(str, [venv, cache / "kwok-1", own, cache]))
    assert search_path([cache, venv], path) == str(own)
