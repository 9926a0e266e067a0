"""The first process of the machine: creates its network and mounts, starts the components, ends when one ends.

A component that SIGHUP ends is started again, as a service manager does when the software of a node is updated.

    unshare --net --mount --pid --fork --kill-child --mount-proc -- python -m testbed.containers.init plan.json

It is pid 1 of its namespace, so its end ends everything.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.containers.machine import HOST_FOLDERS

_START_SECONDS = 120.0


def main() -> int:
    """Run the machine until a component ends; the exit code is 1 then."""
    plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    # For pid 1 the kernel drops signals that have no handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # Components inherit ignored signals, and nohup ignores this one.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    folder = Path(plan["folder"])
    _mounts(folder)
    _network(plan)
    components: dict[int, tuple[str, list[str]]] = {}
    (folder / "logs").mkdir(exist_ok=True)
    for old in (folder / "logs").iterdir():
        old.unlink()

    def start(name: str, command: list[str]) -> None:
        with (folder / "logs" / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        components[child.pid] = (name, command)

    def restart_ended() -> None:
        for name, command in _reap(components):
            start(name, command)

    def wait_for(name: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            restart_ended()
            if time.monotonic() > deadline:
                sys.exit(f"{name} is not ready after {_START_SECONDS:.0f} s")
            time.sleep(0.05)

    for node in plan["nodes"]:
        start(f"containerd-{node['name'][-1]}", node["containerd"])
    for node in plan["nodes"]:
        wait_for(f"containerd of {node['name']}", lambda path=node["socket"]: _listens(socket.AF_UNIX, path))
    # The cluster imports the images now, from outside.
    wait_for("the pause image", (folder / "images-imported").exists)
    wait_for("the API server", lambda: _listens(socket.AF_INET, ("127.0.0.1", plan["api_port"])))
    for node in plan["nodes"]:
        start(f"kubelet-{node['name'][-1]}", node["kubelet"])
    start("kube-proxy", plan["kube-proxy"])
    start("coredns", plan["coredns"])
    wait_for("cluster DNS", lambda: _is_healthy("http://127.0.0.1:8181/ready"))
    wait_for("kube-proxy", lambda: _is_healthy("http://127.0.0.1:10256/healthz"))
    (folder / "ready").touch()
    while True:
        restart_ended()
        time.sleep(0.1)


def _end(_number: int, _frame: object) -> None:
    sys.exit(0)


def _reap(components: dict[int, tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Reap all processes that ended; returns the components to restart. Exits if a component ended otherwise."""
    restart: list[tuple[str, list[str]]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return restart
        if pid == 0:
            return restart
        if pid in components:
            name, command = components.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if code != -signal.SIGHUP:
                sys.exit(f"{name} ended with exit code {code}; see its log")
            restart.append((name, command))


def _mounts(folder: Path) -> None:
    """Mount the machine's own folders over those that components always write to."""
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    volume = Path("/run/testbed/volume")  # testbed/nodes/volume.yaml
    volume.mkdir(parents=True)
    volume.chmod(0o1777)
    for target in HOST_FOLDERS:
        source = folder / "host-folders" / target.name
        # It describes the network of earlier pods, which no longer exists.
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        _run("mount", "--bind", str(source), str(target))


def _network(plan: dict[str, Any]) -> None:
    _run("ip", "link", "set", "lo", "up")
    for address in (plan["dns_address"], *(node["address"] for node in plan["nodes"])):
        _run("ip", "address", "add", f"{address}/32", "dev", "lo")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # Without it, a pod that connects to a pod on its own bridge through a Service gets answers from another address.
    if (file := Path("/proc/sys/net/bridge/bridge-nf-call-iptables")).exists():
        file.write_text("1")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _listens(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
