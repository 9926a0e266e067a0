"""HLS: the origins write it to a shared volume, nginx serves it."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import PersistentVolumeClaim, Service
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from components.manifest import CONTAINER_SECURITY, POD_SECURITY, metadata, spread
from model.names import HLS
from model.settings import HlsSettings

GRACE_SECONDS = 10
"""Short: a destroy waits for the claim (the provider does so whatever it is told), and the claim for its pods."""

NGINX_PORT = 8080
"""The unprivileged nginx image listens here."""


class Hls(pulumi.ComponentResource):
    """Shared volume claim, nginx Deployment, its Service and NetworkPolicy."""

    claim: PersistentVolumeClaim
    deployment: Deployment

    def __init__(
        self,
        name: str,
        settings: HlsSettings,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("srs:hls:Hls", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = {"app": HLS}
        self.claim = PersistentVolumeClaim(
            "srs-hls",
            metadata=metadata("srs-hls", namespace, labels),
            spec={
                "access_modes": ["ReadWriteMany"],
                "storage_class_name": settings.storage_class or "",
                "resources": {"requests": {"storage": settings.size}},
            },
            opts=child,
        )
        self.deployment = Deployment(
            f"{HLS}-deploy",
            metadata=metadata(f"{HLS}-deploy", namespace, labels),
            spec={
                "replicas": settings.replicas,
                "selector": {"match_labels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automount_service_account_token": False,
                        "enable_service_links": False,
                        "security_context": POD_SECURITY,
                        "termination_grace_period_seconds": GRACE_SECONDS,
                        "topology_spread_constraints": spread(HLS),
                        "containers": [
                            {
                                "name": "nginx",
                                "image": settings.image,
                                "image_pull_policy": "IfNotPresent",
                                "ports": [{"name": "http", "container_port": NGINX_PORT, "protocol": "TCP"}],
                                "security_context": CONTAINER_SECURITY,
                                "resources": {
                                    "requests": {"cpu": "50m", "memory": "64Mi"},
                                    "limits": {"memory": "64Mi"},
                                },
                                # A TCP probe: the volume may hold no file yet, and nginx then answers 403.
                                "readiness_probe": {"tcp_socket": {"port": "http"}, "period_seconds": 5},
                                # Segments are short downloads; this is all that nginx needs to go unnoticed.
                                "lifecycle": {"pre_stop": {"sleep": {"seconds": 5}}},
                                "volume_mounts": [
                                    {"name": "hls", "mount_path": "/usr/share/nginx/html", "read_only": True},
                                    {"name": "tmp", "mount_path": "/tmp"},
                                ],
                            }
                        ],
                        "volumes": [
                            {
                                "name": "hls",
                                "persistent_volume_claim": {
                                    "claim_name": self.claim.metadata["name"],
                                    "read_only": True,
                                },
                            },
                            {"name": "tmp", "empty_dir": {"size_limit": "64Mi"}},
                        ],
                    },
                },
            },
            opts=child,
        )
        Service(
            f"{HLS}-service",
            metadata=metadata(f"{HLS}-service", namespace, labels),
            spec={
                "selector": labels,
                "ports": [{"name": "http", "port": 80, "target_port": "http", "protocol": "TCP"}],
            },
            opts=child,
        )
        NetworkPolicy(
            HLS,
            metadata=metadata(HLS, namespace, labels),
            spec={
                "pod_selector": {"match_labels": labels},
                "policy_types": ["Ingress"],
                "ingress": [{"ports": [{"port": NGINX_PORT, "protocol": "TCP"}]}],
            },
            opts=child,
        )
        self.register_outputs({})
