"""The embedded cluster itself, with the real tools: its processes, and how its simulated pods behave."""

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

# One cluster for the whole file, on whichever worker runs it.
pytestmark = pytest.mark.xdist_group("testbed-cluster")

IMAGE = "ossrs/srs:v4.0.6"
COMPONENTS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]


class Bed:
    """A cluster, what it said, and clients for it."""

    def __init__(self, state: Path) -> None:
        self.said: list[str] = []
        self.cluster = EmbeddedCluster(state, ensure_tools(), self.said.append)

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
        """The pod, or None if there is none."""
        try:
            return self.core.read_namespaced_pod(name, namespace)
        except ApiException as problem:
            if problem.status == 404:
                return None
            raise

    def create(self, namespace: str, name: str, grace: int = 30, node: str | None = None, **annotations: str) -> None:
        notes = {f"srs.testbed/{key.replace('_', '-')}": value for key, value in annotations.items()}
        containers = [{"name": "srs", "image": IMAGE}, {"name": "exporter", "image": "exporter:1"}]
        spec = {"terminationGracePeriodSeconds": grace, "nodeName": node, "containers": containers}
        body = {"metadata": {"name": name, "annotations": notes}, "spec": spec}
        # A new namespace has no service account for a moment.
        wait_for(lambda: self.core.read_namespaced_service_account("default", namespace), 10)
        self.core.create_namespaced_pod(namespace, body)


def wait_for(look: Callable[[], Any], seconds: float) -> Any:
    """What `look` says once that is true; an assertion error after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen = look()
        except ApiException as problem:
            if problem.status != 404:
                raise
            seen = None
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def is_ready(pod: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])


def srs(bed: Bed, namespace: str, name: str) -> Any:
    """The status of the pod's first container; None as long as there is none."""
    statuses = bed.pod(namespace, name).status.container_statuses
    return statuses[0] if statuses else None


def all_ready(bed: Bed, namespace: str) -> list[Any]:
    """The namespace's pods if every one is Ready, else nothing."""
    pods: list[Any] = bed.core.list_namespaced_pod(namespace).items
    return pods if all(is_ready(pod) for pod in pods) else []


def condition_time(pod: Any, kind: str) -> dt.datetime:
    times: list[dt.datetime] = [each.last_transition_time for each in pod.status.conditions if each.type == kind]
    return times[0]


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    bed = Bed(tmp_path_factory.mktemp("testbed") / "state")
    try:
        bed.cluster.start()
        yield bed
    finally:
        bed.cluster.stop()


@pytest.fixture(scope="module")
def misbehaving(testbed: Bed) -> str:
    """A namespace where one pod of every kind is under way, side by side."""
    namespace = testbed.namespace("misbehaving")
    testbed.create(namespace, "late", ready_after="4s")
    testbed.create(namespace, "crash", state="crash", message="check config : illegal directive foo")
    testbed.create(namespace, "crash-later", state="crash-after-ready", crash_after="2s")
    testbed.create(namespace, "no-image", state="image-pull-error")
    testbed.create(namespace, "drains", grace=6)
    testbed.create(namespace, "drains-early", grace=60, terminate_after="2s")
    testbed.create(namespace, "forced", grace=60)
    return namespace


def test_nodes_are_ready_and_spread_over_two_zones(testbed: Bed) -> None:
    nodes = testbed.core.list_node().items
    assert [node.metadata.name for node in nodes] == ["node-1", "node-2", "node-3", "node-4"]
    assert {node.metadata.labels["topology.kubernetes.io/zone"] for node in nodes} == {"testbed-a", "testbed-b"}
    assert all(node.spec.taints is None for node in nodes)


def test_kubeconfig_is_for_its_owner_only(testbed: Bed) -> None:
    assert testbed.cluster.kubeconfig.stat().st_mode & 0o077 == 0


def test_strangers_get_nothing_from_the_api_server(testbed: Bed) -> None:
    configuration = kubernetes.client.Configuration()
    configuration.host = testbed.core.api_client.configuration.host
    configuration.ssl_ca_cert = str(testbed.cluster.state / "certs" / "ca.crt")
    with pytest.raises(ApiException) as caught:
        kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration)).list_node()
    assert caught.value.status == 403


def test_fifty_pods_are_ready_within_seconds_each_with_its_own_address(testbed: Bed) -> None:
    namespace = testbed.namespace("many")
    labels = {"app": "many"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "srs", "image": IMAGE}]}}
    spec = {"replicas": 50, "selector": {"matchLabels": labels}, "template": template}
    testbed.apps.create_namespaced_deployment(namespace, {"metadata": {"name": "many"}, "spec": spec})
    wait_for(lambda: testbed.apps.read_namespaced_deployment("many", namespace).status.ready_replicas == 50, 15)
    pods = testbed.core.list_namespaced_pod(namespace).items
    assert len({pod.status.pod_ip for pod in pods}) == 50
    testbed.core.delete_namespace(namespace)


def test_a_pod_can_be_made_to_get_ready_late(testbed: Bed, misbehaving: str) -> None:
    running = wait_for(lambda: (pod := testbed.pod(misbehaving, "late")).status.phase == "Running" and pod, 5)
    assert not is_ready(running)
    ready = wait_for(lambda: (pod := testbed.pod(misbehaving, "late")) and is_ready(pod) and pod, 10)
    taken = (condition_time(ready, "Ready") - ready.status.start_time).total_seconds()
    assert 4 <= taken <= 6


