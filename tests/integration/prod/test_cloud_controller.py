"""What a cloud controller does with Services, without the program: the rules that docs and models rest on.

The fake controller behaves like this, so that the other tests of production prove something; with SRS_CCM (the path of
its program) the real one runs the same tests.
"""

import hashlib
import json
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.prod.cloud_controller import PREFIX, CloudController, cloud_controller
from integration.prod.fake_alibaba_api import CloudApi, Listener
from stack import eventually
from testbed.cluster import EmbeddedCluster

SERVICE = "edge"
GATE = f"service.readiness.alibabacloud.com/{SERVICE}"
BACKEND_TYPE = "service.beta.kubernetes.io/backend-type"
RATE = 4
"""Seconds in which the controller has certainly handled an event."""


class Cloud:
    """A namespace with a controller, a CLB, and three pods with the label `app: edge`."""

    def __init__(self, api: CloudApi, controller: CloudController, folder: Path) -> None:
        self.api, self.controller, self._folder = api, controller, folder
        self.clb = self.add_clb()
        self.kubectl("create", "namespace", controller.namespace)

    def add_clb(self, address_type: str = "intranet") -> str:
        clb = self.api.add_clb({"AddressType": address_type, "RegionId": "cn-beijing", "LoadBalancerName": "by-hand"})
        return str(clb["LoadBalancerId"])

    def kubectl(self, *arguments: str) -> str:
        command = ["kubectl", "--kubeconfig", str(self.controller.kubeconfig), "-n", self.controller.namespace]
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def apply(self, manifest: dict[str, Any]) -> None:
        file = self._folder / "manifest.json"
        file.write_text(json.dumps(manifest))
        self.kubectl("apply", "-f", str(file))

    def service(self, name: str = SERVICE, spec: dict[str, Any] | None = None, **settings: str | None) -> None:
        """A Service on the CLB. settings: annotations, with `_` for `-`; None removes one of these."""
        found: dict[str, str | None] = {
            "id": self.clb,
            "address-type": "intranet",
            "force-override-listeners": "true",
            "backend_type": "ecs",
            **{key.replace("_", "-") if key != "backend_type" else key: value for key, value in settings.items()},
        }
        annotations = {
            BACKEND_TYPE if key == "backend_type" else f"{PREFIX}{key}": value
            for key, value in found.items()
            if value is not None
        }
        ports = [{"name": f"port-{port}", "port": port, "targetPort": port} for port in (1935, 8080)]
        content = {"type": "LoadBalancer", "selector": {"app": "edge"}, "ports": ports, **(spec or {})}
        metadata = {"name": name, "annotations": annotations}
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": content})

    def pods(self, replicas: int = 3, gate: bool = False, annotations: dict[str, str] | None = None) -> None:
        pod: dict[str, Any] = {"terminationGracePeriodSeconds": 600}
        pod["containers"] = [{"name": "srs", "image": "ossrs/srs:v4.0.6"}]
        if gate:
            pod["readinessGates"] = [{"conditionType": GATE}]
        metadata = {"labels": {"app": "edge"}, "annotations": annotations or {}}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "edge"}}}
        spec |= {"template": {"metadata": metadata, "spec": pod}}
        self.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "edge"}, "spec": spec})

    @property
    def backends(self) -> dict[str, int]:
        """The weights of the present backends, which are those of both ports."""
        groups = self.controller.servers(SERVICE)
        return groups[0] if groups and all(group == groups[0] for group in groups) else {}

    @property
    def address(self) -> str | None:
        ingress = self.get("service", SERVICE)["status"].get("loadBalancer", {}).get("ingress") or [{}]
        return ingress[0].get("ip")

    def ready_pods(self) -> set[str]:
        return {
            pod["metadata"]["name"]
            for pod in self.get("pods")["items"]
            if {"type": "Ready", "status": "True"}.items()
            <= next((c for c in pod["status"].get("conditions", []) if c["type"] == "Ready"), {}).items()
        }

    def warnings(self) -> str:
        return "\n".join(event["message"] for event in self.get("events")["items"] if event["type"] == "Warning")

    def failed_calls(self) -> int:
        """How often the controller has failed to find its CLB."""
        calls = self.api.controller_calls
        return len([call for call in calls if call.action == "DescribeLoadBalancerAttribute" and call.status == 404])


