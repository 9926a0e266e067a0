"""Polling ends with the result, at the timeout, or earlier when a pod is stuck."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from cluster.live import ConflictError, LiveCluster, UnreachableError
from cluster.origin_check import OriginAccess
from cluster.rollout_status import RolloutStatus
from cluster.terminating import SYNC_PERIOD
from model.desired.workloads import Workload, edges
from model.srs.versions import Version, format_version
from unit.update.live_objects import settings
from update import polling
from update.polling import (
    AddressError,
    ClaimError,
    NamespaceTerminatingError,
    ReadyTimes,
    RolloutError,
    RolloutResult,
    remove_dead_pods,
    wait_for_address,
    wait_for_claim,
    wait_for_namespace,
    wait_for_pods,
    wait_for_rollout,
)

REACHED = "2026-11-25T15:48:12Z [Trace][8180][-548] edge change from 100 to state 101 (pull).\n"


class Cluster:
    """One Deployment of one pod, in the state that `state` returns for each read. log: of the pod once it is ready."""

    def __init__(self, state: Callable[[int], str], log: str | None = None) -> None:
        self.state = state
        self.reads = 0
        self.old = 0
        self.paused: list[bool] = []
        self.version = 1
        self._log = log

    def deployment(self, _name: str) -> dict[str, Any]:
        self.reads += 1
        if self.state(self.reads) == "unreachable":
            raise UnreachableError("the API server does not answer")
        ready = int(self.state(self.reads) == "ready")
        return {
            "metadata": {"generation": 1, "uid": "d", "resourceVersion": str(self.version)},
            "spec": {"replicas": 1, "paused": self.paused[-1:] == [True]},
            "status": {
                "observedGeneration": 1,
                "replicas": 1 + self.old,
                "updatedReplicas": 1,
                "availableReplicas": ready + self.old,
            },
        }

    def pause(self, deployment: str, paused: bool, version: str) -> None:
        assert deployment == "srs-edge-r6-deploy"
        if version != str(self.version):
            raise ConflictError("the object has been modified")
        self.paused.append(paused)

    def replica_sets(self, _selector: str) -> list[dict[str, Any]]:
        def replica_set(revision: int) -> dict[str, Any]:
            return {
                "metadata": {
                    "name": f"rs{revision}",
                    "ownerReferences": [{"uid": "d"}],
                    "annotations": {"deployment.kubernetes.io/revision": str(revision)},
                    "labels": {"pod-template-hash": f"hash{revision}"},
                }
            }

        return [replica_set(10), replica_set(9)]

    def pods(self, selector: str) -> list[dict[str, Any]]:
        assert selector == "run=srs-edge-r6,pod-template-hash=hash10", "the pods of the newest revision"
        if self.state(self.reads) == "ready":
            return [{"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]
        waiting = {"reason": self.state(self.reads), "message": "m"}
        return [{"metadata": {"name": "p"}, "status": {"containerStatuses": [{"state": {"waiting": waiting}}]}}]

    def log(self, _pod: str, _lines: int) -> str | None:
        return self._log

    def stateful_set(self, _name: str) -> dict[str, Any]:
        return {"status": {"readyReplicas": 1}}

    def port_forward(self, _pod: str, _port: int) -> Any:
        raise UnreachableError("no connection")

    def warnings(self, name: str) -> list[str]:
        assert name == "p"
        return ["old", 'MountVolume.SetUp failed: configmap "x" not found']


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The time; a poll is made each second."""
    now = 0

    async def sleep(_seconds: float) -> None:
        nonlocal now
        now += 1

    monkeypatch.setattr(polling.time, "monotonic", lambda: float(now))
    monkeypatch.setattr(polling.asyncio, "sleep", sleep)
    return lambda: now


RELEASE = {"image": "ossrs/srs:v4.0.6", "weight": 100}
EDGES = edges(settings(edge__releases={"r6": RELEASE}, edge__minReady="5s"), "r6", "/live/srs-probe.flv", True)


