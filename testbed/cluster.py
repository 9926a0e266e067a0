"""The life cycle of the embedded cluster: etcd and the real Kubernetes control plane on 127.0.0.1, and nodes.

    cluster = EmbeddedCluster(Path(".testbed"), ensure_tools())
    cluster.start()          # blocks until the nodes are Ready
    cluster.kubeconfig       # for kubectl, Pulumi, a client
    cluster.stop()           # keeps the data
    cluster.delete()

Simulated nodes (kwok) need no root and no container runtime. Nodes that run containers are in namespaces of their own
(`testbed.containers.machine`). The state folder contains everything: certificates, data, logs, ports.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from testbed.containers.images import machine_images
from testbed.containers.machine import ALL_NODES, Machine, MachineError
from testbed.control_plane import HEALTH_CHECKS, PORTS, ControlPlane, command, is_ready, write_configs
from testbed.locking import exclusive
from testbed.pki import Pki, ensure_pki
from testbed.ports import free_ports, ports_in_use
from testbed.processes import ProcessFolder
from testbed.simulated_nodes import ensure_nodes
from testbed.toolchain.catalog import NODE_TOOLS, TOOLS, Tool
from testbed.toolchain.install import Tools

NodeKind = Literal["simulated", "containerd"]

NODE_PORTS = (31935, 30080)
"""The node ports of the dev stack; with nodes that run containers, 127.0.0.1 of this machine listens on them."""

_FOLDER = Path(__file__).parent
_START_SECONDS = 120.0
"""How long a component may take to become ready: 5 s on an idle machine, but builds may be running."""

_MACHINE = ("machine", "forward")
"""The additional processes of nodes that run containers, in the order in which they are started."""


class ClusterError(Exception):
    """The cluster cannot be started, stopped or deleted; the message says why."""


def tools_for(kind: NodeKind) -> tuple[Tool, ...]:
    """The tools that a cluster with nodes of this kind needs."""
    return TOOLS + NODE_TOOLS if kind == "containerd" else TOOLS


@dataclass(frozen=True)
class ComponentStatus:
    """The status of a component; `state` is ready, not ready or stopped."""

    name: str
    pid: int | None
    port: int | None
    state: str
    log: Path


class EmbeddedCluster:
    """One cluster in the folder `state`; `report` receives lines about its progress.

    Without `tools` it can be inspected, stopped and deleted, but not started. `node_ports`: ports of this machine that
    are forwarded to node ports of nodes that run containers; by default NODE_PORTS to themselves.
    """

    def __init__(
        self,
        state: Path,
        tools: Tools | None = None,
        report: Callable[[str], None] = print,
        node_ports: Mapping[int, int] | None = None,
    ) -> None:
        self.state = state.resolve()
        self._tools = tools
        self._report = report
        self.node_ports = {port: port for port in NODE_PORTS} if node_ports is None else node_ports
        self._processes = ProcessFolder(self.state / "pids.json", self.state / "logs")

    @property
    def tools(self) -> Tools:
        """The tools of the cluster. Raises ValueError if it has none."""
        if self._tools is None:
            raise ValueError("this EmbeddedCluster has no tools, which it needs to be started")
        return self._tools

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; its context is `testbed`."""
        return self.state / "kubeconfig"

    @property
    def kind(self) -> NodeKind:
        """The kind of its nodes, chosen when the cluster is created."""
        file = self.state / "nodes"
        return "containerd" if file.exists() and file.read_text().strip() == "containerd" else "simulated"

    @property
    def machine(self) -> Machine:
        """The machine of nodes that run containers."""
        return Machine(self.state / "machine", self._tools, Pki(self.state / "certs"), self.state / "config")

    @property
    def machine_pid(self) -> int:
        """The process that started the machine. Raises ClusterError if it does not run."""
        process = self._processes.find("machine")
        if process is None:
            raise ClusterError(f"the machine of the nodes does not run. {self._log_tail('machine')}")
        return process.pid

    def start(self, nodes: int | None = None, kind: NodeKind | None = None) -> bool:
        """Start every component that does not run, and wait until the nodes are Ready; False if all were running.

        nodes: the number of simulated nodes; None keeps it (a new cluster: `testbed.simulated_nodes.NODES`).
        kind: the kind of nodes of a new cluster (None: simulated); an existing cluster must have the same kind.

        Raises:
            ClusterError: a port is in use, a component ended or did not become ready in time, the cluster has nodes
                of the other kind, or this machine cannot run nodes that run containers.
        """
        tools = self.tools
        with self._lock():
            began = time.monotonic()
            self.state.chmod(0o700)
            self._choose_kind(kind)
            self._choose_ports()
            ensure_pki(self.state / "certs")
            plane = self._control_plane()
            write_configs(plane)
            missing = [name for name in self._components() if self._processes.find(name) is None]
            if missing:
                self._check_ports(missing, plane.ports)
                self._report(f"starting {', '.join(missing)}")
            store, server, *others = HEALTH_CHECKS
            self._start_components([store], tools, plane)
            self._start_components([server], tools, plane)
            self._apply_manifests(tools.binaries["kubectl"])
            changed = self.kind == "simulated" and ensure_nodes(self._core(), nodes)
            self._start_components(others, tools, plane)
            if self.kind == "containerd":
                self._start_machine(tools, plane)
            self._wait_for_nodes()
            address = f"{plane.server}, kubeconfig {self.kubeconfig}"
            if not missing and not changed:
                self._report(f"already running: {address}")
                return False
            self._report(f"ready in {time.monotonic() - began:.1f} s: {address}")
            return True

    def stop(self) -> bool:
        """End the cluster's processes and keep its data; False if none was running."""
        if not self.state.exists():
            return False
        with self._lock():
            return self._stop()

    def delete(self) -> bool:
        """Stop the cluster and remove its state folder, Pulumi stacks included; False if there was none.

        Raises:
            ClusterError: the folder contains files, but no cluster.
        """
        if not self.state.exists():
            return False
        if any(self.state.iterdir()) and not self._ports_file.exists():
            raise ClusterError(
                f"{self.state} is not a cluster's state folder (no ports.json in it); nothing was removed"
            )
        with self._lock():
            self._stop()
            shutil.rmtree(self.state)
        return True

    def status(self) -> list[ComponentStatus]:
        """The process, port and state of each component, in the order in which they are started."""
        plane = self._control_plane()
        statuses: list[ComponentStatus] = []
        for name in self._components():
            process = self._processes.find(name)
            state = "stopped" if process is None else "ready" if self._is_ready(name, plane) else "not ready"
            pid = process.pid if process else None
            statuses.append(ComponentStatus(name, pid, plane.ports.get(name), state, self._processes.log(name)))
        return statuses

    def _components(self) -> tuple[str, ...]:
        """The components of this cluster, in the order in which they are started."""
        return (*HEALTH_CHECKS, *_MACHINE) if self.kind == "containerd" else tuple(HEALTH_CHECKS)

    def _control_plane(self) -> ControlPlane:
        ports: dict[str, int] = json.loads(self._ports_file.read_text()) if self._ports_file.exists() else {}
        return ControlPlane(self.state, Pki(self.state / "certs"), ports)

    @property
    def _ports_file(self) -> Path:
        return self.state / "ports.json"

    @property
    def _forward_ready(self) -> Path:
        """A file that exists while `forward` forwards."""
        return self.state / "forward.ready"

    def _lock(self) -> Any:
        return exclusive(self.state / "lock", self._report)

    def _stop(self) -> bool:
        # In the reverse order of the start, so that no component loses one that it still uses.
        running = [name for name in reversed(self._components()) if self._processes.find(name) is not None]
        if running:
            self._report(f"stopping {', '.join(running)}")
        for name in running:
            self._processes.stop(name)
        if self.kind == "containerd":
            self.machine.clean_up()
        return bool(running)

    def _choose_kind(self, kind: NodeKind | None) -> None:
        if not self._ports_file.exists():
            (self.state / "nodes").write_text(f"{kind or get_args(NodeKind)[0]}\n")
        elif kind is not None and kind != self.kind:
            raise ClusterError(
                f"this cluster has {self.kind} nodes, and a cluster keeps its kind; delete it first (`make down`)"
            )

    def _choose_ports(self) -> None:
        """Choose the ports of a new cluster; it keeps them: its address is in kubeconfigs and in Pulumi's state."""
        if not self._ports_file.exists():
            scratch = self._ports_file.with_suffix(".new")
            scratch.write_text(json.dumps(dict(zip(PORTS, free_ports(len(PORTS)), strict=True)), indent=2) + "\n")
            scratch.replace(self._ports_file)

    def _check_ports(self, missing: list[str], ports: Mapping[str, int]) -> None:
        names = [*missing, "etcd-peer"] if "etcd" in missing else missing
        needed = {name: ports[name] for name in names if name in ports}
        if "forward" in missing:
            needed |= {f"node port {node_port}": port for port, node_port in self.node_ports.items()}
        if used := ports_in_use(needed):
            raise ClusterError(
                f"ports of this cluster are in use: {'; '.join(used)}. End that process, "
                f"or delete the cluster ({self.state}) to get new ports"
            )

    def _start_components(self, names: Iterable[str], tools: Tools, plane: ControlPlane) -> None:
        """Start those components that do not run, in parallel, and wait until all are ready."""
        environment = {
            "PATH": os.defpath,
            "HOME": str(self.state),
            # By default kwok also reads the configuration of the user's own kwok.
            "KWOK_WORKDIR": str(self.state / "kwok"),
        }
        for name in names:
            if self._processes.find(name) is None:
                self._processes.start(name, command(name, plane, tools.binaries), env=environment, cwd=self.state)
        for name in names:
            self._wait_for(name, lambda name=name: is_ready(name, plane))

    def _start_machine(self, tools: Tools, plane: ControlPlane) -> None:
        """Start the machine, import its images, forward ports to it, and wait until all of it is ready."""
        machine = self.machine
        environment = {**os.environ, "PYTHONPATH": str(_FOLDER.parent)}
        port = plane.ports["kube-apiserver"]
        try:
            if self._processes.find("machine") is None:
                self._processes.stop("forward")  # it belongs to a machine that has ended
                machine.clean_up()
                machine.prepare(port)
                self._processes.start("machine", machine.command(), env=environment, cwd=self.state)
                images = machine_images(tools, self.state / "images", self._report)
                for node in ALL_NODES:
                    self._wait_for("machine", lambda node=node: _accepts(machine.containerd_socket(node)))
                    for image in images:
                        machine.import_image(node, image)
                machine.images_imported.touch()
            if self._processes.find("forward") is None:
                self._forward_ready.unlink(missing_ok=True)
                forward = [sys.executable, "-m", "testbed.containers.forward", str(machine.init(self.machine_pid).pid)]
                forward += [str(port), str(plane.egress_socket), str(self._forward_ready)]
                forward += [f"{port}:{node_port}" for port, node_port in self.node_ports.items()]
                self._processes.start("forward", forward, env=environment, cwd=self.state)
        except (MachineError, psutil.NoSuchProcess) as error:
            raise ClusterError(f"{error}\n{self._log_tail('machine')}") from None
        for name in reversed(_MACHINE):
            self._wait_for(name, lambda name=name: self._is_ready(name, plane))

    def _is_ready(self, name: str, plane: ControlPlane) -> bool:
        if name in _MACHINE:
            return (self.machine.ready if name == "machine" else self._forward_ready).exists()
        return is_ready(name, plane)

    def _wait_for(self, name: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition of a component. Raises ClusterError if the component ends or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            problem = None
            if self._processes.find(name) is None:
                problem = "ended"
            elif time.monotonic() > deadline:
                problem = f"is not ready after {_START_SECONDS:.0f} s"
            if problem:
                raise ClusterError(f"{name} {problem}. {self._log_tail(name)}")
            time.sleep(0.1)

    def _log_tail(self, name: str) -> str:
        return f"The end of its log ({self._processes.log(name)}):\n{self._processes.log_tail(name)}"

    def _apply_manifests(self, kubectl: Path) -> None:
        """Create or update the objects that the testbed itself needs in the cluster."""
        apply = [
            str(kubectl),
            f"--kubeconfig={self.kubeconfig}",
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=testbed",
            f"--filename={_FOLDER / 'manifests'}",
        ]
        result = subprocess.run(apply, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ClusterError(f"the testbed's own objects cannot be applied: {result.stderr.strip()}")

    def _wait_for_nodes(self) -> None:
        core = self._core()
        deadline = time.monotonic() + _START_SECONDS
        while True:
            nodes = core.list_node().items
            pending = [node.metadata.name for node in nodes if not _is_usable(node)]
            if self.kind == "containerd":  # kubelets create their nodes
                pending += sorted({node.name for node in ALL_NODES} - {node.metadata.name for node in nodes})
            if not pending:
                return
            if time.monotonic() > deadline:
                log_tail = self._log_tail("machine" if self.kind == "containerd" else "kwok")
                raise ClusterError(
                    f"nodes are not ready after {_START_SECONDS:.0f} s: {', '.join(pending)}. {log_tail}"
                )
            time.sleep(0.2)

    def _core(self) -> Any:
        # Here, because the import takes half a second, which `status` and `testbed env` should not.
        import kubernetes

        return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(self.kubeconfig)))


def _is_usable(node: Any) -> bool:
    """Whether pods are scheduled on the node: Ready and without the taints of a new node. Deleted ones do not count."""
    if node.metadata.deletion_timestamp is not None:
        return True
    conditions: list[Any] = node.status.conditions or []
    taints: list[Any] = node.spec.taints or []
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
    return ready and not any(taint.key.startswith("node.kubernetes.io/") for taint in taints)


def _accepts(path: Path) -> bool:
    """Whether a process accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
