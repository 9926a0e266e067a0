"""The state of the live cluster that an update plan is based on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from cluster.live import LiveCluster, Object
from model.names import EDGE_APP, ORIGIN


@dataclass(frozen=True)
class LiveState:
    """The origins' StatefulSet, the edges' Deployments and the Services; empty where there are none."""

    origins: Object | None = None
    edges: Mapping[str, Object] = field(default_factory=dict[str, Object])
    """Deployments by name."""
    services: Mapping[str, Object] = field(default_factory=dict[str, Object])
    """Services by name."""

    @property
    def origin_replicas(self) -> int:
        """Desired replicas of the live StatefulSet; 0 if there is none."""
        return int(self.origins["spec"].get("replicas", 1)) if self.origins else 0


def read_state(live: LiveCluster) -> LiveState:
    """Read the state. Raises UnreachableError."""
    # The shared label is on the pods, so the Deployments are selected by the label that all objects have.
    return LiveState(
        origins=live.stateful_set(ORIGIN),
        edges={
            name: deployment
            for name, deployment in live.deployments("app.kubernetes.io/part-of=srs").items()
            if deployment["spec"]["template"]["metadata"].get("labels", {}).get("app") == EDGE_APP
        },
        services=live.services("app.kubernetes.io/part-of=srs"),
    )


def address(service: Object | None) -> str | None:
    """The address or host name of a Service's load balancer, None if it has none yet."""
    status = service.get("status", {}) if service else {}
    ingress = cast("list[dict[str, str]]", status.get("loadBalancer", {}).get("ingress") or [])
    return next((entry.get("ip") or entry.get("hostname") for entry in ingress), None)