def wait(cluster: Cluster, timeout: float, lines: list[str], pause_at: int = 0) -> RolloutResult:
    workload = replace(EDGES, timeout=timedelta(seconds=timeout))
    return asyncio.run(wait_for_rollout(cast(LiveCluster, cluster), workload, lines.append, pause_at))


def run(cluster: Cluster, timeout: float) -> list[str]:
    """The lines of progress, and then why the edges were not checked."""
    lines: list[str] = []
    result = wait(cluster, timeout, lines)
    return [*lines, result.unchecked] if result.unchecked else lines


def test_a_complete_rollout_ends_the_wait_and_only_changes_are_reported() -> None:
    lines = run(Cluster(lambda read: "ready" if read > 5 else "PodInitializing", log=REACHED), timeout=10)
    assert lines == ["0 of 1 ready; pod p: PodInitializing: m", ""]


def test_an_api_server_that_is_unreachable_for_a_moment_is_not_a_failure() -> None:
    lines = run(Cluster(lambda read: "ready" if read > 2 else "unreachable", log=REACHED), timeout=10)
    assert lines == ["the API server does not answer", ""]


def test_what_cannot_be_read_at_the_timeout_is_not_known(seconds: Callable[[], int]) -> None:
    with pytest.raises(RolloutError) as failed:
        run(Cluster(lambda _: "unreachable"), timeout=90)
    assert (seconds(), str(failed.value)) == (
        90,
        "edge release r6 (Deployment srs-edge-r6-deploy) is not ready after 1m30s: the last read failed\n"
        "  the API server does not answer",
    )


def test_a_stuck_pod_stays_stuck_while_the_api_server_is_unreachable(seconds: Callable[[], int]) -> None:
    with pytest.raises(RolloutError, match="ImagePullBackOff"):
        run(Cluster(lambda _: "unreachable" if 10 < seconds() <= 20 else "ImagePullBackOff"), timeout=600)
    assert seconds() == 60


def test_a_wait_ends_when_the_engine_is_killed(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int]) -> None:
    monkeypatch.setattr(polling.os, "getppid", lambda: 1 if seconds() >= 3 else 100)
    monkeypatch.setattr(polling.os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        run(Cluster(lambda _: "ContainerCreating"), timeout=10)
    assert (ended.value.code, seconds()) == (1, 3)


def test_the_error_at_the_timeout_contains_the_reason(seconds: Callable[[], int]) -> None:
    with pytest.raises(RolloutError) as failed:
        run(Cluster(lambda _: "ContainerCreating"), timeout=1)
    assert seconds() == 1
    assert str(failed.value).splitlines() == [
        "edge release r6 (Deployment srs-edge-r6-deploy) is not ready after 1s: "
        "0 of 1 pods of the new revision are available",
        '  pod p: ContainerCreating: m: MountVolume.SetUp failed: configmap "x" not found',
    ]


def test_a_stuck_pod_ends_the_wait_before_the_timeout(seconds: Callable[[], int]) -> None:
    with pytest.raises(RolloutError, match="ImagePullBackOff"):
        run(Cluster(lambda _: "ImagePullBackOff"), timeout=600)
    assert seconds() == 60


def test_a_pod_that_recovers_from_time_to_time_is_not_stuck() -> None:
    with pytest.raises(RolloutError, match="after 10m"):
        run(Cluster(lambda read: "ImagePullBackOff" if read % 60 else "ContainerCreating"), timeout=600)


def test_edges_that_reach_no_origin_end_the_wait_after_a_minute(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int]
) -> None:
    failed = OriginAccess("failed", ("pod p: edge pull rtmp://o failed", "check srs:kubernetes.clusterDomain"))
    monkeypatch.setattr(polling.OriginCheck, "observe", lambda *_: failed)
    lines: list[str] = []
    with pytest.raises(RolloutError) as error:
        wait(Cluster(lambda _: "ready"), 600, lines)
    assert seconds() == 60
    assert lines == ["1 of 1 ready; pod p: edge pull rtmp://o failed"], "one line"
    head, *reasons = str(error.value).splitlines()
    where = "edge release r6 (Deployment srs-edge-r6-deploy)"
    assert head == f"{where} plays nothing after 1m: no new edge has reached an origin"
    assert reasons == ["  pod p: edge pull rtmp://o failed", "  check srs:kubernetes.clusterDomain"]


