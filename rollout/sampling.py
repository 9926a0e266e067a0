"""Viewers on a running stack: what they see, and which release serves each of them."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.live import LiveCluster, Object
from cluster.terminating import is_terminating
from model.names import EDGE_APP, edge_run
from model.srs_version import format_version, parse_version
from model.values import parse_image
from model.workloads import release_of
from rollout.analysis import Sources
from rollout.command import CommandRejectedError, Context
from rollout.run_state import RunOptions
from rollout.stack_file import StackFile
from rollout.viewers import Arrivals, View, check_address


@dataclass(frozen=True)
class Fleet:
    """The edges of all releases at one time.

    replicas: by release, as their Deployments have them. versions: SRS version by release. pods: without terminating
    ones. addresses: release by the IP address of each pod, also of terminating ones, which still accept connections.
    """

    replicas: Mapping[str, int]
    versions: Mapping[str, str]
    pods: Sequence[Object]
    addresses: Mapping[str, str]

    @staticmethod
    def read(live: LiveCluster, file: StackFile) -> "Fleet":
        """Read it. Edges of others behind the same Service are a release, too. Raises UnreachableError."""
        replicas: dict[str, int] = {}
        versions: dict[str, str] = {}
        runs: dict[str, str] = {}
        for name, deployment in live.objects("Deployment").items():
            template: Object = deployment["spec"]["template"]
            labels = template["metadata"].get("labels", {})
            if labels.get("app") != EDGE_APP:
                continue
            release = release_of(name)
            replicas[release] = deployment["spec"].get("replicas", 1)
            image = template["spec"]["containers"][0]["image"]
            versions[release] = _srs_version({**file.releases.get(release, {}), "image": image})
            runs[labels.get("run", edge_run(release))] = release
        pods = live.pods(f"run in ({','.join(runs)})") if runs else []
        return Fleet(
            replicas,
            versions,
            [pod for pod in pods if not is_terminating(pod)],
            {
                pod["status"]["podIP"]: runs[pod["metadata"]["labels"]["run"]]
                for pod in pods
                if pod["status"].get("podIP")
            },
        )

    @property
    def shares(self) -> dict[str, float]:
        """The share of each release in the new viewers by its replicas, in per cent."""
        total = sum(self.replicas.values())
        return {release: 100 * count / total for release, count in self.replicas.items()} if total else {}

    def pods_of(self, release: str) -> list[Object]:
        """The pods of a release."""
        return [pod for pod in self.pods if pod["metadata"]["labels"]["run"] == edge_run(release)]


def _srs_version(release: Mapping[str, Any]) -> str:
    """The SRS version of a release by its settings, "" if they do not name it."""
    version = parse_version(release.get("version") or parse_image(release["image"]).tag or "")
    return format_version(version) if version else ""


def desired_shares(file: StackFile) -> dict[str, float]:
    """The share of each release by its weight, in per cent."""
    weights = {name: int(release.get("weight", 0)) for name, release in file.releases.items()}
    total = sum(weights.values())
    return {name: 100 * weight / total for name, weight in weights.items()} if total else {}


@dataclass
class Sampling:
    """Viewers on addresses of a stack. addresses: of pods, as `Sources` has them, since the beginning."""

    live: LiveCluster
    read_file: Callable[[], StackFile]
    addresses: Sequence[str]
    viewers: int
    seconds: float
    parallel: int
    fleet: Fleet = field(init=False)
    _pod_addresses: dict[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of(context: Context, options: Namespace | RunOptions) -> "Sampling":
        """The viewers that options of `rollout sample` or `rollout run` ask for. Raises AddressError."""
        for address in options.addresses:
            check_address(address)
        return Sampling(
            context.live,
            context.read_file,
            options.addresses,
            options.viewers,
            options.watch.total_seconds(),
            options.parallel,
        )

    def __post_init__(self) -> None:
        self.refresh()

    @property
    def round_seconds(self) -> float:
        """How long a round takes."""
        return self.seconds * self.viewers / min(self.parallel, self.viewers)

    def refresh(self) -> Fleet:
        """Read the edges."""
        self.fleet = Fleet.read(self.live, self.read_file())
        self._pod_addresses |= self.fleet.addresses
        return self.fleet

    @property
    def sources(self) -> Sources:
        """How to find the release of a viewer."""
        return Sources(self._pod_addresses, self.fleet.versions)

    def arrivals(self) -> Arrivals:
        """Viewers that arrive until the end of the block."""
        return Arrivals(self.addresses, self.seconds, min(self.parallel, self.viewers))

    def round(
        self, arrivals: Arrivals, on_view: Callable[[View], None] = lambda _view: None, last: bool = False
    ) -> list[View]:
        """What the next viewers saw. last: whether nobody arrives after them."""
        views = arrivals.next(self.viewers, on_view, last)
        self.refresh()
        return views

    def check_identity(self, planned: StackFile | None = None) -> None:
        """Raise CommandRejectedError if viewers over HTTP cannot be assigned to releases.

        planned: a stack file whose releases will have viewers, besides those that have some now.
        """
        versions = {
            release: version for release, version in self.fleet.versions.items() if self.fleet.replicas[release]
        }
        if planned:
            versions |= {
                name: _srs_version(release) for name, release in planned.releases.items() if release.get("weight")
            }
        over_http = [address for address in self.addresses if not address.startswith("rtmp:")]
        if over_http and len(set(versions.values())) < len(versions):
            raise CommandRejectedError(
                f"{over_http[0]} does not tell the releases apart: they have the same SRS version, and HTTP-FLV names "
                "nothing else; use an rtmp:// address"
            )
