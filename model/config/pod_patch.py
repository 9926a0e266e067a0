"""`podPatch`: what an operator adds to the pods of SRS, and which changes would break the stack's promises.

A patch is merged like a strategic merge patch of Kubernetes: maps by key, the lists of MERGE_KEYS by a key of their
items, everything else is replaced. It is checked against the schema of Kubernetes, and against what it may touch: a
list of what is allowed, so that an unforeseen field cannot end a drain.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import AfterValidator, ValidationError

from model.config.problems import Problem, RuleError, problems_of
from model.config.values import LABEL_KEY, LABEL_VALUE, is_label_value, is_qualified_name
from model.names import API_PORT, HTTP_PORT, RTMP_PORT, SRS_HOME

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "options": "name",
}
"""Lists that are merged, with the key of their items (Kubernetes API, `x-kubernetes-patch-merge-key`)."""

OWN_LABELS = ("app", "run", "pod-template-hash", "controller-revision-hash")
"""Labels of pods by which Services, workloads and their revisions select them."""

_POD = {
    "volumes",
    "containers",
    "initContainers",
    "topologySpreadConstraints",
    "hostAliases",
    "dnsConfig",
    "runtimeClassName",
}
_SRS = {"name", "env", "envFrom", "volumeMounts", "volumeDevices", "resources"}

_KEYS = {
    "affinity": "set the key affinity instead",
    "nodeSelector": "set the key nodeSelector instead",
    "tolerations": "set the key tolerations instead",
    "priorityClassName": "set the key priorityClass instead",
    "schedulerName": "set the key schedulerName instead",
    "imagePullSecrets": "set srs:images instead",
    "annotations": "set the key podAnnotations instead",
    "image": "set the key image instead",
    "terminationGracePeriodSeconds": "it is the sum of drain.deregister and drain.timeout",
    "activeDeadlineSeconds": "it would end running pods with their connections",
    "lifecycle": "the drain depends on it",
    "command": "SRS must be the process that receives SIGTERM, or it does not drain",
    "args": "SRS must be the process that receives SIGTERM, or it does not drain",
    "shareProcessNamespace": "SRS must be process 1, or it does not drain",
    "readinessProbe": "a full or slow edge would lose its viewers",
    "livenessProbe": "a full or slow edge would lose its viewers",
    "startupProbe": "a full or slow edge would lose its viewers",
    "securityContext": "pods keep to pod security `restricted`",
    "hostNetwork": "pods keep to pod security `restricted`",
    "hostPID": "pods keep to pod security `restricted`",
    "hostIPC": "pods keep to pod security `restricted`",
    "restartPolicy": "workloads need Always",
}
"""Why a field must not be patched, or which key sets it."""

_OWN_MOUNTS = (f"{SRS_HOME}/conf", f"{SRS_HOME}/tls", f"{SRS_HOME}/objs/srs", f"{SRS_HOME}/objs/nginx/html", "/tmp")
_RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
"""Kubernetes docs, "Pod Security Standards", Restricted, Volume Types."""

_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def merged(base: Any, patch: Any, key: str = "") -> Any:
    """A template (JSON of Kubernetes) with a patch."""
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        below, above = cast("Mapping[str, Any]", base), cast("Mapping[str, Any]", patch)
        return {**below, **{name: merged(below.get(name), value, name) for name, value in above.items()}}
    if key in MERGE_KEYS and isinstance(base, Sequence):
        items: dict[str, Any] = {item[MERGE_KEYS[key]]: item for item in cast("Sequence[Mapping[str, Any]]", base)}
        for item in cast("Sequence[Mapping[str, Any]]", patch):
            name = item[MERGE_KEYS[key]]
            items[name] = merged(items.get(name), item)
        return list(items.values())
    return patch


def kubernetes_object(value: dict[str, Any], kind: str) -> dict[str, Any]:
    """A value that the schema of Kubernetes accepts, without null values.

    kind: a class of `kubernetes.client.models`. Raises RuleError with every unknown, missing or wrong field.
    """
    # Only where a config has such a value: the import takes a second.
    from kubernetes.client import models

    from model.config.kubernetes_rules import api_server_problems

    model = getattr(models, kind)
    try:
        checked = model.model_validate(value, extra="forbid")
    except ValidationError as error:
        raise RuleError(problems_of(error, model)) from None
    if problems := list(api_server_problems(checked)):
        raise RuleError(problems)
    return checked.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def _checked_patch(patch: dict[str, Any]) -> dict[str, Any]:
    if not patch:
        return patch
    spec = patch.get("spec", {})
    if spec is None or isinstance(spec, Mapping):  # the schema requires containers, a patch does not
        patch = {**patch, "spec": {"containers": [], **cast("Mapping[str, Any]", spec or {})}}
    patch = kubernetes_object(patch, "V1PodTemplateSpec")
    if problems := list(_problems(patch)):
        raise RuleError(problems)
    for container in _added_containers(patch):
        container["securityContext"] = _SECURITY | container.get("securityContext", {})
    return patch


def _affinity(value: dict[str, Any]) -> dict[str, Any]:
    return kubernetes_object(value, "V1Affinity") if value else value


PodPatch = Annotated[dict[str, Any], AfterValidator(_checked_patch)]
"""A patch of a pod template; added containers get the security context that pod security `restricted` demands."""

Affinity = Annotated[dict[str, Any], AfterValidator(_affinity)]
"""An affinity in the notation of Kubernetes."""


def volume_problems(patch: Mapping[str, Any], own: Collection[str]) -> Iterator[Problem]:
    """What does not fit between the volumes of a patched pod and their mounts; paths begin at the patch.

    own: the volumes of the pod without the patch. The API server rejects a mount of any other one.
    """
    spec = patch.get("spec", {})
    added = [volume["name"] for volume in spec.get("volumes", [])]
    for index, name in enumerate(added):
        if name in own:
            allowed = "is already a volume of the pod; use another name"
            yield Problem(("spec", "volumes", index, "name"), name, allowed, reason="VolumeExists")
    known = sorted({*own, *added})
    for kind, mounts in itertools.product(("containers", "initContainers"), ("volumeMounts", "volumeDevices")):
        for index, container in enumerate(spec.get(kind, [])):
            for number, mount in enumerate(container.get(mounts, [])):
                if mount["name"] not in known:
                    allowed = f"is no volume of the pod, which has {', '.join(known)}"
                    path = ("spec", kind, index, mounts, number, "name")
                    yield Problem(path, mount["name"], allowed, reason="VolumeMissing")


def _added_containers(patch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("containers", "initContainers"):
        yield from (container for container in patch["spec"].get(kind, []) if container["name"] != "srs")


def _problems(patch: dict[str, Any]) -> Iterator[Problem]:
    metadata = patch.get("metadata", {})
    yield from _not_allowed(metadata, {"labels"}, ("metadata",))
    for label, value in metadata.get("labels", {}).items():
        if not (is_qualified_name(label) and is_label_value(value)):
            allowed = LABEL_VALUE if is_qualified_name(label) else LABEL_KEY
            yield Problem(("metadata", "labels", label), value, allowed, reason="InvalidLabel")
    for label in OWN_LABELS:
        if label in metadata.get("labels", {}):
            value = metadata["labels"][label]
            yield Problem(
                ("metadata", "labels", label),
                value,
                "must not be changed: pods are selected by it",
                reason="PatchedSelector",
            )
    spec = patch.get("spec", {})
    yield from _not_allowed(spec, _POD, ("spec",))
    for index, volume in enumerate(spec.get("volumes", [])):
        for source in volume.keys() - {"name"} - _RESTRICTED_VOLUMES:
            yield Problem(
                ("spec", "volumes", index, source),
                volume[source],
                "is rejected by pod security `restricted`",
                reason="VolumeNotRestricted",
            )
    for index, container in enumerate(spec.get("containers", [])):
        path = ("spec", "containers", index)
        yield from _srs_problems(container, path) if container["name"] == "srs" else _added_problems(container, path)
    for index, container in enumerate(spec.get("initContainers", [])):
        path = ("spec", "initContainers", index)
        if container["name"] == "srs":
            yield Problem(
                (*path, "name"), "srs", "is already a container of the pod; use another name", reason="ContainerExists"
            )
        yield from _added_problems(container, path)


def _not_allowed(values: Mapping[str, Any], allowed: set[str], path: tuple[str | int, ...]) -> Iterator[Problem]:
    for key in values.keys() - allowed:
        reason = _KEYS.get(key, f"a patch may set {', '.join(sorted(allowed))}")
        yield Problem((*path, key), values[key], f"must not be patched: {reason}", reason="NotPatchable")


def _srs_problems(container: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[Problem]:
    yield from _not_allowed(container, _SRS, path)
    for kind in ("requests", "limits"):
        for resource in container.get("resources", {}).get(kind, {}).keys() & {"cpu", "memory"}:
            value = container["resources"][kind][resource]
            yield Problem(
                (*path, "resources", kind, resource),
                value,
                "must not be patched: set the key resources",
                reason="ResourcesNotPatchable",
            )
    for index, mount in enumerate(container.get("volumeMounts", [])):
        mount_path = f"{mount['mountPath'].rstrip('/')}/"
        if any(f"{own}/".startswith(mount_path) for own in _OWN_MOUNTS) or mount_path.startswith(f"{SRS_HOME}/conf/"):
            yield Problem(
                (*path, "volumeMounts", index, "mountPath"),
                mount["mountPath"],
                "must not cover files of SRS",
                reason="CoversFilesOfSrs",
            )


def _added_problems(container: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[Problem]:
    """A container beside SRS: it must not take its ports, and must not be rejected when a pod is created.

    A liveness or startup probe without a grace period of its own restarts after the grace period of the pod, which is
    hours (kubernetes/kubernetes #64715).
    """
    if "image" not in container:
        yield Problem(
            (*path, "image"),
            None,
            f"must be set: {container['name']!r} is not a container of the pod, so the patch adds it",
            reason="ContainerWithoutImage",
        )
    for probe in ("livenessProbe", "startupProbe"):
        if probe in container and "terminationGracePeriodSeconds" not in container[probe]:
            yield Problem(
                (*path, probe, "terminationGracePeriodSeconds"),
                None,
                "must be set: a restart would otherwise wait for the grace period of the pod",
                reason="ProbeWithoutGracePeriod",
            )
    for index, port in enumerate(container.get("ports", [])):
        number = port.get("containerPort")
        if number in (RTMP_PORT, API_PORT, HTTP_PORT):
            yield Problem((*path, "ports", index, "containerPort"), number, "is a port of SRS", reason="PortOfSrs")
        if "hostPort" in port:
            yield Problem(
                (*path, "ports", index, "hostPort"),
                port["hostPort"],
                "is rejected by pod security `restricted`",
                reason="HostPortNotRestricted",
            )
    security = container.get("securityContext", {})
    capabilities = security.get("capabilities", _SECURITY["capabilities"])
    violations = {
        "privileged": security.get("privileged", False),
        "allowPrivilegeEscalation": security.get("allowPrivilegeEscalation", False),
        "runAsNonRoot": security.get("runAsNonRoot") is False,
        "runAsUser": security.get("runAsUser") == 0,
        "procMount": security.get("procMount", "Default") != "Default",
        "seccompProfile": security.get("seccompProfile", {}).get("type") == "Unconfined",
        "capabilities": "ALL" not in capabilities.get("drop", [])
        or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"},
    }
    for field, violated in violations.items():
        if violated:
            yield Problem(
                (*path, "securityContext", field),
                security[field],
                "is rejected by pod security `restricted`",
                reason="NotRestricted",
            )