@pytest.mark.parametrize(("old", "serving"), [(1, "1 edge {} serves"), (3, "3 edges {} serve")])
def test_edges_that_reach_no_origin_replace_no_others(monkeypatch: pytest.MonkeyPatch, old: int, serving: str) -> None:
    monkeypatch.setattr(polling.OriginCheck, "observe", lambda *_: OriginAccess("failed", ("edge pull failed",)))
    cluster = Cluster(lambda _: "ready")
    cluster.old = old
    with pytest.raises(RolloutError) as error:
        run(cluster, timeout=10)
    assert str(error.value).splitlines() == [
        "edge release r6 (Deployment srs-edge-r6-deploy) plays nothing after 10s: no new edge has reached an origin. "
        f"Its rolling update is paused, and {serving.format('of the earlier revision still')}",
        "  edge pull failed",
    ]
    assert cluster.paused == [True]


def test_a_release_that_is_aborted_ends_the_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.rollout_status.is_aborted", lambda _deployment: True)
    lines: list[str] = []
    with pytest.raises(RolloutError, match=r"edge release r6 was taken out of rotation \(rollout abort\)"):
        wait(Cluster(lambda _: "ContainerCreating"), 60, lines)
    assert lines == ["aborted"]


def test_a_release_that_is_aborted_while_it_is_read_stays_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(lambda _: "ready", log=REACHED)
    cluster.old = 3
    observe, checks = polling.OriginCheck.observe, 0

    def observe_and_abort(check: polling.OriginCheck, ready: Sequence[str]) -> OriginAccess:
        nonlocal checks
        checks += 1
        cluster.version = checks  # the first one is of the pause, the second one of an abort
        return observe(check, ready)

    monkeypatch.setattr(polling.OriginCheck, "observe", observe_and_abort)
    monkeypatch.setattr("cluster.rollout_status.is_aborted", lambda _deployment: cluster.version > 1)
    with pytest.raises(RolloutError, match=r"was taken out of rotation \(rollout abort\)"):
        run(cluster, timeout=10)
    assert cluster.paused == [True], "not resumed"


def test_edges_that_reach_an_origin_replace_the_others() -> None:
    cluster = Cluster(lambda _: "ready", log=REACHED)
    cluster.old = 3  # and they stay
    with pytest.raises(RolloutError, match="is not ready after 1s"):
        run(cluster, timeout=1)
    assert cluster.paused == [True, False]


def test_an_update_is_held_when_enough_new_edges_are_ready() -> None:
    cluster = Cluster(lambda _: "ready", log=REACHED)
    cluster.old = 3
    wait(cluster, 10, [], pause_at=1)
    assert cluster.paused == [True], "at the first ready edge, and not resumed after its check"
    with pytest.raises(RolloutError, match="is not ready after 1s"):
        wait(cluster, 1, [], pause_at=2)
    assert cluster.paused == [True, False], "one new edge is not enough"
    cluster.old = 0
    wait(cluster, 10, [], pause_at=1)
    assert cluster.paused == [True, False], "a complete update is not paused"


def test_an_update_is_held_when_its_batch_has_been_ready_for_min_ready(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int]
) -> None:
    cluster = Cluster(lambda _: "ready", log=REACHED)

    def status(*_: Any) -> RolloutStatus:
        ready, reasons = (("p", "q"), ()) if seconds() >= 7 else (("p",), ("pod q: Pending",))
        paused = cluster.paused == [True]
        return RolloutStatus(False, len(ready), 4, reasons, ready=ready, replaces=3, paused=paused, version="1")

    monkeypatch.setattr(polling, "rollout_status", status)
    wait(cluster, 60, [], pause_at=1)
    assert (cluster.paused, seconds()) == ([True], 12)


