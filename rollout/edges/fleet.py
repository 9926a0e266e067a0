"""The edges that a stack has now: how many, and which ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.fleet import fleet_size, is_own
from cluster.live import LiveCluster, Object
from cluster.rollout_status import pod_reason
from cluster.state import LiveState
from cluster.terminating import is_terminating
from model.config.edges_outline import ReleaseOutline
from model.config.values import parse_image
from model.desired.workloads import release_of
from model.names import EDGE_APP, edge_run
from model.srs.versions import format_version, parse_version
from rollout.command import Context
from rollout.edges.rotation import revision_hash, update_with_sets
from rollout.stack.stack_file import StackFile


def live_edges(context: Context, file: StackFile) -> int | None:
    """The number of edges of the live fleet, all releases together; None of one with a fixed number, and of a new one.

    Raises UnreachableError.
    """
    if file.edges.autoscaling is None:
        return None
    return edges_of(LiveState(objects={"Deployment": context.live.objects("Deployment")}), context.stack_name)


def edges_of(state: LiveState, stack: str) -> int | None:
    """The number of edges of a stack; None if it has none. Foreign edges are no part of its fleet."""
    name = stack.rpartition("/")[2]
    return fleet_size(
        deployment
        for deployment in state.edges.values()
        if is_own(deployment, lambda owner: owner.rpartition("/")[2] == name)
    )


@dataclass(frozen=True)
class Fleet:
    """The edges of all releases at one time.

    replicas: by release, as their Deployments have them. versions: SRS version by release. pods: by release, without
    terminating ones, and those that have ended, such as evicted ones. addresses: release by the IP address of each pod,
    also of terminating ones, which still accept connections.
    While a release is updated in place, the edges of its earlier revisions are a release of their own.
    """

    replicas: Mapping[str, int]
    versions: Mapping[str, str]
    pods: Mapping[str, Sequence[Object]]
    addresses: Mapping[str, str]

    @staticmethod
    def read(live: LiveCluster, file: StackFile, in_place: str | None = None) -> "Fleet":
        """Read it. Foreign edges behind the same Service are a release, too. Raises UnreachableError.

        in_place: the release that is updated in place.
        """
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
            versions[release] = srs_version(file.edges.releases.get(release, ReleaseOutline()), image)
            runs[labels.get("run", edge_run(release))] = release
        earlier: set[str] = set()
        if in_place and (found := update_with_sets(live, in_place)):
            (update, sets), name = found, earlier_revision(in_place)
            new = update.sets(sets)
            replicas[in_place], replicas[name] = _replicas(new), _replicas(sets) - _replicas(new)
            for replica_set in sorted((item for item in sets if item not in new), key=lambda item: _replicas([item])):
                earlier.add(revision_hash(replica_set))
                image = replica_set["spec"]["template"]["spec"]["containers"][0]["image"]
                versions[name] = srs_version(ReleaseOutline(), image)  # at last that of most edges
        of_release: dict[str, list[Object]] = {release: [] for release in replicas}
        addresses: dict[str, str] = {}
        for pod in live.pods(f"run in ({','.join(runs)})") if runs else []:
            release = runs[pod["metadata"]["labels"]["run"]]
            if release == in_place and revision_hash(pod) in earlier:
                release = earlier_revision(release)
            if not is_terminating(pod) and not _has_ended(pod):
                of_release[release].append(pod)
            if address := pod["status"].get("podIP"):
                addresses[address] = release
        return Fleet(replicas, versions, of_release, addresses)

    @property
    def ready(self) -> dict[str, int]:
        """The ready edges in rotation, by release: those that new viewers reach, whatever the Deployments want."""
        return {
            release: sum(pod["metadata"]["labels"].get("app") == EDGE_APP and pod_reason(pod) is None for pod in pods)
            for release, pods in self.pods.items()
        }

    @property
    def shares(self) -> dict[str, float]:
        """The share of each release in the new viewers by its ready edges, in per cent."""
        ready = self.ready
        total = sum(ready.values())
        return {release: 100 * count / total for release, count in ready.items()} if total else {}

    def pods_of(self, release: str) -> Sequence[Object]:
        """The pods of a release."""
        return self.pods.get(release, ())


def earlier_revision(release: str) -> str:
    """The name of what a release that is updated in place has been before, in tables and messages."""
    return f"{release} (earlier)"


def _has_ended(pod: Object) -> bool:
    """Whether a pod exists only as a record: evicted, or rejected by its node (Kubernetes docs, "Pod Lifecycle")."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def _replicas(replica_sets: Sequence[Object]) -> int:
    return sum(int(item["spec"].get("replicas", 1)) for item in replica_sets)


def srs_version(release: ReleaseOutline, image: str | None) -> str:
    """The SRS version of a release by its settings, "" if they do not name it."""
    version = parse_version(release.version or parse_image(image or "").tag or "")
    return format_version(version) if version else ""
