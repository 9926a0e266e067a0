"""The machine on which the nodes run: a network, mount and pid namespace, and the configuration of its components.

Everything of a node is inside: containerd, kubelet, kube-proxy, cluster DNS, bridges, iptables rules, mounts, pods. Its
first process (`testbed.containers.init`) starts them. When that process ends, also when it is killed, the kernel ends
every process of the namespace and removes bridges, rules and mounts. Control groups remain; `clean_up` removes them.

Linux and root only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from testbed.pki import Pki
from testbed.toolchain.install import Tools

NODES = 2
DNS_ADDRESS = "169.254.20.10"
"""The address of cluster DNS inside the machine: link-local, as for node-local DNS caches."""
PAUSE_IMAGE = "registry.k8s.io/pause:3.10"

HOST_FOLDERS = (Path("/var/lib/cni"), Path("/var/log"), Path("/var/lib/kubelet"))
"""Folders that components always write to; inside the machine, folders of its own are mounted there."""

_CREATED = ".srs-testbed"
"""A file in those of HOST_FOLDERS that a machine created."""

CONTROL_GROUPS = Path("/sys/fs/cgroup")
_PREFIX = "srs-testbed-"
"""The prefix of the machines' control groups."""

CPU_WEIGHT = {"cpu.weight": "1000", "cpu.shares": "10240"}
"""Of the pods of all nodes together: as much as ten processes (control groups of version 2 and 1). The default is as
much as one of those of the control plane, of Pulumi and of the load beside them: SRS stalls then on a busy machine."""

_CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
_PROGRAMS = ("containerd", "ctr", "containerd-shim-runc-v2", "runc", "iptables", "ip", "unshare", "nsenter", "mount")
_DEBIAN = "containerd runc containernetworking-plugins iptables conntrack iproute2"
_SOCKET_LENGTH = 100
"""The path of a Unix socket has at most 108 bytes (unix(7)); containerd adds a suffix."""


class MachineError(Exception):
    """This machine cannot run nodes that run containers; the message says what is missing and how to fix it."""


@dataclass(frozen=True)
class Node:
    """One node of the machine; `number` counts from 1."""

    number: int

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        """Its address inside the machine."""
        return f"172.31.255.{self.number}"

    @property
    def pod_cidr(self) -> str:
        """The addresses of its pods."""
        return f"10.244.{self.number}.0/24"

    @property
    def zone(self) -> str:
        """Its zone, one of two in turn."""
        return "testbed-a" if self.number % 2 else "testbed-b"


ALL_NODES = tuple(Node(number) for number in range(1, NODES + 1))


def missing_requirements() -> str | None:
    """What this machine lacks for nodes that run containers, as a message; None if nothing is missing."""
    if sys.platform != "linux":
        return "nodes that run containers need Linux; use simulated nodes, or a cluster of your own"
    if os.geteuid() != 0:
        return "nodes that run containers need root, for mounts and network namespaces"
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    missing += [] if _cni_folder() else [f"CNI plugins ({', '.join(_CNI_PLUGINS)})"]
    if missing:
        return (
            f"nodes that run containers need {', '.join(missing)} from the operating system. "
            f"On Debian and Ubuntu: apt-get install {_DEBIAN}"
        )
    return None


def _cni_folder() -> Path | None:
    for folder in map(Path, _CNI_FOLDERS):
        if all((folder / name).exists() for name in _CNI_PLUGINS):
            return folder
    return None


