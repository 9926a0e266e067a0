"""MetalLB in layer 2 mode on the nodes, and a client in a network of its own that reaches its addresses by ARP.

Its controller gives Services of the class an address; its speaker on node-1 answers ARP requests for it. Both are
processes in the network of the nodes, as pods of the host network would be.
"""

import json
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from e2e.programs import go, running
from stack import eventually
from testbed.cluster import EmbeddedCluster
from testbed.containers.machine import ALL_NODES

CLASS = "metallb.io/layer2"
ADDRESS = "192.0.2.100"
MODULE = "go.universe.tf/metallb"
_NAMESPACE = "metallb-system"
_POD = "metallb"

_OBJECTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
    {  # the owner of its status objects; never started
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _POD, "namespace": _NAMESPACE},
        "spec": {"schedulingGates": [{"name": "test/never"}], "containers": [{"name": "none", "image": "none"}]},
    },
    {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": "pool", "namespace": _NAMESPACE},
        "spec": {"addresses": [f"{ADDRESS}/32"]},
    },
    {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "L2Advertisement",
        "metadata": {"name": "pool", "namespace": _NAMESPACE},
        "spec": {"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": ALL_NODES[0].name}}]},
    },
]


@contextmanager
def metallb(cluster: EmbeddedCluster, logs: Path) -> Generator[list[str]]:
    """Run MetalLB. Yields the prefix of commands that run in the client's network."""
    controller, speaker = (go("metallb", "tool", "-n", f"{MODULE}/{name}") for name in ("controller", "speaker"))
    definitions = Path(go("metallb", "list", "-m", "-f", "{{.Dir}}", MODULE)) / "config/crd/bases"
    variables = {"KUBECONFIG": str(cluster.kubeconfig), "METALLB_POD_NAME": _POD}
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": _OBJECTS})
    with ExitStack() as stack:

        def start(*command: str) -> int:
            log = logs / f"{Path(command[0]).name}.log"
            return stack.enter_context(running(cluster, command, log, variables))

        stack.callback(_kubectl, cluster, "delete", "--wait=false", f"--filename={definitions}", "--ignore-not-found")
        stack.callback(_kubectl, cluster, "delete", "namespace", _NAMESPACE, "--wait=false", "--ignore-not-found")
        _kubectl(cluster, "apply", f"--filename={definitions}")
        _kubectl(cluster, "wait", "--for=condition=Established", f"--filename={definitions}", "--timeout=30s")
        _kubectl(cluster, "apply", "--filename=-", text=objects)
        client = _client(cluster, start("unshare", "--net", "--", "sleep", "infinity"))
        stack.callback(_ip, cluster, "link", "delete", "lb")
        options = [f"--namespace={_NAMESPACE}", f"--lb-class={CLASS}"]
        start(controller, *options, "--webhook-mode=disabled", "--port=9120", "--health-probe-port=9121")
        start(speaker, *options, f"--node-name={ALL_NODES[0].name}", "--port=9122", "--health-probe-port=9123")
        yield client


def _client(cluster: EmbeddedCluster, pid: int) -> list[str]:
    """Connect the network of a process to that of the nodes; the prefix of commands that run in it."""
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "sleep", 10)  # `unshare` has done its work
    client = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]
    _ip(cluster, "link", "add", "lb", "type", "veth", "peer", "name", "client", "netns", str(pid))
    _ip(cluster, "address", "add", "192.0.2.1/24", "dev", "lb")
    _ip(cluster, "link", "set", "lb", "up")
    subprocess.run([*client, "ip", "address", "add", "192.0.2.2/24", "dev", "client"], check=True)
    subprocess.run([*client, "ip", "link", "set", "client", "up"], check=True)
    return client


def _ip(cluster: EmbeddedCluster, *arguments: str) -> None:
    subprocess.run(cluster.machine.enter(cluster.machine_pid, ["ip", *arguments]), check=True)


def _kubectl(cluster: EmbeddedCluster, *arguments: str, text: str | None = None) -> None:
    command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments]
    subprocess.run(command, input=text, check=True, capture_output=True, text=True)
