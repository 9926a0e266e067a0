"""What a run of the benchmark has measured, and what follows from it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

PRODUCT, BARE = "this program", "bare Pulumi"

SCENARIOS: Mapping[str, str] = {
    "first": "first deployment",
    "unchanged": "update without changes",
    "preview": "preview (without changes)",
    "move": "weight move, 25 % to 100 %",
    "rollback": "rollback of it",
}
"""What is measured, in its order: names of the methods of a tool, and the titles of the rows."""

FIRST_OVER_NEED, PREVIEW, MOVE = 8.0, 1.05, 1.1
"""Targets: seconds over what the pods need, and ratios to the bare program."""


class Record(TypedDict):
    """The figures of a run, in seconds by scenario and tool.

    needs: what the pods of the first deployment need. without_earlier: from the command of the weight move until no
    earlier edge receives connections. minimum_ready: ready edges during it. phases: of this program, by scenario and
    phase.
    """

    machine: str
    rounds: int
    tools: list[str]
    seconds: dict[str, dict[str, list[float]]]
    needs: dict[str, list[float]]
    without_earlier: dict[str, list[float]]
    minimum_ready: dict[str, list[int]]
    phases: dict[str, dict[str, float]]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of paired runs."""
    return statistics.median(own / other for own, other in zip(ours, theirs, strict=True))


def pods_need(pods: Sequence[Mapping[str, Any]], workloads: Sequence[Mapping[str, Any]]) -> float:
    """Seconds that the pods need if all are created at once: the longest start of one, and its `minReadySeconds`.

    A start is from the creation to the condition Ready, which includes `warmUp` where pods run; resolution: 1 s.
    """
    needs: list[float] = []
    for workload in workloads:
        labels = workload["spec"]["selector"]["matchLabels"].items()
        own = [pod for pod in pods if labels <= pod["metadata"]["labels"].items()]
        starts = [start for pod in own if (start := _start(pod)) is not None]
        needs.append(max(starts, default=0) + workload["spec"].get("minReadySeconds", 0))
    return max(needs, default=0)


def _start(pod: Mapping[str, Any]) -> float | None:
    conditions: list[Mapping[str, str]] = pod.get("status", {}).get("conditions", [])
    for condition in conditions:
        if (condition["type"], condition["status"]) == ("Ready", "True"):
            created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
            return (datetime.fromisoformat(condition["lastTransitionTime"]) - created).total_seconds()
    return None


@dataclass(frozen=True)
class Target:
    """A target of this program, and what was measured, as text."""

    title: str
    limit: str
    measured: str
    met: bool


def targets(record: Record) -> list[Target]:
    """The targets of this program."""
    seconds = record["seconds"]
    first = zip(seconds["first"][PRODUCT], record["needs"][PRODUCT], strict=True)
    over = statistics.median(total - need for total, need in first)
    found = [Target("first deployment over what its pods need", "8 s", f"{over:.1f} s", over <= FIRST_OVER_NEED)]
    for scenario, limit in (("unchanged", PREVIEW), ("preview", PREVIEW), ("move", MOVE)):
        measured = ratio(seconds[scenario][PRODUCT], seconds[scenario][BARE])
        title = f"{SCENARIOS[scenario]}, ratio to bare Pulumi"
        found.append(Target(title, f"{limit:g}", f"{measured:.2f}", round(measured, 2) <= limit))
    return found
