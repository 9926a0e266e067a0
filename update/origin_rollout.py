"""Brings up the origins of a new revision next to those that they replace, one first.

The provider declares a StatefulSet once in an update, with what it has at the end of it. So the program applies the
states before that itself, in the same way and as the same field manager. After an interrupted update, the next one
finds the new origins and goes on from there (`update/origin_revisions.py`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from cluster.live import LiveCluster
from cluster.rollout_status import pod_reason
from cluster.stream_check import check_stream
from cluster.terminating import is_terminating
from model.desired.objects import DesiredObject, Manifest
from model.desired.origin_drain import REVISION_ANNOTATION
from model.desired.workloads import Workload
from model.names import origin_pod
from update.origin_revisions import OriginPlan
from update.polling import RolloutError, wait_for_pods


async def bring_up(
    live: LiveCluster,
    stateful_set: DesiredObject,
    plan: OriginPlan,
    edges: Sequence[Workload],
    on_progress: Callable[[str], None],
) -> str:
    """Create the new origins and wait until they are ready; the origins that they replace serve meanwhile.

    The first one must also be usable (`cluster/stream_check.py`), and drains if it is not. stateful_set: as it is at
    the end. edges: the workloads of the edges. Returns why it cannot be found out whether it is usable, "" if it is.
    Raises RolloutError when the new origins do not become ready or usable, and UnreachableError; none of the earlier
    ones has been removed then.
    """
    assert plan.ordinals is not None
    workload = stateful_set.workload
    assert workload is not None
    first = origin_pod(plan.checked)
    await asyncio.to_thread(_apply, live, stateful_set, plan.first)
    await wait_for_pods(live, workload, {first}, on_progress)
    await asyncio.to_thread(_check_unchanged, live, stateful_set)
    on_progress(f"checking whether {first} accepts a stream, and an edge serves it")
    # Origins that cannot drain are of another program, and do not know the names of the new ones.
    asked = [] if plan.dropped else await asyncio.to_thread(_ready_edges, live, edges)
    access = await asyncio.to_thread(check_stream, live, first, workload, asked)
    await asyncio.to_thread(_check_unchanged, live, stateful_set)
    if access.result == "failed":
        await asyncio.to_thread(_apply, live, stateful_set, plan.earlier)
        raise RolloutError("\n".join([f"{first} is ready and not usable", *(f"  {line}" for line in access.message)]))
    await asyncio.to_thread(_apply, live, stateful_set, plan.all)
    new = {*plan.names} - {*plan.draining}
    await wait_for_pods(live, workload, new, on_progress)
    return "; ".join(access.message)


def _ready_edges(live: LiveCluster, edges: Sequence[Workload]) -> list[tuple[str, str]]:
    """The ready edges, and where each serves the stream of the check."""
    return [
        (pod["metadata"]["name"], workload.probe_path)
        for workload in edges
        for pod in live.pods(workload.selector)
        if pod_reason(pod) is None
    ]


async def replace_in_place(
    live: LiveCluster, stateful_set: DesiredObject, plan: OriginPlan, on_progress: Callable[[str], None]
) -> None:
    """Replace origins one after the other, each under its own name. The StatefulSet is declared already.

    Raises RolloutError when one does not become ready, and UnreachableError; the other origins serve then.
    """
    assert stateful_set.workload is not None
    for name in plan.in_place:
        for pod in await asyncio.to_thread(live.pods, stateful_set.workload.selector):
            if pod["metadata"]["name"] == name and not is_terminating(pod):
                await asyncio.to_thread(live.delete_pod, name, pod["metadata"]["uid"])
        await wait_for_pods(live, stateful_set.workload, {name}, on_progress)


def _apply(live: LiveCluster, stateful_set: DesiredObject, ordinals: range) -> None:
    """Apply the StatefulSet with these ordinals."""
    existing = live.stateful_set(stateful_set.name)
    content = stateful_set.manifest
    spec = {**content["spec"], "replicas": len(ordinals), "ordinals": {"start": ordinals.start}}
    live.apply({**content, "metadata": _metadata(content["metadata"], existing), "spec": spec})


def added_strategy(existing: Manifest | None) -> Manifest | None:
    """The update strategy of a StatefulSet that must be replaced before OnDelete can be applied; None if it need not.

    The API server has added `rollingUpdate` to one that was created without a strategy, such as that of version 2.0. An
    apply does not remove it, as no manager declares it, and is rejected with it (422): only RollingUpdate may have it.
    """
    strategy: Manifest = existing["spec"].get("updateStrategy") or {} if existing else {}
    return strategy if strategy.get("rollingUpdate") is not None else None


def allow_on_delete(live: LiveCluster, existing: Manifest) -> None:
    """Prepare a StatefulSet for the strategy OnDelete, if it must be. Raises UnreachableError."""
    if added_strategy(existing):
        strategy = {"type": "OnDelete", "rollingUpdate": None}
        live.correct("StatefulSet", existing["metadata"]["name"], {"spec": {"updateStrategy": strategy}})


def _check_unchanged(live: LiveCluster, stateful_set: DesiredObject) -> None:
    """End an update that a later one has overtaken: the program outlives a `pulumi up` that was killed.

    Raises RolloutError, and UnreachableError.
    """
    existing = live.stateful_set(stateful_set.name)
    if existing is None or _revision(existing) != _revision(stateful_set.manifest):
        raise RolloutError(f"StatefulSet {stateful_set.name} was changed by another update meanwhile")


def _revision(stateful_set: Manifest) -> str | None:
    annotations: dict[str, str] = stateful_set["spec"]["template"]["metadata"].get("annotations") or {}
    return annotations.get(REVISION_ANNOTATION)


def _metadata(declared: Manifest, existing: Manifest | None) -> Manifest:
    """The metadata that the provider declares; labels and annotations that are there already stay."""
    live: dict[str, Any] = existing["metadata"] if existing else {}
    return {
        **declared,
        **{field: {**(live.get(field) or {}), **declared[field]} for field in ("labels", "annotations")},
    }
