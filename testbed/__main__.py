"""python -m testbed: the embedded cluster from the command line."""

import argparse
import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn, get_args

from rich.console import Console
from rich.table import Table

from testbed.cluster import ClusterError, EmbeddedCluster, NodeKind, tools_for
from testbed.containers.machine import missing_requirements
from testbed.environment import PROJECT, STATE, UNSET, child_environment, environment
from testbed.guard import guard
from testbed.toolchain.cache import ToolError
from testbed.toolchain.install import ToolSettings, clean_tools, ensure_tools, go_builder
from testbed.toolchain.progress import Reporter


def main() -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args()
    try:
        return _run(arguments)
    except (ToolError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m testbed",
        description="An embedded Kubernetes cluster; with simulated nodes it needs neither root nor containers.",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=STATE,
        metavar="DIR",
        help="the cluster's folder (default: .testbed)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    tools = commands.add_parser("tools", help="install the tools (`start` does so too)")
    tools.add_argument(
        "--cloud", action="store_true", help="with Pulumi's Alibaba Cloud provider, for the production stack"
    )
    start = commands.add_parser("start", help="start the components of the cluster that do not run")
    start.add_argument(
        "--nodes",
        type=_positive,
        metavar="N",
        help="the number of simulated nodes (default: unchanged; 4 in a new cluster)",
    )
    start.add_argument(
        "--kind",
        choices=get_args(NodeKind),
        help="of the nodes of a new cluster: simulated, or running containers (Linux, root)",
    )
    commands.add_parser("stop", help="stop the cluster and keep its data")
    commands.add_parser("delete", help="stop the cluster and remove its folder, Pulumi stacks included")
    commands.add_parser("guard", help="wait for the end of standard input, then delete the cluster (for test runs)")
    commands.add_parser("status", help="list the cluster's components")
    commands.add_parser("kubeconfig", help="print the path of the cluster's kubeconfig")
    commands.add_parser("env", help='print the environment; use: eval "$(python -m testbed env)"')
    shell = commands.add_parser("shell", help="run a command (default: a shell) in that environment")
    shell.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- command")
    go = commands.add_parser("go", help="run Go in testbed/streaming, for example: go test ./...")
    go.add_argument("argv", nargs=argparse.REMAINDER, metavar="argument")
    commands.add_parser("clean-tools", help="remove the cache of the tools")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _run(arguments: argparse.Namespace) -> int:
    reporter = Reporter()
    state: Path = arguments.state.absolute()
    if arguments.command == "clean-tools":
        clean_tools(reporter=reporter)
    elif arguments.command == "kubeconfig":
        print(state / "kubeconfig")
    elif arguments.command == "guard":
        guard(state)
    elif arguments.command == "tools":
        tools = tools_for("containerd" if missing_requirements() is None else "simulated")
        installed = ensure_tools(reporter=reporter, tools=tools, cloud=arguments.cloud)
        for name, file in sorted(installed.binaries.items()):
            print(f"{name}\t{file}")
    elif arguments.command == "go":
        return _go(arguments.argv, reporter)
    elif arguments.command in ("env", "shell"):
        variables = environment(state, ensure_tools(reporter=reporter))
        if arguments.command == "shell":
            _shell(arguments.argv, variables)
        for name in UNSET:
            print(f"unset {name}")
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        _cluster(arguments, state, reporter)
    return 0


def _cluster(arguments: argparse.Namespace, state: Path, reporter: Reporter) -> None:
    # Only `start` needs the tools, which may take long to install.
    cluster = EmbeddedCluster(state, report=reporter.report)
    if arguments.command == "start":
        tools = ensure_tools(reporter=reporter, tools=tools_for(arguments.kind or cluster.kind))
        EmbeddedCluster(state, tools, reporter.report).start(arguments.nodes, arguments.kind)
    elif arguments.command == "stop" and not cluster.stop():
        reporter.report("no component was running")
    elif arguments.command == "delete":
        reporter.report(f"removed {state}" if cluster.delete() else f"nothing to remove: {state} does not exist")
    elif arguments.command == "status":
        table = Table("component", "pid", "port", "state", "log", box=None)
        for component in cluster.status():
            pid, port = str(component.pid or "-"), str(component.port or "-")
            table.add_row(component.name, pid, port, component.state, str(component.log))
        # rich would cut lines to 80 columns in a pipe or a file.
        Console(width=None if sys.stdout.isatty() else 250).print(table)


def _go(argv: list[str], reporter: Reporter) -> int:
    """Run Go, from PATH or from PyPI, on our own programs and with the user's caches; the exit code."""
    builder = go_builder(dataclasses.replace(ToolSettings.from_environment(), shared_go_cache=True))
    go = builder.go("python -m testbed go", reporter.report)
    return subprocess.run(
        [go, *argv], cwd=PROJECT / "testbed/streaming", env=builder.environment(), check=False
    ).returncode


def _shell(argv: list[str], variables: dict[str, str]) -> NoReturn:
    """Replace this process by the command (or the user's shell), so that signals and the exit code are its own."""
    command = (argv[1:] if argv[:1] == ["--"] else argv) or [os.environ.get("SHELL", "/bin/sh")]
    complete = child_environment(variables)
    program = shutil.which(command[0], path=complete["PATH"])
    if program is None:
        raise ToolError(f"command {command[0]!r} not found")
    os.chdir(PROJECT)
    os.execve(program, command, complete)


if __name__ == "__main__":
    sys.exit(main())
