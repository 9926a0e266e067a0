"""A change of the load balancer drops no connection, or is rejected with a safe alternative.

Releases wait for its address.
"""

import copy
import json
from typing import Any

import pytest

from cluster.state import address
from integration.prod.cloud_controller import PREFIX
from integration.prod.prod_stack import CLB, ProdStack
from stack import eventually, release

ALTERNATIVE = "Move the existing load balancer to srs:formerLoadBalancer"


def existing(prod: ProdStack, address_type: str = "intranet") -> str:
    """The id of a CLB that the stack did not create."""
    clb = prod.api.add_clb({"AddressType": address_type, "RegionId": "cn-beijing", "LoadBalancerName": "by-hand"})
    return str(clb["LoadBalancerId"])


def create_article_service(prod: ProdStack, clb: str) -> str:
    """The article's edge Service with a CLB of the operator, in a namespace of his; return its UID."""
    prod.kubectl("create", "namespace", prod.namespace)
    annotations = {"address-type": "intranet", "force-override-listeners": "true", "id": clb}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "srs-edge-service",
            "annotations": {f"{PREFIX}{key}": value for key, value in annotations.items()},
        },
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "srs-edge"},
            "ports": [{"name": f"srs-edge-service-{port}", "port": port, "targetPort": port} for port in (1935, 8080)],
        },
    }
    manifest = prod.folder / "service.json"
    manifest.write_text(json.dumps(service))
    prod.kubectl("apply", "-f", str(manifest))
    eventually(lambda: address(prod.get("service", "srs-edge-service")))
    return str(prod.get("service", "srs-edge-service")["metadata"]["uid"])


def services(prod: ProdStack) -> dict[str, str]:
    return {
        item["metadata"]["name"]: item["spec"]["type"]
        for item in prod.get("services")["items"]
        if "edge" in item["metadata"]["name"]
    }


def test_another_kind_of_load_balancer_is_a_second_service_until_the_first_is_removed(prod: ProdStack) -> None:
    slb = copy.deepcopy(prod.load_balancer)
    node_port = {"kind": "nodePort", "rtmpPort": 31951, "httpPort": 30951}
    prod.config["loadBalancer"] = node_port
    prod.must_update()
    before = prod.snapshot()

    prod.config["loadBalancer"] = slb
    rejected = prod.update()
    assert not rejected.ok
    assert "srs:loadBalancer.kind: 'slb' cannot be changed on Service srs-edge-service" in rejected.output
    assert ALTERNATIVE in rejected.output
    prod.config["loadBalancer"] = slb | {"service": "srs-edge-next"}
    rejected = prod.update()
    assert not rejected.ok
    assert "is a new Service, and srs-edge-service would be deleted with all connections through it" in rejected.output
    assert (prod.snapshot(), prod.api.clbs) == (before, {})

    prod.config["formerLoadBalancer"] = node_port
    both = prod.must_update()
    assert services(prod) == {"srs-edge-service": "NodePort", "srs-edge-next": "LoadBalancer"}
    assert "srs-edge-service" not in both.changes
    assert prod.snapshot()["Service/srs-edge-service"] == before["Service/srs-edge-service"]

    # The first load balancer may not change any more; another node port would be such a change.
    prod.config["formerLoadBalancer"] = node_port | {"rtmpPort": 31952}
    assert (
        "srs:formerLoadBalancer.rtmpPort: 31952 cannot be changed on Service srs-edge-service" in prod.update().output
    )
    del prod.config["formerLoadBalancer"]
    warning = "Service srs-edge-service will be deleted, with its load balancer and all connections through it"
    assert warning in prod.preview().output
    prod.must_update()
    eventually(lambda: services(prod) == {"srs-edge-next": "LoadBalancer"})
    assert len(prod.endpoints("srs-edge-next")) == 4

    # And the other way: no load balancer at all.
    prod.config["loadBalancer"] = {"kind": "none", "service": "srs-edge-inside"}
    prod.config["formerLoadBalancer"] = slb | {"service": "srs-edge-next"}
    prod.must_update()
    del prod.config["formerLoadBalancer"]
    prod.must_update()
    eventually(lambda: services(prod) == {"srs-edge-inside": "ClusterIP"})
    assert prod.api.clbs == {}


