"""An update plan as JSON, for `rollout` and for the programs of operators: what SRS_PLAN_FILE has.

docs/plan.schema.json is its schema (`make docs`). Shares are in per cent, times in seconds.
"""

import json
from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from cluster.state import LiveState
from model.config.read import ConfigError
from model.desired.render import Desired
from update.plan import UpdatePlan
from update.plan_text import peak_edge_pods, peak_origin_pods, publishers_dropped, share_percent
from update.workload_changes import Action, WorkloadChange


class Finding(TypedDict):
    """A rejection or a warning. reason: a word of docs/reasons.md, or the name of an error."""

    reason: str
    message: str


class ObjectEntry(TypedDict):
    """An object that is no workload. changes: a line for each field."""

    kind: str
    name: str
    action: Literal["create", "update", "delete", "none"]
    changes: list[str]


class Replicas(TypedDict):
    """Pods of a workload: desired ones before and after the update, and ready ones before it."""

    before: int
    after: int
    ready: int


class SharePercent(TypedDict):
    """The share of a release in the new viewers."""

    before: int
    after: int


class WorkloadEntry(TypedDict):
    """A workload. release: of edges. sharePercent: of edges.

    terminatedPods: the pods that the update ends, of which droppedPods drop their connections and the other pods drain,
    for gracePeriodSeconds at most. reasons: why its pods are replaced. fields: the paths that change.
    """

    kind: str
    name: str
    release: str | None
    action: Action
    replicas: Replicas
    sharePercent: NotRequired[SharePercent]
    terminatedPods: int
    droppedPods: int
    gracePeriodSeconds: int
    reasons: list[str]
    srsConfDiff: list[str]
    fields: list[str]


class RejectedPlan(TypedDict):
    """What is written when nothing happens: with rejections, and without workloads."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # pyright: ignore[reportGeneralTypeIssues]

    rejections: list[Finding]
    warnings: list[Finding]
    workloads: list[WorkloadEntry]


class PlanDocument(RejectedPlan):
    """A plan without rejections.

    unreachable: why the cluster cannot be read; then what happens to its pods is unknown. foreignEdges: ready edges of
    Deployments that are not the stack's. terminatingPods: edges that were deleted before. peakEdgePods, peakOriginPods:
    the largest number of pods at the same time. publishersDropped: whether origins cannot drain.
    """

    unreachable: str | None
    namespace: str
    objects: list[ObjectEntry]
    foreignEdges: dict[str, int]
    terminatingPods: int
    peakEdgePods: int
    drainingOrigins: int
    peakOriginPods: int
    publishersDropped: bool


def schema() -> dict[str, Any]:
    """The JSON schema of a plan."""
    return TypeAdapter(PlanDocument | RejectedPlan).json_schema()


def failure(error: Exception) -> tuple[str, RejectedPlan]:
    """Text and JSON when there is no plan, because the config is rejected or the cluster cannot be read."""
    problems = error.problems if isinstance(error, ConfigError) else []
    rejections = [Finding(reason=problem.reason, message=str(problem)) for problem in problems]
    return str(error), RejectedPlan(
        rejections=rejections or [Finding(reason=type(error).__name__, message=str(error))], warnings=[], workloads=[]
    )


def document(plan: UpdatePlan, desired: Desired, state: LiveState) -> PlanDocument:
    """A plan without rejections."""
    return PlanDocument(
        unreachable=state.unreachable,
        rejections=[],
        warnings=[Finding(reason=getattr(line, "reason", ""), message=line) for line in plan.warnings],
        namespace=desired.settings.kubernetes.namespace,
        objects=[
            ObjectEntry(kind=change.kind, name=change.name, action=change.action, changes=list(change.lines))
            for change in plan.objects
        ],
        workloads=[_workload(change, desired, plan) for change in plan.changes],
        foreignEdges=dict(plan.foreign_edges),
        terminatingPods=len(state.terminating),
        peakEdgePods=peak_edge_pods(plan, state),
        drainingOrigins=len(state.draining_origins),
        peakOriginPods=peak_origin_pods(plan, state),
        publishersDropped=publishers_dropped(plan),
    )


def _workload(change: WorkloadChange, desired: Desired, plan: UpdatePlan) -> WorkloadEntry:
    entry = WorkloadEntry(
        kind=change.workload.kind,
        name=change.workload.name,
        release=change.workload.release,
        action=change.action,
        replicas=Replicas(before=change.before, after=change.after, ready=change.ready),
        terminatedPods=change.terminated,
        droppedPods=change.dropped,
        gracePeriodSeconds=change.grace_seconds,
        reasons=list(change.reasons),
        srsConfDiff=list(change.conf_diff),
        fields=list(change.fields),
    )
    if share := share_percent(change, desired, plan):
        entry["sharePercent"] = SharePercent(before=share[0], after=share[1])
    return entry


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