def test_a_crashing_pod_restarts_again_and_again_and_says_why(testbed: Bed, misbehaving: str) -> None:
    def looping() -> Any:
        status = srs(testbed, misbehaving, "crash")
        return status and status.restart_count >= 3 and status.state.waiting and status

    status = wait_for(looping, 20)
    assert status.state.waiting.reason == "CrashLoopBackOff"
    assert status.last_state.terminated.exit_code == 255
    assert status.last_state.terminated.message == "check config : illegal directive foo"
    pod = testbed.pod(misbehaving, "crash")
    assert not is_ready(pod)
    assert [each.ready for each in pod.status.container_statuses] == [False, True]


def test_a_pod_can_crash_after_it_was_ready_and_never_gets_ready_again(testbed: Bed, misbehaving: str) -> None:
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


def test_a_missing_image_is_reported_until_it_is_there(testbed: Bed, misbehaving: str) -> None:
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


def test_a_deleted_pod_stays_for_its_grace_unless_it_is_told_otherwise(testbed: Bed, misbehaving: str) -> None:
    names = ["drains", "drains-early", "forced"]
    for name in names:
        wait_for(lambda name=name: is_ready(testbed.pod(misbehaving, name)), 10)
    began = time.monotonic()
    for name in names:
        testbed.core.delete_namespaced_pod(
            name, misbehaving, **({"grace_period_seconds": 0} if name == "forced" else {})
        )
    gone: dict[str, float] = {}
    while len(gone) < len(names):
        passed = time.monotonic() - began
        assert passed < 15, f"still there: {set(names) - gone.keys()}"
        for name in set(names) - gone.keys():
            pod = testbed.pod(misbehaving, name)
            if pod is None:
                gone[name] = passed
            else:
                assert is_ready(pod), "a pod that drains serves on"
        time.sleep(0.1)
    assert gone["forced"] < 1
    assert 2 <= gone["drains-early"] < 4.5
    # Kubernetes keeps the end of the grace to the second, cut off.
    assert 5 <= gone["drains"] < 7.5


def test_a_pod_without_a_running_container_ends_at_once(testbed: Bed, misbehaving: str) -> None:
    wait_for(lambda: (status := srs(testbed, misbehaving, "crash")) and status.state.waiting, 40)
    testbed.core.delete_namespaced_pod("crash", misbehaving)
    wait_for(lambda: testbed.pod(misbehaving, "crash") is None, 3)


def test_a_pod_with_readiness_gates_waits_until_all_are_open(testbed: Bed) -> None:
    namespace = testbed.namespace("gates")
    testbed.create(namespace, "plain")
    containers = [{"name": "srs", "image": IMAGE}]
    gates = [{"conditionType": "example.com/one"}, {"conditionType": "example.com/two"}]
    body = {"metadata": {"name": "gated"}, "spec": {"containers": containers, "readinessGates": gates}}
    testbed.core.create_namespaced_pod(namespace, body)

    def conditions() -> dict[str, str]:
        return {each.type: each.status for each in testbed.pod(namespace, "gated").status.conditions or []}

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


def test_shared_claims_are_bound_again_and_again_in_several_namespaces(testbed: Bed) -> None:
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


def test_a_namespace_goes_with_everything_in_it(testbed: Bed) -> None:
    namespace = testbed.namespace("goes")
    testbed.create(namespace, "pod", grace=1)
    wait_for(lambda: is_ready(testbed.pod(namespace, "pod")), 10)
    testbed.core.delete_namespace(namespace)
    wait_for(lambda: namespace not in [each.metadata.name for each in testbed.core.list_namespace().items], 20)


def test_a_second_start_changes_nothing_and_says_so(testbed: Bed) -> None:
    before = testbed.cluster.status()
    assert testbed.cluster.start() is False
    assert testbed.said[-1].startswith("already running")
    assert testbed.cluster.status() == before
    assert [each.name for each in before] == COMPONENTS
    assert {each.state for each in before} == {"ready"}


def test_start_brings_back_the_one_component_that_died(testbed: Bed) -> None:
    before = {each.name: each.pid for each in testbed.cluster.status()}
    victim = before["kube-scheduler"]
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: "stopped" in {each.state for each in testbed.cluster.status()}, 5)
    assert testbed.cluster.start() is True
    after = {each.name: each.pid for each in testbed.cluster.status()}
    assert {name for name in after if after[name] != before[name]} == {"kube-scheduler"}


def test_data_and_ports_outlive_a_stop(testbed: Bed) -> None:
    namespace = testbed.namespace("kept")
    for number in range(10):
        testbed.create(namespace, f"old-{number}", node="node-1")
    before = {pod.metadata.uid for pod in wait_for(lambda: all_ready(testbed, namespace), 10)}
    host = testbed.core.api_client.configuration.host
    assert testbed.cluster.stop() is True
    assert {each.state for each in testbed.cluster.status()} == {"stopped"}
    assert testbed.cluster.stop() is False

    port = json.loads((testbed.cluster.state / "ports.json").read_text())["kube-apiserver"]
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with pytest.raises(ClusterError, match=rf"{port} \(kube-apiserver\) by process {os.getpid()}"):
            testbed.cluster.start()

    testbed.cluster.start()
    assert testbed.core.api_client.configuration.host == host
    assert {pod.metadata.uid for pod in all_ready(testbed, namespace)} == before
    testbed.create(namespace, "new", node="node-1")
    wait_for(lambda: len(all_ready(testbed, namespace)) == 11, 10)


def test_delete_removes_the_state_but_nothing_that_is_no_state(testbed: Bed, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ClusterError, match="not a cluster's state folder"):
        EmbeddedCluster(tmp_path).delete()
    assert (tmp_path / "precious").exists()
    pids = [each.pid for each in testbed.cluster.status()]
    assert testbed.cluster.delete() is True
    assert not testbed.cluster.state.exists()
    assert not any(pid and psutil.pid_exists(pid) for pid in pids)
