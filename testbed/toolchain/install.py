"""The tools of the embedded cluster and of Pulumi: which, in which version, and how each is come by.

`ensure_tools` looks for each on PATH, else downloads its official release, else builds it from the Go modules in
`testbed/pins` and `testbed/streaming`. What it gets it keeps in a cache outside the checkout.

Environment: SRS_TESTBED_CACHE (the cache's folder), SRS_TESTBED_TOOLS (`path`, `download` or `build` forces that way),
SRS_TESTBED_RELEASES (`name=url` pairs that replace entries of RELEASES), SRS_TESTBED_GO_CACHE (`shared` builds with
the Go caches of the user instead of private ones that are removed afterwards).
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from testbed.locking import exclusive
from testbed.toolchain.build import DISK_GIB, Build, GoBuilder
from testbed.toolchain.cache import ToolError, digest, new_folder, remove_partial
from testbed.toolchain.download import RELEASES, Asset, install, reachable
from testbed.toolchain.on_path import Version, find_all, search_path, version_of
from testbed.toolchain.progress import Report, Step, duration

__all__ = [
    "KUBERNETES_VERSION",
    "NODE_TOOLS",
    "TOOLS",
    "Tool",
    "ToolError",
    "ToolSettings",
    "Tools",
    "clean_tools",
    "ensure_tools",
]

PULUMI_VERSION = "3.259.0"
PROVIDER_VERSION = "4.25.0"
ALICLOUD_VERSION = "3.97.0"
KUBERNETES_VERSION = "v1.34.4"
ETCD_VERSION = "v3.6.4"
KWOK_VERSION = "v0.8.0"
COREDNS_VERSION = "v1.12.4"
STREAMING_VERSION = "v1.0.0"

_PINS = Path(__file__).parents[1] / "pins"
_WAYS = ("path", "download", "build")


@dataclass(frozen=True)
class Tools:
    """Tools that are there: each binary's place, the folders to put on PATH, and the Pulumi home of this project.

    The Pulumi home is not the user's: neither his login nor his plugins are touched.
    """

    binaries: Mapping[str, Path]
    pulumi_home: Path
    path: tuple[Path, ...]


@dataclass(frozen=True)
class Tool:
    """Binaries that come together, in one version.

    `accepts` says whether a version found on PATH will do, `wanted` says the same in words. `asset` gives the release
    for an operating system and processor (Go's names for them), None where none is published; `build` is the
    name of the build that makes the binaries.
    """

    name: str
    version: str
    binaries: tuple[str, ...]
    version_arguments: tuple[str, ...]
    accepts: Callable[[Version], bool]
    wanted: str
    asset: Callable[[str, str], Asset | None]
    build: str
    download_megabytes: int


def _pulumi_asset(system: str, processor: str) -> Asset | None:
    # From GitHub, checksums too: those of the other place have been of another build (pulumi/pulumi#9416).
    folder = f"pulumi/pulumi/releases/download/v{PULUMI_VERSION}"
    name = f"pulumi-v{PULUMI_VERSION}-{system}-{'x64' if processor == 'amd64' else processor}.tar.gz"
    members = ("pulumi/pulumi", "pulumi/pulumi-language-python*")
    checksums = f"{folder}/pulumi-{PULUMI_VERSION}-checksums.txt"
    return Asset("github", f"{folder}/{name}", checksums, "github", members)


def _etcd_asset(system: str, processor: str) -> Asset | None:
    folder = f"etcd-io/etcd/releases/download/{ETCD_VERSION}"
    name = f"etcd-{ETCD_VERSION}-{system}-{processor}.{'tar.gz' if system == 'linux' else 'zip'}"
    return Asset("github", f"{folder}/{name}", f"{folder}/SHA256SUMS", "github", ("*/etcd",))


def _kwok_asset(system: str, processor: str) -> Asset | None:
    # kwok publishes no checksum file; GitHub itself keeps the digest of every asset.
    path = f"kubernetes-sigs/kwok/releases/download/{KWOK_VERSION}/kwok-{system}-{processor}"
    return Asset("github", path, f"repos/kubernetes-sigs/kwok/releases/tags/{KWOK_VERSION}", "github-api")


def _coredns_asset(system: str, processor: str) -> Asset | None:
    folder = f"coredns/coredns/releases/download/{COREDNS_VERSION}"
    name = f"coredns_{COREDNS_VERSION.removeprefix('v')}_{system}_{processor}.tgz"
    return Asset("github", f"{folder}/{name}", f"{folder}/{name}.sha256", "github", ("coredns",))


def _kubernetes_tool(name: str, megabytes: int) -> Tool:
    client = name == "kubectl"

    def asset(system: str, processor: str) -> Asset | None:
        # Kubernetes publishes its servers for Linux only.
        if system != "linux" and not client:
            return None
        path = f"{KUBERNETES_VERSION}/bin/{system}/{processor}/{name}"
        return Asset("kubernetes", path, f"{path}.sha256", "kubernetes")

    return Tool(
        name=name,
        version=KUBERNETES_VERSION,
        binaries=(name,),
        version_arguments=("version", "--client") if client else ("--version",),
        # https://kubernetes.io/releases/version-skew-policy: a client within one minor of the server.
        accepts=(lambda v: v[0] == 1 and 33 <= v[1] <= 35) if client else (lambda v: v[:2] == (1, 34)),
        wanted="1.33 to 1.35" if client else "1.34",
        asset=asset,
        build="kubernetes",
        download_megabytes=megabytes,
    )


TOOLS: tuple[Tool, ...] = (
    Tool(
        name="pulumi",
        version=f"v{PULUMI_VERSION}",
        binaries=("pulumi", "pulumi-language-python", "pulumi-language-python-exec"),
        version_arguments=("version",),
        accepts=lambda v: (3, 259, 0) <= v < (4, 0, 0),
        wanted=f"{PULUMI_VERSION} or newer, below 4, with its Python language host",
        asset=_pulumi_asset,
        build="pulumi",
        download_megabytes=190,
    ),
    Tool(
        name="etcd",
        version=ETCD_VERSION,
        binaries=("etcd",),
        version_arguments=("--version",),
        accepts=lambda v: v[:2] == (3, 6),
        wanted="3.6",
        asset=_etcd_asset,
        build="kubernetes",
        download_megabytes=24,
    ),
    _kubernetes_tool("kube-apiserver", 85),
    _kubernetes_tool("kube-controller-manager", 75),
    _kubernetes_tool("kube-scheduler", 50),
    _kubernetes_tool("kubectl", 60),
    Tool(
        name="kwok",
        version=KWOK_VERSION,
        binaries=("kwok",),
        version_arguments=("--version",),
        accepts=lambda v: v[:2] == (0, 8),
        wanted="0.8",
        asset=_kwok_asset,
        build="kwok",
        download_megabytes=85,
    ),
)

NODE_TOOLS: tuple[Tool, ...] = (
    _kubernetes_tool("kubelet", 60),
    _kubernetes_tool("kube-proxy", 45),
    Tool(
        name="coredns",
        version=COREDNS_VERSION,
        binaries=("coredns",),
        version_arguments=("-version",),
        accepts=lambda v: (1, 12, 0) <= v < (2, 0, 0),
        wanted="1.12 or newer, below 2",
        asset=_coredns_asset,
        build="coredns",
        download_megabytes=20,
    ),
    Tool(
        name="streaming",
        version=STREAMING_VERSION,
        binaries=("streaming", "rtmp-load"),
        version_arguments=("version",),
        accepts=lambda v: v == (1, 0, 0),
        wanted="1.0.0",
        asset=lambda _system, _processor: None,  # our own
        build="streaming",
        download_megabytes=0,
    ),
)
"""What nodes that run containers, and the tests on them, need on top of TOOLS, as far as it is not the operating
system's."""


@dataclass(frozen=True)
class Plugin:
    """A provider plugin of Pulumi: it lives in the Pulumi home, and its version is that of the Python package."""

    package: str
    version: str
    download_megabytes: int

    @property
    def name(self) -> str:
        """Name of the binary, and of the build that makes it."""
        return f"pulumi-resource-{self.package}"


KUBERNETES_PLUGIN = Plugin("kubernetes", PROVIDER_VERSION, 50)
ALICLOUD_PLUGIN = Plugin("alicloud", ALICLOUD_VERSION, 100)
"""Only what uses Alibaba Cloud needs it, and its build takes 13 minutes and 6.3 GiB of memory on two cores."""

_LINKS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    # Linux only.
    "kubelet",
    "kube-proxy",
)
_COMPONENT_BASE = "k8s.io/component-base/version"