def test_edges_are_checked_with_the_stream_of_their_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(lambda _: "ready", log=REACHED)
    check = polling.OriginCheck

    def origin_check(live: LiveCluster, path: str, asks: bool) -> polling.OriginCheck:
        assert (live, path, asks) == (cluster, "/live/srs-probe.flv", True)
        return check(live, path, asks)

    monkeypatch.setattr(polling, "OriginCheck", origin_check)
    assert run(cluster, timeout=10) == []


def test_edges_without_an_origin_that_is_ready_are_given_the_whole_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    pending = OriginAccess("pending", ("no origin is ready",))
    monkeypatch.setattr(polling.OriginCheck, "observe", lambda *_: pending)
    with pytest.raises(RolloutError, match=r"after 1s: .*\n  no origin is ready"):
        run(Cluster(lambda _: "ready"), timeout=1)


def test_edges_that_cannot_be_checked_complete_at_once_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "running_version", lambda *_: pytest.fail("such a pod is not asked"))
    cluster = Cluster(lambda _: "ready", log=None)
    assert run(cluster, timeout=10) == ["pod p has no log that can be read, as on a simulated node"]
    assert cluster.reads == 1


@pytest.mark.parametrize(("running", "reported"), [((4, 0, 6), None), ((6, 0, 191), (6, 0, 191)), (None, None)])
def test_edges_that_run_another_version_are_reported(
    monkeypatch: pytest.MonkeyPatch, running: Version | None, reported: Version | None
) -> None:
    monkeypatch.setattr(polling, "running_version", lambda _live, pod: {"p": running}[pod])
    assert wait(Cluster(lambda _: "ready", log=REACHED), 10, []).running == reported


@pytest.mark.parametrize(
    ("running", "reason"), [((5, 0, 213), "it drops every connection"), ((7, 0, 128), "not supported yet")]
)
def test_edges_that_run_a_version_which_breaks_a_promise_replace_no_others(
    monkeypatch: pytest.MonkeyPatch, running: Version, reason: str
) -> None:
    monkeypatch.setattr(polling, "running_version", lambda *_: running)
    cluster = Cluster(lambda _: "ready", log=REACHED)
    cluster.old = 3
    with pytest.raises(RolloutError, match=rf"runs SRS {format_version(running)}, .* declares 4\.0\.6: .*{reason}"):
        run(cluster, timeout=10)
    assert cluster.paused == [True]


POD = {"metadata": {"name": "p0", "deletionTimestamp": "2026-01-01T12:00:00Z"}}


class Namespace:
    """A terminating namespace that has pods for some reads, and exists for some reads more; a read takes 2 s."""

    namespace = "live"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, with_pods: int, empty: int) -> None:
        self.reads, self.with_pods, self.empty = 0, with_pods, empty
        self.messages: list[str] = []
        self.status: list[str] = []

        async def sleep(seconds: float) -> None:
            assert seconds == 2

        monkeypatch.setattr(polling.time, "monotonic", lambda: self.reads * 2.0)
        monkeypatch.setattr(polling.asyncio, "sleep", sleep)

    def live_namespace(self) -> Any:
        self.reads += 1
        metadata = {"name": "live", "deletionTimestamp": "2026-01-01T00:00:00Z"}
        return {"metadata": metadata} if self.reads <= self.with_pods + self.empty else None

    def pods(self) -> Any:
        return [POD] if self.reads <= self.with_pods else []

    def log(self, _pod: str, _lines: int) -> str:
        return ""

    def wait(self) -> None:
        report, on_progress = self.messages.append, self.status.append
        asyncio.run(wait_for_namespace(cast(LiveCluster, self), timedelta(minutes=1), report, on_progress))


