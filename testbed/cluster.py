"""The embedded cluster: etcd and the real Kubernetes control plane on 127.0.0.1, with nodes of one of two kinds.

    cluster = EmbeddedCluster(Path(".testbed"), ensure_tools())
    cluster.start()          # blocks until the nodes are Ready
    cluster.kubeconfig       # for kubectl, Pulumi, a client
    cluster.stop()           # keeps the data
    cluster.delete()

Simulated nodes (kwok) need no root and no container runtime. Nodes that run containers live in namespaces of their
own (`testbed.containers.machine`). The state folder holds everything: certificates, data, logs, ports.
"""

import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import psutil
import yaml

from testbed.containers.images import machine_images
from testbed.containers.machine import ALL_NODES, Machine, MachineError
from testbed.locking import exclusive
from testbed.pki import ADMIN, CLIENTS, CONTROLLER_MANAGER, KWOK, SCHEDULER, Pki, ensure_pki, write_private
from testbed.processes import ProcessFolder, listener
from testbed.toolchain.install import KUBERNETES_VERSION, NODE_TOOLS, TOOLS, Tool, Tools

NodeKind = Literal["simulated", "containerd"]

NODES = 4
"""How many simulated nodes a new cluster gets."""

NODE_PORTS = (31935, 30080)
"""The node ports of the dev stack: on nodes that run containers they are listened on on this machine's 127.0.0.1."""

_FOLDER = Path(__file__).parent
_START_SECONDS = 120.0
"""How long a component may take to say that it is ready; it takes 5 s on an idle machine, but builds may be running."""


class ClusterError(Exception):
    """The cluster cannot be started, stopped or deleted; the message says what stands in the way."""


_HEALTH = {
    "etcd": "/readyz",
    "kube-apiserver": "/readyz",
    "kube-controller-manager": "/healthz",
    "kube-scheduler": "/readyz",
    "kwok": "/healthz",
}
"""The control plane in the order of its start, and where each component says that it is ready."""

_MACHINE = ("machine", "forward")
"""What nodes that run containers need besides, in the order of its start."""

_COMPONENTS = (*_HEALTH, *_MACHINE)

_PORTS = (*_HEALTH, "etcd-peer")


def tools_for(kind: NodeKind) -> tuple[Tool, ...]:
    """The tools that a cluster with nodes of this kind needs."""
    return TOOLS + NODE_TOOLS if kind == "containerd" else TOOLS


@dataclass(frozen=True)
class ComponentStatus:
    """What `status` tells of a component; `state` is one of ready, not ready, stopped."""

    name: str
    pid: int | None
    port: int | None
    state: str
    log: Path


