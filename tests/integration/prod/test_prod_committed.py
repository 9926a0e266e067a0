"""The committed production stack: node pools, load balancers and secrets.

Without its resource requests; with a registry. Its protections are on until the load balancers are moved.
"""

import base64
import copy
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from integration.identities import apply_role, kubeconfig_of
from integration.prod.cloud_controller import PREFIX
from integration.prod.prod_stack import CLB, PASSWORD, SECRETS, ProdStack, only_user_of_nodes, production_stack
from stack import Result, eventually
from testbed.cluster import EmbeddedCluster

POOL = "srs.example.com/pool"
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture(scope="module")
def prod(cloud_cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProdStack]:
    """The stack before its first update, and nodes with the labels of its pools."""
    with production_stack(cloud_cluster, tmp_path_factory.mktemp("prod"), "committed") as created:
        credentials = created.provider_config
        created.config = created.committed_config()
        created.provider_config = credentials
        for pods in (created.config["origin"], created.config["edge"]["releases"]["r5"]):
            del pods["resources"]
            pods |= {"image": f"registry.example.com/ossrs/srs@sha256:{'ab' * 32}", "version": "4.0.271"}
        del created.config["publish"]["exclusive"]  # its end would change the srs.conf of the edges, and roll them
        created.kubectl("create", "priorityclass", "srs-live", "--value=1000000")  # as the sample says
        created.config["images"] = {"registry": {"server": "registry.example.com", "username": "puller"}}
        created.config["images"] = created.set_secret("srs:images.registry.password", PASSWORD, "--path")
        with only_user_of_nodes(cloud_cluster):
            for number, node in enumerate(created.get("nodes")["items"]):
                pool = ("edge", "origin")[number % 2]
                created.kubectl("label", "node", node["metadata"]["name"], f"{POOL}={pool}", "--overwrite")
        yield created


@pytest.fixture(scope="module", autouse=True)
def first_update(prod: ProdStack) -> Result:
    return prod.must_update()


def test_edges_run_in_all_zones_of_their_node_pool(prod: ProdStack) -> None:
    nodes = {node["metadata"]["name"]: node["metadata"]["labels"] for node in prod.get("nodes")["items"]}
    used = [nodes[pod["spec"]["nodeName"]] for pod in prod.pods()]
    assert len(used) == 8
    assert {labels[POOL] for labels in used} == {"edge"}
    assert {labels[ZONE] for labels in used} == {labels[ZONE] for labels in nodes.values() if labels[POOL] == "edge"}


def test_edges_have_the_image_and_its_pull_secret(prod: ProdStack) -> None:
    edges = prod.pods()
    assert {pod["spec"]["containers"][0]["image"] for pod in edges} == {prod.config["origin"]["image"]}
    assert {pod["spec"]["imagePullSecrets"][0]["name"] for pod in edges} == {"srs-registry"}


def test_the_claim_of_hls_is_bound(prod: ProdStack) -> None:
    assert prod.get("pvc", "srs-hls")["status"]["phase"] == "Bound"


def test_viewers_and_hls_share_a_load_balancer_and_encoders_have_another(prod: ProdStack) -> None:
    edge = prod.controller_annotations()["id"]
    publish = prod.controller_annotations("srs-publish-service")["id"]
    assert set(prod.api.clbs) == {edge, publish}
    assert prod.controller.listeners == {
        (edge, 1935): "srs-edge-service",
        (edge, 8080): "srs-edge-service",
        (edge, 80): "nginx-origin-service",
        (publish, 1935): "srs-publish-service",
    }
    urls = prod.stack.outputs()["urls"].value
    assert urls["publish"] == f"rtmp://{prod.api.clbs[publish]['Address']}:1935/live/livestream"


def test_viewers_connect_to_the_elastic_address(prod: ProdStack) -> None:
    (eip,) = prod.api.eips.values()
    assert (eip["InstanceId"], eip["Bandwidth"]) == (prod.controller_annotations()["id"], "200")
    (ingress,) = prod.get("service", "srs-edge-service")["status"]["loadBalancer"]["ingress"]
    assert ingress["ip"] == eip["IpAddress"]


def test_the_elastic_address_joins_changes_and_leaves_a_bandwidth_plan(prod: ProdStack) -> None:
    (eip,) = prod.api.eips.values()
    address = eip["IpAddress"]
    for plan, bandwidth in (("cbwp-testbed0001", "1000"), ("cbwp-testbed0002", "2000"), ("", "200")):
        prod.load_balancer["eip"] = {"bandwidth": 200} | ({"bandwidthPackage": plan} if plan else {})
        changes = prod.must_update().changes
        assert set(changes) == {f"{CLB}-eip"}, changes
        assert (eip["BandwidthPackageId"], eip["Bandwidth"], eip["EipBandwidth"]) == (plan, bandwidth, "200")
        unchanged = prod.preview()
        assert unchanged.changes == {}, unchanged.output
    assert [item["IpAddress"] for item in prod.api.eips.values()] == [address]


