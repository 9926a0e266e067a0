"""A demo stream, so that a new cluster has something to play."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from components.manifest import metadata, pull_secrets
from model.names import DEMO, EDGE_SERVICE, RTMP_PORT
from model.settings.demo import DemoSettings


class DemoStream(pulumi.ComponentResource):
    """A Deployment that publishes a sample file through the edges in a loop."""

    deployment: Deployment

    def __init__(
        self,
        name: str,
        settings: DemoSettings,
        namespace: pulumi.Input[str],
        pull: Sequence[str] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """pull: names of pull secrets."""
        super().__init__("srs:demo:DemoStream", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = {"app": DEMO}
        url = f"rtmp://{EDGE_SERVICE}:{RTMP_PORT}/{settings.stream}"
        self.deployment = Deployment(
            f"{DEMO}-deploy",
            metadata=metadata(f"{DEMO}-deploy", namespace, labels),
            spec={
                "replicas": 1,
                "selector": {"match_labels": labels},
                "strategy": {"type": "Recreate"},  # SRS rejects a second publisher of a stream
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automount_service_account_token": False,
                        "enable_service_links": False,
                        "image_pull_secrets": pull_secrets(pull) or [],
                        "termination_grace_period_seconds": 5,
                        "security_context": {"seccomp_profile": {"type": "RuntimeDefault"}},
                        "containers": [
                            {
                                "name": "encoder",
                                "image": settings.image,
                                "image_pull_policy": "IfNotPresent",
                                "command": ["/bin/sh", "-c"],
                                "args": [
                                    f"while true; do ffmpeg -re -i '{settings.source}' -c copy -f flv {url}; "
                                    "sleep 3; done"
                                ],
                                "security_context": {
                                    "allow_privilege_escalation": False,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                                "resources": {
                                    "requests": {"cpu": "50m", "memory": "64Mi"},
                                    "limits": {"memory": "256Mi"},
                                },
                            }
                        ],
                    },
                },
            },
            opts=child,
        )
        NetworkPolicy(
            DEMO,
            metadata=metadata(DEMO, namespace, labels),
            spec={"pod_selector": {"match_labels": labels}, "policy_types": ["Ingress"]},
            opts=child,
        )
        self.register_outputs({})
