"""What cuts those who are connected is refused or goes another way; and releases wait for the load balancer."""

import copy
from typing import Any

from integration.prod.prod_stack import ProdStack
from stack import eventually, release

WAY = "Move the load balancer that is there to srs:formerLoadBalancer"


def existing(prod: ProdStack, address_type: str = "intranet") -> str:
    """A CLB that is there already."""
    clb = prod.api.add_clb({"AddressType": address_type, "RegionId": "cn-beijing", "LoadBalancerName": "by-hand"})
    identifier: str = clb["LoadBalancerId"]
    return identifier


def services(prod: ProdStack) -> dict[str, str]:
    return {
        item["metadata"]["name"]: item["spec"]["type"]
        for item in prod.get("services")["items"]
        if "edge" in item["metadata"]["name"]
    }


def test_another_kind_stands_beside_the_first_until_nobody_uses_it(prod: ProdStack) -> None:
    slb = copy.deepcopy(prod.lb)
    node_port = {"kind": "nodePort", "rtmpPort": 31951, "httpPort": 30951}
    prod.config["loadBalancer"] = node_port
    prod.must_up()
    before = prod.snapshot()

    prod.config["loadBalancer"] = slb
    refused = prod.up()
    assert not refused.ok
    assert "srs:loadBalancer.kind: 'slb' cannot be changed on Service srs-edge-service" in refused.output
    assert WAY in refused.output
    prod.config["loadBalancer"] = slb | {"service": "srs-edge-next"}
    refused = prod.up()
    assert not refused.ok
    assert "is a new Service, and srs-edge-service would go with all connections through it" in refused.output
    assert (prod.snapshot(), prod.api.clbs) == (before, {})

    prod.config["formerLoadBalancer"] = node_port
    pods = prod.pod_names()
    both = prod.must_up()
    assert services(prod) == {"srs-edge-service": "NodePort", "srs-edge-next": "LoadBalancer"}
    assert "srs-edge-service" not in both.changes
    after = prod.snapshot()
    assert {key: value for key, value in after.items() if key == "Service/srs-edge-service"} == {
        "Service/srs-edge-service": before["Service/srs-edge-service"]
    }

    del prod.config["formerLoadBalancer"]
    announced = prod.preview()
    assert "Service srs-edge-service goes, with its load balancer and all connections through it" in announced.output
    prod.must_up()
    eventually(lambda: services(prod) == {"srs-edge-next": "LoadBalancer"})
    assert len(prod.endpoints_of("srs-edge-next")) == 4
    assert pods  # deregister and grace have changed with the load balancer, so the edges have rolled, draining


def test_another_clb_is_refused_and_the_way_to_go_cuts_nobody(prod: ProdStack) -> None:
    first, second = existing(prod), existing(prod)
    by_id: dict[str, Any] = {"kind": "slb", "addressType": "intranet", "id": first, "protect": False}
    prod.config["loadBalancer"] = by_id
    prod.must_up()
    assert not [call for call in prod.api.calls if call.changes], "an existing CLB is the operator's own"
    address = prod.api.clbs[first]["Address"]
    assert prod.stack.outputs()["urls"].value["flv"] == f"http://{address}:8080/live/livestream.flv"
    pods = prod.pod_names()

    prod.config["loadBalancer"] = by_id | {"id": second}
    refused = prod.up()
    assert not refused.ok
    assert f"srs:loadBalancer.id: '{second}' cannot be changed on Service srs-edge-service" in refused.output
    assert WAY in refused.output
    assert prod.told()["id"] == first

    prod.config["formerLoadBalancer"] = by_id
    prod.config["loadBalancer"] = by_id | {"id": second, "service": "srs-edge-next"}
    prod.must_up()
    assert prod.told()["id"] == first
    assert prod.told("srs-edge-next")["id"] == second
    assert prod.pod_names() == pods, "the same edges are behind both"
    del prod.config["formerLoadBalancer"]
    prod.must_up()
    eventually(lambda: set(prod.controller.listeners.values()) == {"srs-edge-next"})
    assert set(prod.api.clbs) == {first, second}
    assert prod.pod_names() == pods


