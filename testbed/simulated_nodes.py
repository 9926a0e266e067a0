"""The simulated nodes: Node objects whose kubelets kwok simulates (testbed/nodes)."""

from typing import Any

from testbed.toolchain.versions import KUBERNETES_VERSION

NODES = 4
"""The number of simulated nodes of a new cluster."""


def ensure_nodes(core: Any, count: int | None) -> bool:
    """Create or delete nodes until there are `count`; True if anything changed.

    core: a CoreV1Api. count: None keeps the nodes there are; a new cluster gets NODES.
    """
    existing = {node.metadata.name for node in core.list_node(label_selector="type=kwok").items}
    if count is None and existing:
        return False
    desired = {f"node-{number}": number for number in range(1, (NODES if count is None else count) + 1)}
    for name, number in desired.items():
        if name not in existing:
            core.create_node(_manifest(name, number))
    for name in existing - desired.keys():
        core.delete_node(name)
    return existing != desired.keys()


def _manifest(name: str, number: int) -> dict[str, Any]:
    """A node that is larger than any test needs, in one of two zones in turn."""
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
