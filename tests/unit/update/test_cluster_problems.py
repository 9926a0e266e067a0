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
from unit.update.live_objects import nothing, planned, settings, state_after


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
    assert not planned(settings(), nothing()).rejections
    (problem,) = planned(settings(), replace(state, **change)).rejections
    assert str(problem).startswith(f"srs:kubernetes.kubeconfig: {message}")


def test_a_priority_class_must_exist_where_that_can_be_read() -> None:
    desired = settings(edge__priorityClass="serving")
    state = state_after(desired)
    assert not planned(desired, state).rejections
    assert not planned(desired, replace(state, priority_classes=frozenset({"serving"}))).rejections
    (problem,) = planned(desired, replace(state, priority_classes=frozenset({"batch"}))).rejections
    assert str(problem) == "srs:edge.priorityClass: 'serving' must be a PriorityClass of the cluster: batch"
    both = replace(state, priority_classes=frozenset({"batch", "web"}))
    for key in ("origin", "hls"):
        (problem,) = planned(settings(**{key: GOOD[key] | {"priorityClass": "serving"}}), both).rejections
        assert str(problem) == f"srs:{key}.priorityClass: 'serving' must be a PriorityClass of the cluster: batch, web"


def test_a_pod_monitor_needs_the_prometheus_operator() -> None:
    desired = settings(monitoring={"kind": "podMonitor"})
    state = state_after(desired)
    assert not planned(desired, state).rejections, "it is unknown"
    both = frozenset({"PodMonitor", "PrometheusRule", "ServiceMonitor"})
    assert not planned(desired, replace(state, prometheus_kinds=both)).rejections
    (problem,) = planned(desired, replace(state, prometheus_kinds=frozenset())).rejections
    assert str(problem).startswith(
        "srs:monitoring.kind: 'podMonitor' needs the Prometheus Operator: the cluster has no PodMonitor and no "
        "PrometheusRule. Install it"
    )
    (problem,) = planned(desired, replace(state, prometheus_kinds=frozenset({"PodMonitor"}))).rejections
    assert "the cluster has no PrometheusRule. Install it" in str(problem)


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


STORAGE = "ephemeral-storage"


def for_containers(**amounts: dict[str, str]) -> dict[str, Any]:
    return {"type": "Container", **amounts}


@pytest.mark.parametrize(
    ("quota", "limits", "rejected"),
    [
        ({"hard": {"limits.memory": "9Gi", "requests.cpu": "9", "memory": "9Gi", "pods": "99"}}, [], []),
        ({}, [], []),
        ({"hard": {"limits.cpu": "9"}, "scopes": ["Terminating"]}, [], []),
        ({"hard": {"limits.cpu": "9"}, "scopes": ["NotTerminating", "BestEffort"]}, [], []),
        ({"hard": {"limits.cpu": "9"}, "scopeSelector": {"matchExpressions": []}}, [], []),
        ({"hard": {"limits.cpu": "9"}, "scopes": ["NotTerminating", "NotBestEffort"]}, [], ["limits.cpu"]),
        ({"hard": {STORAGE: "9Gi"}}, [], [STORAGE]),
        ({"hard": {f"requests.{STORAGE}": "9Gi", "limits.cpu": "9"}}, [], ["limits.cpu", f"requests.{STORAGE}"]),
        # What a LimitRange gives to containers that do not state it.
        ({"hard": {STORAGE: "9Gi"}}, [for_containers(defaultRequest={STORAGE: "1Gi"})], []),
        ({"hard": {STORAGE: "9Gi"}}, [for_containers(default={STORAGE: "1Gi"})], []),  # a limit is also the request
        ({"hard": {STORAGE: "9Gi"}}, [for_containers(max={STORAGE: "1Gi"})], []),
        ({"hard": {STORAGE: "9Gi"}}, [for_containers(default={"cpu": "1"})], [STORAGE]),
        ({"hard": {STORAGE: "9Gi"}}, [{"type": "Pod", "default": {STORAGE: "1Gi"}}], [STORAGE]),
        ({"hard": {STORAGE: "9Gi", "limits.cpu": "9"}}, [for_containers(default={STORAGE: "1Gi"})], ["limits.cpu"]),
        (
            {"hard": {f"limits.{STORAGE}": "9Gi"}},
            [for_containers(defaultRequest={STORAGE: "1Gi"})],
            [f"limits.{STORAGE}"],
        ),
    ],
)
def test_which_quotas_reject_pods(quota: dict[str, Any], limits: list[dict[str, Any]], rejected: list[str]) -> None:
    state = with_object(state_after(settings()), "ResourceQuota", "team", quota)
    state = with_object(state, "LimitRange", "team", {"limits": limits} if limits else {})
    jobs = {"hard": {"limits.cpu": "9"}, "scopes": ["Terminating"]}
    state.objects["ResourceQuota"]["jobs"] = {"metadata": {"name": "jobs"}, "spec": jobs}
    problems = [str(problem) for problem in planned(settings(), state).rejections]
    assert [problem.split("ResourceQuota team on ")[1].partition(",")[0] for problem in problems] == rejected
    for problem in problems:
        assert problem.startswith("srs:kubernetes.namespace: 'live' has the ResourceQuota team on ")
        assert ("Either set resources.cpuLimit, or create" in problem) == ("limits.cpu" in problem)
        assert "those of edge release r5, edge release r6, origins, nginx-origin, srs-demo. Either" in problem


