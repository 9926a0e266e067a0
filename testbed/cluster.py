"""The embedded cluster: etcd, the real Kubernetes control plane, and kwok for the nodes; all on 127.0.0.1.

    cluster = EmbeddedCluster(Path(".testbed"), ensure_tools())
    cluster.start()          # blocks until the nodes are Ready
    cluster.kubeconfig       # for kubectl, Pulumi, a client
    cluster.stop()           # keeps the data
    cluster.delete()

It needs no root and no container runtime. Its state folder holds everything: certificates, data, logs, ports.
"""

import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed.locking import exclusive
from testbed.pki import ADMIN, CLIENTS, CONTROLLER_MANAGER, KWOK, SCHEDULER, Pki, ensure_pki, write_private
from testbed.processes import ProcessFolder, listener
from testbed.tools import KUBERNETES_VERSION, Tools

NODES = 4
"""How many nodes a new cluster gets."""

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
"""The components in the order of their start, and where each says that it is ready."""

_PORTS = (*_HEALTH, "etcd-peer")


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

    Without `tools` it can be looked at, stopped and deleted, but not started.
    """

    def __init__(self, state: Path, tools: Tools | None = None, say: Callable[[str], None] = print) -> None:
        self.state = state.resolve()
        self._tools = tools
        self._say = say
        self._processes = ProcessFolder(self.state / "pids.json", self.state / "logs")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; its context is `testbed`."""
        return self.state / "kubeconfig"

    def start(self, nodes: int | None = None) -> bool:
        """Start whatever does not run and wait until the nodes are Ready; False if all was running already.

        `nodes` makes the cluster have that many simulated nodes; None keeps those it has (a new cluster: NODES).

        Raises:
            ClusterError: a port is taken, or a component ended or did not get ready in time.
        """
        tools = self._tools
        if tools is None:
            raise ValueError("this cluster was made without tools, which it needs to be started")
        with self._lock():
            began = time.monotonic()
            self.state.chmod(0o700)
            ports = self._ports()
            pki = ensure_pki(self.state / "certs")
            self._write_configs(pki, ports)
            commands = self._commands(tools, pki, ports)
            missing = [name for name in _HEALTH if self._processes.find(name) is None]
            if missing:
                self._check_ports(missing, ports)
                self._say(f"starting {', '.join(missing)}")
            store, server, *others = _HEALTH
            self._bring_up([store], commands, pki, ports)
            self._bring_up([server], commands, pki, ports)
            self._make_objects(tools.binaries["kubectl"])
            changed = self._make_nodes(nodes)
            self._bring_up(others, commands, pki, ports)
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
        for name in _HEALTH:
            process = self._processes.find(name)
            state = "stopped"
            if process is not None:
                state = "ready" if _is_ready(name, pki, ports) else "not ready"
            pid = process.pid if process else None
            statuses.append(ComponentStatus(name, pid, ports.get(name), state, self._processes.log(name)))
        return statuses

    def _lock(self) -> Any:
        return exclusive(self.state / "lock", self._say)

    def _stop(self) -> bool:
        # Against the order of the start: nobody is left talking to a component that is gone.
        running = [name for name in reversed(_HEALTH) if self._processes.find(name) is not None]
        if running:
            self._say(f"stopping {', '.join(running)}")
        for name in running:
            self._processes.stop(name)
        return bool(running)

    def _ports(self) -> dict[str, int]:
        """The ports of this cluster, chosen once: its address is in kubeconfigs and in Pulumi's state."""
        file = self.state / "ports.json"
        if not file.exists():
            scratch = file.with_suffix(".new")
            scratch.write_text(json.dumps(dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True)), indent=2) + "\n")
            scratch.replace(file)
        ports: dict[str, int] = json.loads(file.read_text())
        return ports

    def _address(self, ports: Mapping[str, int]) -> str:
        return f"https://127.0.0.1:{ports['kube-apiserver']}, kubeconfig {self.kubeconfig}"

    def _check_ports(self, missing: list[str], ports: Mapping[str, int]) -> None:
        wanted = [*missing, "etcd-peer"] if "etcd" in missing else missing
        taken = [f"{ports[name]} ({name}) by {listener(ports[name])}" for name in wanted if not _is_free(ports[name])]
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
        deadline = time.monotonic() + _START_SECONDS
        for name in names:
            while not _is_ready(name, pki, ports):
                problem = None
                if self._processes.find(name) is None:
                    problem = "ended"
                elif time.monotonic() > deadline:
                    problem = f"is not ready after {_START_SECONDS:.0f} s"
                if problem:
                    raise ClusterError(
                        f"{name} {problem}. The end of its log ({self._processes.log(name)}):\n"
                        f"{self._processes.last_lines(name)}"
                    )
                time.sleep(0.1)

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
            waiting = [node.metadata.name for node in core.list_node().items if not _usable(node)]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"nodes are not ready after {_START_SECONDS:.0f} s: {', '.join(waiting)}. The end of kwok's log:\n"
                    f"{self._processes.last_lines('kwok')}"
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


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    # Below the range from which systems take ports for outgoing connections (32768 on Linux, 49152 on macOS):
    # a kept port from that range would sooner or later be somebody's while the cluster is stopped.
    free: list[int] = []
    candidates = list(range(16000, 30000))
    random.shuffle(candidates)
    for port in candidates:
        if _is_free(port):
            free.append(port)
        if len(free) == count:
            return free
    raise ClusterError("no free ports between 16000 and 30000 on 127.0.0.1")
