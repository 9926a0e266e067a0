"""python -m rollout: what pulumi cannot do for a stack, because it does not run the program then.

    python -m rollout draining            terminating pods, their open connections, their deadlines
    python -m rollout destroy --yes       pulumi destroy, and then what is still terminating
    python -m rollout cut --yes           end terminating edges at once, with all their connections

It uses the selected stack, or the one of --stack, and changes nothing else.
"""

import argparse
import json
import subprocess
import sys
import time

from cluster.live import LiveCluster, UnreachableError
from cluster.terminating import describe, open_connections, terminating_message, terminating_pods
from model.config import ConfigError, read_kubernetes
from model.names import EDGE_APP, edge_run
from model.values import plural
from rollout.cut import cut

CUT_TIMEOUT = 60.0
"""Seconds for the pods to end: SRS takes up to 5, the kubelet some more."""

POLL_INTERVAL = 0.5
"""Seconds between two polls."""


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
                print(terminating_message(live))
            case "cut":
                return cut_terminating(live, arguments.release, arguments.yes)
            case _:
                print(terminating_message(live))
    except (ConfigError, ValueError, UnreachableError, subprocess.CalledProcessError) as error:
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        print(f"error: {reason}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rollout", description="Terminating pods of a stack.")
    parser.add_argument("--stack", metavar="NAME", help="the stack (default: the selected one)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("draining", help="terminating pods, their open connections, their deadlines")
    destroy = commands.add_parser("destroy", help="pulumi destroy, and then what is still terminating")
    cut_command = commands.add_parser("cut", help="end terminating edges at once, with all their connections")
    cut_command.add_argument("--release", metavar="NAME", help="only edges of this release")
    for command in (destroy, cut_command):
        command.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _live(stack: list[str]) -> LiveCluster:
    """The namespace of a stack; the rest of its config may contain secrets or mistakes."""
    command = ["pulumi", "config", "--json", *stack]
    config = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    values = {key: entry["value"] for key, entry in config.items() if "value" in entry}
    return LiveCluster(read_kubernetes(values))


def cut_terminating(live: LiveCluster, release: str | None, yes: bool) -> int:
    """End the terminating edges of one release or of all; the exit code."""
    pods = terminating_pods(live, f"app={EDGE_APP}" + (f",run={edge_run(release)}" if release else ""))
    of_release = f" of release {release}" if release else ""
    if not pods:
        print(f"no edges{of_release} are terminating in namespace {live.namespace}")
        return 0
    names = [pod["metadata"]["name"] for pod in pods]
    edges = f"{plural(len(names), 'edge')}{of_release}"
    head = f"{edges} {'is' if len(names) == 1 else 'are'} terminating in namespace {live.namespace}"
    print(describe(head, pods, open_connections(live, pods)))
    if not yes and not _confirmed("Drop all their connections now? [y/N] "):
        print("nothing was changed")
        return 1
    failures = cut(live, names)
    remaining = _wait_for_deletion(live, set(names) - failures.keys())
    for name, reason in failures.items():
        print(f"error: {name} could not be signalled: {reason}", file=sys.stderr)
    for name in sorted(remaining):
        print(f"error: {name} still exists {CUT_TIMEOUT:.0f} s after SIGINT", file=sys.stderr)
    print(f"{len(names) - len(failures) - len(remaining)} of {plural(len(names), 'edge')} ended")
    return 1 if failures or remaining else 0


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ValueError("--yes is required without a terminal")
    return input(question).strip().lower() in ("y", "yes")


def _wait_for_deletion(live: LiveCluster, names: set[str]) -> set[str]:
    """Wait until pods are deleted; returns those that still exist after CUT_TIMEOUT."""
    deadline = time.monotonic() + CUT_TIMEOUT
    while remaining := names & {pod["metadata"]["name"] for pod in live.pods()}:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_INTERVAL)
    return remaining


if __name__ == "__main__":
    sys.exit(main())
