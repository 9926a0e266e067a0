"""What the Prometheus Operator needs to scrape edges and origins, and to alert."""

import pulumi

from components.declare import Declarer
from model.desired.render import Desired


class Monitoring(pulumi.ComponentResource):
    """PodMonitor and PrometheusRule."""

    def __init__(
        self, name: str, desired: Desired, declarer: Declarer, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("srs:monitoring:Monitoring", name, {}, opts)
        declarer.declare_all(desired.monitoring, self)
        self.register_outputs({})