def test_a_limit_is_also_the_request() -> None:
    limits = {"name": "srs", "resources": {"limits": {STORAGE: "1Gi"}}}
    desired = settings(origin=GOOD["origin"] | {"podPatch": {"spec": {"containers": [limits]}}}, hls={}, demo={})
    state = with_object(state_after(desired), "ResourceQuota", "team", {"hard": {STORAGE: "9Gi"}})
    (problem,) = planned(desired, state).rejections
    assert "those of edge release r5, edge release r6. Either create" in str(problem)


def test_containers_that_are_added_by_a_patch_must_state_what_a_quota_demands() -> None:
    patch = {"spec": {"initContainers": [{"name": "warm", "image": "example.com/warm:1"}]}}
    desired = settings(origin=GOOD["origin"] | {"podPatch": patch})
    state = with_object(state_after(desired), "ResourceQuota", "team", {"hard": {"memory": "9Gi"}})
    (problem,) = planned(desired, state).rejections
    assert "those of origins. Either create" in str(problem)


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
    state = state_after(settings())
    name = state.pods[-1]["metadata"]["name"]
    assert name.startswith("srs-origin-")
    deleted = copy.deepcopy(state.pods[-1])
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    state = replace(state, pods=state.pods[:-1], draining_origins=(deleted,))
    (draining,) = [line for line in planned(settings(), state).warnings if name in line]
    assert draining.startswith(f"{name} is draining outside of an update")
    (lost,) = [line for line in planned(settings(), replace(state, lost={"n2": (name,)})).warnings if name in line]
    assert lost.endswith(f"Until then {name} is not replaced"), "and its publishers are not awaited"
    other = replace(state_after(settings()), lost={"n2": ("srs-origin-7",)})
    assert str(planned(settings(), other).warnings[0]).endswith("kubectl delete node n2"), "it needs no successor"


@pytest.mark.parametrize(
    ("pem", "reason", "message"),
    [
        ("", "CertificateMissing", "must be a Secret with tls.crt and tls.key in namespace live"),
        ("-----BEGIN RSA PRIVATE KEY-----", "CertificateInvalid", "has no certificate in its tls.crt"),
        (
            certificate(ec.generate_private_key(ec.SECP256R1())),
            "CertificateNotRSA",
            "has a key that is not RSA, and SRS takes no other",
        ),
    ],
    ids=["no Secret", "no certificate", "EC"],
)
def test_a_certificate_that_srs_cannot_use_is_rejected(pem: str, reason: str, message: str) -> None:
    desired = settings(tls={"secretName": "live-tls"}, edge__releases=SIX)
    (problem,) = planned(desired, replace(state_after(desired), certificate=pem)).rejections
    assert problem.reason == reason
    assert str(problem).startswith(f"srs:tls.secretName: 'live-tls' {message}")


def test_a_certificate_that_must_not_be_read_is_accepted() -> None:
    desired = settings(tls={"secretName": "live-tls"}, edge__releases=SIX)
    good = certificate(rsa_key())
    for pem in (good, None):
        assert not planned(desired, replace(state_after(desired), certificate=pem)).rejections