class EmbeddedCluster:
    """One cluster, which lives in the folder `state`; `say` gets what a person who waits wants to read.

    Without `tools` it can be looked at, stopped and deleted, but not started. `node_ports`: ports of this machine
    that lead to node ports of nodes that run containers; by default NODE_PORTS, the same here as there.
    """

    def __init__(
        self,
        state: Path,
        tools: Tools | None = None,
        say: Callable[[str], None] = print,
        node_ports: Mapping[int, int] | None = None,
    ) -> None:
        self.state = state.resolve()
        self._tools = tools
        self._say = say
        self._node_ports = {port: port for port in NODE_PORTS} if node_ports is None else node_ports
        self._processes = ProcessFolder(self.state / "pids.json", self.state / "logs")

    @property
    def tools(self) -> Tools:
        """The tools that the cluster was made with."""
        if self._tools is None:
            raise ValueError("this cluster was made without tools, which it needs to be started")
        return self._tools

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; its context is `testbed`."""
        return self.state / "kubeconfig"

    @property
    def kind(self) -> NodeKind:
        """The kind of nodes; it is chosen when the cluster is new, and stays."""
        file = self.state / "nodes"
        return "containerd" if file.exists() and file.read_text().strip() == "containerd" else "simulated"

    @property
    def machine(self) -> Machine:
        """The machine of nodes that run containers."""
        return Machine(self.state / "machine", self._tools, Pki(self.state / "certs"), self.state / "config")

    @property
    def machine_pid(self) -> int:
        """The process that the machine was started as. Raises ClusterError if it does not run."""
        process = self._processes.find("machine")
        if process is None:
            raise ClusterError(f"the machine of the nodes does not run. {self._last_words('machine')}")
        return process.pid

    def start(self, nodes: int | None = None, kind: NodeKind | None = None) -> bool:
        """Start whatever does not run and wait until the nodes are Ready; False if all was running already.

        `nodes` makes the cluster have that many simulated nodes; None keeps those it has (a new cluster: NODES).
        `kind` is the kind of nodes that a new cluster gets (None: simulated ones), and must be its own of one that
        is there.

        Raises:
            ClusterError: a port is taken, a component ended or did not get ready in time, the cluster has nodes of
                the other kind, or nodes that run containers cannot be had on this machine.
        """
        tools = self.tools
        with self._lock():
            began = time.monotonic()
            self.state.chmod(0o700)
            self._choose(kind)
            ports = self._ports()
            pki = ensure_pki(self.state / "certs")
            self._write_configs(pki, ports)
            commands = self._commands(tools, pki, ports)
            wanted = _COMPONENTS if self.kind == "containerd" else tuple(_HEALTH)
            missing = [name for name in wanted if self._processes.find(name) is None]
            if missing:
                self._check_ports(missing, ports)
                self._say(f"starting {', '.join(missing)}")
            store, server, *others = _HEALTH
            self._bring_up([store], commands, pki, ports)
            self._bring_up([server], commands, pki, ports)
            self._make_objects(tools.binaries["kubectl"])
            changed = self.kind == "simulated" and self._make_nodes(nodes)
            self._bring_up(others, commands, pki, ports)
            if self.kind == "containerd":
                self._bring_up_machine(tools, pki, ports)
            self._wait_for_nodes()
            if not missing and not changed:
                self._say(f"already running: {self._address(ports)}")
                return False
            self._say(f"ready in {time.monotonic() - began:.1f} s: {self._address(ports)}")
            return True

    def stop(self) -> bool:
        """End the cluster's processes and keep its data; False if none was running."""
        if not self.state.exists():
            return False
        with self._lock():
            return self._stop()

    def delete(self) -> bool:
        """Stop the cluster and remove its state folder, Pulumi stacks and all; False if there was none.

        Raises:
            ClusterError: the folder holds something, but not a cluster.
        """
        if not self.state.exists():
            return False
        if any(self.state.iterdir()) and not (self.state / "ports.json").exists():
            raise ClusterError(
                f"{self.state} is not a cluster's state folder (no ports.json in it); nothing was removed"
            )
        with self._lock():
            self._stop()
            shutil.rmtree(self.state)
        return True

    def status(self) -> list[ComponentStatus]:
        """Each component's process, port and state, in the order of their start."""
        try:
            ports: dict[str, int] = json.loads((self.state / "ports.json").read_text())
        except FileNotFoundError:
            ports = {}
        pki = Pki(self.state / "certs")
        statuses = []
        for name in _COMPONENTS if self.kind == "containerd" else _HEALTH:
            process = self._processes.find(name)
            state = "stopped"
            if process is not None:
                state = "ready" if self._is_ready(name, pki, ports) else "not ready"
            pid = process.pid if process else None
            statuses.append(ComponentStatus(name, pid, ports.get(name), state, self._processes.log(name)))
        return statuses

    def _lock(self) -> Any:
        return exclusive(self.state / "lock", self._say)

    def _stop(self) -> bool:
        # Against the order of the start: nobody is left talking to a component that is gone.
        running = [name for name in reversed(_COMPONENTS) if self._processes.find(name) is not None]
        if running:
            self._say(f"stopping {', '.join(running)}")
        for name in running:
            self._processes.stop(name)
        if self.kind == "containerd":
            self.machine.clean_up()
        return bool(running)

    def _choose(self, kind: NodeKind | None) -> None:
        file = self.state / "nodes"
        new = not (self.state / "ports.json").exists()
        if new:
            file.write_text(f"{kind or get_args(NodeKind)[0]}\n")
        elif kind is not None and kind != self.kind:
            raise ClusterError(
                f"this cluster has {self.kind} nodes, and a cluster keeps its kind; remove it first (`make down`)"
            )

    def _ports(self) -> dict[str, int]:
        """The ports of this cluster, chosen once: its address is in kubeconfigs and in Pulumi's state."""
        file = self.state / "ports.json"
        if not file.exists():
            scratch = file.with_suffix(".new")
            scratch.write_text(json.dumps(dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True)), indent=2) + "\n")
            scratch.replace(file)
        ports: dict[str, int] = json.loads(file.read_text())
        return ports

    def _address(self, ports: Mapping[str, int]) -> str:
        return f"https://127.0.0.1:{ports['kube-apiserver']}, kubeconfig {self.kubeconfig}"

    def _check_ports(self, missing: list[str], ports: Mapping[str, int]) -> None:
        wanted = [*missing, "etcd-peer"] if "etcd" in missing else missing
        needed = {name: ports[name] for name in wanted if name in ports}
        if "forward" in missing:
            needed |= {f"node port {node_port}": port for port, node_port in self._node_ports.items()}
        taken = [f"{port} ({name}) by {listener(port)}" for name, port in needed.items() if not _is_free(port)]
        if taken:
            raise ClusterError(
                f"ports of this cluster are taken: {'; '.join(taken)}. End that process, "
                f"or delete the cluster ({self.state}) to get new ports"
            )

    def _write_configs(self, pki: Pki, ports: Mapping[str, int]) -> None:
        server = f"https://127.0.0.1:{ports['kube-apiserver']}"
        folder = self.state / "config"
        folder.mkdir(exist_ok=True)
        for client in CLIENTS:
            target = self.kubeconfig if client is ADMIN else folder / f"{client.name}.kubeconfig"
            write_private(target, pki.kubeconfig(client, server).encode())
        scheduler = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {
                "kubeconfig": str(folder / f"{SCHEDULER.name}.kubeconfig"),
                "qps": 500,
                "burst": 1000,
            },
            "leaderElection": {"leaderElect": False},
        }
        (folder / "scheduler.yaml").write_text(yaml.safe_dump(scheduler))

    def _commands(self, tools: Tools, pki: Pki, ports: Mapping[str, int]) -> dict[str, list[str]]:
        """How each component is started."""
        config = self.state / "config"
        serving = [f"--tls-cert-file={pki.crt('server')}", f"--tls-private-key-file={pki.key('server')}"]
        store = f"https://127.0.0.1:{ports['etcd']}"
        peer = f"https://127.0.0.1:{ports['etcd-peer']}"

        def on_loopback(name: str) -> list[str]:
            return ["--bind-address=127.0.0.1", f"--secure-port={ports[name]}", *serving]

        flags = {
            "etcd": [
                "--name=testbed",
                f"--data-dir={self.state / 'etcd'}",
                f"--listen-client-urls={store}",
                f"--advertise-client-urls={store}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=testbed={peer}",
                f"--cert-file={pki.crt('etcd')}",
                f"--key-file={pki.key('etcd')}",
                f"--trusted-ca-file={pki.crt('etcd-ca')}",
                "--client-cert-auth",
                f"--peer-cert-file={pki.crt('etcd')}",
                f"--peer-key-file={pki.key('etcd')}",
                f"--peer-trusted-ca-file={pki.crt('etcd-ca')}",
                "--peer-client-cert-auth",
                # A test cluster's data need not survive a power cut, and fsync is most of a write's time.
                "--unsafe-no-fsync",
                "--auto-compaction-mode=periodic",
                "--auto-compaction-retention=5m",
                "--log-level=warn",
            ],
            "kube-apiserver": [
                *on_loopback("kube-apiserver"),
                # The Service `kubernetes` would get the advertised address as its endpoint, and refuses a loopback one.
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                f"--etcd-servers={store}",
                f"--etcd-cafile={pki.crt('etcd-ca')}",
                f"--etcd-certfile={pki.crt('etcd-client')}",
                f"--etcd-keyfile={pki.key('etcd-client')}",
                f"--client-ca-file={pki.crt('ca')}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={pki.service_account_public_key}",
                f"--service-account-signing-key-file={pki.key('service-account')}",
                "--service-cluster-ip-range=10.96.0.0/16",
                # Else it waits 70 s at its end for load balancers to notice; there are none.
                "--shutdown-delay-duration=0s",
                *self._towards_kubelets(pki),
                "--profiling=false",
            ],
            "kube-controller-manager": [
                *on_loopback("kube-controller-manager"),
                f"--kubeconfig={config / CONTROLLER_MANAGER.name}.kubeconfig",
                "--leader-elect=false",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={pki.key('service-account')}",
                f"--root-ca-file={pki.crt('ca')}",
                f"--cluster-signing-cert-file={pki.crt('ca')}",
                f"--cluster-signing-key-file={pki.key('ca')}",
                "--allocate-node-cidrs=true",
                "--cluster-cidr=10.244.0.0/16",
                "--service-cluster-ip-range=10.96.0.0/16",
                # The defaults (20 and 30 requests a second) make a hundred pods a matter of half a minute.
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                # A namespace goes after half the grace of its pods, hours here, or at one of these looks (by default
                # every 5 minutes), even if its pods have gone sooner.
                "--namespace-sync-period=5s",
                # A node that gets Ready loses its taint at the next look.
                "--node-monitor-period=1s",
                "--profiling=false",
            ],
            "kube-scheduler": [
                *on_loopback("kube-scheduler"),
                f"--config={config / 'scheduler.yaml'}",
                "--profiling=false",
            ],
            "kwok": [
                f"--kubeconfig={config / KWOK.name}.kubeconfig",
                f"--server-address=127.0.0.1:{ports['kwok']}",
                *serving,
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                # Else it writes a line for every sign of life of every node.
                "--v=WARN",
                # No leases: a kwok that starts anew would leave its predecessor's nodes alone until they run out.
                "--node-lease-duration-seconds=0",
                *[f"--config={file}" for file in sorted((_FOLDER / "nodes").glob("*.yaml"))],
            ],
        }
        return {name: [str(tools.binaries[name]), *flags[name]] for name in _HEALTH}

    def _bring_up(
        self, names: list[str], commands: Mapping[str, list[str]], pki: Pki, ports: Mapping[str, int]
    ) -> None:
        """Start those of the components that do not run, side by side, and wait until each is ready."""
        environment = {
            "PATH": os.defpath,
            "HOME": str(self.state),
            # Else kwok also reads a configuration that the user may have for a kwok of his own.
            "KWOK_WORKDIR": str(self.state / "kwok"),
        }
        for name in names:
            if self._processes.find(name) is None:
                self._processes.start(name, commands[name], env=environment, cwd=self.state)
        for name in names:
            self._wait_for(name, lambda name=name: self._is_ready(name, pki, ports))

    def _bring_up_machine(self, tools: Tools, pki: Pki, ports: Mapping[str, int]) -> None:
        """Start the machine, give it its images, connect it with this one, and wait until all of it is ready."""
        machine = self.machine
        environment = {**os.environ, "PYTHONPATH": str(_FOLDER.parent)}
        try:
            if self._processes.find("machine") is None:
                self._processes.stop("forward")  # it led into a machine that is gone
                machine.clean_up()
                machine.prepare(ports["kube-apiserver"])
                self._processes.start("machine", machine.command(), env=environment, cwd=self.state)
                images = machine_images(tools, self.state / "images", self._say)
                for node in ALL_NODES:
                    self._wait_for("machine", lambda node=node: _answers_at(machine.containerd_socket(node)))
                    for image in images:
                        machine.import_image(node, image)
                (machine.folder / "images-are-in").touch()
            if self._processes.find("forward") is None:
                self._forwards.unlink(missing_ok=True)
                command = [sys.executable, "-m", "testbed.containers.forward", str(machine.init(self.machine_pid).pid)]
                command += [str(ports["kube-apiserver"]), str(self._egress), str(self._forwards)]
                command += [f"{port}:{node_port}" for port, node_port in self._node_ports.items()]
                self._processes.start("forward", command, env=environment, cwd=self.state)
        except (MachineError, psutil.NoSuchProcess) as problem:
            raise ClusterError(f"{problem}\n{self._last_words('machine')}") from None
        for name in _MACHINE[::-1]:
            self._wait_for(name, lambda name=name: self._is_ready(name, pki, ports))

    @property
    def _egress(self) -> Path:
        """The socket through which the API server reaches kubelets."""
        return self.state / "egress.sock"

    @property
    def _forwards(self) -> Path:
        return self.state / "forward.ready"

    def _towards_kubelets(self, pki: Pki) -> list[str]:
        """Flags of the API server for nodes that have kubelets."""
        if self.kind != "containerd":
            return []
        selection = {
            "name": "cluster",
            "connection": {
                "proxyProtocol": "HTTPConnect",
                "transport": {"uds": {"udsName": str(self._egress)}},
            },
        }
        file = self.state / "config" / "egress.yaml"
        content = {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [selection],
        }
        file.write_text(yaml.safe_dump(content))
        return [
            f"--egress-selector-config-file={file}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={pki.crt(ADMIN.name)}",
            f"--kubelet-client-key={pki.key(ADMIN.name)}",
        ]

    def _is_ready(self, name: str, pki: Pki, ports: Mapping[str, int]) -> bool:
        if name in _MACHINE:
            return (self.machine.ready if name == "machine" else self._forwards).exists()
        return _is_ready(name, pki, ports)

    def _wait_for(self, name: str, holds: Callable[[], bool]) -> None:
        """Wait until a component is as it should be. Raises ClusterError if it ends instead, or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not holds():
            problem = None
            if self._processes.find(name) is None:
                problem = "ended"
            elif time.monotonic() > deadline:
                problem = f"is not ready after {_START_SECONDS:.0f} s"
            if problem:
                raise ClusterError(f"{name} {problem}. {self._last_words(name)}")
            time.sleep(0.1)

    def _last_words(self, name: str) -> str:
        return f"The end of its log ({self._processes.log(name)}):\n{self._processes.last_lines(name)}"

    def _make_objects(self, kubectl: Path) -> None:
        """Create what the testbed itself needs in the cluster, or bring it up to date."""
        command = [
            str(kubectl),
            f"--kubeconfig={self.kubeconfig}",
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=testbed",
            f"--filename={_FOLDER / 'manifests'}",
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ClusterError(f"the testbed's own objects cannot be made: {result.stderr.strip()}")

    def _make_nodes(self, count: int | None) -> bool:
        """Have `count` nodes (None: at least one, NODES at first); whether anything had to be changed."""
        core = self._core()
        names = {node.metadata.name for node in core.list_node(label_selector="type=kwok").items}
        if count is None and names:
            return False
        wanted = {f"node-{number}": number for number in range(1, (NODES if count is None else count) + 1)}
        for name, number in wanted.items():
            if name not in names:
                core.create_node(_node(name, number))
        for name in names - wanted.keys():
            core.delete_node(name)
        return names != wanted.keys()

    def _wait_for_nodes(self) -> None:
        core = self._core()
        deadline = time.monotonic() + _START_SECONDS
        while True:
            nodes = core.list_node().items
            waiting = [node.metadata.name for node in nodes if not _usable(node)]
            if self.kind == "containerd":  # they come by themselves
                waiting += sorted({node.name for node in ALL_NODES} - {node.metadata.name for node in nodes})
            if not waiting:
                return
            if time.monotonic() > deadline:
                keeper = "machine" if self.kind == "containerd" else "kwok"
                raise ClusterError(
                    f"nodes are not ready after {_START_SECONDS:.0f} s: {', '.join(waiting)}. "
                    f"{self._last_words(keeper)}"
                )
            time.sleep(0.2)

    def _core(self) -> Any:
        # Here, because the import takes half a second, which `status` or `testbed env` should not.
        import kubernetes

        return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(self.kubeconfig)))


def _node(name: str, number: int) -> dict[str, Any]:
    """A simulated node: big enough that no test is about its size, in one of two zones in turn."""
    resources = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "250"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "type": "kwok",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/region": "testbed",
                "topology.kubernetes.io/zone": "testbed-a" if number % 2 else "testbed-b",
            },
        },
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": f"10.0.{number // 250}.{number % 250 + 1}"},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "operatingSystem": "linux",
                "kubeletVersion": KUBERNETES_VERSION,
                "kubeProxyVersion": "",
                "containerRuntimeVersion": "containerd://simulated",
                "osImage": "simulated by kwok",
                "kernelVersion": "simulated",
                "bootID": "",
                "machineID": "",
                "systemUUID": "",
            },
        },
    }


def _usable(node: Any) -> bool:
    """Whether pods would be scheduled on the node now: Ready, and the taint of its first moments taken off."""
    if node.metadata.deletion_timestamp is not None:
        return True
    conditions: list[Any] = node.status.conditions or []
    taints: list[Any] = node.spec.taints or []
    ready = any(each.type == "Ready" and each.status == "True" for each in conditions)
    return ready and not any(taint.key.startswith("node.kubernetes.io/") for taint in taints)


def _is_ready(name: str, pki: Pki, ports: Mapping[str, int]) -> bool:
    """Whether a component answers now, and says that it is well."""
    etcd = name == "etcd"
    context = ssl.create_default_context(cafile=pki.crt("etcd-ca" if etcd else "ca"))
    if etcd:
        # The others tell their health to everybody; etcd, nothing to anyone without a certificate of its authority.
        context.load_cert_chain(pki.crt("etcd-client"), pki.key("etcd-client"))
    url = f"https://127.0.0.1:{ports[name]}{_HEALTH[name]}"
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _answers_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count: int, among: range = range(16000, 30000)) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses. Raises ClusterError if there are not so many.

    Those of a cluster are below the range from which systems take ports for outgoing connections (32768 on Linux,
    49152 on macOS): a kept port from that range would sooner or later be somebody's while the cluster is stopped.
    """
    free: list[int] = []
    candidates = list(among)
    random.shuffle(candidates)
    for port in candidates:
        if _is_free(port):
            free.append(port)
        if len(free) == count:
            return free
    raise ClusterError(f"no free ports between {among.start} and {among.stop} on 127.0.0.1")
