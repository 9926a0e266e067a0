"""The order of an update: which workloads are declared together, and what must be ready before the next ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cluster.aborted import is_aborted
from cluster.live import ready_replicas
from cluster.state import LiveState, is_bound
from model import workloads
from model.names import HLS_CLAIM
from model.settings.stack import StackSettings
from model.values import natural_key
from model.workloads import Workload
from update.workload_changes import WorkloadChange


@dataclass(frozen=True)
class Step:
    """Workloads that are declared together. awaited: those that must be ready before the next step.

    claim: whether the claim of HLS must be bound before the next step.
    """

    declare: tuple[Workload, ...]
    awaited: tuple[Workload, ...] = ()
    claim: bool = False


def steps(settings: StackSettings, state: LiveState) -> Iterator[Step]:
    """The order: a ready edge is removed only after its replacement is ready. Everything else is declared at once.

    Except that no origin waits for a claim that is never bound: nginx comes first then, whose pods are also what a
    storage class with WaitForFirstConsumer waits for.
    """
    hls = [workloads.hls(settings)] if settings.hls.enabled else []
    if hls and not is_bound(state.get("PersistentVolumeClaim", HLS_CLAIM)):
        yield Step(tuple(hls), claim=True)
        hls = []
    first, last, scale_up = edge_order(
        {release: share.replicas for release, share in settings.edge.shares.items()}, ready_edges(state)
    )
    edges = {release: workloads.edges(settings, release) for release in settings.edge.releases}
    yield Step(
        (
            workloads.origins(settings),
            *hls,
            *([workloads.demo(settings)] if settings.demo.enabled else []),
            *(edges[release] for release in first),
        ),
        tuple(edges[release] for release in scale_up if not settings.edge.releases[release].paused) if last else (),
    )
    if last:
        yield Step(tuple(edges[release] for release in last))


def edge_order(desired: Mapping[str, int], ready: Mapping[str, int]) -> tuple[list[str], list[str], list[str]]:
    """The order in which the releases are updated.

    desired: replicas of each release in the config. ready: ready replicas of each live Deployment, also of releases
    that the config removes. Desired replicas of the live Deployments do not count: after a failed update those pods
    may not exist.

    Returns the releases that are updated immediately, those that lose ready edges and are updated last, and the ones
    among the first that must be ready before the last may be updated. If there are more ready edges than desired
    ones, that many may be removed immediately.
    """
    names = sorted(desired, key=natural_key)
    shrinking = [name for name in names if desired[name] < ready.get(name, 0)]
    removals = sum(ready[name] - desired[name] for name in shrinking)
    surplus = sum(ready.values()) - sum(desired.values())
    scale_up = [name for name in names if desired[name] > ready.get(name, 0)]
    last = shrinking if removals > surplus and scale_up else []
    return [name for name in names if name not in last], last, scale_up


def ready_edges(state: LiveState) -> dict[str, int]:
    """Ready edges of each release, also of those that the config removes; none of a release that is out of rotation."""
    return {
        workloads.release_of(name): 0 if is_aborted(deployment) else ready_replicas(deployment)
        for name, deployment in state.edges.items()
    }


def foreign_edges(state: LiveState, own: LiveState) -> dict[str, int]:
    """Ready edges of Deployments of others, which the edge Service selects as well.

    They are no capacity for the order of an update: their owner may remove them at any time.
    """
    return {name: ready_replicas(deployment) for name, deployment in state.edges.items() if name not in own.edges}


def trims(changes: tuple[WorkloadChange, ...]) -> dict[str, int]:
    """Deployments of edges that lose pods which are not ready, before anything else; their replicas after that.

    Such pods serve nobody, but hold capacity that the replacements need: crashing pods of a bad release on a full node
    pool or under a quota would otherwise block the rollback. Ready pods are removed in the order of the steps.
    """
    return {
        change.workload.name: max(change.after, change.ready)
        for change in changes
        if change.workload.release is not None and max(change.after, change.ready) < change.before
    }