def test_another_clb_is_rejected_and_the_alternative_drops_nobody(prod: ProdStack) -> None:
    first, second = existing(prod), existing(prod)
    by_id: dict[str, Any] = {"kind": "slb", "addressType": "intranet", "id": first, "protect": False, "backend": "ecs"}
    uid = create_article_service(prod, first)
    prod.config["kubernetes"] |= {"createNamespace": False, "adopt": True}
    prod.config["loadBalancer"] = by_id | {"id": second}
    rejected = prod.update()
    assert f"srs:loadBalancer.id: '{second}' cannot be changed on Service srs-edge-service, where" in rejected.output
    assert "Use the live one. Or leave this Service as it is" in rejected.output

    prod.config["loadBalancer"] = by_id
    prod.must_update()
    del prod.config["kubernetes"]["adopt"]
    assert prod.get("service", "srs-edge-service")["metadata"]["uid"] == uid, "it was taken over"
    assert not [call for call in prod.api.calls if call.changes], "an existing CLB belongs to the operator"
    ip = prod.api.clbs[first]["Address"]
    assert prod.stack.outputs()["urls"].value["flv"] == f"http://{ip}:8080/live/livestream.flv"
    pods = prod.pod_names()

    prod.config["loadBalancer"] = by_id | {"id": second}
    rejected = prod.update()
    assert not rejected.ok
    assert f"srs:loadBalancer.id: '{second}' cannot be changed on Service srs-edge-service" in rejected.output
    assert ALTERNATIVE in rejected.output
    assert prod.controller_annotations()["id"] == first

    prod.config["formerLoadBalancer"] = by_id
    prod.config["loadBalancer"] = by_id | {"id": second, "service": "srs-edge-next"}
    prod.must_update()
    assert prod.controller_annotations()["id"] == first
    assert prod.controller_annotations("srs-edge-next")["id"] == second
    assert prod.pod_names() == pods, "the same edges are behind both"
    del prod.config["formerLoadBalancer"]
    prod.must_update()
    eventually(lambda: set(prod.controller.listeners.values()) == {"srs-edge-next"})
    assert set(prod.api.clbs) == {first, second}
    assert prod.pod_names() == pods

    # The same CLB for another namespace: one of both Services would lose its listeners without notice.
    other: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "annotations": {f"{PREFIX}id": second}},
        # A class of no controller, so that it gets no listeners.
        "spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/none", "ports": [{"port": 8080}]},
    }
    manifest = prod.folder / "other.json"
    manifest.write_text(json.dumps(other))
    prod.kubectl("apply", "-n", "default", "-f", str(manifest))
    try:
        clash = prod.preview()
    finally:
        prod.kubectl("delete", "-n", "default", "service", "web")
    assert f"srs:loadBalancer.id: '{second}' is already used by Service default/web" in clash.output

    # The operator deletes the CLB: the provider does not see it, the controller does.
    del prod.api.clbs[second]
    prod.config["loadBalancer"]["scheduler"] = "rr"  # a change that the controller has to handle
    prod.must_update()
    eventually(lambda: "The specified LoadBalancerId does not exist" in prod.update().output)


def test_a_rollout_waits_until_the_load_balancer_has_the_new_pods(prod: ProdStack) -> None:
    """All pods at once: for each batch, the controller looks up to 10 s later for pods that are ready."""
    prod.load_balancer.update({"backend": "eni", "healthCheck": {"interval": "1s", "healthyThreshold": 2}})
    prod.config["edge"] |= {"minReady": "2s", "maxSurge": "100%"}
    rejected = prod.update()
    assert not rejected.ok
    assert "srs:edge.drain.timeout: 12h is longer than srs:loadBalancer can keep" in rejected.output
    assert prod.api.clbs == {}
    prod.config["edge"]["drain"] = {"deregister": "5s", "timeout": "10m"}
    prod.releases(r5=release("v4.0.5", 1))
    prod.must_update()
    backends = prod.controller.backends["srs-edge-service"]
    serving = prod.pod_names()
    assert backends[-1] == serving

    before = len(backends)
    prod.releases(r5=release("v4.0.6", 1))
    prod.must_update()
    eventually(lambda: backends[-1] == prod.pod_names())
    assert min(map(len, backends[before:])) >= 4, backends
    assert len(prod.pods(terminating=True)) == 4
    assert not serving & backends[-1], "the controller leaves terminating pods out"

    # While the controller is down, new pods get no connections, so no old pod may be deleted.
    serving = prod.pod_names()
    prod.controller.down = True
    prod.releases(r5=release("v4.0.271", 1))
    prod.config["edge"]["rolloutTimeout"] = "20s"
    failed = prod.update()
    assert not failed.ok
    assert "edge release r5 (Deployment srs-edge-r5-deploy) is not ready after 20s" in failed.output
    assert serving <= prod.pod_names()
    prod.controller.down = False
    prod.config["edge"]["rolloutTimeout"] = "60s"
    prod.must_update()
    assert min(map(len, backends[before:])) >= 4, backends