class Machine:
    """The machine of one cluster; it writes to `folder` only."""

    def __init__(self, folder: Path, tools: Tools | None, pki: Pki, kubeconfigs: Path) -> None:
        self.folder = folder
        self._tools = tools
        self._pki = pki
        self._kubeconfigs = kubeconfigs
        self.control_group = f"{_PREFIX}{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"

    @property
    def ready(self) -> Path:
        """A file that exists while all components run."""
        return self.folder / "ready"

    @property
    def images_imported(self) -> Path:
        """A file that exists once every node has its images; the kubelets are started then."""
        return self.folder / "images-imported"

    def log(self, component: str) -> Path:
        """The log of a component: `kube-proxy`, `coredns`, `kubelet-1`, `containerd-1` and so on."""
        return self.folder / "logs" / f"{component}.log"

    def containerd_socket(self, node: Node) -> Path:
        """The socket of the node's containerd; it can be reached from outside."""
        return self.folder / node.name / "c.sock"

    def command(self) -> list[str]:
        """The command that starts the machine. The end of this process ends everything on it."""
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        init = [sys.executable, "-m", "testbed.containers.init", str(self.folder / "plan.json")]
        return ["unshare", *namespaces, "--", *init]

    def prepare(self, api_port: int) -> None:
        """Write the configuration of the machine.

        api_port: the port of the API server on 127.0.0.1, inside the machine and outside.
        Raises MachineError if something is missing.
        """
        problem = missing_requirements()
        if problem is None and len(str(self.containerd_socket(ALL_NODES[0]))) > _SOCKET_LENGTH:
            problem = f"the path {self.folder} is too long for a socket in it; move the checkout to a shorter path"
        if problem:
            raise MachineError(problem)
        self.ready.unlink(missing_ok=True)
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        for node in ALL_NODES:
            (self.folder / node.name / "cni").mkdir(parents=True, exist_ok=True)
            self._write_node(node)
        (self.folder / "Corefile").write_text(_corefile(self._kubeconfigs / "coredns.kubeconfig"))
        (self.folder / "kube-proxy.yaml").write_text(yaml.safe_dump(self._kube_proxy()))
        (self.folder / "resolv.conf").write_text("# Pods ask cluster DNS only.\n")
        self._create_control_groups()
        self._create_host_folders()  # after the control groups, which tell other machines that the folders are in use
        (self.folder / "plan.json").write_text(json.dumps(self._plan(api_port), indent=2))

    def enter(self, pid: int, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` in the machine's network. pid: of the process that `command` started."""
        return ["nsenter", f"--net=/proc/{self.init(pid).pid}/ns/net", "--", *argv]

    @staticmethod
    def init(pid: int) -> psutil.Process:
        """The machine's first process. pid: of the process that `command` started. Raises psutil.NoSuchProcess."""
        children = psutil.Process(pid).children()
        if not children:
            raise psutil.NoSuchProcess(pid)
        return children[0]

    def import_image(self, node: Node, archive: Path) -> None:
        """Import a docker-archive (tar) into the node's containerd, under the names in it."""
        command = ["ctr", "--address", str(self.containerd_socket(node)), "--namespace", "k8s.io"]
        result = subprocess.run(
            [*command, "images", "import", str(archive)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise MachineError(f"{node.name}: `ctr images import {archive}` failed: {result.stderr.strip()[-500:]}")

    def clean_up(self) -> None:
        """Remove control groups and mount points, which remain outside of the folder when the machine has ended.

        The last machine removes the mount points: the removal of a folder also removes what is mounted there.

        Controllers that `delegate_controllers` enabled below the root stay enabled: other programs may use them by now.
        """
        roots = _control_group_roots()
        for root in roots:
            for folder, _, _ in os.walk(root / self.control_group, topdown=False):
                Path(folder).rmdir()
        if any(any(root.glob(f"{_PREFIX}*")) for root in roots):
            return
        for marker in (target / _CREATED for target in HOST_FOLDERS):
            if marker.exists():
                marker.unlink()
                with suppress(OSError):  # another program may use it by now
                    marker.parent.rmdir()

    def _create_control_groups(self) -> None:
        for root in _control_group_roots():
            for node in ALL_NODES:
                (root / self.control_group / node.name).mkdir(parents=True, exist_ok=True)
            if root == CONTROL_GROUPS:
                delegate_controllers(root, self.control_group)
            for file, weight in CPU_WEIGHT.items():
                if (root / self.control_group / file).exists():
                    (root / self.control_group / file).write_text(weight)
            # cpuset (version 1): a new group has neither CPUs nor memory nodes.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (root / file).exists():
                    for folder in (
                        root / self.control_group,
                        *(root / self.control_group / node.name for node in ALL_NODES),
                    ):
                        (folder / file).write_text((root / file).read_text())

    def _create_host_folders(self) -> None:
        for target in HOST_FOLDERS:
            if not target.exists():
                target.mkdir()
                (target / _CREATED).touch()

    def _plan(self, api_port: int) -> dict[str, object]:
        """The input of `init`."""
        assert self._tools is not None
        binaries = self._tools.binaries
        nodes = [
            {
                "name": node.name,
                "address": node.address,
                "socket": str(self.containerd_socket(node)),
                "containerd": ["containerd", "--config", str(self.folder / node.name / "containerd.toml")],
                "kubelet": [
                    str(binaries["kubelet"]),
                    f"--config={self.folder / node.name / 'kubelet.yaml'}",
                    f"--kubeconfig={self._kubeconfigs / f'{node.name}.kubeconfig'}",
                    f"--root-dir={self.folder / node.name / 'kubelet'}",
                    f"--cert-dir={self.folder / node.name / 'pki'}",
                    f"--hostname-override={node.name}",
                    f"--node-ip={node.address}",
                    f"--node-labels=topology.kubernetes.io/zone={node.zone},topology.kubernetes.io/region=testbed",
                ],
            }
            for node in ALL_NODES
        ]
        return {
            "folder": str(self.folder),
            "api_port": api_port,
            "dns_address": DNS_ADDRESS,
            "nodes": nodes,
            "kube-proxy": [str(binaries["kube-proxy"]), f"--config={self.folder / 'kube-proxy.yaml'}"],
            "coredns": [str(binaries["coredns"]), "-conf", str(self.folder / "Corefile")],
        }

    def _write_node(self, node: Node) -> None:
        folder = self.folder / node.name
        cni = {
            "cniVersion": "0.4.0",
            "name": node.name,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": f"pods{node.number}",
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": node.pod_cidr}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        (folder / "cni" / "10-bridge.conflist").write_text(json.dumps(cni, indent=2))
        (folder / "containerd.toml").write_text(self._containerd(node))
        (folder / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet(node)))

    def _containerd(self, node: Node) -> str:
        folder = self.folder / node.name
        # restrict_oom_score_adj: without it and without CAP_SYS_RESOURCE no sandbox starts ("can't get final child's
        # PID from pipe"). `state` is on the machine's own /run.
        return f"""\
version = 2
root = "{folder / "containerd"}"
state = "/run/{node.name}/containerd"

[grpc]
  address = "{self.containerd_socket(node)}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_cni_folder()}"
    conf_dir = "{folder / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""

    def _kubelet(self, node: Node) -> Mapping[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs",
            # One per node: two kubelets that share one remove each other's pods.
            "cgroupRoot": f"/{self.control_group}/{node.name}",
            "containerRuntimeEndpoint": f"unix://{self.containerd_socket(node)}",
            "address": node.address,
            "healthzPort": 10248 + 10 * node.number,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": self._pki.crt("ca")},
            },
            "authorization": {"mode": "AlwaysAllow"},  # for every client certificate of this cluster
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(self.folder / "resolv.conf"),
            "podLogsDir": str(self.folder / node.name / "pod-logs"),
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            # The disk is shared with everything else on this machine, and may be nearly full.
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,
            "maxPods": 110,
            "registryPullQPS": 50,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "nodeStatusUpdateFrequency": "4s",
            "oomScoreAdj": 0,
        }

    def _kube_proxy(self) -> Mapping[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(self._kubeconfigs / "kube-proxy.kubeconfig")},
            "clusterCIDR": "10.244.0.0/16",
            "hostnameOverride": ALL_NODES[0].name,
            "conntrack": {"maxPerCore": 0},
            # So that node ports accept connections on 127.0.0.1, too.
            "nodePortAddresses": ["127.0.0.0/8", "172.31.255.0/24"],
            "iptables": {"localhostNodePorts": True},
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }


def _corefile(kubeconfig: Path) -> str:
    return f"""\
.:53 {{
    bind {DNS_ADDRESS}
    ready 127.0.0.1:8181
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
"""


def delegate_controllers(root: Path, name: str) -> None:
    """Enable all controllers of `root` for the groups below `root/name`; a kubelet needs them in its group.

    A group of version 2 has the controllers that its parent enables (Linux kernel docs, "Control Group v2").
    Raises MachineError if the system does not allow it.
    """
    controllers = " ".join(f"+{controller}" for controller in (root / "cgroup.controllers").read_text().split())
    try:
        for group in (root, root / name):
            (group / "cgroup.subtree_control").write_text(controllers)
    except OSError as error:
        raise MachineError(
            f"control group controllers cannot be enabled ({error}). A container must be privileged and have "
            "--cgroupns=host: the nodes need groups below the system's root group"
        ) from None


def _control_group_roots() -> list[Path]:
    """The roots of control groups: one for all controllers (version 2), or one per controller (version 1)."""
    if (CONTROL_GROUPS / "cgroup.controllers").exists():
        return [CONTROL_GROUPS]
    return [folder for folder in CONTROL_GROUPS.iterdir() if folder.is_dir() and not folder.is_symlink()]
