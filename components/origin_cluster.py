"""The origins: an SRS origin cluster as a StatefulSet."""

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import PersistentVolumeClaim, Service, ServiceAccount, ServicePortArgsDict
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from components.manifest import exporter_ingress, metadata
from components.srs_config import srs_config
from model.names import (
    ABORTED_APP,
    API_PORT,
    EDGE_APP,
    ORIGIN,
    ORIGIN_HEADLESS_SERVICE,
    ORIGIN_SERVICE,
    RTMP_PORT,
    origin_config,
)
from model.pods import pull_secrets
from model.settings.stack import StackSettings
from model.workload_specs import origin_spec


class OriginCluster(pulumi.ComponentResource):
    """Two Services, ServiceAccount, ConfigMap, StatefulSet, PodDisruptionBudget, NetworkPolicy of the origins."""

    stateful_set: StatefulSet

    def __init__(
        self,
        name: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        port_names: Mapping[str, Mapping[int, str]],
        hls_claim: PersistentVolumeClaim | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """port_names: of ports that keep their live name, by Service. hls_claim: claim of the volume that HLS is
        written to, None without HLS."""
        super().__init__("srs:origin:OriginCluster", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = {"app": ORIGIN}
        publish = settings.publish_service
        published = publish is not None and publish.app == ORIGIN

        def ports(service: str, **numbers: int) -> list[ServicePortArgsDict]:
            # The ports' numbers: pods that others have created have no named ports.
            names = port_names.get(service, {})
            return [
                {"name": names.get(port, name), "port": port, "target_port": port, "protocol": "TCP"}
                for name, port in numbers.items()
            ]

        headless = Service(
            ORIGIN_HEADLESS_SERVICE,
            metadata=metadata(ORIGIN_HEADLESS_SERVICE, namespace, labels),
            spec={
                "cluster_ip": "None",
                "selector": labels,
                "ports": ports(ORIGIN_HEADLESS_SERVICE, rtmp=RTMP_PORT, api=API_PORT),
            },
            opts=child,
        )
        # Edges reach the origins through this one: it spreads streams, and never selects an origin that is not ready.
        Service(
            ORIGIN_SERVICE,
            metadata=metadata(ORIGIN_SERVICE, namespace, labels),
            spec={"selector": labels, "ports": ports(ORIGIN_SERVICE, rtmp=RTMP_PORT)},
            opts=child,
        )
        account = ServiceAccount(
            ORIGIN,
            metadata=metadata(ORIGIN, namespace, labels),
            automount_service_account_token=False,
            image_pull_secrets=pull_secrets(settings.images.secret_names),
            opts=child,
        )
        conf = settings.origin_conf
        config = srs_config(origin_config(conf.hash), ORIGIN, conf, namespace, account, self)
        self.stateful_set = StatefulSet(
            ORIGIN,
            metadata=metadata(ORIGIN, namespace, labels),
            spec=origin_spec(settings),
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[headless, *config, *([hls_claim] if hls_claim is not None else [])]
            ),
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
                        "from_": [
                            {"pod_selector": {"match_labels": {"app": app}}} for app in (EDGE_APP, ABORTED_APP, ORIGIN)
                        ],
                        "ports": [
                            {"port": RTMP_PORT, "protocol": "TCP"},
                            {"port": API_PORT, "protocol": "TCP"},
                        ],
                    },
                    *([{"ports": [{"port": RTMP_PORT, "protocol": "TCP"}]}] if published else []),
                    *exporter_ingress(settings),
                ],
            },
            opts=child,
        )
        self.register_outputs({})
