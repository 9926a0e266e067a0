"""`make demo`: the three scenarios of the SRS project's article on the dev stack, with a table after each step.

Each step is a stack config in a temporary file; Pulumi.dev.yaml is not changed, and is applied again at the end.
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
    """One edit of the stack config: the releases, each with image and weight."""

    title: str
    releases: Mapping[str, tuple[str, int]]


SCENARIOS = {
    "1. Rolling update in place": [
        Step("r5 with v4.0.5 has all edges; r6 is removed, and its pod drains", {"r5": (OLD, 100)}),
        Step("The image of r5 becomes v4.0.6: its Deployment rolls", {"r5": (NEW, 100)}),
        Step("Back to the earlier config: r5 runs v4.0.5", {"r5": (OLD, 100)}),
    ],
    "2. Canary": [
        Step("r6 with v4.0.6 gets 25 %", {"r5": (OLD, 75), "r6": (NEW, 25)}),
        Step("r6 gets 75 %", {"r5": (OLD, 25), "r6": (NEW, 75)}),
        Step("r6 gets 100 %", {"r5": (OLD, 0), "r6": (NEW, 100)}),
        Step("r5 is removed from the config; its pods drain", {"r6": (NEW, 100)}),
    ],
    "3. Rollback": [
        Step("The config from before the canary is applied again", {"r5": (OLD, 100)}),
    ],
}


def config_of(step: Step, dev: Mapping[str, Any]) -> dict[str, Any]:
    """The dev stack's config with the releases of a step."""
    config = dict(dev["config"])
    config["srs:edge"] = {
        **config["srs:edge"],
        "releases": {name: {"image": image, "weight": weight} for name, (image, weight) in step.releases.items()},
    }
    return {**dev, "config": config}


def run(stack: DevStack, console: Console) -> None:
    """Run the scenarios. Raises UpdateError."""
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
