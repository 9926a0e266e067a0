"""python -m rollout: what pulumi itself cannot say of a stack, because it does not run the program then.

    python -m rollout draining            what still drains: pods, open connections, until when
    python -m rollout destroy --yes       pulumi destroy, and then what still drains

It uses the stack that is selected, or the one of --stack, and changes nothing but by pulumi.
"""

import argparse
import json
import subprocess
import sys

from cluster.draining import tell
from cluster.live import LiveCluster, Unreachable
from model.config import BadConfig, read_settings


def main() -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rollout", description="What drains in a stack's namespace.")
    parser.add_argument("--stack", metavar="NAME", help="the stack (default: the one that is selected)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("draining", help="what still drains: pods, open connections, until when")
    destroy = commands.add_parser("destroy", help="pulumi destroy, and then what still drains")
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    arguments = parser.parse_args()
    stack = ["--stack", arguments.stack] if arguments.stack else []
    try:
        live = _live(stack)
        if arguments.command == "destroy":
            yes = ["--yes"] if arguments.yes else []
            if code := subprocess.run(["pulumi", "destroy", *stack, *yes], check=False).returncode:
                return code
        print(tell(live))
    except (BadConfig, ValueError, Unreachable, subprocess.CalledProcessError) as problem:
        words = problem.stderr.strip() if isinstance(problem, subprocess.CalledProcessError) else problem
        print(f"error: {words}", file=sys.stderr)
        return 1
    return 0


def _live(stack: list[str]) -> LiveCluster:
    """The namespace of a stack, by its config."""
    command = ["pulumi", "config", "--json", *stack]
    config = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    texts = {key: entry["value"] for key, entry in config.items() if "value" in entry}
    return LiveCluster(read_settings(texts).kubernetes)


if __name__ == "__main__":
    sys.exit(main())
