"""HLS: the origins write it to a shared volume, nginx serves it."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ConfigMap, PersistentVolumeClaim, Service
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from components.load_balancer import LoadBalancer, bind
from components.manifest import metadata
from model.names import HLS, HLS_CLAIM, HTTPS_PORT, nginx_config
from model.settings.load_balancer import annotations
from model.settings.stack import StackSettings
from model.workload_specs import NGINX_PORT, hls_spec


class Hls(pulumi.ComponentResource):
    """Shared volume claim, nginx Deployment, its ConfigMap, Service, PodDisruptionBudget and NetworkPolicy."""

    claim: PersistentVolumeClaim
    deployment: Deployment

    def __init__(
        self,
        name: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        load_balancer: LoadBalancer,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """load_balancer: its CLB serves HLS, where the settings have a port."""
        super().__init__("srs:hls:Hls", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        hls = settings.hls
        labels = {"app": HLS}
        self.claim = PersistentVolumeClaim(
            HLS_CLAIM,
            metadata=metadata(HLS_CLAIM, namespace, labels),
            spec={
                "access_modes": ["ReadWriteMany"],
                "storage_class_name": hls.storage_class or "",
                "resources": {"requests": {"storage": hls.size}},
            },
            # No edit of the config deletes recordings; with the namespace the claim is deleted as well.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        # Named by its content, so that another nginx.conf rolls nginx.
        config = nginx_config(settings.nginx_conf)
        conf = ConfigMap(
            config,
            metadata=metadata(config, namespace, labels),
            data={"nginx.conf": settings.nginx_conf},
            immutable=True,
            opts=child,
        )
        self.deployment = Deployment(
            f"{HLS}-deploy",
            metadata=metadata(f"{HLS}-deploy", namespace, labels),
            spec=hls_spec(settings),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.claim, conf]),
        )
        exposed = hls.is_exposed
        targets: dict[str, pulumi.Input[int | str]] = {"http": "http", "https": HTTPS_PORT}
        shared = annotations(load_balancer.exposed.load_balancer) if exposed else {}
        Service(
            f"{HLS}-service",
            metadata=metadata(
                f"{HLS}-service", namespace, labels, bind(shared, load_balancer.clb_id if exposed else None)
            ),
            spec={
                "type": "LoadBalancer" if exposed else "ClusterIP",
                "selector": labels,
                "ports": [
                    {"name": name, "port": port, "target_port": targets[name], "protocol": "TCP"}
                    for name, port in settings.hls_ports.items()
                ],
            },
            opts=child,
        )
        PodDisruptionBudget(
            HLS,
            metadata=metadata(HLS, namespace, labels),
            spec={
                "selector": {"match_labels": labels},
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=child,
        )
        NetworkPolicy(
            HLS,
            metadata=metadata(HLS, namespace, labels),
            spec={
                "pod_selector": {"match_labels": labels},
                "policy_types": ["Ingress"],
                "ingress": [
                    {
                        "ports": [
                            {"port": port, "protocol": "TCP"}
                            for port in (NGINX_PORT, *([HTTPS_PORT] if settings.tls.secret_name else []))
                        ]
                    }
                ],
            },
            opts=child,
        )
        self.register_outputs({})
