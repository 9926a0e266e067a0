"""The embedded cluster with the real tools: its processes, and the behaviour of its simulated pods.

The tests share one cluster; one worker runs them in this order (conftest.py).
"""

import datetime as dt
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import psutil
import pytest
from kubernetes.client import ApiException

from testbed.cluster import ClusterError, EmbeddedCluster
from testbed.toolchain.install import ensure_tools

IMAGE = "ossrs/srs:v4.0.6"
COMPONENTS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]


class RunningCluster:
    """A cluster, what it reported, and clients for it."""

    def __init__(self, state: Path) -> None:
        self.reported: list[str] = []
        self.cluster = EmbeddedCluster(state, ensure_tools(), self.reported.append)

    @property
    def core(self) -> Any:
        return kubernetes.client.CoreV1Api(self._client())

    @property
    def apps(self) -> Any:
        return kubernetes.client.AppsV1Api(self._client())

    def _client(self) -> Any:
        return kubernetes.config.new_client_from_config(str(self.cluster.kubeconfig))

    def namespace(self, name: str) -> str:
        self.core.create_namespace({"metadata": {"name": name}})
        return name

    def pod(self, namespace: str, name: str) -> Any:
        """The pod; None if it does not exist."""
        try:
            return self.core.read_namespaced_pod(name, namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def create(self, namespace: str, name: str, grace: int = 30, node: str | None = None, **annotations: str) -> None:
        prefixed = {f"srs.testbed/{key.replace('_', '-')}": value for key, value in annotations.items()}
        containers = [{"name": "srs", "image": IMAGE}, {"name": "exporter", "image": "exporter:1"}]
        spec = {"terminationGracePeriodSeconds": grace, "nodeName": node, "containers": containers}
        body = {"metadata": {"name": name, "annotations": prefixed}, "spec": spec}
        # The service account of a new namespace is created a moment later.
        wait_for(lambda: self.core.read_namespaced_service_account("default", namespace), 10)
        self.core.create_namespaced_pod(namespace, body)


def wait_for(read: Callable[[], Any], seconds: float) -> Any:
    """The first true result of `read`; an assertion error after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = read()
        except ApiException as error:
            if error.status != 404:
                raise
            result = None
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def is_ready(pod: Any) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])


def srs(testbed: RunningCluster, namespace: str, name: str) -> Any:
    """The status of the pod's first container; None while there is none."""
    statuses = testbed.pod(namespace, name).status.container_statuses
    return statuses[0] if statuses else None


def all_ready(testbed: RunningCluster, namespace: str) -> list[Any]:
    """The pods of a namespace if all are Ready, else an empty list."""
    pods: list[Any] = testbed.core.list_namespaced_pod(namespace).items
    return pods if all(is_ready(pod) for pod in pods) else []


def condition_time(pod: Any, kind: str) -> dt.datetime:
    times: list[dt.datetime] = [item.last_transition_time for item in pod.status.conditions if item.type == kind]
    return times[0]


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    created = RunningCluster(tmp_path_factory.mktemp("testbed") / "state")
    try:
        created.cluster.start()
        yield created
    finally:
        created.cluster.stop()


@pytest.fixture(scope="module")
def misbehaving(testbed: RunningCluster) -> str:
    """A namespace with a pod of every kind, so that their times pass in parallel."""
    namespace = testbed.namespace("misbehaving")
    testbed.create(namespace, "late", ready_after="4s")
    testbed.create(namespace, "crash", state="crash", message="check config : illegal directive foo")
    testbed.create(namespace, "crash-later", state="crash-after-ready", crash_after="2s")
    testbed.create(namespace, "no-image", state="image-pull-error")
    testbed.create(namespace, "drains", grace=6)
    testbed.create(namespace, "drains-early", grace=60, terminate_after="2s")
    testbed.create(namespace, "forced", grace=60)
    return namespace


def test_nodes_are_ready_and_spread_over_two_zones(testbed: RunningCluster) -> None:
    nodes = testbed.core.list_node().items
    assert [node.metadata.name for node in nodes] == ["node-1", "node-2", "node-3", "node-4"]
    assert {node.metadata.labels["topology.kubernetes.io/zone"] for node in nodes} == {"testbed-a", "testbed-b"}
    assert all(node.spec.taints is None for node in nodes)


def test_the_kubeconfig_is_readable_by_its_owner_only(testbed: RunningCluster) -> None:
    assert testbed.cluster.kubeconfig.stat().st_mode & 0o077 == 0


def test_the_api_server_rejects_anonymous_requests(testbed: RunningCluster) -> None:
    configuration = kubernetes.client.Configuration()
    configuration.host = testbed.core.api_client.configuration.host
    configuration.ssl_ca_cert = str(testbed.cluster.state / "certs" / "ca.crt")
    with pytest.raises(ApiException) as caught:
        kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration)).list_node()
    assert caught.value.status == 403


