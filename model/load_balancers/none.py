"""`kind: none`: a Service inside the cluster."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from model.load_balancers.interface import LiveService, LoadBalancer


class NoLoadBalancer(LoadBalancer):
    """The edge Service is of type ClusterIP: it is reached from inside the cluster, or through your own Ingress."""

    kind: Literal["none"]

    host: None = None
    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {**LoadBalancer.SAFE_IN_PLACE, "host": True}

    @property
    def is_exposed(self) -> bool:
        """No."""
        return False

    @classmethod
    def recognizes(cls, live: LiveService) -> bool:
        """By its type."""
        return live["spec"].get("type") not in ("NodePort", "LoadBalancer")

    @classmethod
    def read_identity(cls, live: LiveService) -> dict[str, Any]:
        """Nothing but the kind."""
        del live
        return {"kind": "none"}