def test_no_credential_is_printed_or_stored_in_plain_text(prod: ProdStack, first_update: Result) -> None:
    kubeconfig = yaml.safe_load(prod.kubeconfig.read_text())["users"][0]["user"]
    certificates = [value for value in kubeconfig.values() if len(value) > 100]
    assert certificates
    login = base64.b64decode(prod.get("secret", "srs-registry")["data"][".dockerconfigjson"]).decode()
    assert PASSWORD in login, "the Secret has the password"
    encoded = [base64.b64encode(text.encode()).decode() for text in (login, f"puller:{PASSWORD}")]
    outputs = [first_update.output, prod.preview().output, str(prod.stack.outputs())]
    for text in (*outputs, prod.state_text(), (prod.folder / "Pulumi.dev.yaml").read_text()):
        assert not [secret for secret in (*SECRETS, *encoded, *certificates) if secret in text]


def test_a_user_who_may_only_read_can_preview(prod: ProdStack) -> None:
    """The preview workflow's user: docs/preview-role.yaml, in the stack's namespace."""
    apply_role(prod, "preview-role.yaml")
    kubeconfig = kubeconfig_of(prod, "srs-preview", "srs-preview")
    reader = prod.folder / "reader.yaml"
    reader.write_text(kubeconfig)
    prod.config["kubernetes"]["kubeconfig"] = str(reader)
    prod.config["edge"]["replicas"] = 9
    prod.write()
    prod.config["kubernetes"]["kubeconfig"] = str(prod.kubeconfig)
    prod.config["edge"]["replicas"] = 8
    # As the workflow does it: the Automation API cannot leave out the refresh.
    options = ["--refresh=false", "--stack", prod.stack_name, "--non-interactive", "--color", "never"]
    environment = {**os.environ, **prod.variables}
    preview = subprocess.run(
        ["pulumi", "preview", *options], cwd=prod.folder, env=environment, capture_output=True, text=True, check=False
    )
    output = preview.stdout + preview.stderr
    assert preview.returncode == 0, output
    assert "edge release r5: scale, 8 -> 9 edges" in output
    assert "cannot be checked" not in output, "the identity of the cluster is readable"
    assert yaml.safe_load(kubeconfig)["users"][0]["user"]["token"] not in output


def test_another_password_updates_the_secret_and_rolls_nothing(prod: ProdStack) -> None:
    pods = prod.pod_names()
    prod.config["images"] = prod.set_secret("srs:images.registry.password", f"{PASSWORD}2", "--path")
    changed = prod.must_update()
    assert changed.changes == {"srs-registry": "update"}, changed.output
    assert prod.pod_names() == pods


def backends(prod: ProdStack, service: str) -> set[str]:
    """The present backends of a Service, as the controller knows them."""
    return prod.controller.backends[service][-1]


@pytest.mark.usefixtures("nodes")
def test_the_backends_are_the_nodes_of_the_pool_without_those_that_the_controller_leaves_out(prod: ProdStack) -> None:
    nodes = {node["metadata"]["name"]: node["metadata"]["labels"].get(POOL) for node in prod.get("nodes")["items"]}
    edge, origin = ({name for name, pool in nodes.items() if pool == wanted} for wanted in ("edge", "origin"))
    assert backends(prod, "srs-edge-service") == backends(prod, "nginx-origin-service") == edge
    assert backends(prod, "srs-publish-service") == origin
    # What docs/alibaba.md says about the nodes of the pool.
    node = min(edge)
    taint = "ToBeDeletedByClusterAutoscaler=1:PreferNoSchedule"
    prod.kubectl("cordon", node)
    prod.kubectl("taint", "node", node, taint)  # no event for the controller: the next one finds it
    try:
        prod.kubectl("uncordon", node)
        eventually(lambda: backends(prod, "srs-edge-service") == edge - {node})
    finally:
        prod.kubectl("taint", "node", node, f"{taint}-")
    prod.kubectl("cordon", node)
    eventually(lambda: backends(prod, "srs-edge-service") == edge)
    prod.kubectl("uncordon", node)
    new = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "starting", "labels": {POOL: "edge"}},
        "spec": {"providerID": "cn-beijing.i-starting"},
    }
    manifest = prod.folder / "node.json"
    manifest.write_text(json.dumps(new))
    prod.kubectl("create", "-n", "", "-f", str(manifest))
    try:
        for ready in ("True", "False"):
            status = {"status": {"conditions": [{"type": "Ready", "status": ready}]}}
            prod.kubectl("patch", "node", "starting", "--subresource=status", "--patch", json.dumps(status))
            eventually(lambda: ("starting" in backends(prod, "srs-edge-service")) is (ready == "True"))  # noqa: B023
    finally:
        prod.kubectl("delete", "node", "starting")
    assert all(edge - {node} <= found for found in prod.controller.backends["srs-edge-service"]), "cordoning drops none"


