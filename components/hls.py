"""HLS: the origins write it to a shared volume, nginx serves it."""

from collections.abc import Mapping

import pulumi

from components.declare import Declarer
from components.load_balancer import LoadBalancer
from model.desired.render import Desired


class Hls(pulumi.ComponentResource):
    """The Services of HLS; `deploy` declares the rest."""

    exposed: Mapping[str, pulumi.CustomResource]
    """The Services with a load balancer, by the name of the Service of the edges that has the same one."""
    claim: pulumi.CustomResource

    def __init__(
        self,
        name: str,
        desired: Desired,
        declarer: Declarer,
        load_balancers: Mapping[str, LoadBalancer],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """load_balancers: by the name of their Service."""
        super().__init__("srs:hls:Hls", name, {}, opts)
        self._desired = desired
        self._declarer = declarer
        child = pulumi.ResourceOptions(parent=self)
        edges = desired.settings.hls_services
        exposed: dict[str, pulumi.CustomResource] = {}
        for service in desired.hls_services:
            on = edges.get(service.name)
            resource = declarer.declare(service, child, load_balancers[on.name].bound if on else None)
            if on:
                exposed[on.name] = resource
        self.exposed = exposed

    def deploy(self) -> None:
        """Declare the claim of the shared volume, nginx, its ConfigMap, PodDisruptionBudget and NetworkPolicy."""
        assert self._desired.hls_claim
        self.claim = self._declarer.declare(self._desired.hls_claim, pulumi.ResourceOptions(parent=self))
        self._declarer.declare_all(self._desired.hls, self)
        self.register_outputs({})
