"""What several objects share: metadata, owner references, a rule of NetworkPolicies."""

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.meta.v1 import ObjectMetaArgsDict, OwnerReferenceArgsDict
from pulumi_kubernetes.networking.v1 import NetworkPolicyIngressRuleArgsDict

from model.names import EXPORTER_PORT, FIELD_MANAGER, STACK_ANNOTATION
from model.settings.stack import StackSettings

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


def metadata(
    name: str,
    namespace: pulumi.Input[str] | None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> ObjectMetaArgsDict:
    """Metadata of an object of this stack. namespace: None for objects without one."""
    meta: ObjectMetaArgsDict = {
        "name": name,
        "labels": {
            "app.kubernetes.io/part-of": "srs",
            "app.kubernetes.io/managed-by": "pulumi",
            **(labels or {}),
        },
        "annotations": {**_PULUMI, STACK_ANNOTATION: stack_name(), **(annotations or {})},
    }
    if namespace is not None:
        meta["namespace"] = namespace
    return meta


def owned_by(anchor: ServiceAccount) -> list[OwnerReferenceArgsDict]:
    """Owner references: garbage collection deletes an object together with `anchor`."""
    # A preview does not know the uid of an object to be created, but knows that its id is unknown.
    uid = pulumi.Output.all(anchor.id, anchor.metadata).apply(lambda known: str(known[1]["uid"]))
    return [{"api_version": "v1", "kind": "ServiceAccount", "name": anchor.metadata["name"], "uid": uid}]


def exporter_ingress(settings: StackSettings) -> list[NetworkPolicyIngressRuleArgsDict]:
    """The rule of a NetworkPolicy by which Prometheus reaches the exporters; none without monitoring."""
    if settings.monitoring.kind == "none":
        return []
    # The name of a namespace is a label of it (Kubernetes docs, "Automatic labelling").
    labels = {"kubernetes.io/metadata.name": settings.monitoring.namespace}
    return [
        {
            "from_": [{"namespace_selector": {"match_labels": labels}}],
            "ports": [{"port": EXPORTER_PORT, "protocol": "TCP"}],
        }
    ]


def stack_name() -> str:
    """The name of the stack with its organization and project, which all its objects carry."""
    return f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