@contextmanager
def cloud_in(cluster: EmbeddedCluster, folder: Path, name: str, default_backend: str = "ecs") -> Generator[Cloud]:
    namespace = f"ccm-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    with CloudApi() as api, cloud_controller(api, cluster.kubeconfig, namespace, default_backend) as controller:
        created = Cloud(api, controller, folder)
        try:
            yield created
        finally:
            created.kubectl("delete", "deployments,services", "--all", "--wait=false")
            created.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
            controller.wait_for_finalizers()
            created.kubectl("delete", "namespace", namespace, "--wait=false")
        assert not controller.errors, controller.errors


@pytest.fixture
def cloud(cluster: EmbeddedCluster, tmp_path: Path, nodes: None, request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """nodes: of no other test, because each change of a node is an event for the controller."""
    del nodes
    with cloud_in(cluster, tmp_path, request.node.name) as created:
        yield created


def test_nodes_leave_and_come_back_by_the_events_that_the_controller_watches(cloud: Cloud) -> None:
    """The taint of the cluster autoscaler alone is none of them; the next event finds it."""
    cloud.service()
    eventually(lambda: len(cloud.backends) > 2)
    nodes = set(cloud.backends)
    node, taint = min(nodes), "ToBeDeletedByClusterAutoscaler=1:PreferNoSchedule"
    cloud.kubectl("taint", "node", node, taint)
    try:
        time.sleep(RATE)
        assert set(cloud.backends) == nodes, "the taint is no event"
        cloud.kubectl("cordon", node)
        eventually(lambda: set(cloud.backends) == nodes - {node})
    finally:
        cloud.kubectl("taint", "node", node, f"{taint}-")
    try:
        time.sleep(RATE)
        assert set(cloud.backends) == nodes - {node}, "nor is its removal"
    finally:
        cloud.kubectl("uncordon", node)
    eventually(lambda: set(cloud.backends) == nodes)
    cloud.kubectl("cordon", node)
    try:
        time.sleep(RATE)
        assert set(cloud.backends) == nodes, "a cordoned node stays a backend"
    finally:
        cloud.kubectl("uncordon", node)


def test_a_node_without_the_id_of_an_instance_stops_changes_of_the_backends(cloud: Cloud) -> None:
    """The list is built from all nodes or not at all."""
    cloud.service()
    eventually(lambda: len(cloud.backends) > 2)
    nodes = set(cloud.backends)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "without-instance"}}
    cloud.apply(node)
    try:
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        cloud.kubectl("patch", "node", "without-instance", "--subresource=status", "--patch", json.dumps(ready))
        other = min(nodes)
        cloud.kubectl("label", "node", other, "node.kubernetes.io/exclude-from-external-load-balancers=")
        try:
            time.sleep(RATE)
            assert set(cloud.backends) == nodes, "an excluded node stays"
            provider = {"spec": {"providerID": "cn-beijing.i-without-instance"}}
            cloud.kubectl("patch", "node", "without-instance", "--type=merge", "--patch", json.dumps(provider))
            cloud.kubectl("label", "node", "without-instance", "an=event")
            eventually(lambda: set(cloud.backends) == (nodes | {"without-instance"}) - {other})
        finally:
            cloud.kubectl("label", "node", other, "node.kubernetes.io/exclude-from-external-load-balancers-")
    finally:
        cloud.kubectl("delete", "node", "without-instance")
    eventually(lambda: set(cloud.backends) == nodes)


def test_local_shares_by_node_with_the_number_of_pods_as_weight(cloud: Cloud) -> None:
    """The scheduler rr ignores weights, so it shares by node and not by pod."""
    cloud.pods(7)
    cloud.service(spec={"externalTrafficPolicy": "Local"}, scheduler="rr")
    eventually(lambda: sum(cloud.backends.values()) == 7)
    assert set(cloud.backends.values()) != {100}


