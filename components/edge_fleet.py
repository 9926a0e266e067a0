"""The edges: one Deployment per release behind one Service."""

import pulumi

from components.declare import Declarer
from model.desired.render import Desired
from model.names import edge_run


class EdgeFleet(pulumi.ComponentResource):
    """What all releases share; `release` adds one.

    Releases are declared one by one because their order matters (see `update/plan.py`).
    """

    def __init__(
        self, name: str, desired: Desired, declarer: Declarer, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("srs:edge:EdgeFleet", name, {}, opts)
        self._desired = desired
        self._declarer = declarer
        declarer.declare_all(desired.fleet, self)
        self.register_outputs({})

    def release(self, name: str) -> "EdgeRelease":
        """Declare a release."""
        return EdgeRelease(name, self._desired, self._declarer, pulumi.ResourceOptions(parent=self))

    def follow(self, desired: Desired) -> None:
        """Declare later releases as this desired state has them: for the live fleet of now."""
        self._desired = desired


class EdgeRelease(pulumi.ComponentResource):
    """ServiceAccount, configuration and Deployment of one release."""

    def __init__(self, release: str, desired: Desired, declarer: Declarer, opts: pulumi.ResourceOptions) -> None:
        super().__init__("srs:edge:EdgeRelease", edge_run(release), {}, opts)
        declarer.declare_all(desired.releases[release], self)
        self.register_outputs({})
