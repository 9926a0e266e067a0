"""Installs the tools of the embedded cluster and of Pulumi.

`ensure_tools` looks for each tool on PATH, else downloads its official release, else builds it from the Go modules in
`testbed/pins` and `testbed/streaming`. Downloads and builds are kept in a cache outside the checkout.

Environment: SRS_TESTBED_CACHE (the cache's folder), SRS_TESTBED_TOOLS (`path`, `download` or `build`: allows only that
method), SRS_TESTBED_RELEASES (`name=url` pairs that replace entries of RELEASES), SRS_TESTBED_GO_CACHE (`shared`:
build with the user's Go caches instead of private ones that are removed afterwards).
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from testbed.locking import exclusive
from testbed.toolchain.build import DISK_GIB, GoBuilder
from testbed.toolchain.cache import ToolError, digest, new_folder, remove_partial
from testbed.toolchain.catalog import ALICLOUD_PLUGIN, BUILDS, KUBERNETES_PLUGIN, TOOLS, Plugin, Tool
from testbed.toolchain.download import RELEASES, install, reachable
from testbed.toolchain.on_path import find_all, search_path, version_of
from testbed.toolchain.progress import Reporter, Step, duration

_PINS = Path(__file__).parents[1] / "pins"
_METHODS = ("path", "download", "build")
_CLOUD = f"-{ALICLOUD_PLUGIN.package}"
"""The part of the cache that has the Alibaba Cloud provider: with a lock and Go caches of its own."""


@dataclass(frozen=True)
class Tools:
    """Installed tools: the location of each binary, the folders to add to PATH, and this project's Pulumi home.

    The Pulumi home is not the user's, whose login and plugins stay untouched.
    """

    binaries: Mapping[str, Path]
    pulumi_home: Path
    path: tuple[Path, ...]


def _platform() -> tuple[str, str]:
    processor = platform.machine().lower()
    return sys.platform, {"x86_64": "amd64", "aarch64": "arm64"}.get(processor, processor)


@dataclass(frozen=True)
class ToolSettings:
    """The settings of a run of `ensure_tools`; `from_environment` reads those of the user."""

    cache: Path
    method: str | None = None
    releases: Mapping[str, str] = field(default_factory=lambda: RELEASES)
    shared_go_cache: bool = False
    modules: Path = _PINS
    platform: tuple[str, str] = field(default_factory=_platform)

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> "ToolSettings":
        """The settings in the environment variables (see above).

        Raises:
            ToolError: a variable has an invalid value.
        """
        method = environment.get("SRS_TESTBED_TOOLS") or None
        if method not in (None, "auto", *_METHODS):
            raise ToolError(f"SRS_TESTBED_TOOLS is {method!r}; allowed are auto, {', '.join(_METHODS)}")
        pairs = [pair.partition("=") for pair in environment.get("SRS_TESTBED_RELEASES", "").split()]
        if any(name not in RELEASES or not url for name, _, url in pairs):
            raise ToolError(f"SRS_TESTBED_RELEASES must be pairs name=url, with the names {', '.join(RELEASES)}")
        default = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srs-testbed"
        return ToolSettings(
            cache=Path(environment.get("SRS_TESTBED_CACHE") or default).expanduser().absolute(),
            method=None if method == "auto" else method,
            releases={**RELEASES, **{name: url.rstrip("/") for name, _, url in pairs}},
            shared_go_cache=environment.get("SRS_TESTBED_GO_CACHE") == "shared",
        )


def ensure_tools(
    settings: ToolSettings | None = None,
    reporter: Reporter | None = None,
    tools: Sequence[Tool] = TOOLS,
    *,
    plugin: bool = True,
    cloud: bool = False,
) -> Tools:
    """Install the tools that are missing, and return the location of all of them.

    plugin: with Pulumi's Kubernetes provider. cloud: also with its Alibaba Cloud provider, for the production stack.

    Safe to call from several processes at once: one installs, the others wait for it. A process that does not
    need the Alibaba Cloud provider does not wait for it: its build takes long.

    Raises:
        ToolError: one of them cannot be installed.
    """
    settings, reporter = settings or ToolSettings.from_environment(), reporter or Reporter()
    installed = _Installation(settings, reporter, tools, [KUBERNETES_PLUGIN] * plugin).run()
    if cloud:
        _Installation(settings, reporter, tools, [ALICLOUD_PLUGIN], _CLOUD).run()
    return installed


def clean_tools(settings: ToolSettings | None = None, reporter: Reporter | None = None) -> None:
    """Remove the cache: tools, Pulumi home, and the remains of interrupted builds."""
    cache = (settings or ToolSettings.from_environment()).cache
    report = (reporter or Reporter()).report
    if not cache.exists():
        report(f"nothing to remove: {cache} does not exist")
        return
    with exclusive(cache / _lock(), report), exclusive(cache / _lock(_CLOUD), report):
        shutil.rmtree(cache)
    report(f"removed {cache}")


def go_builder(settings: ToolSettings, part: str = "") -> GoBuilder:
    """The builder for these settings, with the Go that the user has on PATH. part: of the cache, as in `_lock`."""
    path = _user_path(settings)
    return GoBuilder(settings.modules, settings.cache, shared=settings.shared_go_cache, path=path, private=f"go{part}")


def _lock(part: str = "") -> str:
    """The lock of a part of the cache: of the Alibaba Cloud provider, or of everything else."""
    return f"lock{part}"


def _user_path(settings: ToolSettings) -> str:
    # A virtual environment may contain a `pulumi`, and the cache is on PATH inside `testbed shell`.
    return search_path([settings.cache, Path(sys.prefix) / "bin"])


class _Installation:
    """One run of `ensure_tools`."""

    def __init__(
        self,
        settings: ToolSettings,
        reporter: Reporter,
        tools: Sequence[Tool],
        plugins: Sequence[Plugin],
        part: str = "",
    ) -> None:
        self._part = part
        self._settings = settings
        self._cache = settings.cache
        self._reporter = reporter
        self._tools = tools
        self._plugins = plugins
        self._path = _user_path(settings)
        self._go = go_builder(settings, part)
        self._home = self._cache / "pulumi-home"
        self._reachable: dict[str, bool] = {}
        self._incompatible: dict[str, str] = {}

    def run(self) -> Tools:
        found = {tool.name: files for tool in self._tools if (files := self._on_path(tool) or self._cached(tool))}
        if len(found) < len(self._tools) or self._missing_plugins():
            with exclusive(self._cache / _lock(self._part), self._reporter.report):
                remove_partial(self._cache, lambda name: name.startswith(ALICLOUD_PLUGIN.name) == bool(self._part))
                self._install_missing(found)
        self._keep_no_logs()
        binaries = {name: file for files in found.values() for name, file in files.items()}
        folders = [file.parent for file in binaries.values() if file.is_relative_to(self._cache)]
        return Tools(binaries, self._home, tuple(dict.fromkeys(folders)))

    def _keep_no_logs(self) -> None:
        """Let the CLI write no debug log of each command: it takes a tenth of the CPU of an update, and 500 MB a day.

        There is no setting. It goes on without one where its folder cannot be created (`StartLogging` in
        pkg/logging/encrypted.go).
        """
        logs = self._home / "logs"
        if self._home.is_dir() and not logs.is_file():
            shutil.rmtree(logs, ignore_errors=True)
            logs.touch()

    def _install_missing(self, found: dict[str, dict[str, Path]]) -> None:
        """Install what is missing; another process may have done so while this one waited for the lock."""
        found |= {tool.name: files for tool in self._tools if (files := self._cached(tool)) and tool.name not in found}
        missing = [tool for tool in self._tools if tool.name not in found]
        for tool in missing:
            if tool.name in self._incompatible:
                self._reporter.report(self._incompatible[tool.name])
        plugins = self._missing_plugins()
        methods = {tool.name: self._method(tool) for tool in missing}
        methods |= {plugin.name: self._plugin_method(plugin) for plugin in plugins}
        if not missing and not plugins:
            return
        self._announce(missing, plugins, methods)
        done: list[str] = []
        total = len(missing) + len(plugins)
        for tool in missing:
            method, label = methods[tool.name], f"{tool.name} {tool.version}"
            if files := self._cached(tool):
                # One build makes several tools.
                found[tool.name] = files
                done.append(f"  {label}: {method}, together with another tool")
                continue
            began = time.monotonic()
            with self._reporter.step(f"[{len(done) + 1}/{total}] {method} {label}") as step:
                found[tool.name] = self._download(tool, step) if method == "download" else self._build(tool, step)
            done.append(f"  {label}: {method}, {duration(time.monotonic() - began)}")
        for plugin in plugins:
            method, label = methods[plugin.name], f"{plugin.name} {plugin.version}"
            began = time.monotonic()
            with self._reporter.step(f"[{len(done) + 1}/{total}] {method} {label}") as step:
                self._install_plugin(plugin, found["pulumi"]["pulumi"], method, step)
            done.append(f"  {label}: {method}, {duration(time.monotonic() - began)}")
        if "build" in methods.values():
            self._go.clean()
        self._reporter.report("tools are ready:\n" + "\n".join(done))

    def _on_path(self, tool: Tool) -> dict[str, Path] | None:
        if self._settings.method not in (None, "path"):
            return None
        files = find_all(tool.binaries, self._path)
        if files is None:
            return None
        main = files[tool.binaries[0]]
        version, text = version_of(main, tool.version_arguments)
        if version and tool.accepts(version):
            return files
        self._incompatible[tool.name] = (
            f"{tool.name}: {main} is {text}, needed is {tool.accepted_versions}; it is not used"
        )
        return None

    def _cached(self, tool: Tool) -> dict[str, Path] | None:
        candidates: list[Path] = []
        if self._settings.method in (None, "download") and (folder := self._release_folder(tool)):
            candidates.append(folder)
        if self._settings.method in (None, "build"):
            candidates.append(self._go.folder(BUILDS[tool.build]))
        for folder in candidates:
            if files := find_all(tool.binaries, str(folder)):
                return files
        return None

    def _method(self, tool: Tool) -> str:
        """The method by which a missing tool is installed."""
        if self._settings.method == "path":
            raise ToolError(
                f"{tool.name} {tool.accepted_versions} is not on PATH, and SRS_TESTBED_TOOLS=path allows no other "
                "method. "
                "Install it, or unset SRS_TESTBED_TOOLS"
            )
        asset = tool.asset(*self._settings.platform)
        if self._settings.method == "download" and asset is None:
            raise ToolError(
                f"{tool.name}: no release is published for {'/'.join(self._settings.platform)}. "
                "Unset SRS_TESTBED_TOOLS to build it"
            )
        if self._settings.method:
            return self._settings.method
        return "download" if asset is not None and self._is_reachable(asset.base) else "build"

    def _plugin_method(self, plugin: Plugin) -> str:
        if self._settings.method == "path":
            raise ToolError(
                f"the plugin {plugin.name} {plugin.version} is not in {self._home}, and SRS_TESTBED_TOOLS=path "
                f"installs nothing. Run PULUMI_HOME={self._home} pulumi plugin install resource {plugin.package} "
                f"{plugin.version}"
            )
        return self._settings.method or ("download" if self._is_reachable("github") else "build")

    def _is_reachable(self, base: str) -> bool:
        if base not in self._reachable:
            self._reachable[base] = reachable(self._settings.releases[base])
            if not self._reachable[base]:
                self._reporter.report(
                    f"{self._settings.releases[base]} cannot be reached: its tools are built from source"
                )
        return self._reachable[base]

    def _announce(self, missing: Sequence[Tool], plugins: Sequence[Plugin], methods: Mapping[str, str]) -> None:
        items = [*missing, *plugins]
        names = [f"{item.name} ({methods[item.name]})" for item in items]
        costs: list[str] = []
        if megabytes := sum(item.download_megabytes for item in items if methods[item.name] == "download"):
            costs.append(f"about {megabytes} MB of downloads")
        builds = {tool.build for tool in missing if methods[tool.name] == "build"}
        builds |= {plugin.name for plugin in plugins if methods[plugin.name] == "build"}
        if builds := {name for name in builds if not self._go.folder(BUILDS[name]).exists()}:
            minutes = sum(BUILDS[name].minutes for name in builds)
            costs.append(f"about {minutes} min of building on 2 cores, and up to {DISK_GIB} GB of disk meanwhile")
            self._go.check_disk()
        self._reporter.report(
            f"tools to install: {', '.join(names)}.\nThis takes {' and '.join(costs) or 'a moment'}. They are kept in "
            f"{self._cache} (about 1 GB) and used by every checkout; `make clean-tools` removes them."
        )

    def _release_folder(self, tool: Tool) -> Path | None:
        asset = tool.asset(*self._settings.platform)
        if asset is None:
            return None
        return self._cache / f"{tool.name}-{tool.version}-{digest('release', asset)}"

    def _download(self, tool: Tool, step: Step) -> dict[str, Path]:
        asset, folder = tool.asset(*self._settings.platform), self._release_folder(tool)
        if asset is None or folder is None:
            raise ToolError(f"{tool.name}: no release is published for {'/'.join(self._settings.platform)}")
        with new_folder(folder) as scratch:
            install(asset, self._settings.releases, scratch, tool.name, step.on_bytes)
            self._check(tool, scratch)
        return self._files(tool, folder)

    def _build(self, tool: Tool, step: Step) -> dict[str, Path]:
        return self._files(tool, self._go.install(BUILDS[tool.build], step.on_line, partial(self._check, tool)))

    def _files(self, tool: Tool, folder: Path) -> dict[str, Path]:
        files = find_all(tool.binaries, str(folder))
        if files is None:
            raise ToolError(f"{tool.name}: {folder} does not contain all of {', '.join(tool.binaries)}")
        return files

    def _check(self, tool: Tool, folder: Path) -> None:
        """Run the tool: it may be for another processor, or need a library that is missing."""
        main = self._files(tool, folder)[tool.binaries[0]]
        version, text = version_of(main, tool.version_arguments)
        if version is None or not tool.accepts(version):
            raise ToolError(f"{tool.name}: {main.name} does not run as {tool.version} here: {text}")

    def _receipt(self, plugin: Plugin, method: str) -> Path:
        # The folders in the Pulumi home have no digest in their names: this file records what a plugin was built from.
        release = f"{plugin.name}-{plugin.version}-release"
        key = self._go.folder(BUILDS[plugin.name]).name if method == "build" else release
        return self._home / f"{key}.installed"

    def _missing_plugins(self) -> list[Plugin]:
        return [plugin for plugin in self._plugins if not self._is_installed(plugin)]

    def _is_installed(self, plugin: Plugin) -> bool:
        methods = [self._settings.method] if self._settings.method in ("build", "download") else ["build", "download"]
        binary = self._home / "plugins" / f"resource-{plugin.package}-v{plugin.version}" / plugin.name
        return binary.exists() and any(self._receipt(plugin, method).exists() for method in methods if method)

    def _install_plugin(self, plugin: Plugin, pulumi: Path, method: str, step: Step) -> None:
        command = [str(pulumi), "plugin", "install", "resource", plugin.package, plugin.version, "--reinstall"]
        folder = None
        if method == "build":
            folder = self._go.install(BUILDS[plugin.name], step.on_line)
            command += ["--file", str(folder / plugin.name)]
        self._home.mkdir(parents=True, exist_ok=True)
        for old in self._home.glob(f"{plugin.name}-*.installed"):
            old.unlink()
        environment = os.environ | {"PULUMI_HOME": str(self._home), "PULUMI_SKIP_UPDATE_CHECK": "true"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ToolError(
                f"{plugin.name}: `pulumi plugin install` failed:\n{(result.stderr or result.stdout).strip()[-2000:]}"
                + ("" if method == "build" else "\nSRS_TESTBED_TOOLS=build builds it instead")
            )
        self._receipt(plugin, method).touch()
        if folder is not None:
            # Pulumi has its own copy, of some hundred MB.
            shutil.rmtree(folder)
