"""The tools: their names and versions, the official release of each, and the build that makes it from source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from testbed.toolchain.build import Build
from testbed.toolchain.download import Asset
from testbed.toolchain.on_path import Version
from testbed.toolchain.versions import (
    ALICLOUD_VERSION,
    COREDNS_VERSION,
    ETCD_VERSION,
    KUBERNETES_VERSION,
    KWOK_VERSION,
    LANGUAGE_HOST_VERSION,
    PROVIDER_VERSION,
    PULUMI_VERSION,
    STREAMING_VERSION,
)


@dataclass(frozen=True)
class Tool:
    """Binaries that are released together, in one version.

    `accepts` decides whether a version found on PATH is compatible; `accepted_versions` is the same rule for messages.
    `asset` returns the release for an operating system and processor (Go's names for them), None where none is
    published; `build` is the name of the build that makes the binaries.
    """

    name: str
    version: str
    binaries: tuple[str, ...]
    version_arguments: tuple[str, ...]
    accepts: Callable[[Version], bool]
    accepted_versions: str
    asset: Callable[[str, str], Asset | None]
    build: str
    download_megabytes: int


def _pulumi_asset(system: str, processor: str) -> Asset | None:
    # Checksums from GitHub too: those of the other download site have been of another build (pulumi/pulumi#9416).
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
    # kwok publishes no checksum file; GitHub's API has the digest of every asset.
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
        accepted_versions="1.33 to 1.35" if client else "1.34",
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
        accepted_versions=f"{PULUMI_VERSION} or newer, below 4, with its Python language host",
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
        accepted_versions="3.6",
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
        accepted_versions="0.8",
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
        accepted_versions="1.12 or newer, below 2",
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
        accepted_versions="1.0.0",
        asset=lambda _system, _processor: None,  # our own
        build="streaming",
        download_megabytes=0,
    ),
)
"""What nodes that run containers, and the tests on them, need besides TOOLS and packages of the operating system."""


@dataclass(frozen=True)
class Plugin:
    """A resource plugin of Pulumi: installed in the Pulumi home, in the version of the Python package."""

    package: str
    version: str
    download_megabytes: int

    @property
    def name(self) -> str:
        """The name of the binary and of the build that makes it."""
        return f"pulumi-resource-{self.package}"


KUBERNETES_PLUGIN = Plugin("kubernetes", PROVIDER_VERSION, 50)
ALICLOUD_PLUGIN = Plugin("alicloud", ALICLOUD_VERSION, 100)
"""For stacks on Alibaba Cloud only; its build takes 13 minutes and 6.3 GiB of memory on two cores."""

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
    version=LANGUAGE_HOST_VERSION,
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
            # Pulumi warns in every run about a language host outside of its own folder.
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
