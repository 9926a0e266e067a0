"""HLS: the origins write it to a shared volume, nginx serves it."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import PersistentVolumeClaim, PodSpecArgsDict, Service
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from components.load_balancer import LoadBalancer, bind
from components.manifest import CONTAINER_SECURITY, POD_SECURITY, metadata, place, pull_secrets, spread
from model.names import HLS
from model.settings import HlsSettings
from model.settings.load_balancer import annotations

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
        load_balancer: LoadBalancer,
        pull: Sequence[str] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """load_balancer: whose CLB offers HLS, where the settings name a port. pull: names of pull secrets."""
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
        offered = settings.port is not None
        shared = annotations(load_balancer.front.load_balancer) if offered else {}
        Service(
            f"{HLS}-service",
            metadata=metadata(
                f"{HLS}-service", namespace, labels, bind(shared, load_balancer.clb_id if offered else None)
            ),
            spec={
                "type": "LoadBalancer" if offered else "ClusterIP",
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
                "persistent_volume_claim": {"claim_name": claim.metadata["name"], "read_only": True},
            },
            {"name": "tmp", "empty_dir": {"size_limit": "64Mi"}},
        ],
    }
