"""What the program changes in the origins' StatefulSet itself, and in which order."""

import asyncio
import copy
from dataclasses import replace
from typing import Any, cast

import pytest

from cluster.live import LiveCluster
from cluster.origin_check import OriginAccess
from cluster.state import LiveState
from model.desired.origin_drain import REVISION_ANNOTATION
from unit.update.live_objects import origin, planned, rendered, settings, state_after
from update import origin_rollout, polling
from update.origin_rollout import added_strategy, allow_on_delete, bring_up, replace_in_place
from update.plan import UpdatePlan
from update.polling import RolloutError


class Cluster:
    """Records the patches."""

    def __init__(self) -> None:
        self.patches: list[Any] = []

    def correct(self, kind: str, name: str, patch: Any) -> None:
        self.patches.append((kind, name, patch))


@pytest.mark.parametrize(
    ("strategy", "patched"),
    [
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, True),
        ({"type": "RollingUpdate"}, False),
        ({"type": "OnDelete"}, False),
        (None, False),
    ],
    ids=["created without a strategy", "RollingUpdate", "OnDelete", "none"],
)
def test_what_the_api_server_has_added_to_another_strategy_is_removed(strategy: Any, patched: bool) -> None:
    """With it, it rejects OnDelete: `only allowed for updateStrategy 'RollingUpdate'`."""
    cluster = Cluster()
    existing = {"metadata": {"name": "srs-origin"}, "spec": {"updateStrategy": strategy} if strategy else {}}
    assert added_strategy(existing) == (strategy if patched else None), "what a preview declares"
    allow_on_delete(cast("LiveCluster", cluster), existing)
    patch = {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}}
    assert cluster.patches == [("StatefulSet", "srs-origin", patch)] * patched


