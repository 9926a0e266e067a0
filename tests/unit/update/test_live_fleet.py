"""Capacity never dips while weight moves and autoscalers act at any moment, also when updates are interrupted.

The cluster is a model: Deployments with ready pods, and autoscalers that set any number within their bounds whenever
something else happens. What an update does with it is the program's: its settings for the live fleet, its steps, its
autoscalers, and how it follows the fleet between steps.
"""

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bad_configs import GOOD
from cluster.live import Kind
from cluster.state import LiveState
from model.config.stack import StackSettings
from model.desired.autoscalers import share_annotation
from model.desired.render import Desired
from model.names import EDGE_APP, SHARE_ANNOTATION, STACK_ANNOTATION, edge_deployment
from unit.update.live_objects import STACK, rendered, settings
from update.autoscaling import live_autoscalers
from update.live_fleet import AutoscalerError, follow_fleet, next_releases, retire
from update.order import steps

SCALING = {"minimum": 4, "maximum": 60, "metric": "cpu", "target": "600m"}


def fleet(minimum: int = 4, maximum: int = 60, **weights: int) -> StackSettings:
    releases = {name: {"image": "ossrs/srs:v4.0.6", "weight": weight} for name, weight in weights.items()}
    edge = {**GOOD["edge"], "releases": releases, "autoscaling": SCALING | {"minimum": minimum, "maximum": maximum}}
    del edge["replicas"]
    return settings(edge=edge, hls={"enabled": False}, demo={"enabled": False})


class InterruptedUpdateError(Exception):
    """The update is killed."""


@dataclass
class Release:
    """What exists of a release. allowed: the bounds of its autoscaler, None if it has none."""

    replicas: int
    ready: int
    share: str | None
    allowed: range | None = None


@dataclass
class Model:
    """The cluster. random: decides what happens at any moment, None if nothing does.

    total, known: the size of the fleet and its ready edges, as the update has read them last. lost: ready edges that
    autoscalers removed since then.
    """

    random: Random | None = None
    releases: dict[str, Release] = field(default_factory=dict[str, Release])
    interruptible: bool = False
    total: int = 0
    known: int = 0
    lost: int = 0

    @property
    def ready(self) -> int:
        return sum(item.ready for item in self.releases.values())

    def moment(self) -> None:
        """Something happens, or nothing."""
        if self.random is None:
            return
        for _ in range(self.random.randint(0, 2)):
            item = self.releases[self.random.choice(sorted(self.releases))]
            if self.random.random() < 0.5:
                item.ready = min(item.replicas, item.ready + self.random.randint(1, 40))
            elif item.allowed and item.replicas:  # an autoscaler of a Deployment with 0 replicas does nothing
                least = max(item.allowed.start, item.replicas - 1)  # one edge at a time
                self._set(item, min(self.random.randint(least, max(least, 60)), item.allowed.stop - 1))
        if self.interruptible and self.random.random() < 0.1:
            raise InterruptedUpdateError

    def _set(self, item: Release, replicas: int) -> None:
        before = item.ready
        item.ready = min(item.ready, replicas)  # those that are not ready go first (kubernetes, ActivePodsWithRanks)
        self.lost += before - item.ready
        item.replicas = replicas

    def state(self) -> LiveState:
        return LiveState(cluster_uid="uid", objects={"Deployment": self.objects("Deployment")})

    # What the program uses.

    def objects(self, kind: Kind) -> dict[str, dict[str, Any]]:
        assert kind == "Deployment"
        self.moment()
        found: dict[str, dict[str, Any]] = {}
        for name, item in self.releases.items():
            annotations = {STACK_ANNOTATION: STACK} | ({} if item.share is None else {SHARE_ANNOTATION: item.share})
            found[edge_deployment(name)] = {
                "metadata": {"name": edge_deployment(name), "annotations": annotations},
                "spec": {"replicas": item.replicas, "template": {"metadata": {"labels": {"app": EDGE_APP}}}},
                "status": {"readyReplicas": item.ready},
            }
        return found

    def scale(self, deployment: str, replicas: int) -> None:
        self.moment()
        self._program_sets(deployment.removeprefix("srs-edge-").removesuffix("-deploy"), replicas)

    def delete(self, kind: Kind, name: str) -> None:
        raise AssertionError(f"{kind} {name} is deleted")

    def _program_sets(self, name: str, replicas: int) -> None:
        before, lost, item = min(self.ready, self.known), self.lost, self.releases[name]
        self._set(item, replicas)
        self.lost = lost
        assert self.ready >= min(before, self.total) - lost, f"{self.ready} edges are left of {before}"

    def declare(self, desired: Desired, name: str) -> None:
        """The autoscaler of a release, then its Deployment."""
        item = self.releases.setdefault(name, Release(0, 0, None))
        item.allowed = None
        for declared in desired.releases[name]:
            if declared.role == "autoscaler":
                spec = declared.manifest["spec"]
                item.allowed = range(spec["minReplicas"], spec["maxReplicas"] + 1)
                self.moment()
            elif declared.kind == "Deployment":
                item.share = declared.manifest["metadata"]["annotations"][SHARE_ANNOTATION]
                self._program_sets(name, declared.manifest["spec"]["replicas"])
                self.moment()

    async def wait(self, names: Sequence[str]) -> None:
        """Until all their edges are ready."""
        self.moment()
        for name in names:
            self.releases[name].ready = self.releases[name].replicas
        self.moment()

    def update(self, configured: StackSettings) -> None:
        with patch("update.live_fleet.asyncio.to_thread", _at_once):
            asyncio.run(self._update(configured))

    async def _update(self, configured: StackSettings) -> None:
        """As `update/run.py` does it."""
        desired = rendered(configured, self.state())
        declared: list[str] = []
        for step in steps(desired, self.state()):
            left = [workload.release for workload in step.declare if workload.release]
            while left:
                ready = await self._follow(desired, declared)
                names = next_releases(left, self.now, ready)
                for name in names:
                    self.declare(self.now, name)
                declared += names
                left = [name for name in left if name not in names]
                if left:
                    await self.wait(names)
            await self.wait([workload.release for workload in step.awaited if workload.release])
        await self.wait(declared)
        await self._follow(desired, declared)
        for name in [name for name in self.releases if name not in configured.edge.releases]:
            del self.releases[name]
            assert self.ready >= min(self.known, self.total) - self.lost

    async def _follow(self, desired: Desired, declared: list[str]) -> dict[str, int]:
        self.now, ready = await follow_fleet(self, desired, [STACK], declared, self.wait)
        self.total, self.known, self.lost = self.now.kept.edges or 0, sum(ready.values()), 0
        return ready


