"""An update plan as text, for a terminal or a pull request comment, and as JSON."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cluster.state import LiveState
from model.config import ConfigError
from model.settings.stack import StackSettings
from model.values import format_duration, plural
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


def text(plan: UpdatePlan, settings: StackSettings, state: LiveState) -> str:
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
    lines = [f"Update plan for namespace {settings.kubernetes.namespace}:", *_connections(plan, state)]
    lines += [
        f"  Deployment {name} of others is not changed: {plural(ready, 'ready edge')} behind the same Service"
        for name, ready in plan.foreign_edges.items()
    ]
    for change in plan.changes:
        lines += _workload(change, settings, plan)
    lines += [f"  warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def failure(error: Exception) -> tuple[str, dict[str, Any]]:
    """Text and JSON when there is no plan, because the config is rejected or the cluster cannot be read."""
    problems = [str(problem) for problem in error.problems] if isinstance(error, ConfigError) else [str(error)]
    return str(error), {"rejections": problems, "warnings": [], "workloads": []}


def as_json(plan: UpdatePlan, settings: StackSettings, state: LiveState) -> dict[str, Any]:
    """A plan without rejections as JSON: numbers in per cent, edges, pods and seconds."""
    return {
        "unreachable": state.unreachable,
        "rejections": [],
        "warnings": list(plan.warnings),
        "namespace": settings.kubernetes.namespace,
        "workloads": [
            {
                "kind": change.workload.kind,
                "name": change.workload.name,
                "release": change.workload.release,
                "action": change.action,
                "replicas": {"before": change.before, "after": change.after, "ready": change.ready},
                **_share(change, settings, plan),
                "terminatedPods": change.terminated,
                "droppedPods": change.dropped,
                "gracePeriodSeconds": change.grace_seconds,
                "reasons": list(change.reasons),
                "srsConfDiff": list(change.conf_diff),
                "fields": list(change.fields),
            }
            for change in plan.changes
        ],
        "foreignEdges": dict(plan.foreign_edges),
        "terminatingPods": len(state.terminating),
        "peakEdgePods": peak_edge_pods(plan, state),
        "publishersDropped": publishers_dropped(plan),
    }


def peak_edge_pods(plan: UpdatePlan, state: LiveState) -> int:
    """The largest number of edge pods at the same time: new ones, those that drain, and those that are not ready."""
    return len(state.terminating) + sum(change.peak for change in plan.changes if change.workload.release is not None)


def publishers_dropped(plan: UpdatePlan) -> bool:
    """Whether the origins restart, which drops each origin's publishers once."""
    return any(change.workload.kind == "StatefulSet" and change.terminated for change in plan.changes)


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
    if state.terminating:
        deadline = max(str(pod["metadata"]["deletionTimestamp"]) for pod in state.terminating)
        verb = "is" if len(state.terminating) == 1 else "are"
        yield (
            f"  {plural(len(state.terminating), 'edge')} {verb} already terminating, the last one until {deadline} at "
            "the latest."
        )
    if draining or state.terminating:
        yield f"  Up to {plural(peak_edge_pods(plan, state), 'edge pod')} will exist at the same time."
    if publishers_dropped(plan):
        yield "  Each origin drops its publishers once; they reconnect."


def _workload(change: WorkloadChange, settings: StackSettings, plan: UpdatePlan) -> Iterator[str]:
    noun = "edge" if change.workload.release is not None else "replica"
    replicas = plural(change.after, noun)
    if change.action == "delete":
        replicas = plural(change.before, noun)
    elif change.before != change.after and change.action != "create":
        replicas = f"{change.before} -> {replicas}"
    share = _share(change, settings, plan)
    shares = ""
    if share:
        before, after = share["sharePercent"]["before"], share["sharePercent"]["after"]
        shares = f", {before} % -> {after} % of new viewers" if before != after else f", {after} % of new viewers"
    yield f"  {change.workload.title}: {ACTIONS[change.action]}, {replicas}{shares}"
    for reason in change.reasons:
        yield f"    {reason}"
        if reason == CONF_CHANGES:
            yield from (f"      {line}" for line in change.conf_diff)


def _share(change: WorkloadChange, settings: StackSettings, plan: UpdatePlan) -> dict[str, Any]:
    """The share of a release in the new viewers, of whom edges of others receive some as well."""
    release = change.workload.release
    if release is None:
        return {}
    foreign = sum(plan.foreign_edges.values())
    ready = sum(plan.ready_edges.values()) + foreign
    before = round(100 * plan.ready_edges.get(release, 0) / ready) if ready else 0
    total = sum(share.replicas for share in settings.edge.shares.values()) + foreign
    after = round(100 * change.after / total) if total else 0
    return {"sharePercent": {"before": before, "after": after}}