def test_origins_must_be_ready_for_some_time_without_a_break() -> None:
    times = ReadyTimes(Workload("StatefulSet", "o", "app=o", "origins", timedelta(), min_ready=timedelta(seconds=15)))

    def lasting(second: int, *ready: str) -> set[str]:
        return times.lasting(RolloutStatus(False, 0, 2, ready=ready), timedelta(seconds=second))

    assert lasting(1, "o-0") == set()
    assert lasting(5, "o-0", "o-1") == set()
    assert lasting(16, "o-0", "o-1") == {"o-0"}
    assert lasting(17, "o-1") == set()
    assert lasting(20, "o-0", "o-1") == {"o-1"}, "o-0 was not ready in between"


def test_a_namespace_that_is_not_terminating_is_not_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = Namespace(monkeypatch, 0, 0)
    namespace.wait()
    assert namespace.reads == 1
    assert namespace.messages == []


def test_the_pods_of_a_terminating_namespace_are_awaited_until_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = Namespace(monkeypatch, with_pods=1000, empty=0)
    with pytest.raises(NamespaceTerminatingError, match="it waits for 1 pod:\n  p0 until 2026-01-01T12:00:00Z"):
        namespace.wait()
    assert namespace.reads == 31
    (message,) = namespace.messages
    head, pod, _ = message.splitlines()
    assert pod == "  p0 until 2026-01-01T12:00:00Z at the latest"
    assert namespace.status == [head.removesuffix(":")]


def test_an_empty_namespace_is_awaited_until_its_controller_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = Namespace(monkeypatch, with_pods=10, empty=140)
    namespace.wait()
    assert len(namespace.messages) == 1, "the pods are listed once"
    assert namespace.status[-1] == ""
    assert "its last pod has ended, and Kubernetes removes it within 5 minutes" in namespace.status[-2]


def test_an_empty_namespace_that_is_never_deleted_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = Namespace(monkeypatch, with_pods=10, empty=10_000)
    with pytest.raises(NamespaceTerminatingError, match="its last pod has ended"):
        namespace.wait()
    assert namespace.reads < 10 + (SYNC_PERIOD + timedelta(minutes=1)).total_seconds() / 2 + 5


ORIGINS = Workload(
    "StatefulSet", "srs-origin", "app=srs-origin", "origins", timedelta(seconds=100), min_ready=timedelta(seconds=5)
)


def test_origins_are_complete_when_all_have_been_ready_for_min_ready(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int]
) -> None:
    live = cast("LiveCluster", object())
    removed: list[Any] = []

    def status(*asked: Any) -> RolloutStatus:
        assert asked == (live, ORIGINS)
        ready = ("o-0", "o-1") if seconds() >= 3 else ("o-0",)
        return RolloutStatus(False, 0, 2, ready=ready, all_ready=len(ready) == 2)

    monkeypatch.setattr(polling, "rollout_status", status)
    monkeypatch.setattr(polling, "remove_dead_pods", lambda *asked: removed.append(asked))
    lines: list[str] = []
    result = asyncio.run(wait_for_rollout(live, ORIGINS, lines.append, pause_at=0))
    assert (result, lines, seconds()) == (RolloutResult(), ["0 of 2 ready", ""], 8)
    assert removed == [(live, ORIGINS)] * 9, "at each poll"


def wait_for_new(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int], status: Callable[[int], RolloutStatus]
) -> list[str]:
    """The lines of progress while the new origins o-3 and o-4 are awaited."""

    def rollout_status(_live: Any, workload: Workload, awaited: frozenset[str]) -> RolloutStatus:
        assert (workload, awaited) == (ORIGINS, {"o-3", "o-4"})
        return status(seconds())

    lines: list[str] = []
    monkeypatch.setattr(polling, "rollout_status", rollout_status)
    monkeypatch.setattr(polling, "remove_dead_pods", lambda *_: None)
    asyncio.run(wait_for_pods(cast("LiveCluster", None), ORIGINS, {"o-3", "o-4"}, lines.append))
    return lines


def new_origins(*ready: str, stuck: str = "", reasons: tuple[str, ...] = ()) -> RolloutStatus:
    return RolloutStatus(False, len(ready), 5, reasons, frozenset({stuck} - {""}), ready)