class Origins:
    """Its controllers make an origin ready soon. steps: what was done, and asked, in this order."""

    namespace = "live"

    def __init__(self, state: LiveState) -> None:
        self.current: Any = copy.deepcopy(state.origins)
        self.current["metadata"]["annotations"]["other"] = "stays"
        self.origins = {pod["metadata"]["name"]: pod for pod in copy.deepcopy(state.pods)}
        self.steps: list[Any] = []
        self.reads = 0

    def stateful_set(self, name: str) -> Any:
        assert name == "srs-origin"
        ready = {"replicas": len(self.origins), "readyReplicas": len(self.origins)}
        self.current["status"] |= ready | {"availableReplicas": len(self.origins), "observedGeneration": 1}
        return self.current

    def apply(self, manifest: Any) -> None:
        self.reads = 0
        self.current |= {"spec": manifest["spec"], "status": {"updateRevision": "new"}}
        self.current["metadata"] |= manifest["metadata"]
        start, count = manifest["spec"]["ordinals"]["start"], manifest["spec"]["replicas"]
        self.steps.append(range(start, start + count))
        names = {f"srs-origin-{number}": number for number in self.steps[-1]}
        self.origins = {
            name: self.origins.get(name) or origin(self.current, number, uid="new") for name, number in names.items()
        }

    def pods(self, selector: str) -> list[Any]:
        if selector == "app=srs-origin":
            self.reads += 1
            return list(self.origins.values()) if self.reads > 2 else []
        edges = {"run=srs-edge-r5": ("r5-ready", "True"), "run=srs-edge-r6": ("r6-crashes", "False")}
        name, ready = edges[selector]
        return [{"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}]

    def delete_pod(self, name: str, uid: str) -> None:
        self.reads = 0
        self.steps.append((name, uid))
        self.origins[name] = origin(self.current, int(name[-1]), uid="new")

    def warnings(self, _name: str) -> list[str]:
        return []


AT_ONCE = {"image": "ossrs/srs:v4.0.6", "minReady": "0s"}


@pytest.fixture
def update(monkeypatch: pytest.MonkeyPatch) -> tuple[Origins, Any, UpdatePlan]:
    """The live origins, the desired ones with another image, and the plan."""
    monkeypatch.setattr(polling.poll, "__defaults__", (0.01,))
    state = state_after(settings(origin=AT_ONCE))
    after = settings(origin=AT_ONCE | {"image": "ossrs/srs:v4.0.271"})
    plan = planned(after, state)
    desired = rendered(after, state).with_origins_from(plan.origins.start)
    return Origins(state), desired, plan


def brought_up(update: tuple[Origins, Any, UpdatePlan], access: OriginAccess, **change: Any) -> tuple[str, list[str]]:
    """What `bring_up` returns, and its progress."""
    live, desired, plan = update
    progress: list[str] = []
    edges = [desired.edges(name) for name in desired.releases]

    def check(*asked: Any) -> OriginAccess:
        live.steps.append(asked[1:])
        return access

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(origin_rollout, "check_stream", check)
        result = asyncio.run(
            bring_up(
                cast("LiveCluster", live),
                desired.origin_set,
                replace(plan.origins, **change),
                edges,
                progress.append,
            )
        )
    return result, progress


REACHED = OriginAccess("reached")


def test_one_new_origin_is_checked_before_there_are_more(update: tuple[Origins, Any, UpdatePlan]) -> None:
    live, desired, _ = update
    result, progress = brought_up(update, REACHED)
    edges = [("r5-ready", desired.edges("r5").probe_path)]
    assert live.steps == [range(4), ("srs-origin-3", desired.origin_set.workload, edges), range(6)]
    assert result == ""
    assert progress == [
        "0 of 1 new ones ready",
        "",
        "checking whether srs-origin-3 accepts a stream, and an edge serves it",
        "0 of 3 new ones ready",
        "",
    ]
    metadata = live.current["metadata"]
    assert {**metadata["annotations"], **metadata["labels"]} == {
        **desired.origin_set.manifest["metadata"]["annotations"],
        **desired.origin_set.manifest["metadata"]["labels"],
        "other": "stays",
    }


def test_a_new_origin_that_is_not_usable_drains(update: tuple[Origins, Any, UpdatePlan]) -> None:
    with pytest.raises(RolloutError) as error:
        brought_up(update, OriginAccess("failed", ("pod srs-origin-3: no hook", "check its URL")))
    assert str(error.value) == "srs-origin-3 is ready and not usable\n  pod srs-origin-3: no hook\n  check its URL"
    steps = update[0].steps
    assert [step for step in steps if isinstance(step, range)] == [range(4), range(3)]


def test_what_is_not_known_of_a_new_origin_is_returned(update: tuple[Origins, Any, UpdatePlan]) -> None:
    """Origins of another program do not know its name: no edge is asked."""
    result, _ = brought_up(update, OriginAccess("unknown", ("no log", "no edge")), removed={"srs-origin-0": 0})
    assert result == "no log; no edge"
    assert update[0].steps[1][-1] == []
    assert update[0].steps[-1] == range(6)


@pytest.mark.parametrize("checks", [0, 1])
def test_an_update_that_another_one_has_overtaken_ends(
    update: tuple[Origins, Any, UpdatePlan], monkeypatch: pytest.MonkeyPatch, checks: int
) -> None:
    """Before its check, or during it. A pulumi up that is killed leaves its program running."""
    live = update[0]
    stateful_set = live.stateful_set

    def overtaken(name: str) -> Any:
        if len(live.steps) > checks:
            live.current = copy.deepcopy(live.current)
            live.current["spec"]["template"]["metadata"]["annotations"][REVISION_ANNOTATION] = "another"
        return stateful_set(name)

    monkeypatch.setattr(live, "stateful_set", overtaken)
    with pytest.raises(RolloutError, match="StatefulSet srs-origin was changed by another update meanwhile"):
        brought_up(update, OriginAccess("failed"))
    assert [step for step in live.steps if isinstance(step, range)] == [range(4)]


def test_origins_are_replaced_in_place_one_after_the_other(update: tuple[Origins, Any, UpdatePlan]) -> None:
    live, desired, plan = update
    live.current["status"]["updateRevision"] = "new"
    live.origins["srs-origin-1"]["metadata"]["uid"] = "old"
    for ordinal in (0, 2):
        live.origins[f"srs-origin-{ordinal}"] = origin(live.current, ordinal, uid="old")
    in_place = replace(plan.origins, in_place=("srs-origin-1", "srs-origin-0"))
    live.reads = 9
    progress: list[str] = []
    asyncio.run(replace_in_place(cast("LiveCluster", live), desired.origin_set, in_place, progress.append))
    assert progress == ["0 of 1 new ones ready", ""] * 2
    assert live.steps == [("srs-origin-1", "old"), ("srs-origin-0", "old")]
