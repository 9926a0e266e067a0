"""`make bench`: how long a first update, an update without changes and a preview of the dev stack take.

Measured with the plain CLI on an embedded cluster of its own. The first update includes the minReady time of the pods.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from testbed.cluster import EmbeddedCluster
from testbed.environment import PROJECT, environment
from testbed.toolchain.install import ensure_tools

STATE = PROJECT / ".testbed-bench"
RUNS = 5


def pulumi(config: Path, variables: dict[str, str], *arguments: str) -> float:
    """Run a command of the CLI on the dev stack, and return the seconds."""
    started = time.monotonic()
    command = ["pulumi", *arguments, "--stack", "dev", "--config-file", str(config), "--non-interactive"]
    done = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - started


def main() -> None:
    """Measure, and print a table."""
    tools = ensure_tools()
    cluster = EmbeddedCluster(STATE, tools, lambda _line: None)
    cluster.delete()
    cluster.start()
    variables = environment(STATE, tools)
    try:
        config = STATE / "Pulumi.dev.yaml"
        dev = yaml.safe_load((PROJECT / "Pulumi.dev.yaml").read_text())
        dev["config"]["srs:kubernetes"]["kubeconfig"] = str(cluster.kubeconfig)
        config.write_text(yaml.safe_dump(dev))
        subprocess.run(
            ["pulumi", "stack", "init", "dev", "--non-interactive"],
            cwd=PROJECT,
            env=variables,
            check=True,
            capture_output=True,
        )
        update = ("up", "--yes", "--skip-preview")
        times = {"first update": [pulumi(config, variables, *update)]}
        for name, arguments in {"update without changes": update, "preview": ("preview",)}.items():
            times[name] = [pulumi(config, variables, *arguments) for _ in track(range(RUNS), name)]
    finally:
        cluster.delete()
    table = Table("command", "runs", "median", "fastest", "slowest")
    for name, seconds in times.items():
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, str(len(seconds)), *(f"{figure:.1f} s" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
