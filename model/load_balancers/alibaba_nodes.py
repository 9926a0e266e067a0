"""Nodes as backends of Alibaba Cloud's load balancers, with backend `ecs` and externalTrafficPolicy Cluster.

Paths are in the repository of the controller (kubernetes/cloud-provider-alibaba-cloud), as in `alibaba.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from model.config.problems import UpdateWarning
from model.config.values import format_duration, plural
from model.load_balancers.interface import LiveObject

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"

_EXCLUDED = (
    "node-role.kubernetes.io/master",
    EXCLUDE_LABEL,
    "alpha.service-controller.kubernetes.io/exclude-balancer",
    "service.beta.kubernetes.io/exclude-node",
    "service.alibabacloud.com/exclude-node",
)
"""Labels of nodes that are no backends (pkg/controller/helper/node_utils.go)."""


def is_virtual(node: LiveObject) -> bool:
    """Whether a node is one of virtual-kubelet, whose pods are backends themselves (vgroups.go, LabelNodeTypeVK)."""
    return _labels(node).get("type") == "virtual-kubelet"


def is_candidate(node: LiveObject, labels: Mapping[str, str]) -> bool:
    """Whether a node that is ready is a backend with `ecs` and `Cluster` (clbv1/vgroups.go, `buildClusterBackends`).

    labels: see `backend_label`.
    """
    own = _labels(node)
    hybrid = str(node["spec"].get("providerID", "")).startswith("ack-hybrid://")
    excluded = hybrid or is_virtual(node) or any(label in own for label in _EXCLUDED)
    return not excluded and labels.items() <= own.items()


def has_provider_id(node: LiveObject) -> bool:
    """Whether the controller can read the id of the instance: `<region>.<id>` (node_utils.go, `NodeFromProviderID`).

    Otherwise it adds no backend of the Service at all, because it stops at the first such node.
    """
    return "." in str(node["spec"].get("providerID", ""))


def node_warnings(
    key: str,
    labels: Mapping[str, str],
    nodes: Sequence[LiveObject],
    pods: Sequence[LiveObject],
    connection_drain: timedelta,
) -> Iterator[str]:
    """Nodes that the controller rejects, and pods on virtual nodes, which are backends themselves.

    key: the config key of the load balancer. labels: of the backends. nodes: all of the cluster. pods: of the Service.
    """
    candidates = [node for node in nodes if is_candidate(node, labels)]
    if nodes and not candidates:
        required = f" with the labels {_text(labels)}" if labels else ""
        yield UpdateWarning(
            f"{key}: no node of the cluster can be a backend{required}, so no client can connect", "NoBackendNodes"
        )
    if unknown := [_name(node) for node in candidates if not has_provider_id(node)]:
        yield UpdateWarning(
            f"{key}: {_some(unknown)} without a providerID of Alibaba Cloud, with which the controller adds no "
            f"backend at all: give them the label {EXCLUDE_LABEL}, or backends other labels",
            "NodesWithoutProviderId",
        )
    virtual = {_name(node): node for node in nodes if is_virtual(node)}
    used = sorted({name for pod in pods if (name := pod["spec"].get("nodeName")) in virtual})
    if missing := [name for name in used if not labels.items() <= _labels(virtual[name]).items()]:
        yield UpdateWarning(
            f"{key}: pods on {_some(missing, 'virtual node')} are no backends, because they need the labels "
            f"{_text(labels)} of backendNodes, too",
            "VirtualNodesAreNoBackends",
        )
    if used:
        yield UpdateWarning(
            f"{key}: pods on {_some(used, 'virtual node')} are backends themselves, as with eni: their connections "
            f"end {format_duration(connection_drain)} after the start of their termination",
            "VirtualNodesLimitDrain",
        )


def _labels(node: LiveObject) -> dict[str, str]:
    return node["metadata"].get("labels") or {}


def _name(node: LiveObject) -> str:
    return str(node["metadata"]["name"])


def _text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _some(names: Sequence[str], what: str = "node") -> str:
    """A number of things with the first names: "2 nodes (a, b)"."""
    shown = ", ".join(sorted(names)[:3])
    return f"{plural(len(names), what)} ({shown}{', …' if len(names) > 3 else ''})"
