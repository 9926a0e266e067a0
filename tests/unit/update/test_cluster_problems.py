"""What a cluster or a namespace does not support is rejected before anything changes."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from bad_configs import GOOD, SIX
from certificates import certificate, rsa_key
from cluster.live import Kind
from cluster.state import LiveState
from unit.update.live_objects import planned, settings, state_after


def with_object(state: LiveState, kind: Kind, name: str, spec: dict[str, Any]) -> LiveState:
    return replace(state, objects={**state.objects, kind: {name: {"metadata": {"name": name}, "spec": spec}}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": (1, 29)}, "'.testbed/kubeconfig' leads to Kubernetes 1.29; 1.30 or later is needed"),
        ({"ip_family": "IPv6"}, "'.testbed/kubeconfig' leads to a cluster whose first IP family is IPv6"),
    ],
)
def test_a_cluster_that_cannot_run_the_stack_is_rejected(change: dict[str, Any], message: str) -> None:
    state = replace(state_after(settings()), version=(1, 30), ip_family="IPv4")
    assert not planned(settings(), state).rejections
    (problem,) = planned(settings(), replace(state, **change)).rejections
    assert str(problem).startswith(f"srs:kubernetes.kubeconfig: {message}")


def test_a_priority_class_must_exist_where_that_can_be_read() -> None:
    desired = settings(edge__priorityClass="serving")
    state = state_after(desired)
    assert not planned(desired, state).rejections
    assert not planned(desired, replace(state, priority_classes=frozenset({"serving"}))).rejections
    (problem,) = planned(desired, replace(state, priority_classes=frozenset({"batch"}))).rejections
    assert str(problem) == "srs:edge.priorityClass: 'serving' must be a PriorityClass of the cluster: batch"


def test_a_pod_monitor_needs_the_prometheus_operator() -> None:
    desired = settings(monitoring={"kind": "podMonitor"})
    state = state_after(desired)
    assert not planned(desired, state).rejections, "it is unknown"
    both = frozenset({"PodMonitor", "PrometheusRule", "ServiceMonitor"})
    assert not planned(desired, replace(state, prometheus_kinds=both)).rejections
    (problem,) = planned(desired, replace(state, prometheus_kinds=frozenset())).rejections
    assert str(problem).startswith(
        "srs:monitoring.kind: 'podMonitor' needs the Prometheus Operator: the cluster has no PodMonitor and no "
    )


CPU_LIMITS = {
    "origin": GOOD["origin"] | {"resources": {"cpuLimit": "2"}},
    "edge__releases": {
        name: release | {"resources": {"cpuLimit": "2"}} for name, release in GOOD["edge"]["releases"].items()
    },
}


def test_a_quota_that_rejects_pods_is_named_unless_they_state_the_resource() -> None:
    state = with_object(state_after(settings()), "ResourceQuota", "team", {"hard": {"limits.cpu": "40", "pods": "9"}})
    (problem,) = planned(settings(), state).rejections
    assert "ResourceQuota team on limits.cpu" in str(problem)
    assert "those of edge release r5, edge release r6, origins, nginx-origin, srs-demo. Either set" in str(problem)
    (problem,) = planned(settings(**CPU_LIMITS), state).rejections
    assert "those of nginx-origin, srs-demo. Either set" in str(problem)
    assert not planned(settings(**CPU_LIMITS, hls={}, demo={}), state).rejections


def test_quotas_that_pods_satisfy_or_that_are_for_others_reject_nothing() -> None:
    state = state_after(settings())
    for spec in (
        {"hard": {"limits.memory": "9Gi", "requests.cpu": "9", "memory": "9Gi", "pods": "99"}},
        {"hard": {"limits.cpu": "9"}, "scopes": ["Terminating"]},
    ):
        assert not planned(settings(), with_object(state, "ResourceQuota", "team", spec)).rejections


@pytest.mark.parametrize("key", ["default", "max"])
def test_a_limit_range_states_the_resource_and_is_a_warning(key: str) -> None:
    limits = [{"type": "Pod", "max": {"cpu": "64"}}, {"type": "Container", key: {"cpu": "2"}}]
    state = with_object(state_after(settings()), "LimitRange", "team", {"limits": limits})
    update = planned(settings(), with_object(state, "ResourceQuota", "team", {"hard": {"limits.cpu": "40"}}))
    assert not update.rejections
    (warning,) = [warning for warning in update.warnings if "LimitRange" in warning]
    assert warning.startswith("LimitRange team gives containers without a CPU limit one of 2:")


def test_a_node_that_does_not_answer_is_a_warning() -> None:
    lost = {"n1": ("srs-edge-r5-1",), "n2": ("srs-edge-r5-2", "srs-origin-0")}
    edges, both = planned(settings(), replace(state_after(settings()), lost=lost)).warnings[:2]
    assert edges == (
        "node n1 does not answer, and 1 pod on it will not end. If it is lost for good: kubectl delete node n1"
    )
    assert both == (
        "node n2 does not answer, and 2 pods on it will not end. If it is lost for good: kubectl delete node n2. Until "
        "then srs-origin-0 is not replaced"
    )


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        ("", "must be a Secret with tls.crt and tls.key in namespace live"),
        ("-----BEGIN RSA PRIVATE KEY-----", "has no certificate in its tls.crt"),
        (certificate(ec.generate_private_key(ec.SECP256R1())), "has a key that is not RSA, and SRS takes no other"),
    ],
    ids=["no Secret", "no certificate", "EC"],
)
def test_a_certificate_that_srs_cannot_use_is_rejected(pem: str, message: str) -> None:
    desired = settings(tls={"secretName": "live-tls"}, edge__releases=SIX)
    (problem,) = planned(desired, replace(state_after(desired), certificate=pem)).rejections
    assert str(problem).startswith(f"srs:tls.secretName: 'live-tls' {message}")


def test_a_certificate_that_must_not_be_read_is_accepted() -> None:
    desired = settings(tls={"secretName": "live-tls"}, edge__releases=SIX)
    good = certificate(rsa_key())
    for pem in (good, None):
        assert not planned(desired, replace(state_after(desired), certificate=pem)).rejections


def test_a_container_that_the_cluster_adds_is_warned_of() -> None:
    """Such as the proxy of a service mesh, which ends with all connections. What `podPatch` declares is no such one."""
    patch = {"spec": {"containers": [{"name": "shipper", "image": "example.com/shipper:1"}]}}
    desired = settings(origin=GOOD["origin"] | {"replicas": 2, "podPatch": patch})
    state = state_after(desired)
    assert not planned(desired, state).warnings
    proxied = tuple(copy.deepcopy(pod) for pod in state.pods)
    for pod in proxied:
        pod["spec"]["containers"].append({"name": "istio-proxy"})
        pod["spec"]["initContainers"] = [{"name": "istio-init"}]
    (warning,) = planned(desired, replace(state, pods=proxied)).warnings
    assert warning.startswith("the cluster has added container istio-proxy to 2 pods, such as srs-origin-0: it ends ")
    assert "istio-init" not in warning


def test_a_drain_that_the_cluster_changes_is_warned_of() -> None:
    """A policy that limits the grace period of pods: the template still says 12 hours."""
    state = state_after(settings())
    deployment = state.edges["srs-edge-r5-deploy"]
    replica_set = state.objects["ReplicaSet"]["srs-edge-r5-deploy"]
    replica_set["metadata"]["uid"] = "rs"
    template = copy.deepcopy(deployment["spec"]["template"])
    owned = {"name": "edge", "labels": template["metadata"]["labels"], "ownerReferences": [{"uid": "rs"}]}
    pod = {"metadata": owned, "spec": template["spec"]}
    assert not planned(settings(), replace(state, pods=(*state.pods, pod))).warnings
    pod["spec"]["terminationGracePeriodSeconds"] = 60
    (warning,) = planned(settings(), replace(state, pods=(*state.pods, pod))).warnings
    assert "at their creation, such as edge (terminationGracePeriodSeconds: 43235 -> 60): they may end" in warning
    state = state_after(settings())
    pods = tuple(copy.deepcopy(pod) for pod in state.pods)
    del pods[0]["spec"]["containers"][0]["lifecycle"]["preStop"]
    (warning,) = planned(settings(), replace(state, pods=pods)).warnings
    assert "1 pod at their creation, such as srs-origin-0 (containers.srs.lifecycle: " in warning
