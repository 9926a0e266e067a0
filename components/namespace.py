"""The namespace of the stack."""

import pulumi
from pulumi_kubernetes.core.v1 import Namespace

from components.manifest import metadata
from model.settings.load_balancer import ExternalLoadBalancer
from model.settings.stack import StackSettings

LABELS = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}


def namespace_name(settings: StackSettings, opts: pulumi.ResourceOptions) -> pulumi.Input[str]:
    """The name of the namespace; where the stack creates it, the name carries the dependency on it.

    It is protected if anything in it is, because its deletion deletes everything.
    """
    name = settings.kubernetes.namespace
    if not settings.kubernetes.create_namespace:
        return name
    protect = any(
        isinstance(service.load_balancer, ExternalLoadBalancer) and service.load_balancer.protected
        for service in settings.exposed_services
    )
    namespace = Namespace(
        name,
        metadata=metadata(name, None, LABELS),
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect)),
    )
    return namespace.metadata["name"]
