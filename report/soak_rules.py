"""What must be true of a soak (tests/e2e/test_soak.py), computed from its record. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

Record = Mapping[str, Any]

SILENCE = 4.0
"""Maximum silence of a player in seconds (tests/e2e/expectations.py)."""

REVISIONS = 11
"""Maximum of ReplicaSets of a Deployment: `revisionHistoryLimit` (10) and the current one."""

TOLERANCE = 0.1
"""Growth from the second quarter to the last one that is none."""


@dataclass(frozen=True)
class Rule:
    """A rule, what was found, and whether it holds. growth: of a rule on growth, in its unit."""

    title: str
    found: str
    holds: bool
    growth: float = 0


def quarters(samples: Sequence[Record], value: Callable[[Record], float]) -> tuple[float, float]:
    """The medians of the second and of the last quarter of the time; pods, caches and histories fill in the first."""
    start, end = samples[0]["t"], samples[-1]["t"]
    part = (end - start) / 4
    second = [value(sample) for sample in samples if start + part <= sample["t"] < start + 2 * part]
    last = [value(sample) for sample in samples if sample["t"] >= end - part]
    return (median(second), median(last)) if second and last else (0, 0)


def veterans(samples: Sequence[Record]) -> list[str]:
    """The pods whose SRS ran from the second quarter to the last sample with viewers."""
    start, end = samples[0]["t"], samples[-1]["t"]
    old = [sample["srs"] for sample in samples if sample["t"] >= start + (end - start) / 4]
    return sorted(set(old[0]).intersection(*old)) if old else []


def waiting(samples: Sequence[Record]) -> list[float]:
    """The largest part of the time since the sample before, in per cent, that an SRS has waited for a CPU.

    The machine is overloaded where that is much: it runs more than the stack.
    """
    parts = [0.0]
    for before, after in pairwise(samples):
        waited = [after["srs"][pod][3] - before["srs"][pod][3] for pod in before["srs"].keys() & after["srs"].keys()]
        parts.append(100 * max(waited, default=0) / (after["t"] - before["t"]))
    return parts[: len(samples)]


def rules(record: Record) -> Iterator[Rule]:
    """The rules. A run that was ended early has no summaries, so its silence is that of its samples."""
    problems: Sequence[Record] = record["problems"]
    samples = [sample for sample in record["samples"] if sample["players"]]
    actions: Sequence[Record] = record["actions"]

    def none(title: str, found: Sequence[object]) -> Rule:
        return Rule(title, str(len(found)), not found)

    def of(*kinds: str) -> list[Record]:
        return [problem for problem in problems if problem["text"].startswith(kinds)]

    cuts = of("cut:")
    encoders = [problem for problem in cuts if '"kind": "publish"' in problem["text"]]
    yield none("dropped players", [problem for problem in cuts if problem not in encoders])
    yield none("dropped encoders", encoders)
    yield none("new connections that failed", of("failed:"))
    yield none("new connections without media", of("nomedia:"))
    silences = [sample["silence"] for sample in samples]
    silences += [client["summary"]["longest_silence"] for client in record["clients"]]
    longest = max(silences, default=0)
    yield Rule(f"longest silence of a player < {SILENCE:.0f} s", f"{longest:.1f} s", longest < SILENCE)
    below = [item["title"] for item in actions if item.get("least_ready", 0) < item.get("minimum", 0)]
    yield none("actions with fewer ready edges than expected", below)
    yield none(
        "other problems, such as an update that failed",
        [item for item in problems if item not in of("cut:", "failed:", "nomedia:")],
    )
    yield none(
        "objects that nothing needs, after two actions",
        [name for item in actions for name in item.get("left_over", [])],
    )
    yield Rule(
        "restarts of containers",
        str(max((sample["restarts"] for sample in record["samples"]), default=0)),
        not any(sample["restarts"] for sample in record["samples"]),
    )
    most = max((sample["most_replica_sets"] for sample in samples), default=0)
    yield Rule(f"ReplicaSets of a Deployment ≤ {REVISIONS}", str(most), most <= REVISIONS)
    if len(samples) > 8:
        yield from _growth(samples)


def _growth(samples: Sequence[Record]) -> Iterator[Rule]:
    def rule(title: str, value: Callable[[Record], float], allowance: float, scale: float, unit: str) -> Rule:
        second, last = quarters(samples, value)
        found = f"{second / scale:.1f} → {last / scale:.1f}{unit}"
        return Rule(title, found, last <= second * (1 + TOLERANCE) + allowance, last - second)

    mib = 2**20
    old = veterans(samples)
    for index, what, allowance, scale, unit in ((0, "memory", 2 * mib, mib, " MiB"), (1, "descriptors", 20, 1, "")):
        title = f"{what} of SRS, largest growth of the {len(old)} pods of the last three quarters"
        found = [
            rule(
                title,
                lambda sample, pod=pod, index=index: sample["srs"].get(pod, [0, 0])[index],
                allowance,
                scale,
                unit,
            )
            for pod in old
        ]
        yield from sorted(found, key=lambda rule: (rule.holds, -rule.growth))[:1]
    yield rule(
        "memory of SRS for each pod",
        lambda sample: sum(figures[0] for figures in sample["srs"].values()) / max(1, len(sample["srs"])),
        2 * mib,
        mib,
        " MiB",
    )
    yield rule("objects without those of pods and revisions", _objects, 2, 1, "")
    yield rule("size of the Pulumi state", lambda sample: sample["state_bytes"], 0, 1024, " KiB")


def _objects(sample: Record) -> float:
    """Objects of other kinds than those whose number follows pods and revisions, which have rules of their own."""
    follow = ("Pod", "ReplicaSet", "ControllerRevision", "ConfigMap", "EndpointSlice", "PodMetrics")
    return sum(count for kind, count in sample["objects"].items() if kind not in follow)
