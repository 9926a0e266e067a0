"""`make bench`: how long a first up, an up without changes and a preview of the dev stack take.

The median of several runs of the plain CLI on an embedded cluster of its own. Of a first up, the time that the pods
themselves must be ready for (minReady) is part.
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
    """Run a command of the CLI on the dev stack; seconds."""
    begun = time.monotonic()
    command = ["pulumi", *arguments, "--stack", "dev", "--config-file", str(config), "--non-interactive"]
    done = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - begun


def main() -> None:
    """Measure, and print a table."""
    tools = ensure_tools()
    cluster = EmbeddedCluster(STATE, tools, lambda _: None)
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
        up = ("up", "--yes", "--skip-preview")
        times = {"first up": [pulumi(config, variables, *up)]}
        for name, arguments in {"up without changes": up, "preview": ("preview",)}.items():
            times[name] = [pulumi(config, variables, *arguments) for _ in track(range(RUNS), name)]
    finally:
        cluster.delete()
    table = Table("what", "runs", "median", "fastest", "slowest")
    for name, taken in times.items():
        figures = (statistics.median(taken), min(taken), max(taken))
        table.add_row(name, str(len(taken)), *(f"{figure:.1f} s" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
