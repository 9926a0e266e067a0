"""python -m report.soak RECORD: docs/soak.md and docs/soak.png from the record of a soak.

RECORD is what tests/e2e/test_soak.py wrote; it may have been ended early.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, cast

from report.render import COLOURS, save
from report.soak_rules import Record, rules, waiting
from testbed.environment import PROJECT

from matplotlib import pyplot as plt  # isort: skip  after report.render, which chooses the backend
from matplotlib.axes import Axes  # isort: skip

MIB = 2**20
EVENTS = {"node": COLOURS[1], "kubelet": COLOURS[3], "rollout abort": "#e45756"}
"""Colours of actions that are no edits, by the beginning of their titles."""


def main() -> int:
    """Write page and chart, and print the rules."""
    record: Record = json.loads(Path(sys.argv[1]).read_text())
    docs = PROJECT / "docs"
    (docs / "soak.md").write_text(page(record))
    chart(record, docs / "soak.png")
    print(*(f"{'holds ' if rule.holds else 'BROKEN'}  {rule.title}: {rule.found}" for rule in rules(record)), sep="\n")
    return 0


def page(record: Record) -> str:
    """The report as Markdown."""
    players, connects = record["size"]
    samples, actions = record["samples"], record["actions"]
    viewed = [sample for sample in samples if sample["players"]]
    minutes = (viewed[-1]["t"] - record["started"]) / 60 if viewed else 0
    srs = "real SRS" if record["real"] else "**fake SRS** (testbed/streaming/fakesrs), not SRS itself,"
    connections = sum(sum(sample["connects"]) for sample in samples)
    most = max((sum(v for k, v in sample["pods"].items() if "draining" in k) for sample in samples), default=0)
    parts = [
        f"""\
# Soak

Made by `make soak` with {srs} {" and ".join(record["versions"])}: {minutes:.0f} of
{record["minutes"]:.0f} minutes, seed {record["seed"]}, on two cores that also run the control plane,
Pulumi, all pods and the load.

- {players} players: half of them stay for the whole run, the others come in groups that stay between a minute and a
  quarter of the run. An encoder stays, another one comes and goes. {connects} new connections are opened every second;
  every tenth of them plays until its first frame.
- Every {record["every"]:.0f} seconds a random legal edit is updated. After one of five actions a node is drained, and
  after another one both kubelets are restarted.
- The drain timeout is longer than the run, so no connection has to end. No edit rolls release r5, so that some of its
  pods serve new connections for long.

![Players, new connections, edges, memory, descriptors and objects over time](soak.png)

{connections:,} new connections, {len(actions)} actions, at most {most} draining pods at the same time. The SRS that
waited most for a CPU did so for {median(waiting(viewed) or [0]):.0f} % of the time (median), and for
{max(waiting(viewed), default=0):.0f} % in the worst half a minute: where that is much, the machine was overloaded.

| rule | found | |
| --- | ---: | --- |
"""
    ]
    parts += [
        f"| {rule.title} | {rule.found} | {'holds' if rule.holds else '**broken**'} |\n" for rule in rules(record)
    ]
    parts.append("""
Growth: the medians of the second and of the last quarter of the run. The last one may be 10 % higher, and by 2 MiB and
20 descriptors on top. Of the pods that ran in all of the last three quarters, the one with the largest growth is shown.

## Actions

