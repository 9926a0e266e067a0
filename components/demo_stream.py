"""A demo stream, so that a new cluster has something to play."""

import pulumi

from components.declare import Declarer
from model.desired.render import Desired


class DemoStream(pulumi.ComponentResource):
    """Deployment of the encoder, and its NetworkPolicy."""

    def __init__(
        self, name: str, desired: Desired, declarer: Declarer, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("srs:demo:DemoStream", name, {}, opts)
        declarer.declare_all(desired.demo, self)
        self.register_outputs({})
