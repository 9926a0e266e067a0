"""Desired objects: what the stack declares, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from model.desired.workloads import Workload

Manifest = dict[str, Any]
"""An object of Kubernetes, or a part of one, in the API's notation."""

Kind = Literal[
    "Namespace",
    "Secret",
    "Service",
    "ServiceAccount",
    "ConfigMap",
    "Deployment",
    "StatefulSet",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodMonitor",
    "PrometheusRule",
    "HorizontalPodAutoscaler",
    "ScaledObject",
]

API_VERSIONS: Mapping[Kind, str] = {
    "Namespace": "v1",
    "Secret": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "ScaledObject": "keda.sh/v1alpha1",
}

Role = Literal[
    "namespace",
    "secret",
    "exposed Service",
    "Service",
    "account",
    "configuration",
    "workload",
    "policy",
    "claim",
    "monitoring",
    "autoscaler",
]
"""What an object is for the stack."""


@dataclass(frozen=True)
class DesiredObject:
    """An object that the stack declares.

    manifest: complete, except what only the engine knows: the id of a CLB that it creates, the UID of the owner.
    resource: its logical name in Pulumi's state. owner: the ServiceAccount that it is deleted with, by garbage
    collection. needs: objects that must exist before it. retained: whether Pulumi leaves it in the cluster when the
    stack no longer declares it. protected: whether Pulumi refuses to delete it. workload: how an update handles it.
    secret: whether it has values that were set with `--secret`: they are encrypted in Pulumi's state, and not shown.
    """

    role: Role
    manifest: Manifest
    resource: str
    owner: str | None = None
    needs: tuple["DesiredObject", ...] = ()
    retained: bool = False
    protected: bool = False
    workload: Workload | None = None
    secret: bool = False

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return cast("Kind", self.manifest["kind"])

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return str(self.manifest["metadata"]["name"])

    @property
    def compared(self) -> Manifest:
        """What is compared with the live object: everything but its identity and what is for Pulumi's provider."""
        content = {key: value for key, value in self.manifest.items() if key not in ("apiVersion", "kind")}
        metadata: Manifest = content["metadata"]
        annotations = {
            key: value for key, value in metadata["annotations"].items() if not key.startswith("pulumi.com/")
        }
        return content | {"metadata": {"labels": metadata["labels"], "annotations": annotations}}

    def __repr__(self) -> str:
        """Kind and name: the manifest may contain secrets."""
        return f"DesiredObject({self.kind} {self.name})"

    __str__ = __repr__