async def _at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


weights = st.dictionaries(st.sampled_from(["r5", "r6", "r7"]), st.integers(0, 10), min_size=1).filter(
    lambda items: any(items.values())
)


@given(
    random=st.randoms(use_true_random=True), start=st.integers(4, 60), configs=st.lists(weights, min_size=1, max_size=3)
)
@hypothesis_settings(deadline=None)
def test_capacity_never_dips_while_autoscalers_act(random: Random, start: int, configs: list[dict[str, int]]) -> None:
    model = Model(random)
    allowed = range(4, 61)
    model.releases["r5"] = Release(start, start, "1", allowed)
    for index, config in enumerate(configs):
        model.interruptible = index < len(configs) - 1
        try:
            model.update(fleet(**config))
        except (InterruptedUpdateError, AutoscalerError):
            continue
        for name, weight in config.items():
            item = model.releases[name]
            assert (item.replicas == 0) == (weight == 0)
            if item.allowed:
                # Of three releases, one may have an edge more than in the largest fleet (`bounds`), until it is scaled.
                assert item.replicas in range(item.allowed.start, item.allowed.stop + (len(config) > 2))
    last = configs[-1]
    assert model.releases.keys() == last.keys()
    total = sum(item.replicas for item in model.releases.values())
    assert 4 <= total <= 60 + len(last), "a fleet of three releases may have one edge more (`bounds`)"


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_promotion_of_40_edges_leaves_40(interrupted: bool) -> None:
    model = Model()
    model.releases = {"r5": Release(40, 40, "1", range(4, 61)), "r6": Release(0, 0, "0")}
    if interrupted:  # by the end of the first step
        model.releases["r6"] = Release(40, 40, "1", range(4, 61))
    model.update(fleet(r5=0, r6=100))
    assert {name: item.replicas for name, item in model.releases.items()} == {"r5": 0, "r6": 40}


