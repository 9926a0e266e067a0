"""Tools that are built on demand from the modules pinned in testbed/pins, in the user's Go caches."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from testbed.environment import PROJECT


@cache
def go_tool(pin: str, package: str) -> str:
    """The path of a tool, which is built if necessary."""
    return _go("tool", "-C", f"../pins/{pin}", "-n", package)


@cache
def module_folder(pin: str, module: str) -> Path:
    """The folder of a module in Go's module cache."""
    return Path(_go("list", "-C", f"../pins/{pin}", "-m", "-f", "{{.Dir}}", module))


def _go(*arguments: str) -> str:
    command = [sys.executable, "-m", "testbed", "go", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()