def test_fifty_pods_become_ready_within_seconds_each_with_its_own_address(testbed: RunningCluster) -> None:
    namespace = testbed.namespace("many")
    labels = {"app": "many"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "srs", "image": IMAGE}]}}
    spec = {"replicas": 50, "selector": {"matchLabels": labels}, "template": template}
    testbed.apps.create_namespaced_deployment(namespace, {"metadata": {"name": "many"}, "spec": spec})
    wait_for(lambda: testbed.apps.read_namespaced_deployment("many", namespace).status.ready_replicas == 50, 15)
    pods = testbed.core.list_namespaced_pod(namespace).items
    assert len({pod.status.pod_ip for pod in pods}) == 50
    testbed.core.delete_namespace(namespace)


def test_readiness_can_be_delayed(testbed: RunningCluster, misbehaving: str) -> None:
    running = wait_for(lambda: (pod := testbed.pod(misbehaving, "late")).status.phase == "Running" and pod, 5)
    assert not is_ready(running)
    ready = wait_for(lambda: (pod := testbed.pod(misbehaving, "late")) and is_ready(pod) and pod, 10)
    seconds = (condition_time(ready, "Ready") - ready.status.start_time).total_seconds()
    assert 4 <= seconds <= 6


def test_a_crashing_pod_restarts_with_its_termination_message(testbed: RunningCluster, misbehaving: str) -> None:
    def looping() -> Any:
        status = srs(testbed, misbehaving, "crash")
        return status and status.restart_count >= 3 and status.state.waiting and status

    status = wait_for(looping, 20)
    assert status.state.waiting.reason == "CrashLoopBackOff"
    assert status.last_state.terminated.exit_code == 255
    assert status.last_state.terminated.message == "check config : illegal directive foo"
    pod = testbed.pod(misbehaving, "crash")
    assert not is_ready(pod)
    assert [container.ready for container in pod.status.container_statuses] == [False, True]


def test_a_pod_can_crash_after_it_was_ready_and_stay_unready(testbed: RunningCluster, misbehaving: str) -> None:
    def crashed() -> Any:
        status = srs(testbed, misbehaving, "crash-later")
        return status and status.last_state.terminated and testbed.pod(misbehaving, "crash-later")

    pod = wait_for(crashed, 10)
    lived = (condition_time(pod, "Ready") - pod.status.start_time).total_seconds()
    assert 2 <= lived <= 6

    def crashed_again() -> bool:
        pod = testbed.pod(misbehaving, "crash-later")
        assert not is_ready(pod)
        return bool(pod.status.container_statuses[0].restart_count >= 3)

    wait_for(crashed_again, 20)


def test_a_missing_image_is_reported_until_it_exists(testbed: RunningCluster, misbehaving: str) -> None:
    def waiting() -> Any:
        status = srs(testbed, misbehaving, "no-image")
        return status and status.state.waiting

    wait_for(lambda: waiting() and waiting().reason == "ImagePullBackOff", 10)
    assert waiting().message.startswith(f'Back-off pulling image "{IMAGE}"')
    assert waiting().message.endswith("not found")
    assert testbed.pod(misbehaving, "no-image").status.phase == "Pending"
    testbed.core.patch_namespaced_pod(
        "no-image", misbehaving, {"metadata": {"annotations": {"srs.testbed/state": None}}}
    )
    wait_for(lambda: is_ready(testbed.pod(misbehaving, "no-image")), 10)


def test_a_deleted_pod_is_terminating_for_its_grace_period_or_a_given_time(
    testbed: RunningCluster, misbehaving: str
) -> None:
    names = ["drains", "drains-early", "forced"]
    for name in names:
        wait_for(lambda name=name: is_ready(testbed.pod(misbehaving, name)), 10)
    began = time.monotonic()
    for name in names:
        testbed.core.delete_namespaced_pod(
            name, misbehaving, **({"grace_period_seconds": 0} if name == "forced" else {})
        )
    removed: dict[str, float] = {}
    while len(removed) < len(names):
        elapsed = time.monotonic() - began
        assert elapsed < 15, f"still terminating: {set(names) - removed.keys()}"
        for name in set(names) - removed.keys():
            pod = testbed.pod(misbehaving, name)
            if pod is None:
                removed[name] = elapsed
            else:
                assert is_ready(pod), "a draining pod stays ready"
        time.sleep(0.1)
    assert removed["forced"] < 1
    assert 2 <= removed["drains-early"] < 4.5
    # Kubernetes truncates the end of the grace period to a second.
    assert 5 <= removed["drains"] < 7.5


def test_a_pod_without_a_running_container_ends_at_once(testbed: RunningCluster, misbehaving: str) -> None:
    wait_for(lambda: (status := srs(testbed, misbehaving, "crash")) and status.state.waiting, 40)
    testbed.core.delete_namespaced_pod("crash", misbehaving)
    wait_for(lambda: testbed.pod(misbehaving, "crash") is None, 3)


