"""What the live state fixes of the desired one: a change of it would drop connections or fight with a controller."""

from collections.abc import Collection

from cluster.state import LiveState
from model.config.stack import StackSettings
from model.desired.context import Kept
from update.autoscaling import live_fleet
from update.load_balancers import backend_nodes, service_leaving_annotations


def read_kept(settings: StackSettings, state: LiveState, conf_key: str, stacks: Collection[str] = ()) -> Kept:
    """What the live state fixes.

    conf_key: the key of the hashes of srs.conf, "" before the first update. stacks: names of the stack.

    A changed name of a port leaves the Service without endpoints, until kube-proxy knows the endpoints of that name.
    """
    fleet = live_fleet(settings.edge, state, stacks)
    return Kept(
        edges=fleet.edges,
        replicas=fleet.replicas,
        port_names={
            name: {
                port["port"]: port["name"]
                for port in service["spec"].get("ports", [])
                if port.get("name") and port.get("protocol", "TCP") == "TCP"
            }
            for name, service in state.services.items()
        },
        backend_nodes=backend_nodes(settings, state),
        leaving=service_leaving_annotations(settings, state),
        conf_key=conf_key,
    )
