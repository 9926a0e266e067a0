"""An update in flight does not undo an abort: it reads the mark again before it declares and before it writes."""

import asyncio
import copy
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from cluster.aborted import abort_mark
from cluster.live import ConflictError, LiveCluster
from model.desired.workloads import Workload
from model.names import ABORTED_ANNOTATION
from model.run_record import RunRecord
from unit.rollout.leases import FakeLeases
from update import run as run_module
from update.order import Step
from update.prediction import Change
from update.steps import StepRunner
from update.steps import correct as correct_workload

R6 = Workload("Deployment", "srs-edge-r6-deploy", "run=srs-edge-r6", "edge release r6", timedelta(minutes=1), "r6")


class Cluster(FakeLeases):
    """A paused Deployment of r6. before_writes: what other clients do before each of our writes."""

    def __init__(self, *before_writes: Any) -> None:
        super().__init__()
        self.item: dict[str, Any] = {
            "metadata": {"name": R6.name, "resourceVersion": "1", "annotations": {}},
            "spec": {"paused": True, "template": {"metadata": {"labels": {"app": "srs-edge"}}}},
        }
        self.before_writes = list(before_writes)

    def abort(self) -> None:
        self.item["metadata"]["annotations"][ABORTED_ANNOTATION] = abort_mark(self.item)
        self.changed()

    def changed(self) -> None:
        self.item["metadata"]["resourceVersion"] += "1"

    def deployment(self, name: str) -> Any:
        return copy.deepcopy(self.item) if name == R6.name else None

    def replace(self, workload: dict[str, Any]) -> None:
        if self.before_writes:
            self.before_writes.pop(0)(self)
        if workload["metadata"]["resourceVersion"] != self.item["metadata"]["resourceVersion"]:
            raise ConflictError("the object has been modified")
        self.item = workload


@pytest.fixture(autouse=True)
def update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)


def check(cluster: Cluster, marked: Sequence[str] = (), token: str = "", workload: Workload = R6) -> None:
    live = cast("LiveCluster", cluster)
    asyncio.run(run_module._check_not_aborted(live, frozenset(marked), token, workload))


def test_a_release_that_was_aborted_meanwhile_is_not_declared() -> None:
    cluster = Cluster()
    check(cluster)
    cluster.abort()
    with pytest.raises(pulumi.RunError, match=r"edge release r6 was taken out of rotation meanwhile \(rollout abort\)"):
        check(cluster)
    check(cluster, marked=[R6.name])  # the plan has decided about it


def test_the_update_of_a_run_that_was_aborted_meanwhile_declares_no_release() -> None:
    cluster, record = Cluster(), RunRecord(release="r6", steps=(25,), weights_before={"r5": 100})
    cluster.write_lease(record.to_lease(None))
    check(cluster, token=record.token)
    with pytest.raises(pulumi.RunError, match="was aborted or taken over meanwhile"):
        check(cluster, token="of the former holder")


def test_the_marks_are_read_again_before_each_declaration() -> None:
    events: list[str] = []

    async def check_not_aborted(workload: Workload) -> None:
        events.append(f"check {workload.release}")
        if len(events) > 1:
            raise pulumi.RunError("aborted")

    async def follow(left: Sequence[Workload], *_: object) -> Sequence[Workload]:
        return left

    async def nothing() -> None:
        pass

    r5 = Workload("Deployment", "srs-edge-r5-deploy", "run=srs-edge-r5", "edge release r5", timedelta(), "r5")
    declarer = SimpleNamespace(has=lambda _item: False, resource=lambda _item: None)
    declarations = {item.name: lambda name=item.name: events.append(f"declare {name}") for item in (R6, r5)}
    with pytest.raises(pulumi.RunError, match="aborted"):
        asyncio.run(
            StepRunner(
                cast("Any", SimpleNamespace(steps=(Step((R6, r5)),), changes=(), paused=())),
                cast("LiveCluster", None),
                cast("Any", SimpleNamespace(confs=SimpleNamespace(redact=str), workloads={R6: "r6", r5: "r5"})),
                cast("Any", declarer),
                declarations,
                nothing,
                nothing,
                check_not_aborted,
                follow,
            ).run()
        )
    assert events == ["check r6", "declare srs-edge-r6-deploy", "check r5"]


def correct(cluster: Cluster) -> None:
    async def declared_and_corrected() -> None:
        created: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        created.set_result("id")
        resource = cast("pulumi.CustomResource", SimpleNamespace(id=SimpleNamespace(future=lambda: created)))
        resume = Change(("spec", "paused"), True, None, "kubectl-rollout")
        await correct_workload(cast("LiveCluster", cluster), R6, resource, [resume])

    asyncio.run(declared_and_corrected())


def test_a_correction_is_tried_again_when_its_controller_has_changed_the_workload() -> None:
    cluster = Cluster(Cluster.changed, Cluster.changed)
    correct(cluster)
    assert "paused" not in cluster.item["spec"]


def test_a_correction_that_meets_an_abort_leaves_the_workload_paused() -> None:
    cluster = Cluster(Cluster.abort)
    correct(cluster)
    assert cluster.item["spec"]["paused"]
