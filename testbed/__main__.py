"""python -m testbed: the embedded cluster from the command line."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import NoReturn, get_args

from rich.console import Console
from rich.table import Table

from testbed.cluster import ClusterError, EmbeddedCluster, NodeKind, tools_for
from testbed.containers.machine import missing_requirements
from testbed.environment import PROJECT, STATE, UNSET, environment, with_users
from testbed.guard import guard
from testbed.toolchain.install import NODE_TOOLS, TOOLS, ToolError, clean_tools, ensure_tools
from testbed.toolchain.progress import Report


def main() -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args()
    try:
        return _run(arguments)
    except (ToolError, ClusterError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m testbed",
        description="An embedded Kubernetes cluster; with simulated nodes it needs no root and no containers.",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=STATE,
        metavar="DIR",
        help="the cluster's folder (default: .testbed)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    get = commands.add_parser("tools", help="get the tools (start does so too)")
    get.add_argument(
        "--cloud", action="store_true", help="Pulumi's Alibaba Cloud provider as well, for the production stack"
    )
    start = commands.add_parser("start", help="start the cluster, or what of it does not run")
    start.add_argument(
        "--nodes", type=_positive, metavar="N", help="have N simulated nodes (default: 4, or as many as there are)"
    )
    start.add_argument(
        "--kind",
        choices=get_args(NodeKind),
        help="simulated nodes, or nodes that run containers (Linux, root); a cluster keeps its kind",
    )
    commands.add_parser("stop", help="stop the cluster and keep its data")
    commands.add_parser("delete", help="stop the cluster and remove its folder, Pulumi stacks included")
    commands.add_parser("guard", help="wait for the end of standard input, then delete (for test runs that get killed)")
    commands.add_parser("status", help="show the cluster's processes")
    commands.add_parser("kubeconfig", help="print the path of the cluster's kubeconfig")
    commands.add_parser("env", help='print the environment; use: eval "$(python -m testbed env)"')
    shell = commands.add_parser("shell", help="run a command in that environment, or a shell")
    shell.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- command")
    commands.add_parser("clean-tools", help="remove the cache of the tools")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _run(arguments: argparse.Namespace) -> int:
    report = Report()
    state: Path = arguments.state.absolute()
    if arguments.command == "clean-tools":
        clean_tools(report=report)
    elif arguments.command == "kubeconfig":
        print(state / "kubeconfig")
    elif arguments.command == "guard":
        guard(state)
    elif arguments.command == "tools":
        tools = TOOLS + NODE_TOOLS if missing_requirements() is None else TOOLS
        for name, place in sorted(ensure_tools(report=report, tools=tools, cloud=arguments.cloud).binaries.items()):
            print(f"{name}\t{place}")
    elif arguments.command in ("env", "shell"):
        variables = environment(state, ensure_tools(report=report))
        if arguments.command == "shell":
            _shell(arguments.argv, variables)
        for name in UNSET:
            print(f"unset {name}")
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        _cluster(arguments, state, report)
    return 0


def _cluster(arguments: argparse.Namespace, state: Path, report: Report) -> None:
    # Only a start needs tools: nobody waits for a build to be told that nothing runs.
    cluster = EmbeddedCluster(state, say=report.say)
    if arguments.command == "start":
        tools = ensure_tools(report=report, tools=tools_for(arguments.kind or cluster.kind))
        EmbeddedCluster(state, tools, report.say).start(arguments.nodes, arguments.kind)
    elif arguments.command == "stop" and not cluster.stop():
        report.say("nothing was running")
    elif arguments.command == "delete":
        report.say(f"removed {state}" if cluster.delete() else f"nothing to remove: {state} does not exist")
    elif arguments.command == "status":
        table = Table("component", "pid", "port", "state", "log", box=None)
        for each in cluster.status():
            table.add_row(each.name, str(each.pid or "-"), str(each.port or "-"), each.state, str(each.log))
        # Into a pipe or a file: no line is cut to the 80 columns that rich would take for granted.
        Console(width=None if sys.stdout.isatty() else 250).print(table)


def _shell(argv: list[str], variables: dict[str, str]) -> NoReturn:
    """Become the command (or the user's shell), so that signals and the exit code are its own."""
    command = (argv[1:] if argv[:1] == ["--"] else argv) or [os.environ.get("SHELL", "/bin/sh")]
    complete = with_users(variables)
    program = shutil.which(command[0], path=complete["PATH"])
    if program is None:
        raise ToolError(f"there is no command {command[0]!r}")
    os.chdir(PROJECT)
    os.execve(program, command, complete)


if __name__ == "__main__":
    sys.exit(main())
