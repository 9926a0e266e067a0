"""`make up`: tools, embedded cluster and the dev stack on it, with a summary of what there is now."""

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
from testbed.environment import PROJECT, STATE, environment, with_users
from testbed.toolchain.install import ToolError, ensure_tools
from testbed.toolchain.progress import Report

STACK = "dev"

NEXT_STEPS = """\
Look around:
  make shell            a shell in which pulumi (preview, up, config set) and kubectl work on this stack
  make demo             the article's three scenarios: update, canary, rollback
  make down             remove the cluster and the stack (the tools stay; make clean-tools removes them)
"""

ON_NODES: Mapping[NodeKind, str] = {
    "simulated": "The nodes are simulated: pods behave as a kubelet would report them, but run no SRS, so the URLs do "
    "not play. `make down` and `make up NODE=containerd` (Linux, root) have nodes that run containers.",
    "containerd": "The nodes run containers: publish and play with ffmpeg, OBS or VLC through the URLs above. Where no "
    "image can be pulled, SRS and the demo stream are stand-ins (SRS_IMAGES gives real SRS; see the README).",
}


class UpFailed(Exception):
    """`pulumi up` failed; it has said why."""


class DevStack:
    """The dev stack on the running embedded cluster."""

    def __init__(self, variables: Mapping[str, str], console: Console) -> None:
        self._variables = with_users(variables)
        self._console = console

    def select(self) -> None:
        """Make the stack where there is none yet."""
        self._pulumi("stack", "select", "--create", STACK, quiet=True)

    def up(self, config: Path | None = None) -> bool:
        """Bring the stack config about, Pulumi.dev.yaml or another file; True if anything changed.

        Raises UpFailed, after Pulumi has printed the reasons.
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
        """Run kubectl on the cluster; what it printed."""
        done = subprocess.run(
            ["kubectl", *arguments], env=self._variables, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def show(self) -> dict[str, Any]:
        """Print the releases as they are: what the config wishes, and what is there. Returns the stack's outputs."""
        outputs = self.outputs()
        pods = json.loads(self.kubectl("-n", outputs["namespace"], "get", "pods", "-l", "app=srs-edge", "-o", "json"))
        by_release: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for pod in pods["items"]:
            by_release[pod["metadata"]["labels"]["run"].removeprefix("srs-edge-")].append(pod)
        table = Table(
            *("release", "image", "config", "weight", "wished", "real", "ready", "draining"), title="Edge releases"
        )
        for name, release in outputs["releases"].items():
            mine = by_release.pop(name, [])
            draining = [pod for pod in mine if "deletionTimestamp" in pod["metadata"]]
            ready = [pod for pod in mine if pod not in draining and _is_ready(pod)]
            table.add_row(
                name,
                release["image"],
                release["configHash"],
                str(release["weight"]),
                f"{release['wishedPercent']:.0f} %",
                f"{release['realPercent']:.0f} %",
                f"{len(ready)}/{release['replicas']}",
                str(len(draining)),
            )
        for name in sorted(by_release):
            table.add_row(name, "(removed)", "", "", "", "", "", str(len(by_release[name])))
        self._console.print(table)
        return outputs

    def _pulumi(self, *arguments: str, quiet: bool = False) -> str:
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            env=self._variables,
            cwd=PROJECT,
            check=False,
            text=True,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
        )
        if done.returncode:
            raise UpFailed(f"pulumi {arguments[0]} failed{': ' + done.stderr.strip() if quiet else '; see above'}")
        return done.stdout or ""


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def on_dev_stack(action: Callable[[DevStack, Console], None], kind: NodeKind | None = None) -> int:
    """Have tools, cluster and stack, and do something with it; the exit code, after a message if it went wrong.

    kind: of the nodes; None for those that the cluster has.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    report = Report()
    try:
        tools = ensure_tools(report=report, tools=tools_for(kind or EmbeddedCluster(STATE).kind))
        EmbeddedCluster(STATE, tools, report.say).start(kind=kind)
        stack = DevStack(environment(STATE, tools), console)
        stack.select()
        action(stack, console)
    except (ToolError, ClusterError, UpFailed) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """`make up`; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed.dev_stack", description="What `make up` does.")
    parser.add_argument("--nodes", choices=get_args(NodeKind), help="kind of the nodes of a new cluster")
    kind: NodeKind | None = parser.parse_args().nodes
    begun = time.monotonic()

    def up(stack: DevStack, console: Console) -> None:
        changed = stack.up()
        urls = stack.show()["urls"]
        console.print(f"publish {urls['publish']}\nplay    {urls['rtmp']}\n        {urls['flv']}\n", highlight=False)
        done = "up" if changed else "up already; nothing was changed"
        console.print(f"The dev stack is {done} ({time.monotonic() - begun:.0f} s).\n", highlight=False)
        console.print(NEXT_STEPS + ON_NODES[EmbeddedCluster(STATE).kind], highlight=False)

    return on_dev_stack(up, kind)


if __name__ == "__main__":
    sys.exit(main())
