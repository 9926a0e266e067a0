"""What the Prometheus Operator needs to scrape edges and origins, and to alert."""

from model.config.values import format_duration
from model.desired.alerts import alert_rules
from model.desired.context import Context
from model.desired.objects import DesiredObject
from model.names import EDGE_APP, MONITORING, ORIGIN


def monitoring(context: Context) -> tuple[DesiredObject, ...]:
    """PodMonitor and PrometheusRule."""
    settings = context.settings.monitoring
    pods = {
        "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [EDGE_APP, ORIGIN]}]},
        # Pods whose SRS has no exporter have no port of this name, so they are no targets.
        "podMetricsEndpoints": [{"port": "exporter", "interval": format_duration(settings.interval)}],
        "podTargetLabels": ["role", "release"],
    }
    rules = alert_rules(context.settings)
    labels = settings.labels
    return (
        context.object("PodMonitor", MONITORING, "monitoring", labels, {"spec": pods}, resource=f"{MONITORING}-pods"),
        context.object(
            "PrometheusRule", MONITORING, "monitoring", labels, {"spec": rules}, resource=f"{MONITORING}-rules"
        ),
    )
