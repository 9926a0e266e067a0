"""The API of KEDA without KEDA, and what the autoscalers that it makes would do."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

from stack import DevStack

_SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "listKind": "ScaledObjectList", "plural": "scaledobjects"},
        "versions": [
            {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _SCHEMA}},
        ],
    },
}


def install(kubeconfig: Path) -> None:
    """Let a cluster have the API of KEDA; nothing acts on its objects."""
    kubectl = ["kubectl", "--kubeconfig", str(kubeconfig)]
    subprocess.run([*kubectl, "apply", "-f", "-"], input=json.dumps(_CRD), text=True, check=True, capture_output=True)
    established = ["wait", "--for=condition=Established", "--timeout=60s", "crd/scaledobjects.keda.sh"]
    subprocess.run([*kubectl, *established], check=True, capture_output=True)


def wanted(scaled_object: dict[str, Any], load: float) -> int:
    """The replicas that the autoscaler of a ScaledObject wants for the load of the fleet.

    ceil(load / target) between its limits (Kubernetes docs, "Horizontal Pod Autoscaling", "Algorithm details"), without
    the tolerance, so that it is exact.
    """
    spec = scaled_object["spec"]
    threshold = float(spec["triggers"][0]["metadata"]["threshold"])
    return min(max(math.ceil(load / threshold - 1e-3), spec["minReplicaCount"]), spec["maxReplicaCount"])


def act(stack: DevStack, release: str, load: float) -> int:
    """The autoscaler of a release acts once; returns by how many replicas. Nothing happens without an autoscaler.

    It adds any number of edges, and removes one at a time, as the policy of the stack's autoscalers says.
    """
    deployment = f"srs-edge-{release}-deploy"
    # In this order: what was read before the autoscaler was deleted is not scaled any more.
    live = stack.kubectl("get", "deployment", deployment, "-o", "json", "--ignore-not-found", check=False)
    found = stack.kubectl("get", "scaledobject", f"srs-edge-{release}", "-o", "json", "--ignore-not-found", check=False)
    if not (found.startswith("{") and live.startswith("{")):
        return 0
    scaled_object, replicas = json.loads(found), int(json.loads(live)["spec"]["replicas"])
    change = max(wanted(scaled_object, load) - replicas, -1)
    if change:
        # As an autoscaler, by the subresource; not if it was scaled meanwhile.
        arguments = (f"--current-replicas={replicas}", f"--replicas={replicas + change}")
        if "scaled" not in stack.kubectl("scale", "deployment", deployment, *arguments, check=False):
            return 0
    return change


def settle(stack: DevStack, load: float) -> None:
    """All autoscalers act until they have what they want for the load of the fleet."""
    releases = [item["metadata"]["name"].removeprefix("srs-edge-") for item in stack.get("scaledobjects")["items"]]
    while sum(abs(act(stack, release, load)) for release in releases):
        pass