def test_pods_become_backends_before_they_are_ready_and_at_most_ten_seconds_late(cloud: Cloud) -> None:
    """The gate opens when the pod is added to the server group, before the load balancer has checked it."""
    cloud.service(backend_type="eni")
    cloud.pods(1, gate=True, annotations={"srs.testbed/ready-after": "3s"})
    began = time.monotonic()
    eventually(lambda: gates(cloud, "ContainersReady") == ["True"])
    late = time.monotonic()
    assert gates(cloud, GATE) != ["True"], "that its containers are ready is no event"
    eventually(lambda: gates(cloud, GATE) == ["True"])
    assert time.monotonic() - late < 12, f"{time.monotonic() - began:.1f} s after its creation"
    eventually(lambda: len(cloud.backends) == 1 and set(cloud.backends) == cloud.ready_pods())


def gates(cloud: Cloud, condition: str) -> list[str]:
    return [
        item["status"]
        for pod in cloud.get("pods")["items"]
        for item in pod["status"].get("conditions", [])
        if item["type"] == condition
    ]


def test_terminating_pods_leave_the_backends_at_once(cloud: Cloud) -> None:
    cloud.pods()
    cloud.service(backend_type="eni")
    eventually(lambda: len(cloud.backends) == 3)
    pod = min(cloud.backends)
    cloud.kubectl("delete", "pod", pod, "--wait=false")
    eventually(lambda: pod not in cloud.backends and len(cloud.backends) == 3)


def test_with_graceful_shutdown_terminating_pods_that_serve_stay_with_weight_0(cloud: Cloud) -> None:
    """From controller 2.15 on; not while `ignore-weight-update` is on."""
    if not cloud.controller.has_graceful_shutdown:
        pytest.skip("the controller has no graceful-shutdown")
    cloud.pods()
    cloud.service(backend_type="eni", graceful_shutdown="true")
    eventually(lambda: list(cloud.backends.values()) == [100] * 3)
    pod = min(cloud.backends)
    cloud.kubectl("delete", "pod", pod, "--wait=false")
    eventually(lambda: cloud.backends.get(pod) == 0 and list(cloud.backends.values()).count(100) == 3)
    time.sleep(RATE)
    assert cloud.backends.get(pod) == 0
    # When it does not serve any more, it is no backend.
    not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    cloud.kubectl("patch", "pod", pod, "--subresource=status", "--patch", json.dumps(not_ready))
    eventually(lambda: pod not in cloud.backends)

    other = min(cloud.backends)
    cloud.kubectl("delete", "pod", other, "--wait=false")
    eventually(lambda: cloud.backends.get(other) == 0)
    cloud.service(backend_type="eni", graceful_shutdown="true", ignore_weight_update="on")
    eventually(lambda: other not in cloud.backends)


