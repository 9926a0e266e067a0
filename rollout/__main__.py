"""python -m rollout: what pulumi itself cannot do for a stack, because it does not run the program then.

    python -m rollout draining            what still drains: pods, open connections, until when
    python -m rollout destroy --yes       pulumi destroy, and then what still drains
    python -m rollout cut --yes           end what still drains, with all its connections

It uses the stack that is selected, or the one of --stack, and changes nothing but what it says.
"""

import argparse
import json
import subprocess
import sys
import time

from cluster.draining import describe, draining, tell, words
from cluster.live import LiveCluster, Unreachable
from model.config import BadConfig, read_settings
from model.names import EDGE_APP, edge_run
from rollout.cut import cut

CUT_TIMEOUT = 60.0
"""Seconds for cut pods to go: SRS takes up to 5, the kubelet some more."""

POLL = 0.5
"""Seconds between looks."""


def main() -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args()
    stack = ["--stack", arguments.stack] if arguments.stack else []
    try:
        live = _live(stack)
        match arguments.command:
            case "destroy":
                yes = ["--yes"] if arguments.yes else []
                if code := subprocess.run(["pulumi", "destroy", *stack, *yes], check=False).returncode:
                    return code
                print(tell(live))
            case "cut":
                return cut_draining(live, arguments.release, arguments.yes)
            case _:
                print(tell(live))
    except (BadConfig, ValueError, Unreachable, subprocess.CalledProcessError) as problem:
        reason = problem.stderr.strip() if isinstance(problem, subprocess.CalledProcessError) else problem
        print(f"error: {reason}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rollout", description="What drains in a stack's namespace.")
    parser.add_argument("--stack", metavar="NAME", help="the stack (default: the one that is selected)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("draining", help="what still drains: pods, open connections, until when")
    destroy = commands.add_parser("destroy", help="pulumi destroy, and then what still drains")
    cutting = commands.add_parser("cut", help="end what still drains, with all its connections")
    cutting.add_argument("--release", metavar="NAME", help="only what drains of this release")
    for command in (destroy, cutting):
        command.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _live(stack: list[str]) -> LiveCluster:
    """The namespace of a stack, by its config."""
    command = ["pulumi", "config", "--json", *stack]
    config = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    texts = {key: entry["value"] for key, entry in config.items() if "value" in entry}
    return LiveCluster(read_settings(texts).kubernetes)


def cut_draining(live: LiveCluster, release: str | None, yes: bool) -> int:
    """End the edges that drain, of one release or all; the exit code."""
    pods = draining(live, f"app={EDGE_APP}" + (f",run={edge_run(release)}" if release else ""))
    which = f"of release {release} " if release else ""
    if not pods:
        print(f"no edge {which}drains in namespace {live.namespace}")
        return 0
    names = [pod["metadata"]["name"] for pod in pods]
    print(describe(f"{len(names)} edges {which}drain in namespace {live.namespace}", pods, words(live, pods)))
    if not yes and not _agreed("Cut all their connections now? [y/N] "):
        print("nothing was cut")
        return 1
    refused = cut(live, names)
    left = _wait_until_gone(live, set(names) - refused.keys())
    for name, reason in refused.items():
        print(f"error: {name} was not cut: {reason}", file=sys.stderr)
    for name in sorted(left):
        print(f"error: {name} was told to end and is still there after {CUT_TIMEOUT:.0f} s", file=sys.stderr)
    print(f"{len(names) - len(refused) - len(left)} of {len(names)} edges are cut and gone")
    return 1 if refused or left else 0


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ValueError("--yes is needed where nobody can be asked")
    return input(question).strip().lower() in ("y", "yes")


def _wait_until_gone(live: LiveCluster, names: set[str]) -> set[str]:
    """Wait for pods to go; those that are still there when CUT_TIMEOUT is over."""
    deadline = time.monotonic() + CUT_TIMEOUT
    while left := names & {pod["metadata"]["name"] for pod in live.pods()}:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL)
    return left


if __name__ == "__main__":
    sys.exit(main())
