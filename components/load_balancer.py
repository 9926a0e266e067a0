"""An exposed Service, with the load balancer of the kind in the config."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, cast

import pulumi

from components.declare import Declarer
from model.desired.render import Desired
from model.load_balancers.exposed_service import ADDRESS, ExposedService

if TYPE_CHECKING:
    from components.clb import Clb
    from model.load_balancers.clb import ClbLoadBalancer


class LoadBalancer(pulumi.ComponentResource):
    """A Service that is reached from outside the cluster, with its load balancer.

    The edge Service selects the pods of all releases and serves RTMP and HTTP-FLV, never the HTTP API.
    """

    exposed: ExposedService
    service: pulumi.CustomResource
    bound: Mapping[str, pulumi.Input[str]]
    """Annotations that bind a Service to the CLB that the stack creates; its controller needs them from the start."""

    def __init__(
        self,
        exposed: ExposedService,
        desired: Desired,
        declarer: Declarer,
        before_binding: Callable[[str], Awaitable[str]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """before_binding: what is awaited before a Service gets the id of a CLB that the stack creates; it is given
        the id and returns it."""
        super().__init__("srs:edge:LoadBalancer", exposed.name, {}, opts)
        self.exposed = exposed
        # The CLB that the stack creates. Not declared above: Pulumi would import its module to evaluate the type.
        self.clb = _clb(exposed, f"{desired.settings.kubernetes.namespace}-{exposed.name}", self)
        self.bound = {}
        if self.clb:
            clb = self.clb.id.apply(before_binding) if before_binding else self.clb.id
            self.bound = {**exposed.load_balancer.instance_annotations(clb), ADDRESS: self.clb.address}
        child = pulumi.ResourceOptions(parent=self)
        self.service = declarer.declare(desired.exposed[exposed.name], child, self.bound)
        self.register_outputs({})


def _clb(exposed: ExposedService, title: str, parent: pulumi.Resource) -> "Clb | None":
    """title: the name of the CLB where the settings have none."""
    if not exposed.load_balancer.creates_instance:
        return None
    from components.clb import Clb  # only where a CLB is declared: the import takes half a second

    settings = cast("ClbLoadBalancer", exposed.load_balancer)
    return Clb(f"{exposed.name}-clb", settings, title, pulumi.ResourceOptions(parent=parent))
