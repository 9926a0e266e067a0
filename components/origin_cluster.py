"""The origins: an SRS origin cluster as a StatefulSet."""

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import (
    PersistentVolumeClaim,
    Service,
    ServiceAccount,
    VolumeArgsDict,
    VolumeMountArgsDict,
)
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from components.manifest import SRS_HOME, metadata, place, pull_secrets, srs_container, srs_pod
from components.srs_config import srs_config
from model.names import API_PORT, EDGE_APP, ORIGIN, ORIGIN_SERVICE, RTMP_PORT
from model.settings.stack import StackSettings
from model.values import seconds

GRACE_SECONDS = 10
"""Origins restart quickly: viewers of the edges stay connected and have no media for a few seconds. A draining origin
would keep its publishers and reject the pulls of edges, so that new viewers would see nothing."""


class OriginCluster(pulumi.ComponentResource):
    """Headless Service, ServiceAccount, ConfigMap, StatefulSet, PodDisruptionBudget, NetworkPolicy of the origins."""

    stateful_set: StatefulSet

    def __init__(
        self,
        name: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        hls_claim: PersistentVolumeClaim | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """hls_claim: claim of the volume that HLS is written to, None without HLS."""
        super().__init__("srs:origin:OriginCluster", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        origin = settings.origin
        labels = {"app": ORIGIN}
        publish = settings.publish_service
        published = publish is not None and publish.app == ORIGIN

        service = Service(
            ORIGIN_SERVICE,
            metadata=metadata(ORIGIN_SERVICE, namespace, labels),
            spec={
                "cluster_ip": "None",
                "selector": labels,
                "ports": [
                    {"name": "rtmp", "port": RTMP_PORT, "target_port": "rtmp", "protocol": "TCP"},
                    {"name": "api", "port": API_PORT, "target_port": "api", "protocol": "TCP"},
                ],
            },
            opts=child,
        )
        account = ServiceAccount(
            ORIGIN,
            metadata=metadata(ORIGIN, namespace, labels),
            automount_service_account_token=False,
            image_pull_secrets=pull_secrets(settings.images.secret_names),
            opts=child,
        )
        config = srs_config(ORIGIN, settings.origin_conf, namespace, account, self)

        mounts: list[VolumeMountArgsDict] = []
        volumes: list[VolumeArgsDict] = []
        if hls_claim is not None:
            mounts = [{"name": "hls", "mount_path": f"{SRS_HOME}/objs/nginx/html"}]
            volumes = [{"name": "hls", "persistent_volume_claim": {"claim_name": hls_claim.metadata["name"]}}]
        container = srs_container(origin.image, origin.resources, mounts)
        pod = srs_pod(container, config.metadata["name"], ORIGIN, volumes)
        pod["service_account_name"] = account.metadata["name"]
        pod["termination_grace_period_seconds"] = GRACE_SECONDS
        place(pod, origin)
        self.stateful_set = StatefulSet(
            ORIGIN,
            metadata=metadata(ORIGIN, namespace, labels),
            spec={
                "service_name": service.metadata["name"],
                "replicas": origin.replicas,
                # Under OrderedReady a broken origin stays broken after the config is reverted (Kubernetes docs,
                # "Forced rollback"). The field is immutable.
                "pod_management_policy": "Parallel",
                "min_ready_seconds": seconds(origin.min_ready),
                "revision_history_limit": 10,
                "selector": {"match_labels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": dict(origin.pod_annotations)},
                    "spec": pod,
                },
            },
            opts=child,
        )
        PodDisruptionBudget(
            ORIGIN,
            metadata=metadata(ORIGIN, namespace, labels),
            spec={
                "selector": {"match_labels": labels},
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=child,
        )
        NetworkPolicy(
            ORIGIN,
            metadata=metadata(ORIGIN, namespace, labels),
            spec={
                "pod_selector": {"match_labels": labels},
                "policy_types": ["Ingress"],
                "ingress": [
                    {
                        "from_": [{"pod_selector": {"match_labels": {"app": app}}} for app in (EDGE_APP, ORIGIN)],
                        "ports": [
                            {"port": RTMP_PORT, "protocol": "TCP"},
                            {"port": API_PORT, "protocol": "TCP"},
                        ],
                    },
                    *([{"ports": [{"port": RTMP_PORT, "protocol": "TCP"}]}] if published else []),
                ],
            },
            opts=child,
        )
        self.register_outputs({})
