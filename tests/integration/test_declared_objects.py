"""The live objects of the committed dev stack are those of the article, with the fields that the promises need."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from stack import DevStack
from testbed.cluster import EmbeddedCluster


def install_prometheus_kinds(cluster: EmbeddedCluster) -> None:
    """Install the Prometheus Operator's kinds, without their schemas and without the operator."""
    crds: list[dict[str, Any]] = []
    for kind in ("PodMonitor", "PrometheusRule"):
        singular = kind.lower()
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        crds.append(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{singular}s.monitoring.coreos.com"},
                "spec": {
                    "group": "monitoring.coreos.com",
                    "scope": "Namespaced",
                    "names": {"kind": kind, "singular": singular, "plural": f"{singular}s"},
                    "versions": [
                        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
                    ],
                },
            }
        )
    kubectl = [str(cluster.tools.binaries["kubectl"]), f"--kubeconfig={cluster.kubeconfig}"]
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": crds})
    subprocess.run([*kubectl, "apply", "-f", "-"], input=content, text=True, check=True)
    names = [f"crd/{crd['metadata']['name']}" for crd in crds]
    subprocess.run([*kubectl, "wait", "--for=condition=Established", *names, "--timeout=30s"], check=True)


@pytest.fixture(scope="module")
def stack(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """The committed dev stack after its first update."""
    created = DevStack(tmp_path_factory.mktemp("declared"), cluster.kubeconfig, "declared-objects")
    created.config = created.committed_config()
    created.config["loadBalancer"] |= {"rtmpPort": 31936, "httpPort": 30081}  # test_lifecycle uses the committed ones
    install_prometheus_kinds(cluster)
    created.config["monitoring"] = {"kind": "podMonitor", "labels": {"prometheus": "live"}}
    created.must_update()
    yield created
    created.clean_up()


def test_edges_have_the_labels_of_the_article(stack: DevStack) -> None:
    deployment = stack.get("deployment", "srs-edge-r5-deploy")["spec"]
    assert deployment["selector"] == {"matchLabels": {"run": "srs-edge-r5"}}
    assert deployment["template"]["metadata"]["labels"] == {"app": "srs-edge", "run": "srs-edge-r5"}


def test_edges_drain_before_they_end(stack: DevStack) -> None:
    deployment = stack.get("deployment", "srs-edge-r5-deploy")["spec"]
    pod = deployment["template"]["spec"]
    (srs,) = pod["containers"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert pod["terminationGracePeriodSeconds"] == 5 + 12 * 3600 + 30
    assert srs["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    assert srs["livenessProbe"]["terminationGracePeriodSeconds"] == 5
    assert srs["command"] == ["./objs/srs", "-c", "conf/srs.conf"]


def test_edges_have_no_credentials_of_the_cluster(stack: DevStack) -> None:
    pod = stack.get("deployment", "srs-edge-r5-deploy")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False


def test_services_select_all_releases_and_resolve_origins(stack: DevStack) -> None:
    service = stack.get("service", "srs-edge-service")["spec"]
    assert service["selector"] == {"app": "srs-edge"}
    assert {(port["port"], port["nodePort"]) for port in service["ports"]} == {(1935, 31936), (8080, 30081)}
    assert stack.get("service", "socs")["spec"]["clusterIP"] == "None"
    assert stack.get("statefulset", "srs-origin")["spec"]["podManagementPolicy"] == "Parallel"


def test_a_node_drain_cannot_evict_too_many_edges(stack: DevStack) -> None:
    budget = stack.get("pdb", "srs-edge")["spec"]
    assert budget["minAvailable"] == 3
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_every_workload_has_a_network_policy(stack: DevStack) -> None:
    names = {item["metadata"]["name"] for item in stack.get("networkpolicies")["items"]}
    assert names == {"srs-edge", "srs-origin", "nginx-origin", "srs-demo"}


def test_config_maps_are_immutable_and_owned_by_the_service_account(stack: DevStack) -> None:
    items = {item["metadata"]["name"]: item for item in stack.get("configmaps")["items"]}
    config_maps = [item for name, item in items.items() if name.startswith("srs-")]
    assert {item["immutable"] for item in config_maps} == {True}
    assert {item["metadata"]["ownerReferences"][0]["kind"] for item in config_maps} == {"ServiceAccount"}


def test_the_prometheus_operator_finds_the_pods_and_the_rules(stack: DevStack) -> None:
    monitor, rules = stack.get("podmonitor", "srs"), stack.get("prometheusrule", "srs")
    assert monitor["metadata"]["labels"]["prometheus"] == rules["metadata"]["labels"]["prometheus"] == "live"
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "exporter", "interval": "30s"}]
    assert rules["spec"]["groups"][0]["rules"][0]["alert"] == "SrsNoReadyEdge"
