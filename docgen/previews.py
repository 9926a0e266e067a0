"""`make previews`: what `pulumi preview` prints for ten typical edits of the stack config, into docs/previews.md.

The plans are real: each edit is previewed on the dev stack, which runs on an embedded cluster of its own.
"""

import copy
import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.progress import track

from testbed.cluster import EmbeddedCluster
from testbed.environment import PROJECT, environment
from testbed.toolchain.install import ensure_tools

STATE = PROJECT / ".testbed-bench"
PAGE = PROJECT / "docs" / "previews.md"

HEAD = """\
# What a preview shows

`pulumi preview` prints the plan of the update: connections first, then each workload with the reasons why it rolls.
These are ten typical edits of the dev stack, one after the other against the same running stack (r5 with three edges,
r6 with one). `make previews` generates this page from real previews. `SRS_PLAN_FILE=plan.json pulumi preview` writes
a plan as JSON, and its text to `plan.txt`.
"""

Config = dict[str, Any]


def weights(config: Config) -> None:
    """A canary step."""
    config["srs:edge"]["releases"]["r5"]["weight"] = 25
    config["srs:edge"]["releases"]["r6"]["weight"] = 75


def image(config: Config) -> None:
    """Another SRS version of a release, in place."""
    config["srs:edge"]["releases"]["r5"]["image"] = "ossrs/srs:v4.0.271"


def srs_conf(config: Config) -> None:
    """A changed srs.conf of a release."""
    config["srs:edge"]["releases"]["r6"]["srs"] = {"maxConnections": 2000, "directives": "chunk_size 60000;"}


def promote(config: Config) -> None:
    """The canary becomes the only release."""
    del config["srs:edge"]["releases"]["r5"]


def drain(config: Config) -> None:
    """A longer drain."""
    config["srs:edge"]["drain"]["timeout"] = "24h"


def edges(config: Config) -> None:
    """More edges."""
    config["srs:edge"]["replicas"] = 8


def origins(config: Config) -> None:
    """More memory for the origins."""
    config["srs:origin"]["resources"] = {"memory": "1Gi"}


def hls(config: Config) -> None:
    """HLS is switched off."""
    config["srs:hls"]["enabled"] = False


def namespace(config: Config) -> None:
    """Another namespace: rejected."""
    config["srs:kubernetes"]["namespace"] = "production"


def version(config: Config) -> None:
    """A version that cannot drain: rejected."""
    config["srs:edge"]["releases"]["r6"]["image"] = "ossrs/srs:v5.0-r3"


EDITS: list[Callable[[Config], None]] = [
    weights,
    image,
    srs_conf,
    promote,
    drain,
    edges,
    origins,
    hls,
    namespace,
    version,
]


def main() -> None:
    """Preview each edit, and write the page."""
    tools = ensure_tools()
    cluster = EmbeddedCluster(STATE, tools, lambda _line: None)
    cluster.delete()
    cluster.start()
    variables = environment(STATE, tools)
    try:
        config: Config = yaml.safe_load((PROJECT / "Pulumi.dev.yaml").read_text())
        config["config"]["srs:kubernetes"]["kubeconfig"] = str(cluster.kubeconfig)
        run(variables, config, "stack", "init")
        run(variables, config, "up", "--yes", "--skip-preview")
        sections = [section(variables, config, edit) for edit in track(EDITS, "previews")]
    finally:
        cluster.delete()
    PAGE.write_text("\n".join([HEAD, *sections]))
    print(f"written: {PAGE.relative_to(PROJECT)}")


def section(variables: dict[str, str], committed: Config, edit: Callable[[Config], None]) -> str:
    """The edit as a diff of the stack file, and its plan."""
    config = copy.deepcopy(committed)
    edit(config["config"])
    plan = STATE / "plan.json"
    plan.with_suffix(".txt").unlink(missing_ok=True)
    output = run(variables | {"SRS_PLAN_FILE": str(plan)}, config, "preview", check=False)
    text = plan.with_suffix(".txt")
    shown = text.read_text() if text.exists() else problems(output)
    return f"## {(edit.__doc__ or '').rstrip('.')}\n\n```diff\n{diff(committed, config)}```\n\n```\n{shown}```\n"


def diff(before: Config, after: Config) -> str:
    """The changed lines of the stack config."""
    old, new = (yaml.safe_dump(config["config"]).splitlines(keepends=True) for config in (before, after))
    changes = difflib.unified_diff(old, new, n=0)
    return "".join(line for line in changes if not line.startswith(("---", "+++", "@@")))


def problems(output: str) -> str:
    """The message of a config that is rejected before there is a plan."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if "the stack config has" in line)
    block = [line.strip() for line in lines[start:]]
    found = [f"  {line}" for line in block[1:] if line.startswith("- ")]
    return "\n".join([block[0].removeprefix("error: "), *found]) + "\n"


def run(variables: dict[str, str], config: Config, *arguments: str, check: bool = True) -> str:
    """Run a command of the CLI on the dev stack with a config; returns its output."""
    file = Path(STATE / "Pulumi.dev.yaml")
    file.write_text(yaml.safe_dump(config))
    stack = ["dev"] if arguments[:2] == ("stack", "init") else ["--stack", "dev", "--config-file", str(file)]
    command = ["pulumi", *arguments, *stack, "--non-interactive", "--color", "never"]
    done = subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
