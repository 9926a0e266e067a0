"""A demo stream, so that a new cluster has something to play."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from components.manifest import metadata
from model.names import DEMO
from model.settings.stack import StackSettings
from model.workload_specs import demo_spec


class DemoStream(pulumi.ComponentResource):
    """Deployment of the encoder, and its NetworkPolicy."""

    deployment: Deployment

    def __init__(
        self,
        name: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("srs:demo:DemoStream", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = {"app": DEMO}
        self.deployment = Deployment(
            f"{DEMO}-deploy",
            metadata=metadata(f"{DEMO}-deploy", namespace, labels),
            spec=demo_spec(settings),
            opts=child,
        )
        NetworkPolicy(
            DEMO,
            metadata=metadata(DEMO, namespace, labels),
            spec={"pod_selector": {"match_labels": labels}, "policy_types": ["Ingress"]},
            opts=child,
        )
        self.register_outputs({})
