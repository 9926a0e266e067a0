"""What the Prometheus Operator needs to scrape edges and origins, and to alert."""

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.manifest import metadata
from model.alerts import alert_rules
from model.names import EDGE_APP, MONITORING, ORIGIN
from model.settings.stack import StackSettings
from model.values import format_duration

API_VERSION = "monitoring.coreos.com/v1"


class Monitoring(pulumi.ComponentResource):
    """PodMonitor and PrometheusRule."""

    def __init__(
        self,
        name: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("srs:monitoring:Monitoring", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = settings.monitoring.labels
        CustomResource(
            f"{MONITORING}-pods",
            api_version=API_VERSION,
            kind="PodMonitor",
            metadata=metadata(MONITORING, namespace, labels),
            spec={
                "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [EDGE_APP, ORIGIN]}]},
                # Pods whose SRS has no exporter have no port of this name, so they are no targets.
                "podMetricsEndpoints": [
                    {"port": "exporter", "interval": format_duration(settings.monitoring.interval)}
                ],
                "podTargetLabels": ["role", "release"],
            },
            opts=child,
        )
        CustomResource(
            f"{MONITORING}-rules",
            api_version=API_VERSION,
            kind="PrometheusRule",
            metadata=metadata(MONITORING, namespace, labels),
            spec=alert_rules(settings),
            opts=child,
        )
        self.register_outputs({})
