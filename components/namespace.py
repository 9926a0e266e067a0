"""The namespace of the stack."""

import pulumi
from pulumi_kubernetes.core.v1 import Namespace

from components.manifest import metadata
from model.settings.kubernetes import KubernetesSettings

LABELS = {
    "pod-security.kubernetes.io/enforce": "baseline",
    "pod-security.kubernetes.io/warn": "restricted",
}


def namespace_name(settings: KubernetesSettings, opts: pulumi.ResourceOptions) -> pulumi.Input[str]:
    """The name of the namespace; where the stack creates it, the name carries the dependency on it."""
    if not settings.create_namespace:
        return settings.namespace
    namespace = Namespace(settings.namespace, metadata=metadata(settings.namespace, None, LABELS), opts=opts)
    return namespace.metadata["name"]
