"""`make demo`: the three scenarios of the SRS project's article on the dev stack, with a table after each step.

Each step is a stack config in a file of its own; Pulumi.dev.yaml is not touched, and is brought about again at the end.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from ruamel.yaml import YAML

from testbed.dev_stack import DevStack, on_dev_stack
from testbed.environment import PROJECT

OLD, NEW = "ossrs/srs:v4.0.5", "ossrs/srs:v4.0.6"


@dataclass(frozen=True)
class Step:
    """One edit of the stack config: the number of edges and the releases, each with image and weight."""

    title: str
    replicas: int
    releases: Mapping[str, tuple[str, int]]


SCENARIOS = {
    "1. Rolling update in place": [
        Step("r5 runs v4.0.5", 3, {"r5": (OLD, 100)}),
        Step("the image of r5 becomes v4.0.6, and its Deployment rolls", 3, {"r5": (NEW, 100)}),
        Step("back to v4.0.5: the earlier config", 3, {"r5": (OLD, 100)}),
    ],
    "2. Canary": [
        Step("r5 runs v4.0.5 on four edges", 4, {"r5": (OLD, 100)}),
        Step("r6 with v4.0.6 gets 25 %", 4, {"r5": (OLD, 75), "r6": (NEW, 25)}),
        Step("r6 gets 75 %", 4, {"r5": (OLD, 25), "r6": (NEW, 75)}),
        Step("r6 gets everything", 4, {"r5": (OLD, 0), "r6": (NEW, 100)}),
        Step("r5 is taken out of the config; its pods drain", 4, {"r6": (NEW, 100)}),
    ],
    "3. Rollback": [
        Step("the config of before the canary is put back", 4, {"r5": (OLD, 100)}),
    ],
}


def config_of(step: Step, dev: Mapping[str, Any]) -> dict[str, Any]:
    """The dev stack's config with the edges of a step."""
    config = dict(dev["config"])
    config["srs:edge"] = {
        **config["srs:edge"],
        "replicas": step.replicas,
        "releases": {name: {"image": image, "weight": weight} for name, (image, weight) in step.releases.items()},
    }
    return {**dev, "config": config}


def run(stack: DevStack, console: Console) -> None:
    """Walk the scenarios. Raises UpFailed."""
    yaml = YAML(typ="safe")
    dev = yaml.load(PROJECT / "Pulumi.dev.yaml")
    with tempfile.TemporaryDirectory() as folder:
        for scenario, steps in SCENARIOS.items():
            console.rule(f"[bold]{scenario}")
            for step in steps:
                console.print(f"\n[bold]{step.title}[/bold]")
                file = Path(folder) / "Pulumi.dev.yaml"
                yaml.dump(config_of(step, dev), file)
                stack.up(file)
                stack.show()
    namespace = stack.outputs()["namespace"]
    console.print("\n[bold]kubectl rollout history deploy/srs-edge-r5-deploy[/bold]")
    console.print(stack.kubectl("-n", namespace, "rollout", "history", "deploy/srs-edge-r5-deploy"), highlight=False)
    console.rule("[bold]The dev stack as it was")
    stack.up()
    stack.show()


if __name__ == "__main__":
    sys.exit(on_dev_stack(run))