def test_a_rollout_does_not_run_ahead_of_a_load_balancer_of_pods(prod: ProdStack) -> None:
    prod.lb["backend"] = "eni"
    refused = prod.up()
    assert not refused.ok
    assert "srs:edge.drain.timeout: 12h is longer than loadBalancer can keep" in refused.output
    assert prod.api.clbs == {}
    prod.config["edge"]["drain"] = {"deregister": "5s", "timeout": "10m"}
    prod.releases(r5=release("v4.0.5", 1))
    prod.must_up()
    backends = prod.controller.backends["srs-edge-service"]
    serving = prod.pod_names()
    assert backends[-1] == serving

    before = len(backends)
    prod.releases(r5=release("v4.0.6", 1))
    prod.must_up()
    eventually(lambda: backends[-1] == prod.pod_names())
    assert min(len(each) for each in backends[before:]) >= 4, backends
    assert len(prod.pods(terminating=True)) == 4
    assert not serving & backends[-1], "the controller leaves terminating pods out"

    # The controller is down: new pods get no connections, so no old one goes.
    serving = prod.pod_names()
    prod.controller.away = True
    prod.releases(r5=release("v4.0.271", 1))
    prod.config["edge"]["rolloutTimeout"] = "6s"
    failed = prod.up()
    assert not failed.ok
    assert "edge release r5 (Deployment srs-edge-r5-deploy) is not ready after 6s" in failed.output
    assert serving <= prod.pod_names()
    prod.controller.away = False
    prod.config["edge"]["rolloutTimeout"] = "60s"
    prod.must_up()
    assert min(len(each) for each in backends[before:]) >= 4, backends


def test_a_load_balancer_that_never_comes_is_told_with_the_controllers_reason(prod: ProdStack) -> None:
    prod.config["loadBalancer"] = {
        "kind": "slb",
        "addressType": "internet",
        "id": existing(prod, "intranet"),
        "protect": False,
        "addressTimeout": "5s",
    }
    failed = prod.up()
    assert not failed.ok
    assert "Service srs-edge-service has no address of its load balancer after 5s" in failed.output
    assert "can not change LoadBalancer AddressType once created" in failed.output
    assert "Traceback" not in failed.output
    assert prod.kubectl("get", "deployments").startswith("No resources found")

    prod.controller.away = True
    prod.config["loadBalancer"] |= {"id": existing(prod, "internet"), "service": "srs-edge-other"}
    prod.config["formerLoadBalancer"] = {"kind": "none"}
    prod.kubectl("delete", "service", "srs-edge-service", "--wait=false")
    prod.kubectl("patch", "service", "srs-edge-service", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    prod.kubectl("delete", "events", "--all")
    failed = prod.up()
    assert not failed.ok
    assert "Service srs-edge-other has no address of its load balancer after 5s" in failed.output
    assert "is a cloud controller manager running?" in failed.output
    assert f"kubectl -n {prod.namespace} describe service srs-edge-other" in failed.output

    prod.controller.away = False
    prod.must_up()
    assert prod.replicas() == {"r5": 4}


def test_an_nlb_is_made_by_the_controller_alone(prod: ProdStack) -> None:
    prod.config["loadBalancer"] = {
        "kind": "nlb",
        "addressType": "internet",
        "zoneMaps": {"cn-beijing-h": "vsw-testbed0001", "cn-beijing-g": "vsw-testbed0002"},
        "protect": False,
        "tags": {"app": "srs"},
    }
    prod.must_up()
    service = prod.get("service", "srs-edge-service")
    assert service["spec"]["loadBalancerClass"] == "alibabacloud.com/nlb"
    (ingress,) = service["status"]["loadBalancer"]["ingress"]
    assert prod.stack.outputs()["urls"].value["rtmp"] == f"rtmp://{ingress['hostname']}:1935/live/livestream"
    assert prod.told()["zone-maps"] == "cn-beijing-g:vsw-testbed0002,cn-beijing-h:vsw-testbed0001"
    assert prod.api.calls == [], "the provider is not even started"
    nodes = {node["metadata"]["name"] for node in prod.get("nodes")["items"]}
    eventually(lambda: prod.controller.backends["srs-edge-service"][-1] == nodes)
    again = prod.must_up()
    assert again.changes == {}, again.output