def test_new_origins_are_awaited_whatever_the_others_do(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int]
) -> None:
    def status(second: int) -> RolloutStatus:
        if second == 1:
            raise UnreachableError("no answer")
        ready = ("o-0", "o-3", "o-4") if second >= 90 else ("o-0", "o-3")
        return new_origins(*ready, stuck="o-1", reasons=("pod o-1: CrashLoopBackOff", "pod o-2: late"))

    waiting = "1 of 2 new ones ready; pod o-1: CrashLoopBackOff"
    assert wait_for_new(monkeypatch, seconds, status) == [
        waiting,
        "no answer",
        waiting,
        "2 of 2 new ones ready; pod o-1: CrashLoopBackOff",
        "",
    ]
    assert seconds() == 95, "ready for minReady"


@pytest.mark.parametrize(
    ("status", "after", "duration"),
    [
        (lambda second: new_origins("o-3", stuck="o-4" if second >= 3 else ""), 63, "1m3s"),
        (lambda _: new_origins("o-3", stuck="o-4"), 60, "1m"),
        (lambda second: new_origins("o-3", stuck="o-4" if second % 60 else ""), 100, "1m40s"),
        (lambda _: new_origins("o-3", stuck="o-1"), 100, "1m40s"),
    ],
    ids=["stuck", "always stuck", "recovers", "another one is stuck"],
)
def test_a_new_origin_that_does_not_become_ready_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch,
    seconds: Callable[[], int],
    status: Callable[[int], RolloutStatus],
    after: int,
    duration: str,
) -> None:
    with pytest.raises(RolloutError) as error:
        wait_for_new(monkeypatch, seconds, status)
    assert seconds() == after
    assert str(error.value) == (
        f"origins (StatefulSet srs-origin) is not ready after {duration}: 1 of 2 pods of the new revision are available"
    )


def test_new_origins_that_cannot_be_read_are_not_known_to_be_ready(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int]
) -> None:
    def status(second: int) -> RolloutStatus:
        if second > 3:
            raise UnreachableError("no answer")
        return new_origins("o-3", stuck="o-4")

    with pytest.raises(RolloutError) as error:
        wait_for_new(monkeypatch, seconds, status)
    text = "origins (StatefulSet srs-origin) is not ready after 1m40s: the last read failed\n  no answer"
    assert (seconds(), str(error.value)) == (100, text)


def test_origins_of_an_earlier_revision_that_never_ran_are_deleted_by_their_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deleted: list[tuple[str, str]] = []

    class Origins:
        found: Any = "StatefulSet"

        def stateful_set(self, name: str) -> Any:
            assert name == "srs-origin"
            return self.found

        def pods(self, selector: str) -> list[str]:
            return [selector]

        def delete_pod(self, name: str, uid: str) -> None:
            deleted.append((name, uid))

    def dead_pods(stateful_set: Any, pods: list[str]) -> list[Any]:
        assert (stateful_set, pods) == (Origins.found, ["app=srs-origin"])
        return [{"metadata": {"name": "srs-origin-3", "uid": "u"}}]

    monkeypatch.setattr(polling, "dead_pods", dead_pods)
    live = Origins()
    remove_dead_pods(cast("LiveCluster", live), ORIGINS)
    assert deleted == [("srs-origin-3", "u")]
    live.found = None
    remove_dead_pods(cast("LiveCluster", live), ORIGINS)
    assert len(deleted) == 1


def wait_for(seconds: Callable[[], int], address: str, events: list[str], expected: str | None = None) -> list[str]:
    """The address that a Service has from second 3 on, or the status lines of a wait of 9 seconds."""

    class Services:
        namespace = "live"

        def service(self, name: str) -> Any:
            assert name == "srs-edge-service"
            if events == ["unreachable"]:
                raise UnreachableError("no answer")
            key = "ip" if address[-1:].isdigit() else "hostname"
            return {"status": {"loadBalancer": {"ingress": [{key: address}] if address and seconds() >= 3 else []}}}

        def warnings(self, name: str) -> list[str]:
            assert name == "srs-edge-service"
            return events

    lines: list[str] = []
    live = cast("LiveCluster", Services())
    try:
        host = asyncio.run(wait_for_address(live, "srs-edge-service", timedelta(seconds=9), lines.append, expected))
        return [*lines, host]
    except AddressError as error:
        return [*lines, *str(error).splitlines()]