def rejected(prod: ProdStack, *messages: str) -> None:
    """Each message is in the output of an update, which changes nothing."""
    before, calls = prod.snapshot(), len(prod.api.calls)
    update = prod.update()
    assert not update.ok
    for message in messages:
        assert message in update.output, update.output
    assert prod.snapshot() == before
    assert not [call for call in prod.api.calls[calls:] if call.changes]


def test_an_eip_that_was_released_by_hand_is_replaced_with_another_address(prod: ProdStack) -> None:
    """HLS is on the same CLB: its Service gets the address, too, although only the EIP changes."""
    ((identifier, lost),) = prod.api.eips.items()
    del prod.api.eips[identifier]
    pods = prod.pod_names()
    messages = [
        f"EIP {lost['IpAddress']} of Service {name} does not exist any more in this region and account; another one "
        f"replaces it, with another address than {lost['IpAddress']}: check DNS"
        for name in ("srs-edge-service", "nginx-origin-service")
    ]
    for update in (prod.preview(), prod.must_update()):
        for message in messages:
            assert message in update.output, update.output
        assert "of Service srs-publish-service does not exist" not in update.output
    (eip,) = prod.api.eips.values()
    assert eip["IpAddress"] != lost["IpAddress"]
    assert eip["InstanceId"] == prod.controller_annotations()["id"], "the CLB stays"
    for name in ("srs-edge-service", "nginx-origin-service"):
        (ingress,) = prod.get("service", name)["status"]["loadBalancer"]["ingress"]
        assert ingress["ip"] == eip["IpAddress"]
    assert prod.pod_names() == pods
    unchanged = prod.must_update()
    assert unchanged.changes == {}, unchanged.output
    assert "does not exist any more" not in unchanged.output


def test_edits_that_would_drop_connections_are_rejected_with_the_way_that_drops_none(prod: ProdStack) -> None:
    config = copy.deepcopy(prod.config)
    prod.load_balancer["eip"]["chargeType"] = "PayByBandwidth"
    prod.load_balancer["backendNodes"] = {POOL: "edge", "stable": "yes"}
    prod.config["publish"]["to"] = "edges"
    prod.config["publish"]["loadBalancer"] |= {"annotations": {f"{PREFIX}cookie": "x"}}
    prod.config["hls"]["port"] = 81
    rejected(
        prod,
        "srs:loadBalancer.eip: {chargeType: 'PayByBandwidth'} cannot be changed on Service srs-edge-service",
        "srs:loadBalancer.backendNodes: ",
        "would remove nodes from the backends of Service srs-edge-service",
        "Move the existing load balancer to srs:formerLoadBalancer",
        "srs:publish.to: 'edges' cannot be changed on Service srs-publish-service",
        "srs:publish.loadBalancer.annotations: ",
        "as they are to srs:publish.former",
        "srs:hls.port: 81 cannot replace port 80 of Service nginx-origin-service",
        "Set hls.formerPort: 80",
    )
    prod.config = config


