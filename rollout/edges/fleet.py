"""The number of edges that a stack has now."""

from cluster.fleet import fleet_size, is_own
from cluster.state import LiveState
from rollout.command import Context
from rollout.stack.stack_file import StackFile


def live_edges(context: Context, file: StackFile) -> int | None:
    """The number of edges of the live fleet, all releases together; None of one with a fixed number, and of a new one.

    Raises UnreachableError.
    """
    if file.edges.autoscaling is None:
        return None
    return edges_of(LiveState(objects={"Deployment": context.live.objects("Deployment")}), context.stack_name)


def edges_of(state: LiveState, stack: str) -> int | None:
    """The number of edges of a stack; None if it has none. Foreign edges are no part of its fleet."""
    name = stack.rpartition("/")[2]
    return fleet_size(
        deployment
        for deployment in state.edges.values()
        if is_own(deployment, lambda owner: owner.rpartition("/")[2] == name)
    )