@given(before=weights, after=weights, start=st.integers(3, 12))
@hypothesis_settings(deadline=None)
def test_a_move_of_weight_keeps_the_size_of_a_small_fleet(
    before: dict[str, int], after: dict[str, int], start: int
) -> None:
    """Two releases; with three, the fleet may have one or two edges more until it is scaled."""
    model = Model()
    model.releases = {"r5": Release(start, start, "1", range(3, 61))}
    model.update(fleet(minimum=3, **before))
    model.update(fleet(minimum=3, **after))
    total = sum(item.replicas for item in model.releases.values())
    assert total == start or (total > start and max(len(before), len(after), len({*before, *after})) > 2)


def test_a_fleet_that_grows_during_a_promotion_takes_its_size_along() -> None:
    """The viewers come while the edges of r6 become ready, and only the autoscaler of r5 sees their load."""
    model = Model()
    model.releases = {"r5": Release(40, 40, "1", range(4, 61)), "r6": Release(0, 0, "0")}
    moment, seen = model.moment, []

    def grow() -> None:
        moment()
        if model.releases["r6"].ready == 40 and not seen:
            seen.append(True)
            model.releases["r5"].replicas = 50

    model.moment = grow
    model.update(fleet(r5=0, r6=100))
    assert model.releases["r6"].replicas == 50
    assert model.releases["r5"].replicas == 0


# How an update follows a fleet between its steps.


def followed(
    model: Model, desired: Desired, declared: Sequence[str], wait: Callable[[Sequence[str]], None] = lambda _names: None
) -> Desired:
    async def awaited(names: Sequence[str]) -> None:
        wait(names)

    with patch("update.live_fleet.asyncio.to_thread", _at_once):
        return asyncio.run(follow_fleet(model, desired, [STACK], declared, awaited))[0]


def test_a_fleet_that_does_not_change_is_declared_as_planned() -> None:
    model = Model(None, {"r5": Release(36, 36, "9/10"), "r6": Release(4, 4, "1/10")})
    desired = rendered(fleet(r5=90, r6=10), model.state())
    assert followed(model, desired, []).objects == desired.objects


def test_edges_that_autoscalers_add_during_an_update_stay() -> None:
    model = Model(None, {"r5": Release(36, 36, "9/10"), "r6": Release(4, 4, "1/10")})
    desired = rendered(fleet(r5=90, r6=10), model.state())
    model.releases["r5"].replicas = 50
    assert {name: share.replicas for name, share in followed(model, desired, []).shares.items()} == {"r5": 50, "r6": 4}


@pytest.mark.parametrize(
    ("r6", "scaled"),
    [
        (Release(1, 1, "1/4"), None),
        (Release(1, 0, "1/4"), []),  # it has been scaled already
        (Release(0, 0, "1/4"), [("srs-edge-r6-deploy", 1)]),
        (None, []),  # deleted by hand: the wait says so
    ],
)
def test_a_declared_release_is_awaited_until_it_has_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, r6: Release | None, scaled: list[tuple[str, int]] | None
) -> None:
    model = Model(None, {"r5": Release(3, 3, "3/4")} | ({"r6": r6} if r6 else {}))
    calls: list[tuple[str, int]] = []
    awaited: list[Sequence[str]] = []

    def wait(names: Sequence[str]) -> None:
        awaited.append(names)
        model.releases["r6"] = Release(1, 1, "1/4")

    monkeypatch.setattr(model, "scale", lambda *call: calls.append(call))
    followed(model, rendered(fleet(r5=75, r6=25), model.state()), ["r5", "r6"], wait)
    assert (awaited, calls) == (([], []) if scaled is None else ([["r6"]], scaled))


def test_a_fleet_that_grows_faster_than_edges_become_ready_ends_the_update() -> None:
    model = Model(None, {"r5": Release(2, 1, "1/2"), "r6": Release(2, 1, "1/2")})
    with pytest.raises(AutoscalerError, match="has become larger 10 times while edges of r5, r6 became ready"):
        followed(model, rendered(fleet(r5=50, r6=50), model.state()), ["r5", "r6"])


# Autoscalers that the config has no longer.


