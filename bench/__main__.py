"""`make bench`: this program beside other tools, in one run on one embedded cluster; writes docs/performance.md.

Each round has new namespaces. In a round every scenario is measured with every tool before the next scenario begins, so
that the figures that are compared are close together in time; the order of the tools rotates.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench.endpoints import watched
from bench.phases import PHASES, phases_of
from bench.records import SCENARIOS, Record, pods_need, targets
from bench.report import chart, text_table, write_page
from bench.tools.argo_rollouts import ArgoRollouts, controller
from bench.tools.helm import Helm
from bench.tools.kubectl import Kubectl
from bench.tools.pulumi import Bare, Product
from bench.tools.tool import Place, Tool
from testbed.cluster import EmbeddedCluster
from testbed.environment import PROJECT, child_environment, environment
from testbed.toolchain.install import ensure_tools

STATE = PROJECT / ".testbed-bench"
DOCS = PROJECT / "docs"
RECORDS = DOCS / "performance.json"
TOOLS: Sequence[type[Tool]] = (Product, Bare, Kubectl, Helm, ArgoRollouts)
REPEATS: Mapping[str, int] = {"unchanged": 3, "preview": 3}
"""How often short scenarios are measured in a round."""


def main() -> None:
    """Measure, write the page, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What `make bench` does.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--render-only", action="store_true", help="write the page of the last run again")
    arguments = parser.parse_args()
    if not arguments.render_only:
        RECORDS.write_text(json.dumps(measure(arguments.rounds), indent=1) + "\n")
    record: Record = json.loads(RECORDS.read_text())
    write_page(record, TOOLS, DOCS / "performance.md")
    chart(record, DOCS / "performance.png")
    Console(width=None if sys.stdout.isatty() else 160).print(text_table(record))
    for target in targets(record):
        print(f"{'met' if target.met else 'missed'}: {target.title}: {target.measured}, target {target.limit}")


def measure(rounds: int) -> Record:
    """Measure on an embedded cluster of its own."""
    installed = ensure_tools()
    cluster = EmbeddedCluster(STATE, installed, lambda _line: None)
    cluster.delete()
    cluster.start()
    variables = child_environment(environment(STATE, installed))
    record: Record = {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "rounds": rounds,
        "tools": [tool.title for tool in TOOLS],
        "seconds": {},
        "needs": {},
        "without_earlier": {},
        "minimum_ready": {},
        "phases": {},
    }
    try:
        with controller(cluster.kubeconfig, STATE / "logs/argo-rollouts.log", variables):
            for number in range(1, rounds + 1):
                _round(number, cluster.kubeconfig, variables, record)
            _phases(cluster.kubeconfig, variables, record)
    finally:
        cluster.delete()
    return record


def _place(tool: type[Tool], suffix: str, kubeconfig: Path, variables: Mapping[str, str]) -> Place:
    namespace = f"{tool.__name__.lower()}-{suffix}"
    return Place(STATE / "tools" / namespace, namespace, kubeconfig, variables)


def _round(number: int, kubeconfig: Path, variables: Mapping[str, str], record: Record) -> None:
    tools = [tool(_place(tool, str(number), kubeconfig, variables)) for tool in TOOLS]
    for scenario in SCENARIOS:
        for repeat in range(REPEATS.get(scenario, 1)):
            turn = (number + repeat) % len(tools)
            for tool in tools[turn:] + tools[:turn]:
                if scenario not in tool.cannot:
                    _measure(tool, scenario, record)
    for tool in tools:
        tool.clean_up()


def _measure(tool: Tool, scenario: str, record: Record) -> None:
    action: Callable[[], None] = getattr(tool, scenario)
    if scenario == "move":
        with watched(tool.place.kubeconfig, tool.place.namespace, tool.earlier_edges()) as rotation:
            seconds = _timed(action)
            deadline = time.monotonic() + 30  # a tool that does not wait returns earlier
            while rotation.without_earlier is None and time.monotonic() < deadline:
                time.sleep(0.1)
        assert rotation.without_earlier is not None, f"{tool.title}: earlier edges still receive connections"
        record["without_earlier"].setdefault(tool.title, []).append(round(rotation.without_earlier, 2))
        record["minimum_ready"].setdefault(tool.title, []).append(rotation.minimum)
    else:
        seconds = _timed(action)
    record["seconds"].setdefault(scenario, {}).setdefault(tool.title, []).append(round(seconds, 2))
    print(f"{scenario:<10} {tool.title:<14} {seconds:6.2f} s", flush=True)
    if scenario == "first":
        pods = tool.place.get("pods")["items"]
        need = pods_need(pods, tool.place.get("deployments,statefulsets")["items"])
        record["needs"].setdefault(tool.title, []).append(need)
        tool.begin_canary()


def _timed(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _phases(kubeconfig: Path, variables: Mapping[str, str], record: Record) -> None:
    """One more run of this program, each command with its phases recorded."""
    tool = Product(_place(Product, "phases", kubeconfig, variables))
    for scenario in SCENARIOS:
        with phases_of(tool) as found:
            getattr(tool, scenario)()
        record["phases"][scenario] = {name: round(found[name], 2) for name in PHASES}
    tool.clean_up()


if __name__ == "__main__":
    main()