def test_a_backend_type_moves_a_service_that_had_the_clusters_default(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """With all connections: the former server groups are deleted. It must be known when a Service is adopted."""
    with cloud_in(cluster, tmp_path, "default-eni", default_backend="eni") as cloud:
        cloud.pods()
        cloud.service(backend_type=None)
        eventually(lambda: len(cloud.backends) == 3)
        groups = set(cloud.api.groups)
        cloud.service(backend_type="ecs")
        eventually(lambda: not groups & set(cloud.api.groups))
        assert not cloud.ready_pods() & set(cloud.backends)


@pytest.mark.parametrize("named", [True, False])
def test_a_service_of_another_type_is_cleaned_up_only_if_it_names_its_clb(cloud: Cloud, named: bool) -> None:
    cloud.service()
    eventually(lambda: len(cloud.controller.listeners) == 2 and cloud.address)
    listeners = cloud.controller.listeners
    keep = {} if named else dict.fromkeys(("id", "force_override_listeners"))
    cloud.service(spec={"type": "ClusterIP"}, backend_type=None, address_type=None, **keep)
    eventually(lambda: not cloud.get("service", SERVICE)["metadata"].get("finalizers"))
    assert cloud.controller.listeners == ({} if named else listeners)
    assert len(cloud.api.groups) == (0 if named else 2)
    assert cloud.address is None


def test_access_control_stays_on_when_its_annotations_are_removed(cloud: Cloud) -> None:
    cloud.service(acl_status="on", acl_type="white", acl_id="acl-2ze000000000")

    def status() -> set[str]:
        return {listener.attributes.get("AclStatus", "off") for listener in cloud.api.listeners.values()}

    eventually(lambda: status() == {"on"})
    cloud.service(scheduler="wlc")
    eventually(lambda: {item.attributes.get("Scheduler") for item in cloud.api.listeners.values()} == {"wlc"})
    assert status() == {"on"}
    cloud.service(acl_status="off")
    eventually(lambda: status() == {"off"})


def test_a_wrong_address_type_is_an_error_after_the_listeners_were_overwritten(cloud: Cloud) -> None:
    foreign = cloud.add_clb("internet")
    cloud.api.listeners[foreign, 1935] = Listener("tcp", "of the operator", "rsp-of-the-operator")
    cloud.service(id=foreign)
    eventually(lambda: "can not change LoadBalancer AddressType once created" in cloud.warnings())
    eventually(lambda: cloud.controller.listeners[foreign, 1935] == SERVICE)
    assert cloud.address is None


def test_a_listener_of_another_protocol_is_an_error(cloud: Cloud) -> None:
    cloud.api.listeners[cloud.clb, 8080] = Listener("http", "of the operator", "")
    cloud.service()
    eventually(lambda: "There is already a listener bound to the port" in cloud.warnings())
    assert cloud.controller.listeners[cloud.clb, 8080] == "of the operator"


def test_of_two_services_on_a_listener_the_last_change_wins_and_the_other_does_not_notice(cloud: Cloud) -> None:
    cloud.pods()
    cloud.service(backend_type="eni")
    eventually(lambda: cloud.address)
    cloud.service("other", backend_type="eni")
    eventually(lambda: set(cloud.controller.listeners.values()) == {"other"})
    cloud.kubectl("scale", "deployment", "edge", "--replicas=4")
    eventually(lambda: len(cloud.controller.servers("other")[0]) == 4)
    assert set(cloud.controller.listeners.values()) == {"other"}, "new endpoints change no listener"
    assert "already" not in cloud.warnings()
    cloud.service(backend_type="eni", scheduler="wlc")
    eventually(lambda: set(cloud.controller.listeners.values()) == {SERVICE})


def test_a_service_with_an_address_is_bound_to_no_other_clb_until_the_address_is_released(cloud: Cloud) -> None:
    """A release after the Service has the other id is no event: the next retry finds it, up to 300 s later."""
    cloud.service()
    eventually(lambda: cloud.address)
    del cloud.api.clbs[cloud.clb]
    cloud.clb = cloud.add_clb()
    cloud.service()
    eventually(lambda: "service has been associated with ip" in cloud.warnings())
    cloud.kubectl("delete", "events", "--all")
    former = cloud.clb
    del cloud.api.clbs[former]
    cloud.clb = cloud.add_clb()
    release = json.dumps({"status": {"loadBalancer": {"ingress": None}}})
    cloud.kubectl("patch", "service", SERVICE, "--subresource=status", "--type=merge", "--patch", release)
    cloud.service()
    eventually(lambda: cloud.address == cloud.api.clbs[cloud.clb]["Address"], RATE)
    assert "service has been associated with ip" not in cloud.warnings()


def test_retries_become_rare(cloud: Cloud) -> None:
    cloud.service()
    eventually(lambda: cloud.address)
    del cloud.api.clbs[cloud.clb]
    cloud.service(scheduler="wlc")
    eventually(lambda: cloud.failed_calls() == 1)
    time.sleep(17)
    assert cloud.failed_calls() == 3, "after 5 s and 10 s; then after 20 s"


def test_the_last_tag_of_an_nlb_stays(cloud: Cloud) -> None:
    spec = {"loadBalancerClass": "alibabacloud.com/nlb"}
    zones = "cn-beijing-h:vsw-testbed0001,cn-beijing-g:vsw-testbed0002"
    nlb: dict[str, Any] = {"id": None, "force_override_listeners": None, "zone_maps": zones}
    cloud.service(spec=spec, additional_resource_tags="app=srs,team=live", **nlb)

    def tags() -> set[str]:
        return {key for nlb in cloud.api.nlbs for key in cloud.api.tags.get(nlb, {})} & {"app", "team"}

    eventually(lambda: tags() == {"app", "team"})
    cloud.service(spec=spec, additional_resource_tags="app=srs", **nlb)
    eventually(lambda: tags() == {"app"})
    cloud.service(spec=spec, **nlb)
    time.sleep(RATE)
    assert tags() == {"app"}