HEAD = "Service srs-edge-service has no address of its load balancer after 9s"
HAS = "where the load balancer has 10.0.0.1"
DESCRIBE = "  kubectl -n live describe service srs-edge-service"
SILENT = "  it has no events: is a cloud controller manager running?"


@pytest.mark.parametrize(
    ("host", "events", "expected", "lines"),
    [
        ("10.0.0.1", [], None, ["waiting for an address", "", "10.0.0.1"]),
        ("10.0.0.1", [], "10.0.0.1", ["waiting for an address", "", "10.0.0.1"]),
        ("a.example.com", [], "10.0.0.1", ["waiting for an address", "", "a.example.com"]),
        ("10.0.0.2", [], "10.0.0.1", ["waiting for an address", f"{HEAD}, but 10.0.0.2, {HAS}", SILENT, DESCRIBE]),
        ("fd00::2", [], "10.0.0.1", ["waiting for an address", f"{HEAD}, but fd00::2, {HAS}", SILENT, DESCRIBE]),
        ("", list("aabbcd"), None, ["waiting for an address: d", HEAD, "  b", "  c", "  d", DESCRIBE]),
        ("", ["unreachable"], None, ["waiting for an address: no answer", HEAD, "  no answer", DESCRIBE]),
    ],
)
def test_the_address_of_a_load_balancer_is_awaited(
    seconds: Callable[[], int], host: str, events: list[str], expected: str | None, lines: list[str]
) -> None:
    assert wait_for(seconds, host, events, expected) == lines
    assert seconds() == (9 if lines[-1] == DESCRIBE else 3)


@pytest.mark.parametrize(
    ("bound_after", "events", "lines"),
    [
        (0, [], []),
        (3, ["not found"], ["waiting for a volume: not found", ""]),
        (99, [], ["waiting for a volume", "  it has no events: does the provisioner of its storage class run?"]),
        (99, list("abcd"), ["waiting for a volume: b", "  b", "  c", "  d", "  pod p: pending"]),
        (
            99,
            ["no answer"],
            ["waiting for a volume: the API server does not answer", "  the API server does not answer"],
        ),
    ],
)
def test_the_volume_of_a_claim_is_awaited(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], int], bound_after: int, events: list[str], lines: list[str]
) -> None:
    class Claims:
        namespace = "live"

        def claim(self, name: str) -> dict[str, Any]:
            assert name == "srs-hls"
            if events == ["no answer"]:
                raise UnreachableError("the API server does not answer")
            return {"metadata": {"name": name}, "status": {"phase": "Bound" if seconds() >= bound_after else "Pending"}}

        def warnings(self, name: str) -> list[str]:
            assert name == "srs-hls"
            return events

    pod = ("pod p: pending", "pod p: pending") if len(events) > 1 else ()
    monkeypatch.setattr(
        polling, "rollout_status", lambda *asked: RolloutStatus(False, 0, 1, pod if asked == (live, nginx) else ())
    )
    nginx = Workload("Deployment", "nginx-origin-deploy", "app=nginx-origin", "nginx-origin", timedelta(seconds=9))
    progress: list[str] = []
    live = cast("LiveCluster", Claims())
    wait = wait_for_claim(live, "srs-hls", nginx, timedelta(seconds=9), progress.append)
    if bound_after < 99:
        asyncio.run(wait)
        assert (progress, seconds()) == (lines, bound_after)
        return
    with pytest.raises(ClaimError) as error:
        asyncio.run(wait)
    describe = "  kubectl -n live describe pvc srs-hls"
    head, *reasons, last = str(error.value).splitlines()
    assert (head, last) == ("claim srs-hls is not bound after 9s", describe)
    assert ([*progress, *reasons], seconds()) == (lines, 9)
