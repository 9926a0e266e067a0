"""The origins: an SRS origin cluster."""

from collections.abc import Sequence

import pulumi

from components.declare import Declarer
from model.desired.render import Desired


class OriginCluster(pulumi.ComponentResource):
    """Services, ServiceAccount, configuration, PodDisruptionBudget, NetworkPolicy of the origins.

    Their StatefulSet comes later (`deploy`), when new origins are ready next to those that they replace.
    """

    needed: Sequence[pulumi.CustomResource]
    """What the StatefulSet needs."""

    def __init__(
        self, name: str, desired: Desired, declarer: Declarer, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("srs:origin:OriginCluster", name, {}, opts)
        self._stateful_set, self._declarer = desired.origin_set, declarer
        declarer.declare_all((item for item in desired.origins if item is not desired.origin_set), self)
        self.needed = [declarer.resource(item) for item in desired.origin_set.needs]
        self.register_outputs({})

    def deploy(self) -> None:
        """Declare the StatefulSet."""
        self._declarer.declare(self._stateful_set, pulumi.ResourceOptions(parent=self))
