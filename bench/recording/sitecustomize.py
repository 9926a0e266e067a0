"""Records the phases of the Pulumi program of this Python process; imported by Python itself, from PYTHONPATH.

It replaces functions of the program by ones that measure their time, right after their modules were imported. Without
SRS_PHASES_FILE it does nothing.
"""

import functools
import importlib.abc
import importlib.util
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

FUNCTIONS = {
    "model.config.read": {"read_settings": "models"},
    "cluster.state": {"read_state": "reads"},
    "cluster.admission": {"review": "reads"},
    "cluster.kubeconfig": {"client": "reads"},
    "update.kept": {"read_kept": "rendering"},
    "model.desired.render": {"render": "rendering"},
    "update.plan": {"plan": "rendering"},
    "update.polling": {"poll": "waiting"},
}
"""By module: the functions, and their phases."""

FIRST = "cluster"
"""The first package that the program imports of its own."""

_file = os.environ.get("SRS_PHASES_FILE", "")
_importing_since = 0.0


def _write(phase: str, start: float, end: float) -> None:
    # Not by pathlib: its import would be measured, too.
    with open(_file, "a") as file:  # noqa: PTH123
        file.write(json.dumps({"phase": phase, "start": start, "end": end}) + "\n")


def _measured(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*arguments: Any, **named: Any) -> Any:
            start = time.time()
            try:
                return await function(*arguments, **named)
            finally:
                _write(phase, start, time.time())

        return run_async

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        start = time.time()
        try:
            return function(*arguments, **named)
        finally:
            _write(phase, start, time.time())

    return run


class _Loader(importlib.abc.Loader):
    """Loads a module and replaces its functions."""

    def __init__(self, loader: importlib.abc.Loader, functions: dict[str, str]) -> None:
        self._loader = loader
        self._functions = functions

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        for name, phase in self._functions.items():
            setattr(module, name, _measured(getattr(module, name), phase))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of FUNCTIONS, and notices when the program begins to import its own."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        del path, target
        global _importing_since
        if fullname == FIRST and not _importing_since:
            _importing_since = time.time()
            _end_imports_at_run()
        if fullname not in FUNCTIONS:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader, FUNCTIONS[fullname])
        return spec


def _end_imports_at_run() -> None:
    """The imports end when the program calls pulumi.run."""
    import pulumi

    run: Callable[..., Any] = pulumi.run

    def run_measured(*arguments: Any, **named: Any) -> Any:
        _write("imports", _importing_since, time.time())
        return run(*arguments, **named)

    pulumi.run = run_measured


if _file:
    sys.meta_path.insert(0, _Finder())
