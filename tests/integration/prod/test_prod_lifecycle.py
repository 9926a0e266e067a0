"""The production stack from its first up to its destroy: the CLB is made once, and touched only when it is meant."""

import base64

import yaml

from integration.prod.prod_stack import CLB, PASSWORD, SECRETS, ProdStack
from stack import Result, release

PROTECTED = "cannot be deleted"


def changing(prod: ProdStack, run: Result, before: int) -> list[str]:
    """The actions that a run asked of the cloud, other than reading."""
    assert run.ok, run.output
    return [call.action for call in prod.api.calls[before:] if call.changes]


def test_the_clb_is_made_once_and_touched_only_when_it_is_meant(prod: ProdStack) -> None:
    api = prod.api
    preview = prod.preview()
    assert preview.changes[CLB] == "create", preview.output
    assert changing(prod, preview, 0) == []

    first = prod.must_up()
    clb, told = prod.clb, prod.told()
    assert changing(prod, first, 0).count("CreateLoadBalancer") == 1
    assert (clb["AddressType"], clb["VSwitchId"], clb["VpcId"]) == ("intranet", "vsw-testbed0001", "vpc-testbed0001")
    assert (clb["InstanceChargeType"], clb["PayType"]) == ("PayByCLCU", "PayOnDemand")
    assert clb["LoadBalancerName"] == f"{prod.namespace}-srs-edge-service"
    assert api.tags[clb["LoadBalancerId"]] == {"app": "srs", "stack": "prod", "kubernetes.reused.by.user": "true"}
    # The controller must never see the Service without the id: it would make a CLB of its own.
    assert prod.controller.seen["srs-edge-service"][0]["id"] == clb["LoadBalancerId"] == told["id"]
    assert len(prod.controller.seen["srs-edge-service"]) == 1
    assert prod.controller.listeners == {
        (clb["LoadBalancerId"], 1935): "srs-edge-service",
        (clb["LoadBalancerId"], 8080): "srs-edge-service",
    }
    assert prod.stack.outputs()["urls"].value["rtmp"] == "rtmp://live.example.com:1935/live/livestream"

    before = len(api.calls)
    again = prod.must_up()
    assert again.changes == {}, again.output
    assert changing(prod, again, before) == []

    # A canary step.
    before = len(api.calls)
    prod.releases(r5=release("v4.0.5", 75), r6=release("v4.0.6", 25))
    canary = prod.must_up()
    assert prod.replicas() == {"r5": 3, "r6": 1}
    assert changing(prod, canary, before) == []
    assert not [name for name in canary.changes if "service" in name or "clb" in name], canary.changes
    assert len(prod.controller.seen["srs-edge-service"]) == 1, "the controller has nothing to do either"

    # A change of the specification.
    before = len(api.calls)
    prod.lb.update({"instanceChargeType": "PayBySpec", "spec": "slb.s2.small", "scheduler": "rr"})
    spec = prod.must_up()
    assert spec.changes == {CLB: "update", "srs-edge-service": "update"}, spec.output
    assert "DeleteLoadBalancer" not in changing(prod, spec, before)
    assert (prod.clb["LoadBalancerId"], prod.clb["LoadBalancerSpec"]) == (clb["LoadBalancerId"], "slb.s2.small")
    assert prod.told()["scheduler"] == "rr"

    # Somebody has changed the CLB.
    prod.clb["LoadBalancerName"] = "somebodys"
    del api.tags[clb["LoadBalancerId"]]["app"]
    drift = prod.preview()
    assert drift.changes == {CLB: "update"}, drift.output
    prod.must_up()
    assert prod.clb["LoadBalancerName"] == f"{prod.namespace}-srs-edge-service"
    assert api.tags[clb["LoadBalancerId"]]["app"] == "srs"

    gone = prod.destroy()
    assert gone.ok, gone.output
    assert api.clbs == {}


