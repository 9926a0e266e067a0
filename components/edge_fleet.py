"""The edges: one Deployment per release behind one Service."""

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from components.manifest import metadata, place, pull_secrets, srs_container, srs_pod
from components.srs_config import srs_config
from model.names import API_PORT, EDGE_APP, HTTP_PORT, RTMP_PORT, config_hash, edge_deployment, edge_run
from model.settings.stack import StackSettings
from model.values import seconds


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
                "pod_selector": {"match_labels": labels},
                "policy_types": ["Ingress"],
                "ingress": [
                    {
                        "ports": [
                            {"port": RTMP_PORT, "protocol": "TCP"},
                            {"port": HTTP_PORT, "protocol": "TCP"},
                        ]
                    },
                    {"from_": [{"pod_selector": {}}], "ports": [{"port": API_PORT, "protocol": "TCP"}]},
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
        child = pulumi.ResourceOptions(parent=self)
        edge, release_settings = settings.edge, settings.edge.releases[release]
        conf = settings.edge_conf(release)
        run = edge_run(release)
        labels = {"app": EDGE_APP, "run": run}

        account = ServiceAccount(
            run,
            metadata=metadata(run, namespace, labels),
            automount_service_account_token=False,
            # Not in the pods, so that another pull secret rolls nothing.
            image_pull_secrets=pull_secrets(settings.images.secret_names),
            opts=child,
        )
        config = srs_config(run, conf, namespace, account, self)

        container = srs_container(release_settings.image, release_settings.resources, warm_up=edge.warm_up)
        if edge.drain.deregister:
            # The pod accepts connections until load balancers have removed it; SIGTERM comes after that. `sleep`
            # is a kubelet action (on by default since Kubernetes 1.30) and needs no shell in the image.
            container["lifecycle"] = {"pre_stop": {"sleep": {"seconds": seconds(edge.drain.deregister)}}}
        pod = srs_pod(container, config.metadata["name"], EDGE_APP)
        pod["service_account_name"] = account.metadata["name"]
        pod["termination_grace_period_seconds"] = edge.drain.grace_seconds
        place(pod, edge)
        if gates := settings.readiness_gates:
            pod["readiness_gates"] = [{"condition_type": gate} for gate in gates]

        name_in_cluster = edge_deployment(release)
        self.deployment = Deployment(
            name_in_cluster,
            metadata=metadata(
                name_in_cluster,
                namespace,
                {"run": run},
                {"kubernetes.io/change-cause": f"image={release_settings.image} config={config_hash(conf)}"},
            ),
            spec={
                "replicas": edge.shares[release].replicas,
                "paused": release_settings.paused,
                "min_ready_seconds": seconds(edge.min_ready),
                "progress_deadline_seconds": seconds(edge.rollout_timeout),
                "revision_history_limit": 10,
                "selector": {"match_labels": {"run": run}},
                "strategy": {
                    "type": "RollingUpdate",
                    "rolling_update": {"max_unavailable": 0, "max_surge": "25%"},
                },
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {
                            # An autoscaler that removes the node would drop every connection of this pod.
                            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                            **release_settings.pod_annotations,
                        },
                    },
                    "spec": pod,
                },
            },
            opts=child,
        )
        self.register_outputs({})
