"""Programs of the pinned Go modules, and processes in the network of the nodes."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stack import ROOT
from testbed.cluster import EmbeddedCluster


def go(pin: str, verb: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What `go` prints in testbed/pins/PIN. With `tool -n NAME`, the path of a tool, which it builds if necessary."""
    command = [sys.executable, "-m", "testbed", "go", verb, "-C", f"../pins/{pin}", *arguments]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def running(
    cluster: EmbeddedCluster, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Generator[int]:
    """A process in the network of the nodes, while the block runs; yields its id. It ends with this process."""
    entered = cluster.machine.enter(cluster.machine_pid, ["setpriv", "--pdeathsig=KILL", "--", *command])
    variables = {**os.environ, **(environment or {})}
    with (
        log.open("w") as output,
        subprocess.Popen(entered, env=variables, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process.pid
        finally:
            process.kill()