@dataclass
class Autoscalers:
    """The API server, as far as `retire` uses it. stays: how many reads a deleted object is still listed."""

    items: dict[str, dict[str, Any]]
    stays: int = 0
    deleted: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def objects(self, kind: Kind) -> dict[str, dict[str, Any]]:
        if kind == "Deployment":
            return fleet_state().objects["Deployment"]
        if self.deleted and kind == "HorizontalPodAutoscaler":
            self.stays -= 1
            if self.stays < 0:
                return {}
        return {name: item for name, item in self.items.items() if item["kind"] == kind}

    def scale(self, deployment: str, replicas: int) -> None:
        raise AssertionError((deployment, replicas))

    def delete(self, kind: Kind, name: str) -> None:
        self.deleted.append((kind, name))
        if kind == "ScaledObject":
            self.items = {key: item for key, item in self.items.items() if item["kind"] != kind}


def fleet_state() -> LiveState:
    model = Model(None, {"r5": Release(4, 4, "1")})
    return model.state()


def scaled_object() -> dict[str, dict[str, Any]]:
    """A ScaledObject of the stack, and what KEDA makes of it."""
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "srs-edge-r5-deploy"}}
    return {
        "srs-edge-r5": {"kind": "ScaledObject", "metadata": {"annotations": {STACK_ANNOTATION: STACK}}, "spec": target},
        "keda-hpa-srs-edge-r5": {
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"ownerReferences": [{"kind": "ScaledObject", "name": "srs-edge-r5"}]},
            "spec": copy.deepcopy(target),
        },
    }


async def _no_sleep(seconds: float) -> None:
    pass


def test_a_retired_autoscaler_is_awaited_with_what_keda_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("update.live_fleet.asyncio.sleep", _no_sleep)
    api = Autoscalers(scaled_object(), stays=3)
    objects: dict[Kind, dict[str, Any]] = {"Deployment": fleet_state().objects["Deployment"]}
    objects["ScaledObject"] = api.objects("ScaledObject")
    (old,) = live_autoscalers(LiveState(objects=objects))
    asyncio.run(retire(api, [old]))
    assert api.deleted == [("ScaledObject", "srs-edge-r5")]
    assert api.stays < 0, "until it is gone"
    stuck = Autoscalers(scaled_object(), stays=1000)
    with pytest.raises(
        AutoscalerError, match="keda-hpa-srs-edge-r5 of release r5 still exists 60 s after its deletion"
    ):
        asyncio.run(retire(stuck, [old]))


@pytest.mark.parametrize(
    ("ready", "declared"),
    [
        ({"r5": 4, "r6": 1}, ["r6", "r7"]),
        ({"r5": 4}, ["r6", "r7"]),
        ({"r5": 3, "r6": 2, "r7": 1}, ["r5"]),
        ({"r5": 4, "r6": 2, "r7": 1}, ["r5", "r6", "r7"]),
    ],
)
def test_releases_that_lose_no_ready_edge_are_declared_first(ready: dict[str, int], declared: list[str]) -> None:
    releases = {name: {"image": "ossrs/srs:v4.0.6", "weight": weight} for name, weight in (("r5", 75), ("r6", 25))}
    unused = {"r7": {"image": "ossrs/srs:v4.0.6", "weight": 0}}
    assert next_releases(["r5", "r6", "r7"], rendered(settings(edge__releases=releases | unused)), ready) == declared


def test_an_autoscaler_whose_deletion_takes_a_while_is_awaited() -> None:
    class Finalizer(Autoscalers):
        def objects(self, kind: Kind) -> dict[str, dict[str, Any]]:
            if kind == "ScaledObject":
                self.stays -= 1
            return {} if self.stays < 0 else super().objects(kind)

        def delete(self, kind: Kind, name: str) -> None:
            self.deleted.append((kind, name))

    only = Finalizer({"srs-edge-r5": scaled_object()["srs-edge-r5"]}, stays=8)
    objects: dict[Kind, dict[str, Any]] = {kind: only.objects(kind) for kind in ("Deployment", "ScaledObject")}
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with patch("asyncio.sleep", sleep):
        asyncio.run(retire(only, list(live_autoscalers(LiveState(objects=objects)))))
    assert waits == [1, 1, 1]


def test_shares_of_the_annotation_are_those_of_the_weights() -> None:
    def share(configured: StackSettings) -> str | None:
        return share_annotation(configured, "r6").get(SHARE_ANNOTATION)

    assert [share(fleet(r5=75, r6=25)), share(fleet(r5=1, r6=0)), share(fleet(r6=3))] == ["1/4", "0", "1"]
    assert share(settings()) is None
