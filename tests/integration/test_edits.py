"""Edits that would do damage are rejected with a safe alternative, and change nothing; other edits are announced.

The rejected edits share one running stack. Each test restores the config; nothing in the cluster changes.
"""

import copy
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certificates import certificate, private_key, rsa_key
from model.names import HTTPS_PORT
from stack import ROOT, DevStack, release
from testbed.cluster import EmbeddedCluster


@pytest.fixture(scope="module")
def running(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A running stack with a canary and HLS."""
    stack = DevStack(tmp_path_factory.mktemp("edits"), cluster.kubeconfig, "edits")
    stack.releases(r5=release("v4.0.5", 3), r6=release("v4.0.6", 1))
    stack.config["hls"] = {"enabled": True, "storageClass": "testbed-rwx", "size": "2Gi"}
    stack.must_update()
    yield stack
    stack.clean_up()


@pytest.fixture
def unchanged(running: DevStack) -> Iterator[DevStack]:
    """The running stack, which a test must leave as it is."""
    config, snapshot, pods = copy.deepcopy(running.config), running.snapshot(), running.pod_names()
    yield running
    running.config = config
    assert running.snapshot() == snapshot
    assert running.pod_names() == pods


def other_namespace(stack: DevStack) -> None:
    stack.config["kubernetes"]["namespace"] = "somewhere-else"


def other_cluster_id(stack: DevStack) -> None:
    stack.config["kubernetes"]["clusterId"] = "corrected"


def namespace_not_created(stack: DevStack) -> None:
    stack.config["kubernetes"]["createNamespace"] = False


def other_storage_class(stack: DevStack) -> None:
    stack.config["hls"]["storageClass"] = "other"


def smaller_volume(stack: DevStack) -> None:
    stack.config["hls"]["size"] = "1Gi"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (other_namespace, "srs:kubernetes.namespace: 'somewhere-else' must stay"),
        (other_cluster_id, "srs:kubernetes.clusterId: 'corrected' must stay 'testbed'"),
        (namespace_not_created, "srs:kubernetes.createNamespace: false must stay true"),
        (other_storage_class, "srs:hls.storageClass: 'other' must stay 'testbed-rwx'"),
        (smaller_volume, "srs:hls.size: '1Gi' must be at least 2Gi"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_edit_that_would_destroy_is_rejected_by_preview_and_update(
    unchanged: DevStack, edit: Callable[[DevStack], None], message: str
) -> None:
    edit(unchanged)
    preview = unchanged.preview()
    assert not preview.ok
    assert message in preview.output
    update = unchanged.update()
    assert not update.ok
    assert message in update.output
    # A rejected update keeps what the stack knows about its cluster.
    assert unchanged.stack.outputs()["deployment"].value["namespace"] == unchanged.namespace


def test_another_stack_cannot_take_over_the_namespace(unchanged: DevStack, tmp_path: Path) -> None:
    second = DevStack(tmp_path, unchanged.kubeconfig, "edits", stack_name="second")
    second.namespace = unchanged.namespace
    second.config["kubernetes"]["namespace"] = unchanged.namespace
    update = second.update()
    assert not update.ok
    assert "which exists (of stack organization/srs/dev). Set createNamespace: false" in update.output
    second.config["kubernetes"] |= {"createNamespace": False, "adopt": True}
    update = second.update()
    assert not update.ok
    assert "StatefulSet srs-origin" in update.output
    assert "(of stack organization/srs/dev). Choose another namespace" in update.output


def test_a_foreign_autoscaler_on_a_release_is_rejected(unchanged: DevStack) -> None:
    unchanged.kubectl("autoscale", "deployment", "srs-edge-r5-deploy", "--min=1", "--max=9")
    try:
        update = unchanged.update()
        assert not update.ok
        assert "conflicts with HorizontalPodAutoscaler srs-edge-r5-deploy on the edges of release r5" in update.output
    finally:
        unchanged.kubectl("delete", "hpa", "srs-edge-r5-deploy")


def test_autoscaling_without_a_metrics_api_is_rejected(unchanged: DevStack) -> None:
    edge = unchanged.config["edge"]
    del edge["replicas"]
    edge["autoscaling"] = {"minimum": 4, "maximum": 9, "metric": "cpu", "target": "600m"}
    update = unchanged.update()
    assert not update.ok
    assert "edge.autoscaling.metric: 'cpu' needs the API metrics.k8s.io" in update.output
    assert "install metrics-server" in update.output


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("resources", {"cpu": "200m"}),
        ("nodeSelector", {"kubernetes.io/os": "linux"}),
        ("tolerations", [{"key": "a", "operator": "Exists"}]),
        ("podAnnotations", {"a": "b"}),
        ("srs", {"maxConnections": 500}),
    ],
)
def test_a_preview_announces_that_origins_are_replaced(unchanged: DevStack, path: str, value: Any) -> None:
    unchanged.config["origin"][path] = value
    output = unchanged.preview().output
    assert "Publishers stay connected: 1 origin will drain, for up to 12h35s." in output
    assert "Up to 2 origins will exist at the same time." in output


def test_a_preview_announces_a_longer_drain_with_the_limit_of_open_connections(unchanged: DevStack) -> None:
    unchanged.config["edge"]["drain"] = {"deregister": "5s", "timeout": "24h"}
    output = unchanged.preview().output
    assert "grace period 12h35s -> 24h35s" in output
    assert "connections that are open now keep the old limit of 12h35s" in output


def test_the_same_config_has_an_empty_plan(unchanged: DevStack) -> None:
    output = unchanged.preview().output
    assert "Nothing changes for connections." in output
    assert "rolling update" not in output


def test_a_manual_restart_makes_the_next_change_of_replicas_a_roll_and_the_preview_says_so(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_update()
    stack.kubectl("rollout", "restart", "deploy/srs-edge-r5-deploy")
    stack.kubectl("rollout", "status", "deploy/srs-edge-r5-deploy", "--timeout=60s")
    pods = stack.pod_names()
    assert "Nothing changes for connections." in stack.preview().output
    stack.must_update()
    assert stack.pod_names() == pods, "a manual restart alone is no reason for an update"

    stack.config["edge"]["replicas"] = 5
    output = stack.preview().output
    assert "edge release r5: rolling update, 4 -> 5 edges" in output
    assert "removed (set by kubectl-rollout)" in output
    stack.must_update()
    assert not pods & stack.pod_names(), "the plan was right: all pods were replaced"


def test_a_namespace_of_others_is_used_but_never_owned(stack: DevStack) -> None:
    stack.kubectl("create", "namespace", stack.namespace)
    stack.kubectl("create", "configmap", "theirs", "--from-literal=a=b")
    assert "Set createNamespace: false" in stack.update().output
    stack.config["kubernetes"]["createNamespace"] = False
    stack.must_update()
    assert stack.destroy().ok
    assert stack.get("configmap", "theirs")["data"] == {"a": "b"}


NGINX = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: nginx-origin-deploy}
spec:
  selector: {matchLabels: {app: nginx-origin}}
  template:
    metadata: {labels: {app: nginx-origin}}
    spec: {containers: [{name: nginx, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: srs-http-service}
spec: {selector: {app: nginx-origin}, ports: [{port: 80, targetPort: 80}]}
"""


def test_the_articles_objects_are_taken_over_on_request_only(stack: DevStack, tmp_path: Path) -> None:
    stack.kubectl("create", "namespace", stack.namespace)
    article = (ROOT / "tests/e2e/article.yaml").read_text()
    article = re.sub("nodePort: .*", "", article).replace("NodePort", "ClusterIP")  # node ports are the cluster's
    # A simulated pod ends with its grace period: 30 s by default, for one origin after the other.
    article = article.replace("    spec:\n", "    spec:\n      terminationGracePeriodSeconds: 3\n", 1)
    (tmp_path / "article.yaml").write_text(f"{article}---{NGINX}")
    stack.kubectl("apply", "-f", str(tmp_path / "article.yaml"))
    for workload in ("statefulset/srs-origin", "deploy/srs-edge-r5-deploy", "deploy/srs-edge-r6-deploy"):
        stack.kubectl("rollout", "status", workload, "--timeout=60s")
    snapshot, pods = stack.snapshot(), stack.pod_names("")

    stack.config["kubernetes"]["createNamespace"] = False
    stack.config["origin"]["replicas"] = 3
    stack.config["hls"] = {"enabled": True, "storageClass": "testbed-rwx", "size": "1Gi"}
    stack.releases(r5=release("v4.0.5", 1))
    assert (
        "already has 5 objects under the stack's names that would be overwritten: Service srs-edge-service, Deployment "
        "srs-edge-r5-deploy, Service socs, StatefulSet srs-origin, Deployment nginx-origin-deploy (created with "
        "kubectl). kubernetes.adopt: true takes over"
    ) in stack.update().output
    stack.config["kubernetes"]["adopt"] = True
    rejected = stack.update().output
    for message in ("cannot take over StatefulSet srs-origin", "Use another release name", "Deployment nginx-origin"):
        assert message in rejected
    assert stack.snapshot() == snapshot
    assert stack.pod_names("") == pods

    hls = (ROOT / "docs/migration.md").read_text().partition("## HLS")[2]
    for command in re.findall(r"\$ kubectl -n live (.*)", hls):
        stack.kubectl(*shlex.split(command))
    stack.kubectl("delete", "statefulset", "srs-origin", "--cascade=orphan")
    stack.releases(r7=release("v4.0.6", 1))
    service = stack.get("service", "srs-edge-service")
    adopted = stack.must_update()
    assert "takes over Service srs-edge-service, Service socs (created with kubectl)" in adopted.output
    assert stack.get("service", "srs-edge-service")["metadata"]["uid"] == service["metadata"]["uid"]
    assert stack.get("service", "srs-edge-service")["spec"] == service["spec"], "also the names of its ports"
    assert {name for name in pods if "edge" in name} < stack.endpoints()
    assert stack.pods("app=srs-origin")[0]["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
    slices = stack.get("endpointslices", selector="kubernetes.io/service-name=srs-http-service")["items"]
    ready = [item for item in slices if any(pod["conditions"]["ready"] for pod in item["endpoints"] or [])]
    assert [port["port"] for item in ready for port in item["ports"]] == [8080]

    again = stack.must_update()
    assert again.changes == {}, again.output
    assert "kubernetes.adopt has nothing left to take over" in again.output


def test_hls_can_be_disabled_and_enabled_without_losing_the_recordings(stack: DevStack) -> None:
    stack.config["hls"] = {"enabled": True, "storageClass": "missing", "size": "1Gi", "bindTimeout": "3s"}
    failed = stack.update()
    assert 'claim srs-hls is not bound after 3s\n      storageclass.storage.k8s.io "missing" not found' in failed.output
    assert not failed.ok
    assert not stack.get("statefulsets")["items"], "no origin may be touched before the claim is bound"
    stack.kubectl("delete", "pvc", "srs-hls")
    stack.config["hls"] = {"enabled": True, "storageClass": "testbed-rwx", "size": "1Gi"}
    stack.must_update()
    claim = stack.get("pvc", "srs-hls")["metadata"]["uid"]
    enabled = copy.deepcopy(stack.config)
    stack.config["hls"] = {"enabled": False}
    assert "claim srs-hls stays with its recordings" in stack.preview().output
    stack.must_update()
    assert stack.get("pvc", "srs-hls")["metadata"]["uid"] == claim
    stack.config = enabled
    stack.must_update()
    assert stack.get("pvc", "srs-hls")["metadata"]["uid"] == claim

    # HTTPS: its certificate is checked, and a renewed one changes nothing, because SRS and nginx read it themselves.
    stack.config["edge"]["releases"] = {"r6": release("v6.0.191", 1)}
    stack.config["tls"] = {"secretName": "live-tls"}
    assert "'live-tls' must be a Secret with tls.crt and tls.key" in stack.preview().output
    keys = [rsa_key(), rsa_key()]
    stack.create_certificate("live-tls", certificate(keys[0]), private_key(keys[0]))
    stack.must_update()
    stack.create_certificate("live-tls", certificate(keys[1]), private_key(keys[1]))
    assert stack.must_update().changes == {}

    # Another port of HTTPS is opened before the first one is closed.
    edges = stack.pod_names()
    stack.config["tls"] = {"secretName": "live-tls", "port": 444}
    assert "Set tls.formerPort: 443, which opens the new port next to it" in stack.update().output
    stack.config["tls"] |= {"formerPort": 443}
    assert stack.must_update().changes == {"srs-edge-service": "update"}
    assert https_ports(stack) == {"https": 443, "https-444": 444}
    del stack.config["tls"]["formerPort"]
    assert "HTTPS is not served any more on 1 port of Service srs-edge-service: 443" in stack.must_update().output
    assert https_ports(stack) == {"https-444": 444}
    assert stack.pod_names() == edges


def https_ports(stack: DevStack) -> dict[str, int]:
    ports = stack.get("service", "srs-edge-service")["spec"]["ports"]
    return {port["name"]: port["port"] for port in ports if port["targetPort"] == HTTPS_PORT}


def quota(stack: DevStack, pods: int) -> None:
    stack.kubectl("create", "quota", "pods", f"--hard=pods={pods}")


def test_a_rollback_under_a_quota_is_not_blocked_by_pods_of_the_bad_release(stack: DevStack) -> None:
    too_big = {"resources": {"cpu": "1000"}}
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_update()
    serving = stack.pod_names()
    quota(stack, 8)  # the origin, four edges, and three of the bad release
    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 3, **too_big))
    stack.config["edge"]["rolloutTimeout"] = "8s"
    assert not stack.update().ok
    assert serving == stack.endpoints()

    stack.config["edge"] |= {"replicas": 6, "rolloutTimeout": "60s"}  # needs what the bad release holds
    stack.releases(r5=release("v4.0.5", 1))
    update = stack.must_update()
    assert "removing pods of Deployment srs-edge-r6-deploy that are not ready" in update.output
    assert serving <= stack.endpoints()
    assert len(stack.endpoints()) == 6


def test_origins_under_a_quota_fail_the_update_at_their_own_timeout_with_the_reason(stack: DevStack) -> None:
    stack.must_update()
    edges = stack.pod_names()
    quota(stack, 5)  # the origin and the edges that run
    stack.config["origin"] |= {"replicas": 3, "rolloutTimeout": "10s"}
    stack.config["edge"]["rolloutTimeout"] = "10m"
    failed = stack.update()
    assert not failed.ok
    assert failed.seconds < 120
    assert "origins (StatefulSet srs-origin) is not ready after 10s" in failed.output
    assert "exceeded quota" in failed.output
    assert stack.pod_names() == edges, "a changed number of origins changes no edge"
