"""What the API server checks in parts of a pod besides their schema, as far as a stack config can have them.

From the validation of Kubernetes 1.34 (pkg/apis/core/validation, apimachinery/pkg/util/validation). An update would
otherwise end at the first object with such a value. `tests/integration/test_bad_input.py` compares them.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from kubernetes.client import models
from kubernetes.utils.quantity import parse_quantity
from pydantic import BaseModel

from model.config.problems import ABSENT, Problem, field_key
from model.config.values import DNS_LABEL, LABEL_KEY, LABEL_VALUE, is_label_value, is_qualified_name, is_subdomain

Path = tuple[str | int, ...]


class _Rule(NamedTuple):
    """allowed: continues the sentence that begins with the value."""

    allowed: str
    fits: Callable[[Any], bool]


def _matching(pattern: str, allowed: str) -> _Rule:
    def fits(value: str) -> bool:
        return bool(re.fullmatch(pattern, value))

    return _Rule(allowed, fits)


def _between(minimum: int, maximum: int = 2**31 - 1) -> _Rule:
    def fits(number: int) -> bool:
        return minimum <= number <= maximum

    return _Rule(f"must be from {minimum} to {maximum}", fits)


def _choice(*values: str) -> _Rule:
    return _Rule(f"must be {', '.join(values[:-1])} or {values[-1]}", values.__contains__)


def _each(rule: _Rule, limit: int = 1000) -> _Rule:
    def fits(items: Sequence[Any]) -> bool:
        return len(items) <= limit and all(rule.fits(item) for item in items)

    return _Rule(f"{rule.allowed}, at most {limit}", fits)


_OVERCOMMITTED = ("cpu", "memory", "ephemeral-storage")
"""Resources whose limits may be higher than their requests."""


def _is_name(value: str) -> bool:
    return len(value) <= 63 and bool(DNS_LABEL.fullmatch(value))


def _is_address(value: str) -> bool:
    try:
        return bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _is_quantity(value: str) -> bool:
    try:
        return parse_quantity(value) >= 0 and len(value) < 30
    except (ValueError, ArithmeticError):
        return False


def _is_port(value: int | str) -> bool:
    return _is_port_name(value) if isinstance(value, str) else 1 <= value <= 65535


def _are_labels(labels: Mapping[str, str]) -> bool:
    return all(is_qualified_name(key) and is_label_value(value) for key, value in labels.items())


def _is_resource(name: str) -> bool:
    return is_qualified_name(name) and (name in _OVERCOMMITTED or name.startswith("hugepages-") or "/" in name)


def _are_resources(items: Mapping[str, str]) -> bool:
    return all(_is_resource(name) and _is_quantity(value) for name, value in items.items())


def _is_inside(path: str) -> bool:
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")


def _is_port_name(value: str) -> bool:
    return bool(re.fullmatch(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", value)) and len(value) <= 15


_NAME = _Rule("must be a DNS label: at most 63 of a-z, 0-9 and '-'", _is_name)
_SUBDOMAIN = _Rule("must be a DNS subdomain: labels of a-z, 0-9 and '-', separated by '.'", is_subdomain)
_KEY = _Rule(LABEL_KEY, is_qualified_name)
_LABELS = _Rule(f"{LABEL_KEY}, with {LABEL_VALUE.removeprefix('must be ')}", _are_labels)
_PORT = _Rule("must be a port from 1 to 65535, or the name of one", _is_port)
_RESOURCES = _Rule("must have Kubernetes quantities by the name of a resource", _are_resources)
_WEIGHT = _between(1, 100)
_NOT_EMPTY = _Rule("must not be empty", bool)
_CONFIG_KEY = _matching(r"(?!\.\.?$|\.\.)[-._a-zA-Z0-9]{1,253}", "must be the key of a ConfigMap or a Secret")
_MODE = _between(0, 0o777)
_IN_VOLUME = _Rule("must be a relative path without '..'", _is_inside)

_LABEL = r"|metadata\.(labels|annotations)\['[^']+'\]"
_FIELD_PATHS: dict[str, _Rule] = {
    "EnvVarSource": _matching(
        r"metadata\.(name|namespace|uid)|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)" + _LABEL,
        "must be a field that a container can have, such as metadata.name",
    ),
    "DownwardAPIVolumeFile": _matching(
        r"metadata\.(name|namespace|uid|labels|annotations)" + _LABEL,
        "must be a field that a volume can have, such as metadata.name",
    ),
}
"""Of `fieldRef`, by the kind that has it."""

_FIELDS: dict[str, _Rule] = {
    "Volume.name": _NAME,
    "VolumeMount.name": _NAME,
    "VolumeMount.mountPath": _matching(r"[^:]+", "must be a path without ':'"),
    "VolumeMount.subPath": _IN_VOLUME,
    "VolumeMount.mountPropagation": _choice("None", "HostToContainer"),
    "EmptyDirVolumeSource.sizeLimit": _Rule("must be a Kubernetes quantity", _is_quantity),
    "ConfigMapVolumeSource.defaultMode": _MODE,
    "SecretVolumeSource.defaultMode": _MODE,
    "KeyToPath.key": _CONFIG_KEY,
    "KeyToPath.path": _IN_VOLUME,
    "KeyToPath.mode": _MODE,
    "DownwardAPIVolumeFile.path": _IN_VOLUME,
    "DownwardAPIVolumeFile.mode": _MODE,
    "ServiceAccountTokenProjection.path": _IN_VOLUME,
    "ServiceAccountTokenProjection.expirationSeconds": _between(600),
    "ProjectedVolumeSource.defaultMode": _MODE,
    "PersistentVolumeClaimVolumeSource.claimName": _SUBDOMAIN,
    "ConfigMapVolumeSource.name": _SUBDOMAIN,
    "SecretVolumeSource.secretName": _SUBDOMAIN,
    "ConfigMapProjection.name": _SUBDOMAIN,
    "SecretProjection.name": _SUBDOMAIN,
    "ConfigMapEnvSource.name": _SUBDOMAIN,
    "SecretEnvSource.name": _SUBDOMAIN,
    "ConfigMapKeySelector.name": _SUBDOMAIN,
    "ConfigMapKeySelector.key": _CONFIG_KEY,
    "SecretKeySelector.name": _SUBDOMAIN,
    "SecretKeySelector.key": _CONFIG_KEY,
    "EnvFromSource.prefix": _matching(r"[ -<>-~]*", "must be printable ASCII without '='"),
    "Container.name": _NAME,
    "Container.image": _matching(r"\S(.*\S)?", "must be an image"),
    "Container.imagePullPolicy": _choice("Always", "IfNotPresent", "Never"),
    "Container.terminationMessagePolicy": _choice("File", "FallbackToLogsOnError"),
    "EnvVar.name": _matching(r"[ -<>-~]+", "must be printable ASCII without '='"),
    "ContainerPort.containerPort": _between(1, 65535),
    "ContainerPort.name": _Rule("must be the name of a port: at most 15 of a-z, 0-9 and '-'", _is_port_name),
    "ContainerPort.protocol": _choice("TCP", "UDP", "SCTP"),
    "HTTPGetAction.port": _PORT,
    "HTTPGetAction.scheme": _choice("HTTP", "HTTPS"),
    "HTTPGetAction.path": _NOT_EMPTY,
    "TCPSocketAction.port": _PORT,
    "GRPCAction.port": _between(1, 65535),
    "Probe.initialDelaySeconds": _between(0),
    "Probe.periodSeconds": _between(0),
    "Probe.timeoutSeconds": _between(0),
    "Probe.successThreshold": _between(0),
    "Probe.failureThreshold": _between(0),
    "Probe.terminationGracePeriodSeconds": _between(1),
    "ResourceRequirements.requests": _RESOURCES,
    "ResourceRequirements.limits": _RESOURCES,
    "LabelSelector.matchLabels": _LABELS,
    "LabelSelectorRequirement.key": _KEY,
    "LabelSelectorRequirement.operator": _choice("In", "NotIn", "Exists", "DoesNotExist"),
    "LabelSelectorRequirement.values": _each(_Rule(LABEL_VALUE, is_label_value)),
    "NodeSelectorRequirement.key": _KEY,
    "NodeSelectorRequirement.operator": _choice("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    "NodeSelectorRequirement.values": _each(_Rule(LABEL_VALUE, is_label_value)),
    "NodeSelector.nodeSelectorTerms": _NOT_EMPTY,
    "PreferredSchedulingTerm.weight": _WEIGHT,
    "WeightedPodAffinityTerm.weight": _WEIGHT,
    "PodAffinityTerm.topologyKey": _KEY,
    "PodAffinityTerm.namespaces": _each(_NAME),
    "TopologySpreadConstraint.maxSkew": _between(1),
    "TopologySpreadConstraint.minDomains": _between(1),
    "TopologySpreadConstraint.topologyKey": _KEY,
    "TopologySpreadConstraint.whenUnsatisfiable": _choice("ScheduleAnyway", "DoNotSchedule"),
    "TopologySpreadConstraint.nodeAffinityPolicy": _choice("Honor", "Ignore"),
    "TopologySpreadConstraint.nodeTaintsPolicy": _choice("Honor", "Ignore"),
    "HostAlias.ip": _Rule("must be an IP address", _is_address),
    "HostAlias.hostnames": _each(_SUBDOMAIN),
    "PodDNSConfig.nameservers": _each(_Rule("must be IP addresses", _is_address), 3),
    "PodDNSConfig.searches": _each(_matching(r"\.|([\w-]+\.?)+", "must be DNS domains"), 32),
    "PodSpec.runtimeClassName": _SUBDOMAIN,
    "SecurityContext.runAsUser": _between(0),
    "SecurityContext.runAsGroup": _between(0),
}
"""By kind and field of Kubernetes. What the program rejects anyway is not here."""


def _names(model: type[BaseModel], *without: str) -> tuple[str, ...]:
    names = (field_key(name, field) for name, field in model.model_fields.items())
    return tuple(name for name in names if name not in without)


_ONE_OF: dict[str, tuple[str, ...]] = {
    "Probe": ("exec", "grpc", "httpGet", "tcpSocket"),
    "LifecycleHandler": ("exec", "httpGet", "sleep", "tcpSocket"),
    "EnvFromSource": ("configMapRef", "secretRef"),
    "EnvVarSource": ("configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"),
    "Volume": _names(models.V1Volume, "name"),
    "VolumeProjection": _names(models.V1VolumeProjection),
    "DownwardAPIVolumeFile": ("fieldRef", "resourceFieldRef"),
}
"""Kinds of which exactly one of these fields is set."""

_REQUIRED: dict[str, str] = {
    "ConfigMapEnvSource": "name",
    "ConfigMapKeySelector": "name",
    "ConfigMapProjection": "name",
    "ConfigMapVolumeSource": "name",
    "ExecAction": "command",
    "PodDNSConfigOption": "name",
    "SecretEnvSource": "name",
    "SecretKeySelector": "name",
    "SecretProjection": "name",
    "SecretVolumeSource": "secretName",
}
"""The field of a kind that the schema does not require."""

_UNIQUE: dict[str, tuple[tuple[str, ...], ...]] = {
    "Container.env": (("name",),),
    "Container.ports": (("containerPort", "protocol"), ("name",)),
    "Container.resizePolicy": (("resourceName",),),
    "Container.volumeDevices": (("devicePath",),),
    "Container.volumeMounts": (("mountPath",),),
    "PodSpec.containers": (("name",),),
    "PodSpec.hostAliases": (("ip",),),
    "PodSpec.initContainers": (("name",),),
    "PodSpec.topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "PodSpec.volumes": (("name",),),
}
"""Lists whose items differ in these fields. Most of them are the keys by which server-side apply finds an item; an item
without one of them is not compared.
"""

_DEFAULTS = {"protocol": "TCP"}

_NO_OTHER_THRESHOLD = ("successThreshold", 1, "must be 1")
_PROBES: dict[str, tuple[str, int | None, str]] = {
    "livenessProbe": _NO_OTHER_THRESHOLD,
    "startupProbe": _NO_OTHER_THRESHOLD,
    "readinessProbe": ("terminationGracePeriodSeconds", None, "must be left out: a readiness probe ends no container"),
}
"""The probes of a container, each with the field that it cannot choose: the only value, and what is allowed."""


def api_server_problems(value: BaseModel, path: Path = ()) -> Iterator[Problem]:
    """What the API server would reject in a value that has its schema."""
    kind = type(value).__name__.removeprefix("V1")
    given = _given(value)
    for name, inner in given.items():
        rule = _FIELDS.get(f"{kind}.{name}")
        if rule and not rule.fits(inner):
            yield _problem((*path, name), inner, rule.allowed)
        if isinstance(inner, BaseModel):
            yield from api_server_problems(inner, (*path, name))
        elif isinstance(inner, list):
            for index, item in enumerate(cast("list[Any]", inner)):
                if isinstance(item, BaseModel):
                    yield from api_server_problems(item, (*path, name, index))
            for keys in _UNIQUE.get(f"{kind}.{name}", ()):
                yield from _repeated(cast("list[BaseModel]", inner), keys, (*path, name))
    if kind in _ONE_OF and len(given.keys() & {*_ONE_OF[kind]}) != 1:
        yield _problem(path, [*given], f"must have one of {', '.join(sorted(_ONE_OF[kind])[:12])}")
    if (name := _REQUIRED.get(kind)) and not given.get(name):
        yield Problem((*path, name), given.get(name, ABSENT), "is required", reason="MissingKey")
    if kind == "ProjectedVolumeSource":
        yield from _projection_problems(given.get("sources", ()), (*path, "sources"))
    if kind == "PodSpec":
        yield from _container_problems(given, path)
    if (rule := _FIELD_PATHS.get(kind)) and (field := given.get("fieldRef")) and not rule.fits(field.field_path):
        yield _problem((*path, "fieldRef", "fieldPath"), field.field_path, rule.allowed)
    if kind == "ResourceRequirements":
        yield from _resource_problems(given, path)
    if kind.endswith("SelectorRequirement"):
        yield from _requirement_problems(given, path)


def _given(value: BaseModel) -> dict[str, Any]:
    """The fields that are set, by their names in Kubernetes."""
    found = {field_key(name, field): getattr(value, name) for name, field in type(value).model_fields.items()}
    return {name: inner for name, inner in found.items() if inner is not None}


def _container_problems(spec: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """What containers of a pod may have only beside others, or only in their place."""
    names = {container.name for container in spec.get("containers", ())}
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind, ())):
            at = (*path, kind, index)
            if kind == "initContainers" and container.name in names:
                yield _problem((*at, "name"), container.name, "must not be the name of another container")
            given = _given(container)
            policy = given.get("restartPolicy")
            if policy is not None and (kind == "containers" or policy != "Always"):
                yield _problem((*at, "restartPolicy"), policy, "must be Always, and of a container of initContainers")
            if kind == "initContainers" and policy is None:
                for name in ("lifecycle", *_PROBES):
                    if name in given:
                        yield _problem((*at, name), given[name], "needs restartPolicy: Always")
            for name, (field, only, allowed) in _PROBES.items():
                if name in given and (found := _given(given[name]).get(field, only)) != only:
                    yield _problem((*at, name, field), found, allowed)


def _repeated(items: Sequence[BaseModel], keys: Sequence[str], path: Path) -> Iterator[Problem]:
    """Items of a list that have the keys of an earlier one."""
    seen: set[tuple[Any, ...]] = set()
    for index, item in enumerate(items):
        given = _DEFAULTS | _given(item)
        values = tuple(given.get(key) for key in keys)
        if None not in values and values in seen:
            yield _problem((*path, index, keys[0]), values[0], "must not be repeated")
        seen.add(values)


def _projection_problems(sources: Sequence[models.V1VolumeProjection], path: Path) -> Iterator[Problem]:
    """Files that two sources of a projected volume have."""
    seen: set[str] = set()
    for index, source in enumerate(sources):
        for kind, inner in _given(source).items():
            for item in [inner] if kind == "serviceAccountToken" else getattr(inner, "items", None) or ():
                if item.path in seen:
                    yield _problem((*path, index, kind), item.path, "must not be repeated")
                seen.add(item.path)


def _resource_problems(given: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Requests above their limit; other resources than CPU, memory and storage have both, of the same size."""
    requests = cast("dict[str, str]", given.get("requests") or {})
    limits = cast("dict[str, str]", given.get("limits") or {})
    if not (_are_resources(requests) and _are_resources(limits)):
        return
    for name, value in requests.items():
        limit = limits.get(name)
        if name in _OVERCOMMITTED:
            if limit is not None and parse_quantity(value) > parse_quantity(limit):
                yield _problem((*path, "requests", name), value, f"must be at most its limit ({limit})")
        elif limit is None or parse_quantity(value) != parse_quantity(limit):
            yield _problem((*path, "requests", name), value, "must be equal to its limit")


def _requirement_problems(given: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    values: Sequence[str] = given.get("values") or ()
    match given["operator"]:
        case "In" | "NotIn" if not values:
            yield _problem((*path, "values"), None, "must be set with In and NotIn")
        case "Exists" | "DoesNotExist" if values:
            yield _problem((*path, "values"), values, "must be left out with Exists and DoesNotExist")
        case "Gt" | "Lt" if len(values) != 1 or not re.fullmatch(r"-?\d{1,18}", values[0]):
            yield _problem((*path, "values"), values, "must be one whole number with Gt and Lt")
        case _:
            pass


def _problem(path: Path, value: Any, allowed: str) -> Problem:
    return Problem(path, value, allowed, reason="RejectedByKubernetes")