def test_a_pod_becomes_ready_when_all_its_readiness_gates_are_true(testbed: RunningCluster) -> None:
    namespace = testbed.namespace("gates")
    testbed.create(namespace, "plain")
    containers = [{"name": "srs", "image": IMAGE}]
    gates = [{"conditionType": "example.com/one"}, {"conditionType": "example.com/two"}]
    body = {"metadata": {"name": "gated"}, "spec": {"containers": containers, "readinessGates": gates}}
    testbed.core.create_namespaced_pod(namespace, body)

    def conditions() -> dict[str, str]:
        return {item.type: item.status for item in testbed.pod(namespace, "gated").status.conditions or []}

    def open_gate(name: str) -> None:
        change = {"status": {"conditions": [{"type": name, "status": "True"}]}}
        testbed.core.patch_namespaced_pod_status("gated", namespace, change)

    wait_for(lambda: is_ready(testbed.pod(namespace, "plain")), 10)
    wait_for(lambda: conditions().get("ContainersReady") == "True", 10)
    open_gate("example.com/one")
    time.sleep(2)
    assert conditions()["Ready"] == "False"
    open_gate("example.com/two")
    wait_for(lambda: conditions()["Ready"] == "True", 10)


def test_shared_claims_are_bound_repeatedly_in_several_namespaces(testbed: RunningCluster) -> None:
    namespaces = [testbed.namespace("claims-a"), testbed.namespace("claims-b")]
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "testbed-rwx",
        "resources": {"requests": {"storage": "10Gi"}},
    }
    core = testbed.core

    def phase(namespace: str) -> str:
        status = core.read_namespaced_persistent_volume_claim("hls", namespace).status
        return str(status.phase)

    for _ in range(2):
        for namespace in namespaces:
            core.create_namespaced_persistent_volume_claim(namespace, {"metadata": {"name": "hls"}, "spec": spec})
        for namespace in namespaces:
            wait_for(lambda namespace=namespace: phase(namespace) == "Bound", 10)
        for namespace in namespaces:
            core.delete_namespaced_persistent_volume_claim("hls", namespace)
        wait_for(lambda: not core.list_persistent_volume().items, 10)


def test_a_namespace_is_deleted_with_its_pods(testbed: RunningCluster) -> None:
    namespace = testbed.namespace("deleted")
    testbed.create(namespace, "pod", grace=1)
    wait_for(lambda: is_ready(testbed.pod(namespace, "pod")), 10)
    testbed.core.delete_namespace(namespace)
    wait_for(lambda: namespace not in [item.metadata.name for item in testbed.core.list_namespace().items], 20)


def test_a_second_start_changes_nothing(testbed: RunningCluster) -> None:
    before = testbed.cluster.status()
    assert testbed.cluster.start() is False
    assert testbed.reported[-1].startswith("already running")
    assert testbed.cluster.status() == before
    assert [component.name for component in before] == COMPONENTS
    assert {component.state for component in before} == {"ready"}


def test_start_starts_the_one_component_that_ended(testbed: RunningCluster) -> None:
    before = {component.name: component.pid for component in testbed.cluster.status()}
    victim = before["kube-scheduler"]
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: "stopped" in {component.state for component in testbed.cluster.status()}, 5)
    assert testbed.cluster.start() is True
    after = {component.name: component.pid for component in testbed.cluster.status()}
    assert {name for name in after if after[name] != before[name]} == {"kube-scheduler"}


def test_a_stop_keeps_data_and_ports(testbed: RunningCluster) -> None:
    namespace = testbed.namespace("stopped")
    for number in range(10):
        testbed.create(namespace, f"old-{number}", node="node-1")
    before = {pod.metadata.uid for pod in wait_for(lambda: all_ready(testbed, namespace), 10)}
    host = testbed.core.api_client.configuration.host
    assert testbed.cluster.stop() is True
    assert {component.state for component in testbed.cluster.status()} == {"stopped"}
    assert testbed.cluster.stop() is False

    port = json.loads((testbed.cluster.state / "ports.json").read_text())["kube-apiserver"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ClusterError, match=rf"{port} \(kube-apiserver\) by process {os.getpid()}"):
            testbed.cluster.start()

    testbed.cluster.start()
    assert testbed.core.api_client.configuration.host == host
    assert {pod.metadata.uid for pod in all_ready(testbed, namespace)} == before
    testbed.create(namespace, "new", node="node-1")
    wait_for(lambda: len(all_ready(testbed, namespace)) == 11, 10)


def test_delete_ends_the_processes_and_removes_the_state(testbed: RunningCluster) -> None:
    pids = [component.pid for component in testbed.cluster.status()]
    assert testbed.cluster.delete() is True
    assert not testbed.cluster.state.exists()
    assert not any(pid and psutil.pid_exists(pid) for pid in pids)