def test_all_load_balancers_are_replaced_while_the_former_ones_stay(prod: ProdStack) -> None:
    """The documented way, with all protections: both next to each other, unprotect the former ones, remove them."""
    edge, publish = prod.controller_annotations()["id"], prod.controller_annotations("srs-publish-service")["id"]
    former, former_publish = prod.config["loadBalancer"], copy.deepcopy(prod.config["publish"])
    pods = prod.pod_names()
    prod.config["formerLoadBalancer"] = former
    # Another kind of address, without an EIP, and other nodes.
    prod.config["loadBalancer"] = {"kind": "slb", "addressType": "internet", "service": "srs-edge-next", "host": "next"}
    prod.config["publish"] = {
        "to": "edges",
        "loadBalancer": former_publish["loadBalancer"] | {"service": "srs-publish-next"},
        "former": former_publish,
    }
    prod.config["hls"] |= {"port": 81, "formerPort": 80}
    prod.must_update()
    next_edge = prod.controller_annotations("srs-edge-next")["id"]
    next_publish = prod.controller_annotations("srs-publish-next")["id"]
    assert set(prod.api.clbs) == {edge, publish, next_edge, next_publish}
    new_listeners = {
        (next_edge, 1935): "srs-edge-next",
        (next_edge, 8080): "srs-edge-next",
        (next_edge, 80): "srs-edge-next-hls",
        (next_edge, 81): "srs-edge-next-hls",
        (next_publish, 1935): "srs-publish-next",
    }
    assert prod.controller.listeners == new_listeners | {
        (edge, 1935): "srs-edge-service",
        (edge, 8080): "srs-edge-service",
        (edge, 80): "nginx-origin-service",
        (edge, 81): "nginx-origin-service",
        (publish, 1935): "srs-publish-service",
    }
    (ingress,) = prod.get("service", "srs-edge-next-hls")["status"]["loadBalancer"]["ingress"]
    assert ingress["ip"] == prod.api.clbs[next_edge]["Address"], "HLS is bound to the new CLB"
    assert prod.pod_names() == pods, "the same pods are behind all of them"

    removed = copy.deepcopy(prod.config)
    del removed["formerLoadBalancer"], removed["publish"]["former"], removed["hls"]["formerPort"]
    kept, prod.config = prod.config, removed
    rejected(
        prod,
        "srs:formerLoadBalancer: (absent) must still have the load balancer of Service srs-edge-service",
        "srs:publish.former: (absent) must still have the load balancer of Service srs-publish-service",
        "Set its protect and its deleteProtection to false there",
    )
    prod.config = kept
    for load_balancer in (former, former_publish["loadBalancer"], *new_load_balancers(prod)):
        load_balancer |= {"protect": False, "deleteProtection": False}
    prod.must_update()
    assert set(prod.api.clbs) == {edge, publish, next_edge, next_publish}
    prod.config = {**kept, **{key: removed[key] for key in ("hls",)}}
    del prod.config["formerLoadBalancer"], prod.config["publish"]["former"]
    prod.must_update()
    del new_listeners[next_edge, 80]
    eventually(lambda: prod.controller.listeners == new_listeners)
    assert set(prod.api.clbs) == {next_edge, next_publish}
    assert prod.api.eips == {}
    assert prod.get("service", "nginx-origin-service")["spec"]["type"] == "ClusterIP"
    assert prod.pod_names() == pods


def new_load_balancers(prod: ProdStack) -> list[dict[str, Any]]:
    return [prod.config["loadBalancer"], prod.config["publish"]["loadBalancer"]]


def test_an_nlb_replaces_a_clb_with_hls_and_encoders_use_it_too(prod: ProdStack) -> None:
    """The documented ways: HLS stays on the former CLB until `hls.port` is removed; `publish` is removed."""
    clb = prod.controller_annotations("srs-edge-next")["id"]
    prod.config["formerLoadBalancer"] = prod.config["loadBalancer"]
    zones = {"cn-beijing-h": "vsw-testbed0001", "cn-beijing-g": "vsw-testbed0002"}
    nlb = {"kind": "nlb", "addressType": "internet", "service": "srs-edge-nlb", "zoneMaps": zones, "protect": False}
    prod.config["loadBalancer"] = nlb
    prod.config["publish"]["loadBalancer"]["protect"] = True
    prod.must_update()
    assert prod.controller.listeners[clb, 81] == "srs-edge-next-hls"
    assert prod.stack.outputs()["urls"].value["rtmp"].startswith("rtmp://nlb-")

    kept = copy.deepcopy(prod.config)
    del prod.config["formerLoadBalancer"]
    rejected(prod, "srs:hls.port: 81 needs a CLB (loadBalancer.kind: slb; it is nlb)")
    prod.config = copy.deepcopy(kept)
    del prod.config["publish"], prod.config["hls"]["port"]
    rejected(prod, "the load balancer of Service srs-publish-next, which is protected")
    kept["publish"]["loadBalancer"]["protect"] = False
    prod.config["publish"] = kept["publish"]
    prod.must_update()
    assert (clb, 81) not in prod.controller.listeners
    del prod.config["publish"]
    prod.must_update()
    assert set(prod.api.clbs) == {clb}
    eventually(lambda: set(prod.controller.listeners.values()) == {"srs-edge-next"})


def test_a_destroy_deletes_all_load_balancers_and_addresses(prod: ProdStack) -> None:
    """The last test of the file, because it deletes what they share."""
    deleted = prod.destroy()
    assert deleted.ok, deleted.output
    assert (prod.api.clbs, prod.api.eips) == ({}, {})
