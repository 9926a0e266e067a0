"""Services, inside the cluster and exposed."""

from collections.abc import Mapping

from model.desired.context import Context
from model.desired.objects import DesiredObject, Manifest
from model.load_balancers.exposed_service import ExposedService, service_manifest


def cluster_service(
    context: Context, name: str, labels: Mapping[str, str], ports: Mapping[str, int], headless: bool = False
) -> DesiredObject:
    """A Service inside the cluster. labels: its own, and of the pods. ports: by name. headless: it gives every pod a
    name, also one that drains or is not ready.
    """
    names = context.kept.port_names.get(name, {})
    spec: Manifest = {
        # A terminating pod has a name only with publishNotReadyAddresses (KEP-1672).
        **({"clusterIP": "None", "publishNotReadyAddresses": True} if headless else {}),
        "selector": dict(labels),
        # The ports' numbers: pods that the stack has not created have no named ports.
        "ports": [
            {"name": names.get(port, port_name), "port": port, "targetPort": port, "protocol": "TCP"}
            for port_name, port in ports.items()
        ],
    }
    return context.object("Service", name, "Service", labels, {"spec": spec})


def exposed_service(context: Context, exposed: ExposedService) -> DesiredObject:
    """A Service that is reached from outside the cluster."""
    kept = context.kept
    manifest = service_manifest(
        exposed, kept.port_names.get(exposed.name, {}), kept.backend_nodes.get(exposed.name, {})
    )
    metadata = manifest["metadata"]
    return context.object(
        "Service",
        exposed.name,
        "exposed Service",
        metadata["labels"],
        {"spec": manifest["spec"]},
        metadata["annotations"],
        protected=exposed.load_balancer.protected,
        secret=context.is_secret(exposed.key[0], exposed.load_balancer.annotations),
    )