_LANGUAGE_HOST = Build(
    name="pulumi-language-python",
    version="3.79.0",
    package="github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
    output="pulumi-language-python",
    minutes=1,
    files={
        "pulumi-language-python-exec": ("github.com/pulumi/pulumi/sdk/v3", "python/cmd/pulumi-language-python-exec")
    },
)

BUILDS: Mapping[str, Build] = {
    build.name: build
    for build in (
        Build(
            name="pulumi",
            version=PULUMI_VERSION,
            package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            output="pulumi",
            minutes=6,
            # Pulumi warns at every run about a language host from anywhere but its own folder.
            beside=(_LANGUAGE_HOST,),
            variables={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": PULUMI_VERSION},
        ),
        Build(
            name="kubernetes",
            version=KUBERNETES_VERSION,
            package=".",
            output="kubernetes",
            minutes=7,
            variables={
                f"{_COMPONENT_BASE}.gitVersion": KUBERNETES_VERSION,
                f"{_COMPONENT_BASE}.gitMajor": "1",
                f"{_COMPONENT_BASE}.gitMinor": "34",
            },
            links=_LINKS,
        ),
        Build(
            name="kwok",
            version=KWOK_VERSION,
            package="sigs.k8s.io/kwok/cmd/kwok",
            output="kwok",
            minutes=2,
        ),
        Build(
            name="coredns",
            version=COREDNS_VERSION,
            package=".",
            output="coredns",
            minutes=1,
        ),
        Build(
            name="streaming",
            version=STREAMING_VERSION,
            package=".",
            output="streaming",
            minutes=1,
            directory="../streaming",
            links=("rtmp-load",),
        ),
        Build(
            name=KUBERNETES_PLUGIN.name,
            version=PROVIDER_VERSION,
            package=".",
            output=KUBERNETES_PLUGIN.name,
            minutes=9,
            variables={"main.version": PROVIDER_VERSION},
            sources={
                "schema.json": (
                    "github.com/pulumi/pulumi-kubernetes/provider/v4",
                    "cmd/pulumi-resource-kubernetes/schema.json",
                )
            },
        ),
        Build(
            name=ALICLOUD_PLUGIN.name,
            version=ALICLOUD_VERSION,
            package=".",
            output=ALICLOUD_PLUGIN.name,
            minutes=13,
            memory_gib=6.5,
            variables={"main.version": ALICLOUD_VERSION},
        ),
    )
}


def _platform() -> tuple[str, str]:
    processor = platform.machine().lower()
    return sys.platform, {"x86_64": "amd64", "aarch64": "arm64"}.get(processor, processor)


@dataclass(frozen=True)
class ToolSettings:
    """What a run of `ensure_tools` goes by; `from_environment` is what a user gets."""

    cache: Path
    way: str | None = None
    releases: Mapping[str, str] = field(default_factory=lambda: RELEASES)
    shared_go_cache: bool = False
    modules: Path = _PINS
    platform: tuple[str, str] = field(default_factory=_platform)

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> "ToolSettings":
        """The settings that the environment variables (see above) ask for.

        Raises:
            ToolError: a variable has a value that it cannot have.
        """
        way = environment.get("SRS_TESTBED_TOOLS") or None
        if way not in (None, "auto", *_WAYS):
            raise ToolError(f"SRS_TESTBED_TOOLS is {way!r}; it may be auto, {', '.join(_WAYS)}")
        pairs = [pair.partition("=") for pair in environment.get("SRS_TESTBED_RELEASES", "").split()]
        if any(name not in RELEASES or not url for name, _, url in pairs):
            raise ToolError(f"SRS_TESTBED_RELEASES takes pairs name=url, with the names {', '.join(RELEASES)}")
        default = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srs-testbed"
        return ToolSettings(
            cache=Path(environment.get("SRS_TESTBED_CACHE") or default).expanduser().absolute(),
            way=None if way == "auto" else way,
            releases={**RELEASES, **{name: url.rstrip("/") for name, _, url in pairs}},
            shared_go_cache=environment.get("SRS_TESTBED_GO_CACHE") == "shared",
        )


def ensure_tools(
    settings: ToolSettings | None = None,
    report: Report | None = None,
    tools: Sequence[Tool] = TOOLS,
    *,
    plugin: bool = True,
    cloud: bool = False,
) -> Tools:
    """Have all `tools` (and Pulumi's Kubernetes provider, if `plugin`) on this machine, and say where they are.

    cloud: also Pulumi's Alibaba Cloud provider, which the production stack needs.

    Safe to call from several processes at once: one works, the others wait for it.

    Raises:
        ToolError: one of them cannot be had.
    """
    plugins = [KUBERNETES_PLUGIN] * plugin + [ALICLOUD_PLUGIN] * cloud
    return _Shelf(settings or ToolSettings.from_environment(), report or Report(), tools, plugins).fill()


def clean_tools(settings: ToolSettings | None = None, report: Report | None = None) -> None:
    """Remove the cache: tools, Pulumi home, and what an interrupted build left."""
    cache = (settings or ToolSettings.from_environment()).cache
    say = (report or Report()).say
    if not cache.exists():
        say(f"nothing to remove: {cache} does not exist")
        return
    with exclusive(cache / "lock", say):
        shutil.rmtree(cache)
    say(f"removed {cache}")


class _Shelf:
    """One run of `ensure_tools`."""

    def __init__(
        self, settings: ToolSettings, report: Report, tools: Sequence[Tool], plugins: Sequence[Plugin]
    ) -> None:
        self._settings = settings
        self._cache = settings.cache
        self._report = report
        self._tools = tools
        self._plugins = plugins
        # A virtual environment may hold a `pulumi` of its own, and the cache is on PATH inside `testbed shell`.
        self._path = search_path([self._cache, Path(sys.prefix) / "bin"])
        self._go = GoBuilder(settings.modules, self._cache, shared=settings.shared_go_cache, path=self._path)
        self._home = self._cache / "pulumi-home"
        self._reachable: dict[str, bool] = {}
        self._passed_over: dict[str, str] = {}

    def fill(self) -> Tools:
        found = {tool.name: place for tool in self._tools if (place := self._on_path(tool) or self._cached(tool))}
        if len(found) < len(self._tools) or self._missing_plugins():
            with exclusive(self._cache / "lock", self._report.say):
                remove_partial(self._cache)
                self._acquire(found)
        binaries = {name: place for places in found.values() for name, place in places.items()}
        folders = [place.parent for place in binaries.values() if place.is_relative_to(self._cache)]
        return Tools(binaries, self._home, tuple(dict.fromkeys(folders)))

    def _acquire(self, found: dict[str, dict[str, Path]]) -> None:
        """Fetch what is missing; another process may have done so while this one waited for the lock."""
        found |= {tool.name: place for tool in self._tools if (place := self._cached(tool)) and tool.name not in found}
        missing = [tool for tool in self._tools if tool.name not in found]
        for tool in missing:
            if tool.name in self._passed_over:
                self._report.say(self._passed_over[tool.name])
        plugins = self._missing_plugins()
        ways = {tool.name: self._choose(tool) for tool in missing}
        ways |= {plugin.name: self._choose_for_plugin(plugin) for plugin in plugins}
        if not missing and not plugins:
            return
        self._announce(missing, plugins, ways)
        done: list[str] = []
        total = len(missing) + len(plugins)
        for tool in missing:
            if place := self._cached(tool):
                # One build makes several tools.
                found[tool.name] = place
                done.append(f"  {tool.name} {tool.version}: {ways[tool.name]}, together with another")
                continue
            began = time.monotonic()
            with self._report.step(f"[{len(done) + 1}/{total}] {ways[tool.name]} {tool.name} {tool.version}") as step:
                found[tool.name] = (
                    self._download(tool, step) if ways[tool.name] == "download" else self._build(tool, step)
                )
            done.append(f"  {tool.name} {tool.version}: {ways[tool.name]}, {duration(time.monotonic() - began)}")
        for plugin in plugins:
            began, way = time.monotonic(), ways[plugin.name]
            with self._report.step(f"[{len(done) + 1}/{total}] {way} {plugin.name} {plugin.version}") as step:
                self._install_plugin(plugin, found["pulumi"]["pulumi"], way, step)
            done.append(f"  {plugin.name} {plugin.version}: {way}, {duration(time.monotonic() - began)}")
        if "build" in ways.values():
            self._go.clean()
        self._report.say("tools are ready:\n" + "\n".join(done))

    def _on_path(self, tool: Tool) -> dict[str, Path] | None:
        if self._settings.way not in (None, "path"):
            return None
        places = find_all(tool.binaries, self._path)
        if places is None:
            return None
        main = places[tool.binaries[0]]
        version, text = version_of(main, tool.version_arguments)
        if version and tool.accepts(version):
            return places
        self._passed_over[tool.name] = f"{tool.name}: {main} is {text}, wanted is {tool.wanted}; it is passed over"
        return None

    def _cached(self, tool: Tool) -> dict[str, Path] | None:
        candidates: list[Path] = []
        if self._settings.way in (None, "download") and (folder := self._release_folder(tool)):
            candidates.append(folder)
        if self._settings.way in (None, "build"):
            candidates.append(self._go.folder(BUILDS[tool.build]))
        for folder in candidates:
            if places := find_all(tool.binaries, str(folder)):
                return places
        return None

    def _choose(self, tool: Tool) -> str:
        """The way by which a missing tool will be fetched."""
        if self._settings.way == "path":
            raise ToolError(
                f"{tool.name} {tool.wanted} is not on PATH, and SRS_TESTBED_TOOLS=path allows no other way. "
                "Install it, or unset SRS_TESTBED_TOOLS"
            )
        asset = tool.asset(*self._settings.platform)
        if self._settings.way == "download" and asset is None:
            raise ToolError(
                f"{tool.name}: no release is published for {'/'.join(self._settings.platform)}. "
                "Unset SRS_TESTBED_TOOLS, then it is built"
            )
        if self._settings.way:
            return self._settings.way
        return "download" if asset is not None and self._is_reachable(asset.base) else "build"

    def _choose_for_plugin(self, plugin: Plugin) -> str:
        if self._settings.way == "path":
            raise ToolError(
                f"the plugin {plugin.name} {plugin.version} is not in {self._home}, and SRS_TESTBED_TOOLS=path allows "
                f"no way to get it. PULUMI_HOME={self._home} pulumi plugin install resource {plugin.package} "
                f"{plugin.version}"
            )
        return self._settings.way or ("download" if self._is_reachable("github") else "build")

    def _is_reachable(self, base: str) -> bool:
        if base not in self._reachable:
            self._reachable[base] = reachable(self._settings.releases[base])
            if not self._reachable[base]:
                self._report.say(f"{self._settings.releases[base]} cannot be reached: its tools are built from source")
        return self._reachable[base]

    def _announce(self, missing: Sequence[Tool], plugins: Sequence[Plugin], ways: Mapping[str, str]) -> None:
        wanted = [*missing, *plugins]
        names = [f"{each.name} ({ways[each.name]})" for each in wanted]
        costs: list[str] = []
        if megabytes := sum(each.download_megabytes for each in wanted if ways[each.name] == "download"):
            costs.append(f"about {megabytes} MB of downloads")
        builds = {tool.build for tool in missing if ways[tool.name] == "build"}
        builds |= {plugin.name for plugin in plugins if ways[plugin.name] == "build"}
        if builds := {name for name in builds if not self._go.folder(BUILDS[name]).exists()}:
            minutes = sum(BUILDS[name].minutes for name in builds)
            costs.append(
                f"about {minutes} minutes of building on 2 cores, and up to {DISK_GIB} GB of disk until it is done"
            )
            self._go.check_disk()
        self._report.say(
            f"tools to get: {', '.join(names)}.\nThat takes {' and '.join(costs) or 'a moment'}. They are kept in "
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
            install(asset, self._settings.releases, scratch, tool.name, step.bytes)
            self._check(tool, scratch)
        return self._places(tool, folder)

    def _build(self, tool: Tool, step: Step) -> dict[str, Path]:
        return self._places(tool, self._go.install(BUILDS[tool.build], step.note, partial(self._check, tool)))

    def _places(self, tool: Tool, folder: Path) -> dict[str, Path]:
        places = find_all(tool.binaries, str(folder))
        if places is None:
            raise ToolError(f"{tool.name}: not all of {', '.join(tool.binaries)} came to be in {folder}")
        return places

    def _check(self, tool: Tool, folder: Path) -> None:
        """A tool that came whole may still not run here: another processor, a missing library."""
        main = self._places(tool, folder)[tool.binaries[0]]
        version, text = version_of(main, tool.version_arguments)
        if version is None or not tool.accepts(version):
            raise ToolError(f"{tool.name}: {main.name} does not run as {tool.version} here: {text}")

    def _receipt(self, plugin: Plugin, way: str) -> Path:
        # The plugin itself lies in the Pulumi home, whose folder names know no digest: this file says what it is from.
        release = f"{plugin.name}-{plugin.version}-release"
        key = self._go.folder(BUILDS[plugin.name]).name if way == "build" else release
        return self._home / f"{key}.installed"

    def _missing_plugins(self) -> list[Plugin]:
        return [plugin for plugin in self._plugins if not self._is_installed(plugin)]

    def _is_installed(self, plugin: Plugin) -> bool:
        ways = [self._settings.way] if self._settings.way in ("build", "download") else ["build", "download"]
        binary = self._home / "plugins" / f"resource-{plugin.package}-v{plugin.version}" / plugin.name
        return binary.exists() and any(self._receipt(plugin, way).exists() for way in ways if way)

    def _install_plugin(self, plugin: Plugin, pulumi: Path, way: str, step: Step) -> None:
        command = [str(pulumi), "plugin", "install", "resource", plugin.package, plugin.version, "--reinstall"]
        folder = None
        if way == "build":
            folder = self._go.install(BUILDS[plugin.name], step.note)
            command += ["--file", str(folder / plugin.name)]
        self._home.mkdir(parents=True, exist_ok=True)
        for old in self._home.glob(f"{plugin.name}-*.installed"):
            old.unlink()
        environment = os.environ | {"PULUMI_HOME": str(self._home), "PULUMI_SKIP_UPDATE_CHECK": "true"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ToolError(
                f"{plugin.name}: `pulumi plugin install` failed:\n{(result.stderr or result.stdout).strip()[-2000:]}"
                + ("" if way == "build" else "\nSRS_TESTBED_TOOLS=build builds it instead")
            )
        self._receipt(plugin, way).touch()
        if folder is not None:
            # Pulumi made its own copy, of some hundred MB.
            shutil.rmtree(folder)
