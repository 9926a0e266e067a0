"""The objects of the dev stack, as this program renders them, for every tool that is measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from cluster.state import LiveState
from model.config.read import read_settings
from model.desired.render import render
from testbed.environment import PROJECT
from update.kept import read_kept

Object = dict[str, Any]

STACK = "organization/srs/dev"

EARLIER, NEW = "r5", "r6"
"""The releases of the dev stack."""

State = Literal["canary", "promoted"]
"""The dev stack as it is committed, and after the weight move."""

WEIGHTS: Mapping[State, Mapping[str, int]] = {
    "canary": {EARLIER: 75, NEW: 25},
    "promoted": {EARLIER: 0, NEW: 100},
}


def stack_config(namespace: str, kubeconfig: Path, state: State) -> dict[str, Any]:
    """The committed dev stack with the weights of a state, in a namespace of its own.

    Without node ports: they are the cluster's, and several namespaces exist at the same time.
    """
    content: dict[str, Any] = yaml.safe_load((PROJECT / "Pulumi.dev.yaml").read_text())
    config = content["config"]
    config["srs:kubernetes"] |= {"kubeconfig": str(kubeconfig), "namespace": namespace}
    config["srs:loadBalancer"] = {"kind": "none"}
    for name, weight in WEIGHTS[state].items():
        config["srs:edge"]["releases"][name]["weight"] = weight
    return content


def rendered(namespace: str, kubeconfig: Path, state: State) -> list[Object]:
    """Every object, the namespace first. Owner references are not among them: only Pulumi's engine knows the UIDs."""
    config = stack_config(namespace, kubeconfig, state)["config"]
    settings = read_settings({key: json.dumps(value) for key, value in config.items()})
    desired = render(settings, read_kept(settings, LiveState(), ""), STACK)
    assert desired.namespace
    return [item.manifest for item in (desired.namespace, *desired.objects.values())]


def with_rollout(objects: list[Object], release: str) -> list[Object]:
    """The objects with one Rollout of Argo Rollouts in place of the edges' Deployments.

    It has the pod template of a release, and as many edges as the Deployments have together. Its first step is the
    dev stack's canary of 25 %, where it pauses; a return to one of the last revisions has no steps (rollbackWindow).
    """
    edges = {item["metadata"]["name"]: item for item in objects if is_edge_deployment(item)}
    deployment = edges[f"srs-edge-{release}-deploy"]["spec"]
    rolling = deployment["strategy"]["rollingUpdate"]
    rollout = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "srs-edge", "namespace": objects[0]["metadata"]["name"]},
        "spec": {
            "replicas": sum(item["spec"]["replicas"] for item in edges.values()),
            "minReadySeconds": deployment["minReadySeconds"],
            "revisionHistoryLimit": deployment["revisionHistoryLimit"],
            "rollbackWindow": {"revisions": 3},
            "selector": {"matchLabels": {"app": deployment["template"]["metadata"]["labels"]["app"]}},
            "template": deployment["template"],
            "strategy": {"canary": {**rolling, "steps": [{"setWeight": WEIGHTS["canary"][NEW]}, {"pause": {}}]}},
        },
    }
    return [*(item for item in objects if not is_edge_deployment(item)), rollout]


def is_edge_deployment(item: Object) -> bool:
    """Whether an object is the Deployment of a release."""
    return item["kind"] == "Deployment" and item["metadata"]["name"].startswith("srs-edge-")


def write(objects: list[Object], target: Path) -> Path:
    """Write objects as a List of JSON, which kubectl and the chart read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=1))
    return target
