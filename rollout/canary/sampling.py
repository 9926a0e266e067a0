"""Viewers on a running stack: what they see, and which release serves each of them."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.live import LiveCluster, Object
from cluster.rollout_status import pod_reason
from cluster.terminating import is_terminating
from model.config.edges_outline import ReleaseOutline
from model.config.values import parse_image
from model.desired.workloads import release_of
from model.names import EDGE_APP, edge_run
from model.run_record import RunOptions
from model.srs.versions import format_version, parse_version
from rollout.canary.analysis import Sources
from rollout.canary.viewers import Arrivals, View, check_stream_url
from rollout.command import CommandRejectedError, Context
from rollout.stack.stack_file import StackFile


@dataclass(frozen=True)
class Fleet:
    """The edges of all releases at one time.

    replicas: by release, as their Deployments have them. versions: SRS version by release. pods: without terminating
    ones, and those that have ended, such as evicted ones. addresses: release by the IP address of each pod, also of
    terminating ones, which still accept connections.
    """

    replicas: Mapping[str, int]
    versions: Mapping[str, str]
    pods: Sequence[Object]
    addresses: Mapping[str, str]

    @staticmethod
    def read(live: LiveCluster, file: StackFile) -> "Fleet":
        """Read it. Foreign edges behind the same Service are a release, too. Raises UnreachableError."""
        replicas: dict[str, int] = {}
        versions: dict[str, str] = {}
        runs: dict[str, str] = {}
        for name, deployment in (live.objects("Deployment") or {}).items():
            template: Object = deployment["spec"]["template"]
            labels = template["metadata"].get("labels", {})
            if labels.get("app") != EDGE_APP:
                continue
            release = release_of(name)
            replicas[release] = deployment["spec"].get("replicas", 1)
            image = template["spec"]["containers"][0]["image"]
            versions[release] = _srs_version(file.edges.releases.get(release, ReleaseOutline()), image)
            runs[labels.get("run", edge_run(release))] = release
        pods = live.pods(f"run in ({','.join(runs)})") if runs else []
        return Fleet(
            replicas,
            versions,
            [pod for pod in pods if not is_terminating(pod) and not _has_ended(pod)],
            {
                pod["status"]["podIP"]: runs[pod["metadata"]["labels"]["run"]]
                for pod in pods
                if pod["status"].get("podIP")
            },
        )

    @property
    def ready(self) -> dict[str, int]:
        """The ready edges in rotation, by release: those that new viewers reach, whatever the Deployments want."""
        runs = {edge_run(release): release for release in self.replicas}
        counts = dict.fromkeys(self.replicas, 0)
        for pod in self.pods:
            labels = pod["metadata"]["labels"]
            if labels.get("app") == EDGE_APP and pod_reason(pod) is None:
                counts[runs[labels["run"]]] += 1
        return counts

    @property
    def shares(self) -> dict[str, float]:
        """The share of each release in the new viewers by its ready edges, in per cent."""
        ready = self.ready
        total = sum(ready.values())
        return {release: 100 * count / total for release, count in ready.items()} if total else {}

    def pods_of(self, release: str) -> list[Object]:
        """The pods of a release."""
        return [pod for pod in self.pods if pod["metadata"]["labels"]["run"] == edge_run(release)]


def _has_ended(pod: Object) -> bool:
    """Whether a pod exists only as a record: evicted, or rejected by its node (Kubernetes docs, "Pod Lifecycle")."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def _srs_version(release: ReleaseOutline, image: str | None) -> str:
    """The SRS version of a release by its settings, "" if they do not name it."""
    version = parse_version(release.version or parse_image(image or "").tag or "")
    return format_version(version) if version else ""


def desired_shares(file: StackFile) -> dict[str, float]:
    """The share of each release by its weight, in per cent."""
    weights = file.edges.weights
    total = sum(weights.values())
    return {name: 100 * weight / total for name, weight in weights.items()} if total else {}


@dataclass
class Sampling:
    """Viewers on a stack. urls: of streams. _pod_addresses: as `Sources.addresses`, since the beginning."""

    live: LiveCluster
    read_file: Callable[[], StackFile]
    urls: Sequence[str]
    viewers: int
    seconds: float
    parallel: int
    fleet: Fleet = field(init=False)
    _pod_addresses: dict[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of(context: Context, options: Namespace | RunOptions) -> "Sampling":
        """The viewers that options of `rollout sample` or `rollout run` ask for. Raises StreamUrlError."""
        for url in options.stream_urls:
            check_stream_url(url)
        return Sampling(
            context.live,
            context.read_file,
            options.stream_urls,
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
        return Arrivals(self.urls, self.seconds, min(self.parallel, self.viewers))

    def round(
        self, arrivals: Arrivals, on_view: Callable[[View], None] = lambda _view: None, last: bool = False
    ) -> list[View]:
        """What the next viewers saw; then the edges are read. last: whether no viewer arrives after them."""
        views = self.watched(arrivals, on_view, last)
        self.refresh()
        return views

    def watched(
        self, arrivals: Arrivals, on_view: Callable[[View], None] = lambda _view: None, last: bool = False
    ) -> list[View]:
        """What the next viewers saw. last: whether no viewer arrives after them."""
        return arrivals.next(self.viewers, on_view, last)

    def check_identity(self, planned: StackFile | None = None) -> None:
        """Raise CommandRejectedError if viewers over HTTP cannot be assigned to releases.

        planned: a stack file whose releases will have viewers, besides those that have some now.
        """
        versions = {
            release: version for release, version in self.fleet.versions.items() if self.fleet.replicas[release]
        }
        if planned:
            versions |= {
                name: _srs_version(release, release.image)
                for name, release in planned.edges.releases.items()
                if release.weight
            }
        over_http = [url for url in self.urls if not url.startswith("rtmp:")]
        if over_http and len(set(versions.values())) < len(versions):
            raise CommandRejectedError(
                f"{over_http[0]} does not tell the releases apart: they have the same SRS version, and HTTP-FLV names "
                "nothing else; use an rtmp:// URL"
            )
