"""What the API server is asked before an update: the objects that it creates and changes, as it would leave them."""

from cluster.admission import ObjectKey
from cluster.live import METADATA_ONLY, Object
from cluster.state import LiveState
from model.desired.render import Desired
from update.plan import UpdatePlan
from update.prediction import applied


def reviewed_objects(plan: UpdatePlan, desired: Desired, state: LiveState) -> dict[ObjectKey, Object]:
    """The objects that an update creates and changes, as it would leave them; nothing if the plan is rejected.

    Without those of which the plan knows only the metadata; nothing of a first update that creates the namespace.
    """
    if plan.rejections or state.namespace is None:
        return {}
    changed = {(change.workload.kind, change.workload.name): change.changes for change in plan.changes}
    changed |= {(change.kind, change.name): change.changes for change in plan.objects}
    found: dict[ObjectKey, Object] = {}
    for (kind, name), item in desired.objects.items():
        live, changes = state.get(kind, name), changed.get((kind, name))
        if live is None:
            found[kind, name] = {**item.compared, "metadata": {**item.compared["metadata"], "name": name}}
        elif changes and kind not in METADATA_ONLY:
            found[kind, name] = applied(live, changes)
    return found
