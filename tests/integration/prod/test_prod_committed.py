"""The committed production stack: node pools, load balancers and secrets.

Without its protections and its resource requests; with a registry and a load balancer for encoders.
"""

import base64
from collections.abc import Iterator

import pytest
import yaml

from integration.prod.prod_stack import PASSWORD, SECRETS, ProdStack, production_stack
from stack import ROOT, Result
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
        unprotected = {"protect": False, "deleteProtection": False}
        created.load_balancer.update(unprotected)
        for pods in (created.config["origin"], created.config["edge"]["releases"]["r5"]):
            del pods["resources"]
            pods |= {"image": f"registry.example.com/ossrs/srs@sha256:{'ab' * 32}", "version": "4.0.271"}
        (vswitch,) = created.api.vswitches
        publish = {"kind": "slb", "addressType": "intranet", "vswitchId": vswitch, **unprotected}
        created.config["publish"] = {"to": "origins", "loadBalancer": publish}
        created.config["images"] = {"registry": {"server": "registry.example.com", "username": "puller"}}
        created.config["images"] = created.set_secret("srs:images.registry.password", PASSWORD, "--path")
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
    role = (ROOT / "docs/preview-role.yaml").read_text().replace("namespace: live", f"namespace: {prod.namespace}")
    (prod.folder / "role.yaml").write_text(role)
    prod.kubectl("apply", "-n", "", "--filename", str(prod.folder / "role.yaml"))
    kubeconfig = yaml.safe_load(prod.kubeconfig.read_text())
    token = prod.kubectl("create", "token", "srs-preview", "-n", "srs-preview").strip()
    kubeconfig["users"][0]["user"] = {"token": token}
    reader = prod.folder / "reader.yaml"
    reader.write_text(yaml.safe_dump(kubeconfig))
    prod.config["kubernetes"]["kubeconfig"] = str(reader)
    prod.config["edge"]["replicas"] = 9
    try:
        preview = prod.preview()
    finally:
        prod.config["kubernetes"]["kubeconfig"] = str(prod.kubeconfig)
        prod.config["edge"]["replicas"] = 8
    assert preview.ok, preview.output
    assert "edge release r5: scale, 8 -> 9 edges" in preview.output
    assert "cannot be checked" not in preview.output, "the identity of the cluster is readable"
    assert token not in preview.output


def test_another_password_updates_the_secret_and_rolls_nothing(prod: ProdStack) -> None:
    pods = prod.pod_names()
    prod.config["images"] = prod.set_secret("srs:images.registry.password", f"{PASSWORD}2", "--path")
    changed = prod.must_update()
    assert changed.changes == {"srs-registry": "update"}, changed.output
    assert prod.pod_names() == pods


def test_a_destroy_deletes_all_load_balancers_and_addresses(prod: ProdStack) -> None:
    """The last test of the file, because it deletes what they share."""
    deleted = prod.destroy()
    assert deleted.ok, deleted.output
    assert (prod.api.clbs, prod.api.eips) == ({}, {})
