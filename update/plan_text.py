"""An update plan as text, for a terminal or a pull request comment."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from cluster.live import Object
from cluster.state import LiveState
from model.config.values import format_duration, plural
from model.desired.render import Desired
from update.object_changes import ObjectChange
from update.plan import UpdatePlan
from update.workload_changes import CONF_CHANGES, WorkloadChange

ACTIONS = {
    "create": "create",
    "roll": "rolling update",
    "scale": "scale",
    "update": "update without a restart of its pods",
    "delete": "delete",
    "none": "unchanged",
}


def text(plan: UpdatePlan, desired: Desired, state: LiveState) -> str:
    """A plan without rejections: connections first, then each workload with its reasons, then warnings."""
    if not state.known:
        return "\n".join(
            [
                f"The cluster cannot be reached: {state.unreachable}.",
                "This preview shows what changes in the config only; what the update does to running pods and their "
                "connections is unknown.",
                *(f"  warning: {warning}" for warning in plan.warnings),
            ]
        )
    lines = [f"Update plan for namespace {desired.settings.kubernetes.namespace}:", *_connections(plan, state)]
    lines += [
        f"  foreign Deployment {name} is not changed: {plural(ready, 'ready edge')} behind the same Service"
        for name, ready in plan.foreign_edges.items()
    ]
    for change in plan.changes:
        lines += _workload(change, desired, plan)
    for change in plan.objects:
        lines += _object(change)
    lines += [f"  warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def peak_edge_pods(plan: UpdatePlan, state: LiveState) -> int:
    """The largest number of edge pods at the same time: new ones, those that drain, and those that are not ready."""
    return len(state.terminating) + sum(change.peak for change in plan.changes if change.workload.release is not None)


def publishers_dropped(plan: UpdatePlan) -> bool:
    """Whether origins that cannot drain are replaced, which drops their publishers once."""
    return bool(plan.origins.dropped)


def peak_origin_pods(plan: UpdatePlan, state: LiveState) -> int:
    """The largest number of origins at the same time: new ones, those that drain, and those that are not ready."""
    return len(state.draining_origins) + plan.origins.peak


def _connections(plan: UpdatePlan, state: LiveState) -> Iterator[str]:
    if not any(change.action != "none" for change in plan.changes):
        yield "  Nothing changes for connections."
    edges = [change for change in plan.changes if change.workload.release is not None]
    dropped = sum(change.dropped for change in edges)
    draining = [change for change in edges if change.terminated > change.dropped]
    if dropped:
        yield f"  The connections of {plural(dropped, 'edge')} are dropped: their SRS version cannot drain."
    if draining:
        count = sum(change.terminated - change.dropped for change in draining)
        limit = format_duration(timedelta(seconds=max(change.grace_seconds for change in draining)))
        yield f"  Open connections stay open: {plural(count, 'edge')} will drain, for up to {limit}."
    yield from _already(state.terminating, "edge", "terminating")
    if draining or state.terminating:
        yield f"  Up to {plural(peak_edge_pods(plan, state), 'edge pod')} will exist at the same time."
    yield from _origins(plan, state)


def _already(pods: Sequence[Object], noun: str, what: str) -> Iterator[str]:
    """Pods that were deleted before this update."""
    if pods:
        deadline = max(str(pod["metadata"]["deletionTimestamp"]) for pod in pods)
        verb = "is" if len(pods) == 1 else "are"
        yield f"  {plural(len(pods), noun)} {verb} already {what}, the last one until {deadline} at the latest."


def _origins(plan: UpdatePlan, state: LiveState) -> Iterator[str]:
    """What happens to publishers."""
    origins = plan.origins
    drained = [grace for grace in origins.removed.values() if grace]
    if origins.dropped:
        yield f"  {plural(len(origins.dropped), 'origin')} will drop publishers once; they reconnect."
    if drained:
        limit = format_duration(timedelta(seconds=max(drained)))
        yield f"  Publishers stay connected: {plural(len(drained), 'origin')} will drain, for up to {limit}."
    yield from _already(state.draining_origins, "origin", "draining")
    if origins.removed or state.draining_origins:
        yield f"  Up to {plural(peak_origin_pods(plan, state), 'origin')} will exist at the same time."


def _workload(change: WorkloadChange, desired: Desired, plan: UpdatePlan) -> Iterator[str]:
    noun = "edge" if change.workload.release is not None else "replica"
    replicas = plural(change.after, noun)
    if change.action == "delete":
        replicas = plural(change.before, noun)
    elif change.before != change.after and change.action != "create":
        replicas = f"{change.before} -> {replicas}"
    shares = ""
    if share := share_percent(change, desired, plan):
        before, after = share
        shares = f", {before} % -> {after} % of new viewers" if before != after else f", {after} % of new viewers"
    yield f"  {change.workload.title}: {ACTIONS[change.action]}, {replicas}{shares}"
    for reason in change.reasons:
        yield f"    {reason}"
        if reason == CONF_CHANGES:
            yield from (f"      {line}" for line in change.conf_diff)


def _object(change: ObjectChange) -> Iterator[str]:
    """An object that exists and changes; what is new is not listed."""
    if change.action in ("update", "delete"):
        yield f"  {change.kind} {change.name}: {ACTIONS[change.action] if change.action == 'delete' else 'update'}"
        yield from (f"    {line}" for line in change.lines)


def share_percent(change: WorkloadChange, desired: Desired, plan: UpdatePlan) -> tuple[int, int] | None:
    """The share of a release in the new viewers before and after, of which foreign edges receive some as well."""
    release = change.workload.release
    if release is None:
        return None
    foreign = sum(plan.foreign_edges.values())
    ready = sum(plan.ready_edges.values()) + foreign
    before = round(100 * plan.ready_edges.get(release, 0) / ready) if ready else 0
    total = sum(share.replicas for share in desired.shares.values()) + foreign
    return before, round(100 * change.after / total)
