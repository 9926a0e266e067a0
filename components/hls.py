"""HLS: the origins write it to a shared volume, nginx serves it."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import PersistentVolumeClaim, PodSpecArgsDict, Service
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from components.load_balancer import LoadBalancer, bind
from components.manifest import CONTAINER_SECURITY, POD_SECURITY, metadata, place, pull_secrets, spread
from model.names import HLS
from model.settings.hls import HlsSettings
from model.settings.load_balancer import annotations

GRACE_SECONDS = 10
"""Short: the provider always waits for the deletion of a claim, and the claim waits for its pods."""

NGINX_PORT = 8080
"""The port of the unprivileged nginx image."""


class Hls(pulumi.ComponentResource):
    """Shared volume claim, nginx Deployment, its Service and NetworkPolicy."""

    claim: PersistentVolumeClaim
    deployment: Deployment

    def __init__(
        self,
        name: str,
        settings: HlsSettings,
        namespace: pulumi.Input[str],
        load_balancer: LoadBalancer,
        pull: Sequence[str] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """load_balancer: its CLB serves HLS, where the settings have a port. pull: names of pull secrets."""
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
        pod = _pod(settings, self.claim)
        place(pod, settings)
        if secrets := pull_secrets(pull):
            pod["image_pull_secrets"] = secrets
        self.deployment = Deployment(
            f"{HLS}-deploy",
            metadata=metadata(f"{HLS}-deploy", namespace, labels),
            spec={
                "replicas": settings.replicas,
                "selector": {"match_labels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
            opts=child,
        )
        exposed = settings.port is not None
        shared = annotations(load_balancer.exposed.load_balancer) if exposed else {}
        Service(
            f"{HLS}-service",
            metadata=metadata(
                f"{HLS}-service", namespace, labels, bind(shared, load_balancer.clb_id if exposed else None)
            ),
            spec={
                "type": "LoadBalancer" if exposed else "ClusterIP",
                "selector": labels,
                "ports": [{"name": "http", "port": settings.port or 80, "target_port": "http", "protocol": "TCP"}],
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


def _pod(settings: HlsSettings, claim: PersistentVolumeClaim) -> PodSpecArgsDict:
    return {
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
                # A TCP probe: nginx answers 403 while the volume is empty.
                "readiness_probe": {"tcp_socket": {"port": "http"}, "period_seconds": 5},
                # Segments are short downloads: deregistering is all that nginx needs.
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
                "persistent_volume_claim": {"claim_name": claim.metadata["name"], "read_only": True},
            },
            {"name": "tmp", "empty_dir": {"size_limit": "64Mi"}},
        ],
    }