def test_all_of_the_production_stack_and_no_secret_in_the_open(prod: ProdStack) -> None:
    """As it is committed, less the protections and the resources; with a registry and a load balancer for encoders."""
    cloud = prod.cloud
    prod.config, prod.cloud = prod.dev_config(), cloud
    prod.lb.update({"protect": False, "deleteProtection": False})
    (vswitch,) = prod.api.vswitches
    for pool in (prod.config["origin"], prod.config["edge"]["releases"]["r5"]):
        del pool["resources"]
        pool["image"] = f"registry.example.com/ossrs/srs@sha256:{'ab' * 32}"
        pool["version"] = "4.0.271"
    prod.config["publish"] = {
        "to": "origins",
        "loadBalancer": {"kind": "slb", "addressType": "intranet", "vswitchId": vswitch, "protect": False,
                         "deleteProtection": False},
    }  # fmt: skip
    prod.config["images"] = {"registry": {"server": "registry.example.com", "username": "puller"}}
    prod.config["images"] = prod.set_secret("srs:images.registry.password", PASSWORD, "--path")
    for number, node in enumerate(prod.get("nodes")["items"]):
        pool = ("edge", "origin")[number % 2]
        prod.kubectl("label", "node", node["metadata"]["name"], f"srs.example.com/pool={pool}", "--overwrite")

    up = prod.must_up()
    edges = prod.pods()
    assert len(edges) == 8
    assert {pod["spec"]["containers"][0]["image"] for pod in edges} == {prod.config["origin"]["image"]}
    nodes = {node["metadata"]["name"]: node["metadata"]["labels"] for node in prod.get("nodes")["items"]}
    assert {nodes[pod["spec"]["nodeName"]]["srs.example.com/pool"] for pod in edges} == {"edge"}
    assert {nodes[pod["spec"]["nodeName"]]["topology.kubernetes.io/zone"] for pod in edges} == {
        labels["topology.kubernetes.io/zone"] for labels in nodes.values() if labels["srs.example.com/pool"] == "edge"
    }
    assert {pod["spec"]["imagePullSecrets"][0]["name"] for pod in edges} == {"srs-registry"}
    assert prod.get("pvc", "srs-hls")["status"]["phase"] == "Bound"

    # Two CLBs; HLS is on a port of the first, encoders come in by the second.
    edge, publish = prod.told()["id"], prod.told("srs-publish-service")["id"]
    assert set(prod.api.clbs) == {edge, publish}
    assert prod.controller.listeners == {
        (edge, 1935): "srs-edge-service",
        (edge, 8080): "srs-edge-service",
        (edge, 80): "nginx-origin-service",
        (publish, 1935): "srs-publish-service",
    }
    (eip,) = prod.api.eips.values()
    assert (eip["InstanceId"], eip["Bandwidth"]) == (edge, "200")
    (ingress,) = prod.get("service", "srs-edge-service")["status"]["loadBalancer"]["ingress"]
    assert ingress["ip"] == eip["IpAddress"]
    urls = prod.stack.outputs()["urls"].value
    assert urls["publish"] == f"rtmp://{prod.api.clbs[publish]['Address']}:1935/live/livestream"

    # Nobody sees a credential.
    kubeconfig = yaml.safe_load(prod.kubeconfig.read_text())["users"][0]["user"]
    certificates = [value for value in kubeconfig.values() if len(value) > 100]
    assert certificates
    outputs = [up.output, prod.preview().output, str(prod.stack.outputs())]
    login = base64.b64decode(prod.get("secret", "srs-registry")["data"][".dockerconfigjson"]).decode()
    assert PASSWORD in login, "where it belongs"
    encoded = [base64.b64encode(text.encode()).decode() for text in (login, f"puller:{PASSWORD}")]
    for secret in (*SECRETS, *encoded, *certificates):
        for text in (*outputs, prod.state_text(), (prod.folder / "Pulumi.dev.yaml").read_text()):
            assert secret not in text

    # Another password is an update, and rolls nothing.
    pods = prod.pod_names()
    prod.config["images"] = prod.set_secret("srs:images.registry.password", f"{PASSWORD}2", "--path")
    changed = prod.must_up()
    assert changed.changes == {"srs-registry": "update"}, changed.output
    assert prod.pod_names() == pods

    gone = prod.destroy()
    assert gone.ok, gone.output
    assert (prod.api.clbs, prod.api.eips) == ({}, {})


def test_a_destroy_leaves_the_address_while_anything_is_protected(prod: ProdStack) -> None:
    """Pulumi keeps what is protected and takes the rest: connections drain on, and an up brings the edges back."""
    prod.lb.update({"protect": False, "deleteProtection": True})
    prod.must_up()
    service, calls = prod.snapshot()["Service/srs-edge-service"], len(prod.api.calls)
    serving = prod.pod_names()
    resources = prod.stack.export_stack().deployment["resources"]
    assert {each["urn"].split("::")[-1] for each in resources if each.get("protect")} == {CLB, "srs-edge-service"}
    refused = prod.destroy()
    assert not refused.ok
    for word in (CLB, "cannot be deleted", "protected", "pulumi state unprotect"):
        assert word in refused.output, refused.output
    assert not [call for call in prod.api.calls[calls:] if call.changes]
    assert prod.snapshot()["Service/srs-edge-service"] == service
    assert serving <= {pod["metadata"]["name"] for pod in prod.pods(terminating=True)}
    prod.must_up()
    assert prod.replicas() == {"r5": 4}
    assert prod.snapshot()["Service/srs-edge-service"] == service

    # The way to go on.
    prod.lb.update({"protect": False, "deleteProtection": False})
    prod.must_up()
    gone = prod.destroy()
    assert gone.ok, gone.output
    assert prod.api.clbs == {}