def test_a_load_balancer_without_an_address_fails_the_update_with_the_controllers_reason(prod: ProdStack) -> None:
    prod.config["loadBalancer"] = {
        "kind": "slb",
        "addressType": "internet",
        "id": existing(prod, "intranet"),
        "protect": False,
        "addressTimeout": "5s",
    }
    failed = prod.update()
    assert not failed.ok
    assert "Service srs-edge-service has no address of its load balancer after 5s" in failed.output
    assert "can not change LoadBalancer AddressType once created" in failed.output
    assert "Traceback" not in failed.output
    assert prod.kubectl("get", "deployments").startswith("No resources found")

    prod.controller.down = True
    prod.config["loadBalancer"] |= {"id": existing(prod, "internet"), "service": "srs-edge-other"}
    prod.config["formerLoadBalancer"] = {"kind": "none"}
    prod.kubectl("delete", "service", "srs-edge-service", "--wait=false")
    prod.kubectl("patch", "service", "srs-edge-service", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    prod.kubectl("delete", "events", "--all")
    failed = prod.update()
    assert not failed.ok
    assert "Service srs-edge-other has no address of its load balancer after 5s" in failed.output
    assert "is a cloud controller manager running?" in failed.output
    assert f"kubectl -n {prod.namespace} describe service srs-edge-other" in failed.output

    prod.controller.down = False
    prod.must_update()
    assert prod.replicas() == {"r5": 4}


@pytest.mark.usefixtures("nodes")
def test_an_nlb_is_created_by_the_controller_alone(prod: ProdStack) -> None:
    prod.config["loadBalancer"] = {
        "kind": "nlb",
        "addressType": "internet",
        "zoneMaps": {"cn-beijing-h": "vsw-testbed0001", "cn-beijing-g": "vsw-testbed0002"},
        "protect": False,
        "tags": {"app": "srs"},
    }
    prod.must_update()
    zones = prod.load_balancer["zoneMaps"]
    prod.load_balancer["zoneMaps"] = zones | {"cn-beijing-k": "vsw-testbed0003"}
    assert "srs:loadBalancer.zoneMaps: " in prod.preview().output
    prod.load_balancer["zoneMaps"] = zones
    service = prod.get("service", "srs-edge-service")
    assert service["spec"]["loadBalancerClass"] == "alibabacloud.com/nlb"
    (ingress,) = service["status"]["loadBalancer"]["ingress"]
    assert prod.stack.outputs()["urls"].value["rtmp"] == f"rtmp://{ingress['hostname']}:1935/live/livestream"
    assert prod.controller_annotations()["zone-maps"] == "cn-beijing-g:vsw-testbed0002,cn-beijing-h:vsw-testbed0001"
    assert prod.api.calls == [], "the provider makes no call"
    nodes = {node["metadata"]["name"] for node in prod.get("nodes")["items"]}
    eventually(lambda: prod.controller.backends["srs-edge-service"][-1] == nodes)
    again = prod.must_update()
    assert again.changes == {}, again.output


def test_a_destroy_leaves_the_address_while_anything_is_protected(prod: ProdStack) -> None:
    """Pulumi keeps protected resources and deletes the rest: connections drain, and an update restores the edges."""
    prod.load_balancer.update({"protect": False, "deleteProtection": True})
    prod.must_update()
    service, calls = prod.snapshot()["Service/srs-edge-service"], len(prod.api.calls)
    serving = prod.pod_names()
    deployment = prod.stack.export_stack().deployment or {}
    protected = {item["urn"].split("::")[-1] for item in deployment["resources"] if item.get("protect")}
    assert protected == {CLB, "srs-edge-service", prod.namespace}
    kept = prod.destroy()
    assert not kept.ok
    for word in (CLB, "cannot be deleted", "protected", "pulumi state unprotect"):
        assert word in kept.output, kept.output
    assert not [call for call in prod.api.calls[calls:] if call.changes]
    assert prod.snapshot()["Service/srs-edge-service"] == service
    assert serving <= prod.pod_names(terminating=True)
    prod.must_update()
    assert prod.replicas() == {"r5": 4}
    assert prod.snapshot()["Service/srs-edge-service"] == service

    # Without the protections, the destroy deletes the load balancer too.
    prod.load_balancer.update({"protect": False, "deleteProtection": False})
    prod.must_update()
    deleted = prod.destroy()
    assert deleted.ok, deleted.output
    assert prod.api.clbs == {}
