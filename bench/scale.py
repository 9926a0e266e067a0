"""`make bench-scale`: how time, memory and API requests grow with edges, releases and stacks; writes docs/scale.md.

Simulated nodes; each point has a namespace of its own, and is removed before the next one, except the stacks.
"""

import argparse
import json
import os
import platform
import re
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import matplotlib as mpl
import psutil
import yaml

from bench.objects import stack_config
from bench.report import markdown, write_figures
from bench.tools.pulumi import STACK, UPDATE
from bench.tools.tool import Place
from testbed.cluster import EmbeddedCluster
from testbed.environment import PROJECT, child_environment, environment
from testbed.toolchain.install import ensure_tools

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, NullFormatter

STATE = PROJECT / ".testbed-bench"
DOCS = PROJECT / "docs"
RECORD = DOCS / "scale.json"
PROGRAM = ("__main__.py", "Pulumi.yaml", "model", "update", "cluster", "components", "rollout", ".venv")
NODES = 10
"""Simulated nodes: each has room for 250 pods."""

COMMANDS: Mapping[str, str] = {
    "first": "first deployment",
    "unchanged": "update without changes",
    "preview": "preview",
    "move": "weight move",
    "status": "rollout status",
}
"""What is measured, in its order: names of the methods of a stack, and the titles."""

REPEATS = 3
"""How often what changes nothing is measured."""

OTHER_REQUESTS = re.compile(r'verb="(WATCH|CONNECT)"|resource="(leases|events|subjectaccessreviews|tokenreviews)"')
"""Requests of the control plane that go on all the time."""


class Measured(TypedDict):
    """One command. seconds: median. memory: of the Python program at its peak, in MB. requests: to the API server."""

    seconds: float
    memory: float
    requests: int


Point = dict[str, Measured]
"""The commands of one stack."""

Record = dict[str, Any]
"""`machine`; `edges`, `releases` and `stacks`: points by their number, as text."""


@dataclass(frozen=True)
class ScaledStack:
    """The dev stack with `edges` in `releases` of equal weight. Its public methods are what is measured."""

    place: Place
    edges: int
    releases: int

    def prepare(self) -> None:
        """Create the stack in a folder that has the program."""
        folder = self.place.folder
        folder.mkdir(parents=True)
        for part in PROGRAM:
            (folder / part).symlink_to(PROJECT / part)
        (folder / "backend").mkdir()
        self._write(1)
        self.place.run("pulumi", "stack", "init", STACK)

    def first(self) -> None:
        """Deploy to a namespace that does not exist."""
        self._pulumi(*UPDATE)

    def unchanged(self) -> None:
        """Update without changes."""
        self._pulumi(*UPDATE)

    def preview(self) -> None:
        """`pulumi preview`."""
        self._pulumi("preview")

    def move(self) -> None:
        """Give the last release three times the weight."""
        self._write(3)
        self._pulumi(*UPDATE)

    def status(self) -> None:
        """`rollout status`, with the plan of the next update."""
        self.place.run(str(PROJECT / "bin/rollout"), "status", "--stack", STACK)

    def remove(self) -> None:
        """Delete the namespace and wait until no pod is left."""
        self.place.run("kubectl", "delete", "namespace", self.place.namespace, "--wait=false")
        while self.place.get("pods")["items"]:
            self.place.kubectl("delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false")
            time.sleep(1)

    def _write(self, last_weight: int) -> None:
        content = stack_config(self.place.namespace, self.place.kubeconfig, "canary")
        names = [f"r{number}" for number in range(1, self.releases + 1)]
        weights = dict.fromkeys(names, 1) | {names[-1]: last_weight}
        releases = {name: {"image": "ossrs/srs:v4.0.6", "weight": weight} for name, weight in weights.items()}
        content["config"]["srs:edge"] |= {"replicas": self.edges, "releases": releases, "rolloutTimeout": "10m"}
        (self.place.folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(content))

    def _pulumi(self, *arguments: str) -> None:
        self.place.run("pulumi", *arguments, "--stack", STACK, "--non-interactive")


