"""When a rollout is complete, and the reasons when it is not. Objects as the API server returns them."""

from typing import Any

import pytest

from cluster.rollout_status import deployment_status, pod_reason, stateful_set_status

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


@pytest.mark.parametrize(
    ("change", "complete"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"updateRevision": "b"}, False),
        ({"updateRevision": "b", "updatedReplicas": 1}, False),
        ({"availableReplicas": 2}, False),
        ({"replicas": 2, "availableReplicas": 2}, False),
    ],
)
def test_a_stateful_set_is_complete(change: Status, complete: bool) -> None:
    status = {
        "observedGeneration": 2,
        "currentRevision": "a",
        "updateRevision": "a",
        "replicas": 3,
        "updatedReplicas": 3,
        "availableReplicas": 3,
    } | change
    assert stateful_set_status(workload(3, status)).complete is complete


def pod(conditions: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "a"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": condition, "status": status} for condition, status in (conditions or {}).items()],
            "containerStatuses": [{"name": "srs", **container}] if container else [],
        },
    }


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
