"""Pods that the cluster has changed when they were created."""

import copy
from dataclasses import replace
from typing import Any

from bad_configs import GOOD
from unit.update.live_objects import planned, settings, state_after
from update.changed_pods import changed_pod_warnings


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
    for name, replica_set in state.objects["ReplicaSet"].items():
        replica_set["metadata"]["uid"] = name
        replica_set["spec"]["template"]["spec"]["containers"][0]["command"] = [name]
    template = copy.deepcopy(state.objects["ReplicaSet"]["srs-edge-r6-deploy"]["spec"]["template"])
    owners = [{"name": "any"}, {"uid": "srs-edge-r6-deploy"}]
    metadata = {"name": "edge", "labels": {"app": "srs-edge"}, "ownerReferences": owners}
    pod: dict[str, Any] = {"metadata": metadata, "spec": template["spec"]}
    assert not planned(settings(), replace(state, pods=(*state.pods, pod))).warnings
    pod["spec"]["terminationGracePeriodSeconds"] = 60
    (warning,) = planned(settings(), replace(state, pods=(*state.pods, pod))).warnings
    assert "at their creation, such as edge (terminationGracePeriodSeconds: 43235 -> 60): they may end" in warning
    state = state_after(settings())
    pods = tuple(copy.deepcopy(pod) for pod in state.pods)
    del pods[0]["spec"]["containers"][0]["lifecycle"]["preStop"]
    (warning,) = planned(settings(), replace(state, pods=pods)).warnings
    assert "1 pod at their creation, such as srs-origin-0 (containers.srs.lifecycle: " in warning


def test_pods_without_a_known_template_are_no_reason_for_a_warning() -> None:
    state = state_after(settings())
    foreign = {"metadata": {"name": "x", "labels": {"app": "srs-edge"}}, "spec": {"containers": [{"name": "y"}]}}
    del state.objects["StatefulSet"]["srs-origin"]["status"]
    unknown = replace(state, pods=(*state.pods, foreign))
    assert not list(changed_pod_warnings(unknown))
    rest = {kind: found for kind, found in state.objects.items() if kind != "ReplicaSet"}
    assert not list(changed_pod_warnings(replace(unknown, objects=rest)))