def main() -> None:
    """Measure, and write the page and its chart."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="What `make bench-scale` does.")
    parser.add_argument("--edges", type=int, nargs="*", default=[10, 100, 1000], help="with two releases")
    parser.add_argument("--releases", type=int, nargs="*", default=[2, 10, 50], help="with 100 edges")
    parser.add_argument("--stacks", type=int, nargs="*", default=[1, 10], help="with 4 edges each")
    parser.add_argument("--render-only", action="store_true", help="write the page of the last run again")
    arguments = parser.parse_args()
    if not arguments.render_only:
        RECORD.write_text(json.dumps(measure(arguments.edges, arguments.releases, arguments.stacks), indent=1) + "\n")
    record: Record = json.loads(RECORD.read_text())
    write_figures(DOCS / "scale.md", page(record))
    chart(record, DOCS / "scale.png")


def measure(edges: Sequence[int], releases: Sequence[int], stacks: Sequence[int]) -> Record:
    """Measure on an embedded cluster of its own."""
    installed = ensure_tools()
    cluster = EmbeddedCluster(STATE, installed, lambda _line: None)
    cluster.delete()
    cluster.start(nodes=NODES)
    variables = child_environment(environment(STATE, installed))
    record: Record = {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "edges": {},
        "releases": {},
        "stacks": {},
    }

    def stack(name: str, edges: int, releases: int) -> ScaledStack:
        folder = STATE / "scale" / name
        backend = {"PULUMI_BACKEND_URL": (folder / "backend").as_uri()}
        created = ScaledStack(Place(folder, name, cluster.kubeconfig, {**variables, **backend}), edges, releases)
        created.prepare()
        return created

    try:
        for number in edges:
            record["edges"][str(number)] = _point(stack(f"edges-{number}", number, 2))
        for number in releases:
            record["releases"][str(number)] = _point(stack(f"releases-{number}", 100, number))
        present = 0
        for number in sorted(stacks):
            for other in range(present + 1, number):
                stack(f"stacks-{other}", 4, 2).first()
            record["stacks"][str(number)] = _point(stack(f"stacks-{number}", 4, 2), remove=False)
            present = number
    finally:
        cluster.delete()
    return record


def _point(stack: ScaledStack, remove: bool = True) -> Point:
    point: Point = {}
    for command, title in COMMANDS.items():
        repeats = 1 if command in ("first", "move") else REPEATS
        runs = [_measured(stack, getattr(stack, command)) for _ in range(repeats)]
        point[command] = {
            "seconds": round(statistics.median(run["seconds"] for run in runs), 2),
            "memory": round(max(run["memory"] for run in runs)),
            "requests": round(statistics.median(run["requests"] for run in runs)),
        }
        print(f"{stack.place.namespace:<12} {title:<24} {point[command]}", flush=True)
    if remove:
        stack.remove()
    return point


def _measured(stack: ScaledStack, action: Callable[[], None]) -> Measured:
    before, ended, peak = _requests(stack.place), threading.Event(), [0.0]
    sampler = threading.Thread(target=_sample, args=(ended, peak))
    sampler.start()
    started = time.monotonic()
    try:
        action()
    finally:
        seconds = time.monotonic() - started
        ended.set()
        sampler.join()
    return {"seconds": seconds, "memory": peak[0] / 1e6, "requests": _requests(stack.place) - before}


def _sample(ended: threading.Event, peak: list[float]) -> None:
    """The largest resident size, in bytes, that a Python process of the command has until it has ended."""
    while not ended.wait(0.05):
        for process in psutil.Process().children(recursive=True):
            try:
                if process.name().startswith("python") or "language-python-exec" in process.name():
                    peak[0] = max(peak[0], process.memory_info().rss)
            except psutil.Error:
                continue


def _requests(place: Place) -> int:
    """The requests that the API server has answered, without those that the control plane makes all the time."""
    lines = place.run("kubectl", "get", "--raw", "/metrics").splitlines()
    counted = [
        line for line in lines if line.startswith("apiserver_request_total{") and not OTHER_REQUESTS.search(line)
    ]
    return round(sum(float(line.rpartition(" ")[2]) for line in counted))


def page(record: Record) -> list[str]:
    """The generated part of the page."""
    lines = [f"Made by `make bench-scale`: {record['machine']}. Medians of three runs where nothing is changed."]
    for dimension, note in (
        ("edges", "two releases"),
        ("releases", "100 edges"),
        ("stacks", "of 4 edges each in one cluster; the commands of the last one"),
    ):
        points: dict[str, Point] = record[dimension]
        rows = [
            [title, *(_cell(command, point[command]) for point in points.values())]
            for command, title in COMMANDS.items()
        ]
        lines += ["", *markdown([f"{dimension} ({note})", *points], rows)]
    return [*lines, "", "![Seconds, memory and API requests by edges, releases and stacks](scale.png)"]


def _cell(command: str, measured: Measured) -> str:
    # Of what creates pods, most requests are those of the controllers and of the simulated nodes.
    requests = "" if command in ("first", "move") else f", {measured['requests']} requests"
    return f"{measured['seconds']:.1f} s, {measured['memory']:.0f} MB{requests}"


def chart(record: Record, target: Path) -> None:
    """A column for each dimension; seconds, memory and requests as rows, with logarithmic axes."""
    rows = {"seconds": "seconds", "memory": "memory of the program, MB", "requests": "API requests"}
    figure, axes = plt.subplots(3, 3, figsize=(10, 8), layout="constrained", sharey="row")
    for column, dimension in enumerate(("edges", "releases", "stacks")):
        points: dict[str, Point] = record[dimension]
        numbers = [int(number) for number in points]
        for row, (key, label) in enumerate(rows.items()):
            panel = cast("Axes", axes[row][column])
            for command, title in COMMANDS.items():
                if key == "requests" and command in ("first", "move"):
                    continue
                values = [cast("Any", point[command])[key] for point in points.values()]
                panel.plot(numbers, values, marker="o", label=title, color=f"C{list(COMMANDS).index(command)}")
            panel.set_xscale("log")
            if key == "memory":
                panel.set_ylim(bottom=0)
            else:
                panel.set_yscale("log")
                panel.yaxis.set_minor_formatter(NullFormatter())
            panel.set_xticks(numbers, [str(number) for number in numbers], minor=False)
            panel.set_xticks([], minor=True)
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(visible=True, which="major", axis="y", color="#dddddd")
            if column == 0:
                panel.set_ylabel(label)
            if row == 2:
                panel.set_xlabel(dimension)
    handles, labels = cast("Axes", axes[0][0]).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(COMMANDS), frameon=False)
    figure.savefig(target, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