| minute | action | update | until all is ready | ready edges, at least |
| ---: | --- | ---: | ---: | ---: |
""")
    for item in actions:
        update = f"{item['update_seconds']:.0f} s" if "update_seconds" in item else ""
        minute = (item["t"] - record["started"]) / 60
        ready = f"{item.get('least_ready', '')} of {item.get('minimum', '')}"
        parts.append(f"| {minute:.1f} | {item['title']} | {update} | {item.get('seconds', 0):.0f} s | {ready} |\n")
    if problems := record["problems"]:
        parts.append("\n## Problems\n\n")
        parts += [f"- minute {(p['t'] - record['started']) / 60:.1f}: `{p['text'][:300]}`\n" for p in problems[:50]]
    parts.append("\n" + _others(viewed))
    return "".join(parts)


def _others(samples: Sequence[Record]) -> str:
    """Memory and descriptors of the testbed's own components: not the stack's, and without a rule."""
    rows = ["## Components of the testbed\n\nNot part of the stack, without a rule: first and last sample.\n\n"]
    rows.append("| processes | memory | descriptors |\n| --- | ---: | ---: |\n")
    first: dict[str, tuple[int, int]] = samples[0]["others"] if samples else {}
    last: dict[str, tuple[int, int]] = samples[-1]["others"] if samples else {}
    for name in sorted(first.keys() & last.keys()):
        (memory, files), (memory_after, files_after) = first[name], last[name]
        if max(memory, memory_after) > 20 * MIB:
            rows.append(f"| {name} | {memory / MIB:.0f} → {memory_after / MIB:.0f} MiB | {files} → {files_after} |\n")
    return "".join(rows)


def chart(record: Record, target: Path) -> None:
    """The course over time as a PNG, with a mark for each action."""
    samples: list[Any] = record["samples"]
    minutes = [(sample["t"] - record["started"]) / 60 for sample in samples]
    figure, axes = plt.subplots(5, 1, figsize=(10, 9.5), sharex=True, layout="constrained")
    load, edges, memory, files, objects = cast("Sequence[Axes]", axes)
    blue, orange, green, purple = COLOURS

    def line(panel: Axes, values: Sequence[float], label: str, colour: str, **more: Any) -> None:
        panel.plot(minutes, values, color=colour, linewidth=1.2, label=label, **more)

    line(load, [sample["players"] for sample in samples], "players", blue)
    rates = [sum(sample["connects"]) / max(1, len(sample["connects"])) for sample in samples]
    line(load, rates, "new connections a second", orange)
    line(load, waiting(samples), "% of the time that an SRS waited for a CPU", "#888888", linestyle=":")
    pods = {
        state: [sample["pods"].get(state, 0) for sample in samples]
        for state in ("edge ready", "edge draining", "origin ready", "origin draining")
    }
    line(edges, pods["edge ready"], "ready edges", blue)
    line(edges, pods["edge draining"], "draining edges", blue, linestyle="--")
    line(edges, pods["origin ready"], "ready origins", green)
    line(edges, pods["origin draining"], "draining origins", green, linestyle="--")
    for panel, index, scale in ((memory, 0, MIB), (files, 1, 1)):
        names = sorted({name for sample in samples for name in sample["srs"]})
        for name in names:
            values = [
                sample["srs"][name][index] / scale if name in sample["srs"] else float("nan") for sample in samples
            ]
            panel.plot(minutes, values, color=green if "origin" in name else blue, linewidth=0.7, alpha=0.6)
        panel.plot([], [], color=blue, label=f"{'memory in MiB' if index == 0 else 'descriptors'} of SRS of each edge")
        panel.plot([], [], color=green, label="of each origin")
    kinds = {"Pod": blue, "ReplicaSet": orange, "ConfigMap": purple}
    for kind, colour in kinds.items():
        line(objects, [sample["objects"].get(kind, 0) for sample in samples], f"{kind}s", colour)
    rest = [sum(count for kind, count in sample["objects"].items() if kind not in kinds) for sample in samples]
    line(objects, rest, "other objects", "#888888")
    line(
        objects, [sample["state_bytes"] / 10240 for sample in samples], "Pulumi state, 10 KiB", "#222222", linestyle=":"
    )
    for panel in (load, edges, memory, files, objects):
        for item in record["actions"]:
            colour = next((colour for begin, colour in EVENTS.items() if item["title"].startswith(begin)), "#999999")
            start = (item["t"] - record["started"]) / 60
            panel.axvspan(start, start + item.get("seconds", 0) / 60, color=colour, alpha=0.18, linewidth=0)
        for problem in record["problems"]:
            panel.axvline((problem["t"] - record["started"]) / 60, color="#e45756", linewidth=0.8)
        panel.set_ylim(bottom=0)
        panel.set_xlim(0, minutes[-1])
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize="small")
        panel.spines[["top", "right"]].set_visible(False)
    objects.set_xlabel(
        "minutes; grey: edit, orange: node drained, purple: kubelet restarted, red: rollout abort; red line: problem"
    )
    save(figure, target)


if __name__ == "__main__":
    sys.exit(main())
