"""What every part of the desired state is rendered from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.config.stack import StackSettings
from model.desired.confs import Confs
from model.desired.objects import API_VERSIONS, DesiredObject, Kind, Manifest, Role
from model.desired.replicas import Share
from model.desired.workloads import Workload
from model.names import EXPORTER_PORT, FIELD_MANAGER, STACK_ANNOTATION

_PULUMI = {
    # One field manager forever, and it wins: otherwise each update has its own manager, and fields that an
    # interrupted update or a manual change has set conflict or remain (provider docs, "Managing Resources
    # with Server-Side Apply").
    "pulumi.com/patchFieldManager": FIELD_MANAGER,
    "pulumi.com/patchForce": "true",
    # The program waits for rollouts itself (see cluster/rollout_status.py), and a deletion does not wait: with
    # a drain of hours the provider's wait for the pods would time out.
    "pulumi.com/skipAwait": "true",
    "pulumi.com/deletionPropagationPolicy": "background",
}


@dataclass(frozen=True)
class Kept:
    """What the live state fixes of the desired one.

    edges: how many the live fleet has, None for a new or a fixed one. replicas: of releases that keep theirs, because
    autoscalers set them and the weights are the same. port_names: names that ports keep, by Service and port.
    backend_nodes: labels that limit the backends of a load balancer, by Service. leaving: annotations about a load
    balancer that a Service leaves, by Service (`LoadBalancer.leaving_annotations`). conf_key: the key of the hashes in
    the names of Secrets with srs.conf; with a plain hash, who may read names could check a guessed secret.
    """

    edges: int | None = None
    replicas: Mapping[str, int] = field(default_factory=dict[str, int])
    port_names: Mapping[str, Mapping[int, str]] = field(default_factory=dict[str, Mapping[int, str]])
    backend_nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    leaving: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    conf_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Context:
    """Settings, what is kept, the texts of all srs.conf, and the replicas of each release.

    stack: organization/project/stack.
    """

    settings: StackSettings
    kept: Kept
    stack: str
    confs: Confs
    shares: Mapping[str, Share]

    def object(
        self,
        kind: Kind,
        name: str,
        role: Role,
        labels: Mapping[str, str],
        body: Mapping[str, Any],
        annotations: Mapping[str, str] | None = None,
        *,
        resource: str | None = None,
        owner: str | None = None,
        needs: tuple[DesiredObject, ...] = (),
        retained: bool = False,
        protected: bool = False,
        workload: Workload | None = None,
        secret: bool = False,
    ) -> DesiredObject:
        """An object with the metadata that all have. body: what is next to the metadata, such as `spec`."""
        metadata: Manifest = {
            "name": name,
            "labels": {"app.kubernetes.io/part-of": "srs", "app.kubernetes.io/managed-by": "pulumi", **labels},
            "annotations": {**_PULUMI, STACK_ANNOTATION: self.stack, **(annotations or {})},
        }
        if kind != "Namespace":
            metadata["namespace"] = self.settings.kubernetes.namespace
        manifest: Manifest = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata, **body}
        return DesiredObject(role, manifest, resource or name, owner, needs, retained, protected, workload, secret)

    def is_secret(self, key: str, *values: Any) -> bool:
        """Whether one of these values is under a key of the stack config that was set with `--secret`."""
        return key in self.settings.secret_keys and any(values)

    def account(self, name: str, labels: Mapping[str, str]) -> DesiredObject:
        """The ServiceAccount of pods. It has the pull secrets, so that a changed one rolls no pod."""
        body: Manifest = {"automountServiceAccountToken": False}
        if names := self.settings.images.secret_names:
            body["imagePullSecrets"] = [{"name": secret} for secret in names]
        return self.object("ServiceAccount", name, "account", labels, body)

    def disruption_budget(self, app: str, label: str = "app", **limit: int) -> DesiredObject:
        """The PodDisruptionBudget of the pods of an app (or another label). limit: minAvailable or maxUnavailable."""
        labels = {label: app}
        spec = {"selector": {"matchLabels": labels}, **limit, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
        return self.object("PodDisruptionBudget", app, "policy", labels, {"spec": spec})

    def network_policy(
        self, app: str, ingress: list[Manifest] | None = None, selector: Manifest | None = None
    ) -> DesiredObject:
        """The NetworkPolicy of the pods of an app. ingress: what they accept; None: nothing.

        selector: of the pods, if it is not the label alone.
        """
        labels = {"app": app}
        spec: Manifest = {"podSelector": selector or {"matchLabels": labels}, "policyTypes": ["Ingress"]}
        if ingress is not None:
            spec["ingress"] = ingress
        return self.object("NetworkPolicy", app, "policy", labels, {"spec": spec})

    def exporter_ingress(self) -> list[Manifest]:
        """The rule of a NetworkPolicy by which Prometheus reaches the exporters; none without monitoring."""
        monitoring = self.settings.monitoring
        if monitoring.kind == "none":
            return []
        # The name of a namespace is a label of it (Kubernetes docs, "Automatic labelling").
        labels = {"kubernetes.io/metadata.name": monitoring.namespace}
        return [{"from": [{"namespaceSelector": {"matchLabels": labels}}], "ports": [tcp(EXPORTER_PORT)]}]


def tcp(port: int) -> Manifest:
    """A port in a rule of a NetworkPolicy."""
    return {"port": port, "protocol": "TCP"}
