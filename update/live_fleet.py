"""Follows a fleet during an update: autoscalers change its size while weight moves."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from cluster.live import Kind, Object
from cluster.state import LiveState
from model.desired.render import Desired, render
from model.names import edge_deployment
from update.autoscaling import LiveAutoscaler, live_autoscalers, live_fleet
from update.order import ready_edges

MAX_ROUNDS = 10
"""How often releases follow a fleet that becomes larger; each round awaits their edges, for half a minute or so."""

DELETION_SECONDS = 60
"""How long the deletion of an autoscaler may take: KEDA deletes what it has made."""


class AutoscalerError(RuntimeError):
    """An autoscaler that is no longer wanted cannot be deleted, or the fleet grows faster than an update can follow."""


class Cluster(Protocol):
    """What this module needs of `cluster.live.LiveCluster`."""

    def objects(self, kind: Kind) -> dict[str, Object] | None:
        """All objects of a kind, by name; None if they must not be read."""
        ...

    def scale(self, deployment: str, replicas: int) -> None:
        """Set the replicas of a Deployment."""
        ...

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object."""
        ...


async def retire(live: Cluster, autoscalers: Sequence[LiveAutoscaler]) -> None:
    """Delete autoscalers that the config has no longer, and wait until nothing of them acts.

    Raises AutoscalerError and UnreachableError.
    """
    for item in autoscalers:
        await asyncio.to_thread(live.delete, item.kind, item.name)
    left: list[LiveAutoscaler] = []
    for _ in range(DELETION_SECONDS):
        state = await _read(live, "HorizontalPodAutoscaler", "ScaledObject")
        left = [
            item
            for item in live_autoscalers(state)
            for old in autoscalers
            if (old.kind, old.name) in ((item.kind, item.name), item.owner)
        ]
        if not left:
            return
        await asyncio.sleep(1)
    raise AutoscalerError(
        f"{left[0].kind} {left[0].name} of release {left[0].release} still exists {DELETION_SECONDS} s after its "
        "deletion: KEDA deletes what it has made, if it runs"
    )


async def follow_fleet(
    live: Cluster,
    desired: Desired,
    stacks: Collection[str],
    declared: Collection[str],
    wait: Callable[[Sequence[str]], Awaitable[None]],
) -> tuple[Desired, dict[str, int]]:
    """The desired state for the live fleet of now and its ready edges, once the declared releases have what it needs.

    stacks: see `ownership.stack_names`. declared: releases that this update has declared and awaited. If the fleet has
    become larger since then, they get more edges, and `wait` awaits them, before other releases lose theirs: capacity
    is that of the fleet of now.
    Raises AutoscalerError if they do not catch up, UnreachableError, and what `wait` raises.
    """
    lagging: list[str] = []
    for _ in range(MAX_ROUNDS):
        state = await _read(live)
        fleet = live_fleet(desired.settings.edge, state, stacks, desired.kept.edges)
        kept = replace(desired.kept, edges=fleet.edges, replicas=fleet.replicas)
        current = render(desired.settings, kept, desired.stack)
        wanted = {release: current.shares[release].replicas for release in declared}
        ready = ready_edges(state)
        lagging = [release for release, count in wanted.items() if ready.get(release, 0) < count]
        if not lagging:
            return current, ready
        for release in lagging:
            name = edge_deployment(release)
            if name in state.edges and int(state.edges[name]["spec"]["replicas"]) < wanted[release]:
                await asyncio.to_thread(live.scale, name, wanted[release])
        await wait(lagging)
    raise AutoscalerError(
        f"the fleet has become larger {MAX_ROUNDS} times while edges of {', '.join(lagging)} became ready, and needs "
        "the edges that this update would remove"
    )


def next_releases(releases: Sequence[str], desired: Desired, ready: Mapping[str, int]) -> list[str]:
    """The releases of a step that are declared next: first those that lose no ready edge, then the others.

    desired, ready: of now. The plan has divided them by its live state, and autoscalers have acted since then.
    """
    gaining = [release for release in releases if desired.shares[release].replicas >= ready.get(release, 0)]
    return gaining or list(releases)


async def _read(live: Cluster, *more: Kind) -> LiveState:
    kinds: list[Kind] = ["Deployment", *more]
    return LiveState(objects={kind: await asyncio.to_thread(live.objects, kind) or {} for kind in kinds})
