"""`make up`: tools, embedded cluster and the dev stack on it, with a summary."""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from testbed.cluster import ClusterError, EmbeddedCluster, NodeKind, tools_for
from testbed.environment import PROJECT, STATE, child_environment, environment
from testbed.toolchain.cache import ToolError
from testbed.toolchain.install import ensure_tools
from testbed.toolchain.progress import Reporter

STACK = "dev"

NEXT_STEPS = """\
Next steps:
  make shell            a shell in which pulumi, rollout (status, abort, …) and kubectl use this stack
  make demo             the article's three scenarios: update, canary, rollback
  make down             remove the cluster and the stack (make clean-tools removes the tools)
"""

NODE_NOTES: Mapping[NodeKind, str] = {
    "simulated": "The nodes are simulated: pods have the status that a kubelet would report, but run no SRS, so the "
    "URLs do not play. For nodes that run containers (Linux, root): `make down` and `make up NODE=containerd`.",
    "containerd": "The nodes run containers: publish and play with ffmpeg, OBS or VLC through the URLs above. Where no "
    "registry can be reached, the images are fake (real SRS: SRS_IMAGES; see the README).",
}


class UpdateError(Exception):
    """A Pulumi command failed; the message says which, after Pulumi has printed the reasons."""


class DevStack:
    """The dev stack on the running embedded cluster."""

    def __init__(self, variables: Mapping[str, str], console: Console) -> None:
        self._variables = child_environment(variables)
        self._console = console

    def select(self) -> None:
        """Select the stack; create it if it does not exist."""
        self._pulumi("stack", "select", "--create", STACK, quiet=True)

    def up(self, config: Path | None = None) -> bool:
        """Update the stack; True if anything changed.

        config: the file of the stack config; by default Pulumi.dev.yaml.

        Raises:
            UpdateError: the update failed.
        """
        options = ["--yes", "--skip-preview", "--stack", STACK, "--suppress-outputs"]
        if not sys.stdout.isatty():
            options += ["--suppress-progress", "--color", "never"]
        if config is not None:
            options += ["--config-file", str(config)]
        self._pulumi("up", *options)
        (last,) = json.loads(self._pulumi("stack", "history", "--stack", STACK, "--json", "--page-size=1", quiet=True))
        return bool(set(last["resourceChanges"]) - {"same"})

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        outputs: dict[str, Any] = json.loads(self._pulumi("stack", "output", "--stack", STACK, "--json", quiet=True))
        return outputs

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl on the cluster; returns its output."""
        result = subprocess.run(
            ["kubectl", *arguments], env=self._variables, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True
        )
        return result.stdout

    def show(self) -> dict[str, Any]:
        """Print a table of the releases, desired and actual. Returns the stack's outputs."""
        outputs = self.outputs()
        pods = json.loads(self.kubectl("-n", outputs["namespace"], "get", "pods", "-l", "app=srs-edge", "-o", "json"))
        by_release: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for pod in pods["items"]:
            by_release[pod["metadata"]["labels"]["run"].removeprefix("srs-edge-")].append(pod)
        table = Table(
            *("release", "image", "config", "weight", "desired", "actual", "ready", "draining"), title="Edge releases"
        )
        for name, release in outputs["releases"].items():
            release_pods = by_release.pop(name, [])
            draining = [pod for pod in release_pods if "deletionTimestamp" in pod["metadata"]]
            ready = [pod for pod in release_pods if pod not in draining and _is_ready(pod)]
            table.add_row(
                name,
                release["image"],
                release["configHash"],
                str(release["weight"]),
                f"{release['desiredPercent']:.0f} %",
                f"{release['actualPercent']:.0f} %",
                f"{len(ready)}/{release['replicas']}",
                str(len(draining)),
            )
        for name in sorted(by_release):
            table.add_row(name, "(removed)", "", "", "", "", "", str(len(by_release[name])))
        self._console.print(table)
        return outputs

    def _pulumi(self, *arguments: str, quiet: bool = False) -> str:
        result = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            env=self._variables,
            cwd=PROJECT,
            check=False,
            text=True,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
        )
        if result.returncode:
            raise UpdateError(f"pulumi {arguments[0]} failed{': ' + result.stderr.strip() if quiet else '; see above'}")
        return result.stdout or ""


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def on_dev_stack(action: Callable[[DevStack, Console], None], kind: NodeKind | None = None) -> int:
    """Install the tools, start the cluster, and run `action` with the dev stack; the exit code, after a message if 1.

    kind: of the nodes of a new cluster; None for simulated ones, or those of an existing cluster.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    reporter = Reporter()
    try:
        tools = ensure_tools(reporter=reporter, tools=tools_for(kind or EmbeddedCluster(STATE).kind))
        EmbeddedCluster(STATE, tools, reporter.report).start(kind=kind)
        stack = DevStack(environment(STATE, tools), console)
        stack.select()
        action(stack, console)
    except (ToolError, ClusterError, UpdateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """`make up`; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed.dev_stack", description="What `make up` does.")
    parser.add_argument("--nodes", choices=get_args(NodeKind), help="the kind of the nodes of a new cluster")
    kind: NodeKind | None = parser.parse_args().nodes
    began = time.monotonic()

    def up(stack: DevStack, console: Console) -> None:
        changed = stack.up()
        urls = stack.show()["urls"]
        console.print(f"publish {urls['publish']}\nplay    {urls['rtmp']}\n        {urls['flv']}\n", highlight=False)
        status = "up" if changed else "up to date; nothing changed"
        console.print(f"The dev stack is {status} ({time.monotonic() - began:.0f} s).\n", highlight=False)
        console.print(NEXT_STEPS + NODE_NOTES[EmbeddedCluster(STATE).kind], highlight=False)

    return on_dev_stack(up, kind)


if __name__ == "__main__":
    sys.exit(main())
