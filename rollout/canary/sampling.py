"""Viewers on a running stack: what they see, and which release serves each of them."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cluster.live import LiveCluster
from model.run_record import RunOptions
from rollout.canary.analysis import Sources
from rollout.canary.viewers import Arrivals, View, check_stream_url
from rollout.command import CommandRejectedError, Context
from rollout.edges.fleet import Fleet, earlier_revision, srs_version
from rollout.stack.stack_file import StackFile


def desired_shares(file: StackFile) -> dict[str, float]:
    """The share of each release by its weight, in per cent."""
    weights = file.edges.weights
    total = sum(weights.values())
    return {name: 100 * weight / total for name, weight in weights.items()} if total else {}


@dataclass
class Sampling:
    """Viewers on a stack.

    urls: of streams. in_place: the release that a run updates in place. _pod_addresses: as `Sources.addresses`, since
    the beginning.
    """

    live: LiveCluster
    read_file: Callable[[], StackFile]
    urls: Sequence[str]
    viewers: int
    seconds: float
    parallel: int
    in_place: str | None = None
    fleet: Fleet = field(init=False)
    _pod_addresses: dict[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of(context: Context, options: Namespace | RunOptions, in_place: str | None = None) -> "Sampling":
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
            in_place,
        )

    def __post_init__(self) -> None:
        self.refresh()

    @property
    def round_seconds(self) -> float:
        """How long a round takes."""
        return self.seconds * self.viewers / min(self.parallel, self.viewers)

    def refresh(self) -> Fleet:
        """Read the edges."""
        self.fleet = Fleet.read(self.live, self.read_file(), self.in_place)
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
                name: srs_version(release, release.image)
                for name, release in planned.edges.releases.items()
                if release.weight
            }
            if self.in_place and self.in_place in self.fleet.versions:
                versions[earlier_revision(self.in_place)] = self.fleet.versions[self.in_place]
        over_http = [url for url in self.urls if not url.startswith("rtmp:")]
        if over_http and len(set(versions.values())) < len(versions):
            raise CommandRejectedError(
                f"{over_http[0]} does not tell the releases apart: they have the same SRS version, and HTTP-FLV names "
                "nothing else; use an rtmp:// URL"
            )
