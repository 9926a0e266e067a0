"""What the cluster and its namespace do not support, by name; without these checks an update would fail halfway.

A pod that is rejected when it is created costs an origin: its StatefulSet has deleted the old one before.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

from cluster.live import Object
from cluster.state import LiveState
from model.config.pods import Placement
from model.config.problems import Problem, UpdateWarning
from model.config.stack import StackSettings
from model.config.values import plural
from model.desired.render import Desired

MINIMUM = (1, 30)
"""The preStop action `sleep` is on by default since Kubernetes 1.30 (Kubernetes docs, "Container Lifecycle Hooks")."""

_WORKLOADS = ("Deployment", "StatefulSet")

_CLUSTER = ("kubernetes", "kubeconfig")
_NAMESPACE = ("kubernetes", "namespace")

_DEMANDED = {
    f"{kind}.{resource}": (kind, resource)
    for kind in ("requests", "limits")
    for resource in ("cpu", "memory", "ephemeral-storage")
} | {resource: ("requests", resource) for resource in ("cpu", "memory", "ephemeral-storage")}
"""Quotas that reject pods without such a request or limit (Kubernetes docs, "Resource Quotas")."""


def cluster_problems(desired: Desired, state: LiveState) -> Iterator[Problem]:
    """What this stack cannot have in this cluster and namespace."""
    settings = desired.settings
    if state.version is not None and state.version < MINIMUM:
        yield Problem(
            _CLUSTER,
            settings.kubernetes.kubeconfig,
            f"leads to Kubernetes {_text(state.version)}; {_text(MINIMUM)} or later is needed, because edges keep "
            "accepting connections by the preStop action `sleep` while load balancers remove them",
            reason="KubernetesTooOld",
        )
    if state.ip_family == "IPv6":
        # SRS binds 0.0.0.0 wherever the kernel has IPv4 (ossrs/srs, srs_any_address_for_listener), and probes connect
        # to the first address of a pod.
        yield Problem(
            _CLUSTER,
            settings.kubernetes.kubeconfig,
            "leads to a cluster whose first IP family is IPv6. SRS listens on IPv4, so no pod would become ready; "
            "use a cluster with IPv4, or with both and IPv4 first",
            reason="NoIPv4",
        )
    if settings.monitoring.kind == "podMonitor" and state.prometheus_kinds is not None:
        missing = {"PodMonitor", "PrometheusRule"} - state.prometheus_kinds
        if missing:
            yield Problem(
                ("monitoring", "kind"),
                settings.monitoring.kind,
                f"needs the Prometheus Operator: the cluster has no {' and no '.join(sorted(missing))}. Install it, or "
                "use kind annotations",
                reason="NoPrometheusOperator",
            )
    yield from _priority_class_problems(settings, state)
    yield from _quota_problems(desired, state)
    yield from _certificate_problems(settings, state)
    for (kind, name), denial in state.admission.denied.items():
        yield Problem(
            _NAMESPACE,
            settings.kubernetes.namespace,
            f"rejects {kind} {name}: {denial}. Change what the stack declares, or what denies it",
            reason="DeniedByAdmission",
        )


def cluster_warnings(state: LiveState, origins: Collection[str]) -> Iterator[str]:
    """What the namespace does to pods without being asked, and nodes that do not answer, a line each.

    origins: the names of the origins after the update. Where none is left, they have other names than the lost ones.
    """
    for node, pods in state.lost.items():
        waiting = [name for name in pods if name in origins]
        yield UpdateWarning(
            f"node {node} does not answer, and {plural(len(pods), 'pod')} on it will not end. If it is lost for good: "
            f"kubectl delete node {node}" + (f". Until then {waiting[0]} is not replaced" if waiting else ""),
            "NodeDoesNotAnswer",
        )
    for name, item in _limit_ranges(state):
        if limit := _defaults(item, "limits").get("cpu"):
            yield UpdateWarning(
                f"LimitRange {name} gives containers without a CPU limit one of {limit}: an SRS that needs more is "
                "throttled, which stalls all its viewers",
                "CpuLimitByLimitRange",
            )
    if unknown := [name for kind, name in state.admission.unknown if kind in _WORKLOADS and state.get(kind, name)]:
        yield UpdateWarning(
            f"it cannot be asked whether policies of the cluster change {', '.join(unknown)}: if they do, each update "
            "replaces the pods once more. The user of the kubeconfig needs the verb `update` (docs/update-role.yaml)",
            "AdmissionUnknown",
        )


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _priority_class_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    if state.priority_classes is None:
        return
    placements: dict[str, Placement] = {"edge": settings.edge, "origin": settings.origin, "hls": settings.hls}
    for key, placement in placements.items():
        if placement.priority_class is not None and placement.priority_class not in state.priority_classes:
            yield Problem(
                (key, "priorityClass"),
                placement.priority_class,
                f"must be a PriorityClass of the cluster: {', '.join(sorted(state.priority_classes))}",
                reason="UnknownPriorityClass",
            )


def _certificate_problems(settings: StackSettings, state: LiveState) -> Iterator[Problem]:
    """A certificate with which new edges would not start, or would be ready and fail every handshake."""
    secret = settings.tls.secret_name
    if secret is None or state.certificate is None:
        return
    from cryptography import x509  # only where it is needed: the import takes a tenth of a second
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    path = ("tls", "secretName")
    if not state.certificate:
        yield Problem(
            path,
            secret,
            f"must be a Secret with tls.crt and tls.key in namespace {settings.kubernetes.namespace}: new pods would "
            "wait for it. Create it first; if the stack is to create the namespace, leave tls out of the first update",
            reason="CertificateMissing",
        )
        return
    try:
        certificate = x509.load_pem_x509_certificate(state.certificate.encode())
    except ValueError:
        yield Problem(path, secret, "has no certificate in its tls.crt", reason="CertificateInvalid")
        return
    if not isinstance(certificate.public_key(), RSAPublicKey):
        yield Problem(
            path,
            secret,
            "has a key that is not RSA, and SRS takes no other: every handshake would fail. With cert-manager, set "
            "privateKey: {algorithm: RSA, rotationPolicy: Always} in the Certificate",
            reason="CertificateNotRSA",
        )


def _quota_problems(desired: Desired, state: LiveState) -> Iterator[Problem]:
    defaults = [(kind, _defaults(item, kind)) for _, item in _limit_ranges(state) for kind in ("requests", "limits")]
    for name, quota in sorted(state.objects.get("ResourceQuota", {}).items()):
        if (
            set(quota["spec"].get("scopes", [])) - {"NotTerminating", "NotBestEffort"}
            or "scopeSelector" in quota["spec"]
        ):
            continue
        for key in sorted(quota["spec"].get("hard", {}).keys() & _DEMANDED.keys()):
            kind, resource = _DEMANDED[key]
            if any(resource in amounts for default, amounts in defaults if default in (kind, "limits")):
                continue
            lacking = [
                workload.title
                for workload, item in desired.workloads.items()
                if not _states(item.manifest["spec"]["template"]["spec"], kind, resource)
            ]
            if lacking:
                hint = "set resources.cpuLimit, or " if key == "limits.cpu" else ""
                yield Problem(
                    _NAMESPACE,
                    desired.settings.kubernetes.namespace,
                    f"has the ResourceQuota {name} on {key}, which rejects pods that do not state it: those of "
                    f"{', '.join(lacking)}. Either {hint}create a LimitRange with a default, or take it "
                    "out of the quota",
                    reason="QuotaRejectsPods",
                )


def _states(pod: Mapping[str, Any], kind: str, resource: str) -> bool:
    """Whether each container states a request or a limit; a limit is also the request."""
    kinds = {kind, "limits"}
    return all(
        any(resource in container.get("resources", {}).get(stated, {}) for stated in kinds)
        for container in [*pod["containers"], *pod.get("initContainers", [])]
    )


def _limit_ranges(state: LiveState) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rules for containers, with the name of their LimitRange."""
    for name, limit_range in sorted(state.objects.get("LimitRange", {}).items()):
        for item in cast("list[Object]", limit_range["spec"].get("limits", [])):
            if item["type"] == "Container":
                yield name, item


def _defaults(item: Object, kind: str) -> dict[str, str]:
    """What containers get that do not state it; a maximum is the default limit (Kubernetes docs, "Limit Ranges")."""
    if kind == "limits":
        return {**item.get("max", {}), **item.get("default", {})}
    return cast("dict[str, str]", item.get("defaultRequest", {}))
