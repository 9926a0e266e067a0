"""The edges: one Deployment per release behind one Service."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from components.manifest import exporter_ingress, metadata
from components.srs_config import srs_config
from model.names import (
    ABORTED_APP,
    API_PORT,
    EDGE_APP,
    HTTP_PORT,
    HTTPS_PORT,
    RTMP_PORT,
    edge_config,
    edge_deployment,
    edge_run,
)
from model.pods import pull_secrets
from model.settings.stack import StackSettings
from model.workload_specs import change_cause, edge_spec


class EdgeFleet(pulumi.ComponentResource):
    """What all releases share; `release` adds one.

    Releases are declared one by one because their order matters (see `update/plan.py`).
    """

    def __init__(
        self,
        name: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("srs:edge:EdgeFleet", name, {}, opts)
        self._settings = settings
        self._namespace = namespace
        self._releases: dict[str, EdgeRelease] = {}
        child = pulumi.ResourceOptions(parent=self)
        labels = {"app": EDGE_APP}

        PodDisruptionBudget(
            EDGE_APP,
            metadata=metadata(EDGE_APP, namespace, labels),
            spec={
                "selector": {"match_labels": labels},
                # An integer, not maxUnavailable or a percentage: for those the controller computes the expected
                # number of pods from their owners, and draining pods of a removed release have none, which
                # blocks every node drain for hours.
                "min_available": settings.edge.replicas - 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=child,
        )
        NetworkPolicy(
            EDGE_APP,
            metadata=metadata(EDGE_APP, namespace, labels),
            spec={
                # Also edges that are out of rotation: their connections stay open.
                "pod_selector": {
                    "match_expressions": [{"key": "app", "operator": "In", "values": [EDGE_APP, ABORTED_APP]}]
                },
                "policy_types": ["Ingress"],
                "ingress": [
                    {
                        "ports": [
                            {"port": RTMP_PORT, "protocol": "TCP"},
                            {"port": HTTP_PORT, "protocol": "TCP"},
                            *([{"port": HTTPS_PORT, "protocol": "TCP"}] if settings.tls.secret_name else []),
                        ]
                    },
                    {"from_": [{"pod_selector": {}}], "ports": [{"port": API_PORT, "protocol": "TCP"}]},
                    *exporter_ingress(settings),
                ],
            },
            opts=child,
        )
        self.register_outputs({})

    def release(self, name: str) -> "EdgeRelease":
        """Declare a release, or return it if it is declared already."""
        if name not in self._releases:
            self._releases[name] = EdgeRelease(
                f"srs-edge-{name}",
                name,
                self._settings,
                self._namespace,
                pulumi.ResourceOptions(parent=self),
            )
        return self._releases[name]


class EdgeRelease(pulumi.ComponentResource):
    """ServiceAccount, ConfigMap and Deployment of one release."""

    deployment: Deployment

    def __init__(
        self,
        name: str,
        release: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("srs:edge:EdgeRelease", name, {}, opts)
        run = edge_run(release)
        labels = {"app": EDGE_APP, "run": run}
        account = ServiceAccount(
            run,
            metadata=metadata(run, namespace, labels),
            automount_service_account_token=False,
            # Not in the pods, so that another pull secret rolls nothing.
            image_pull_secrets=pull_secrets(settings.images.secret_names),
            opts=pulumi.ResourceOptions(parent=self),
        )
        conf = settings.edge_conf(release)
        config = srs_config(edge_config(release, conf.hash), run, conf, namespace, account, self)
        deployment = edge_deployment(release)
        self.deployment = Deployment(
            deployment,
            metadata=metadata(
                deployment,
                namespace,
                {"run": run},
                {"kubernetes.io/change-cause": change_cause(settings, release)},
            ),
            spec=edge_spec(settings, release),
            opts=pulumi.ResourceOptions(parent=self, depends_on=config),
        )
        self.register_outputs({})
