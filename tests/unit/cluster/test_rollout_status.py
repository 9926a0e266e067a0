"""When a rollout is complete, and the reasons when it is not. Objects as the API server returns them."""

from typing import Any

import pytest

from cluster.rollout_status import STUCK_REASONS, dead_pods, deployment_status, pod_reason, stateful_set_status

Status = dict[str, Any]


def workload(replicas: int, status: Status) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "spec": {"replicas": replicas}, "status": status}


COMPLETE: Status = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}


@pytest.mark.parametrize(
    ("replicas", "status", "complete"),
    [
        (3, COMPLETE, True),
        (3, COMPLETE | {"observedGeneration": 1}, False),  # the controller has not seen the change yet
        (3, COMPLETE | {"replicas": 4}, False),  # an old pod still exists
        (3, COMPLETE | {"updatedReplicas": 2, "replicas": 3}, False),
        (3, COMPLETE | {"availableReplicas": 2}, False),
        (4, COMPLETE, False),
        (0, {"observedGeneration": 2}, True),  # weight 0
        (1, {}, False),
    ],
)
def test_a_deployment_is_complete(replicas: int, status: Status, complete: bool) -> None:
    assert deployment_status(workload(replicas, status)).complete is complete


def test_a_quota_is_a_reason() -> None:
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: pods",
    }
    rollout = deployment_status(workload(3, {"conditions": [condition]}))
    assert rollout.reasons == ("FailedCreate: exceeded quota: pods",)


def origin(number: int, revision: str = "b", ready: bool = True, **metadata: str) -> dict[str, Any]:
    name = f"srs-origin-{number}"
    return {
        "metadata": {"name": name, "labels": {"controller-revision-hash": revision}, **metadata},
        "spec": {"nodeName": "a"},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"state": {"running": {}} if ready else {"waiting": {"reason": "Error"}}}],
        },
    }


DELETED: dict[str, Any] = {"deletionTimestamp": "2026-01-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("pods", "change", "complete"),
    [
        ([origin(3), origin(4), origin(5)], {}, True),
        ([origin(3), origin(4), origin(5), origin(0, "a", **DELETED)], {}, True),
        ([origin(3), origin(4), origin(5), origin(0, "a")], {}, False),
        ([origin(3), origin(4), origin(5, **DELETED)], {}, True),
        ([origin(3), origin(4), origin(5, ready=False)], {}, False),
        ([origin(3), origin(4), origin(5, "a")], {}, False),
        ([origin(3), origin(4)], {}, False),
        ([origin(number, **DELETED) for number in (3, 4, 5)], {}, False),
        ([origin(3), origin(4), origin(5)], {"observedGeneration": 1}, False),
        ([origin(3), origin(4), origin(5)], {"availableReplicas": 2}, False),
        # The status is older than the pods.
        ([origin(3), origin(4), origin(5)], {"readyReplicas": 0, "availableReplicas": 0}, False),
        ([origin(3), origin(4), origin(5)], {"readyReplicas": 1, "availableReplicas": 1}, False),
    ],
    ids=range(12),
)
def test_a_stateful_set_is_complete(pods: list[dict[str, Any]], change: Status, complete: bool) -> None:
    """Draining pods keep their names, so nothing waits for their successors if other pods are available."""
    status = {"observedGeneration": 2, "updateRevision": "b", "readyReplicas": 3, "availableReplicas": 3} | change
    stateful_set = workload(3, status)
    stateful_set["metadata"]["name"] = "srs-origin"
    stateful_set["spec"]["ordinals"] = {"start": 3}
    assert stateful_set_status(stateful_set, pods).complete is complete


def test_only_pods_that_do_not_run_are_removed_to_be_replaced() -> None:
    stateful_set = workload(3, {"observedGeneration": 2, "updateRevision": "b"})
    stateful_set["metadata"]["name"] = "srs-origin"
    pods = [origin(0, "a", ready=False), origin(1, "a"), origin(2, "b", ready=False), origin(3, "a", ready=False)]
    assert [pod["metadata"]["name"] for pod in dead_pods(stateful_set, pods)] == ["srs-origin-0"]


def pod(conditions: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "a"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": condition, "status": status} for condition, status in (conditions or {}).items()],
            "containerStatuses": [{"name": "srs", **container}] if container else [],
        },
    }


def gates(condition: str) -> dict[str, Any]:
    return {"spec": {"readinessGates": [{"conditionType": condition}]}}


CLOSED_GATE = "ReadinessGatesNotReady: "
UNSCHEDULABLE = {
    "metadata": {"name": "a"},
    "status": {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes are available"}
        ],
    },
}
CRASH = {"terminated": {"exitCode": 255, "reason": "Error", "message": "check config : illegal directive foo\n"}}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (pod({"Ready": "True"}), None),
        (UNSCHEDULABLE, "Unschedulable: 0/4 nodes are available"),
        (
            pod(
                state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                lastState=CRASH,
                restartCount=1,
            ),
            "CrashLoopBackOff: exit code 255, 1 restart: check config : illegal directive foo",
        ),
        (pod(state=CRASH), "Error: exit code 255, 0 restarts: check config : illegal directive foo"),
        (
            pod(state={"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}),
            'ImagePullBackOff: Back-off pulling image "x"',
        ),
        (pod(state={"waiting": {"reason": "ContainerCreating"}}), "ContainerCreating"),
        (pod(state={"running": {}}), "Running: not ready yet"),
        (pod({"ContainersReady": "True", "Ready": "False"}) | gates("example.com/a"), CLOSED_GATE + "example.com/a"),
        (pod({"ContainersReady": "True", "example.com/a": "True"}) | gates("example.com/a"), "Running: not ready yet"),
        (pod({"ContainersReady": "False"}) | gates("example.com/a"), "Running: not ready yet"),
        (
            {"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            "Terminating: until 2026-01-01T00:00:00Z at the latest",
        ),
        (
            {
                "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": "n1"},
                "status": {"conditions": [{"type": "DisruptionTarget", "reason": "DeletionByTaintManager"}]},
            },
            "Terminating: until 2026-01-01T00:00:00Z at the latest; node n1 does not end it; if that node is lost for "
            "good: kubectl delete node n1",
        ),
    ],
)
def test_why_a_pod_is_not_ready(given: dict[str, Any], reason: str | None) -> None:
    assert pod_reason(given) == reason


def test_a_closed_gate_of_a_load_balancer_says_what_opens_it() -> None:
    gate = "service.readiness.alibabacloud.com/srs-edge-service"
    reason = pod_reason(pod({"ContainersReady": "True"}) | gates(gate))
    assert reason is not None
    assert reason.startswith(f"{CLOSED_GATE}{gate}; the cloud controller manager opens it")
    assert "2.10 or later" in reason
    failed = {"type": gate, "status": "False", "reason": "ServerInvalidServer", "message": "The backend failed to add"}
    live = pod({"ContainersReady": "True"}) | gates(gate)
    live["status"]["conditions"].append(failed)
    assert f"{gate}; ServerInvalidServer: The backend failed to add; the cloud" in str(pod_reason(live))


@pytest.mark.parametrize(
    "reason",
    [
        "CreateContainerError",
        "RunContainerError",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "PostStartHookError",
    ],
)
def test_what_cannot_recover_is_stuck(reason: str) -> None:
    """Else an update waits for its whole timeout."""
    message = pod_reason(pod(state={"waiting": {"reason": reason, "message": "no such file"}}))
    assert message == f"{reason}: no such file"
    assert reason in STUCK_REASONS


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_what_takes_its_time_is_not_stuck(reason: str) -> None:
    assert reason not in STUCK_REASONS
