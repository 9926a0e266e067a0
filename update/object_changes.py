"""What an update does to objects that are no workloads: Services, policies, the claim, accounts, monitoring.

Compared is what the API server would keep, whoever has set it. The provider compares less: it leaves out fields that
other managers have added (pulumi-kubernetes, provider/pkg/provider/provider.go, `pruneLiveState`), so a key that is
added to the selector of a Service by hand would stay, and the pods without it would have no viewers from then on.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from cluster.live import KINDS, Object
from cluster.state import LiveState
from model.config.values import yaml_text
from model.desired.objects import DesiredObject, Kind, Manifest
from model.desired.render import Desired
from model.names import EDGE_APP, FIELD_MANAGER, ORIGIN
from update.prediction import EARLIER, Change, Path, is_equal, masked

_EXACT: tuple[Kind, ...] = ("Service", "NetworkPolicy", "PodDisruptionBudget")
"""Kinds whose spec is the stack's alone. Controllers add fields to other kinds, such as the volume of a claim."""

_ALLOCATED = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort", "nodePort")
"""Fields of a Service that the API server sets, and that keep their values. Not in it: `loadBalancerIP`."""

_DEFAULTS: dict[str, Any] = {
    "allocateLoadBalancerNodePorts": True,
    "externalTrafficPolicy": "Cluster",
    "internalTrafficPolicy": "Cluster",
    "protocol": "TCP",
    "sessionAffinity": "None",
    "type": "ClusterIP",
}
"""Kubernetes, pkg/apis/core/v1/defaults.go and pkg/apis/networking/v1/defaults.go."""

_DEPENDENT = ("sessionAffinityConfig",)
"""Fields that have no owner, but exist only because of another field (`sessionAffinity`)."""

_REMOVED: tuple[Kind, ...] = (
    "Service",
    "ServiceAccount",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "PodMonitor",
    "PrometheusRule",
)
"""Kinds that an update deletes when the stack does not declare them any more; it leaves claims."""

_CONFIGURATIONS: tuple[Kind, ...] = ("ConfigMap", "Secret")

Owners = list[tuple[str, Mapping[str, Any]]]
"""Field managers with the fields that they have set (`fieldsV1`) of a part of an object; none: all of it."""


@dataclass(frozen=True)
class ObjectChange:
    """What an update does to an object. changes: of its fields."""

    kind: Kind
    name: str
    action: Literal["create", "update", "delete", "none"]
    changes: tuple[Change, ...] = ()
    lines: tuple[str, ...] = ()
    """The changes in the operator's words, a line each."""


def object_changes(desired: Desired, state: LiveState) -> tuple[ObjectChange, ...]:
    """What an update does to each object that is no workload; state: of the stack's own objects.

    A kind that cannot be read is left out, because nothing is known of it.
    """
    return (*_declared(desired, state), *_deleted(desired, state))


def _declared(desired: Desired, state: LiveState) -> Iterator[ObjectChange]:
    for (kind, name), item in desired.objects.items():
        if item.workload or kind not in KINDS or kind not in state.objects:
            continue
        live = state.get(kind, name)
        if live is None:
            yield ObjectChange(kind, name, "create")
        else:
            changes = tuple(differences(item, live))
            yield ObjectChange(kind, name, "update" if changes else "none", changes, tuple(_lines(item, changes)))


def _deleted(desired: Desired, state: LiveState) -> Iterator[ObjectChange]:
    for kind in _REMOVED:
        for name in sorted(state.objects.get(kind, {})):
            if (kind, name) not in desired.objects:
                yield ObjectChange(kind, name, "delete")
    yield from _unused_configurations(desired, state)


def _unused_configurations(desired: Desired, state: LiveState) -> Iterator[ObjectChange]:
    """Texts of srs.conf that no workload, no revision of one and no pod mounts: a long-lived release collects them.

    The ConfigMap that shows a Secret without its secrets has the same name, and stays as long.
    """
    if "ControllerRevision" not in state.objects:  # must not be read
        return
    pods = [pod.get("spec", {}) for pod in (*state.pods, *state.terminating)]
    revisions = [item["spec"]["template"]["spec"] for item in state.objects["ReplicaSet"].values()]
    workloads = [item["spec"]["template"]["spec"] for item in (*state.edges.values(), *filter(None, [state.origins]))]
    volumes: list[Any] = [spec.get("volumes") for spec in (*pods, *revisions, *workloads)]
    # The data of a foreign revision may be anything, so names are searched for in the text.
    volumes += [item.get("data") for item in state.objects["ControllerRevision"].values()]
    mounted = json.dumps(volumes)
    for kind in _CONFIGURATIONS:
        for name, live in sorted(state.objects.get(kind, {}).items()):
            labels: Mapping[str, Any] = live["metadata"].get("labels") or {}
            app = str(labels.get("app"))
            srs = app == ORIGIN or app.startswith(f"{EDGE_APP}-")
            if srs and (kind, name) not in desired.objects and f'"{name}"' not in mounted:
                yield ObjectChange(kind, name, "delete")


def differences(item: DesiredObject, live: Object) -> Iterator[Change]:
    """The fields in which a live object differs from the desired one."""
    owners = _owners(live)
    yield from metadata_differences(item.compared["metadata"], live)
    for key, value in item.compared.items():
        if key in ("metadata", "data", "stringData", "immutable", "type"):  # a changed content has another name
            continue
        yield from _differences(value, live.get(key), _inside(owners, f"f:{key}"), (key,), exact=item.kind in _EXACT)


def _owners(live: Object) -> Owners:
    return [
        (str(entry.get("manager", "")), cast("Mapping[str, Any]", entry.get("fieldsV1", {})))
        for entry in live["metadata"].get("managedFields", [])
    ]


def metadata_differences(desired: Manifest, live: Object) -> Iterator[Change]:
    """Labels and annotations that differ, and those that were added by hand.

    Automation adds labels and annotations only with a prefix (Kubernetes docs, "Labels and Selectors", "Syntax and
    character set"), such as a cloud controller; of those, only what kubectl has set goes.
    """
    for key in ("labels", "annotations"):
        ours, theirs = desired[key], live["metadata"].get(key) or {}
        inside = _inside(_inside(_owners(live), "f:metadata"), f"f:{key}")
        for name, value in ours.items():
            if theirs.get(name) != value:
                yield Change(("metadata", key, name), theirs.get(name), value)
        for name in theirs.keys() - ours.keys():
            prefix = name.rpartition("/")[0]
            managers = [manager for manager, _ in _inside(inside, f"f:{name}")]
            by_hand = [manager for manager in managers if manager.startswith("kubectl")]
            if by_hand and prefix not in ("kubectl.kubernetes.io", "srs", "pulumi.com"):
                yield Change(("metadata", key, name), theirs[name], None, by_hand[0])
            elif key == "labels" and managers and not prefix:
                yield Change(("metadata", key, name), theirs[name], None, _named(managers))


def _differences(desired: Any, live: Any, owners: Owners, path: Path, *, exact: bool) -> Iterator[Change]:
    """exact: whether fields that are not desired are differences as well."""
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        ours, theirs = cast("Mapping[str, Any]", desired), cast("Mapping[str, Any]", live)
        for key, value in ours.items():
            yield from _differences(value, theirs.get(key), _inside(owners, f"f:{key}"), (*path, key), exact=exact)
        for key in sorted(theirs.keys() - ours.keys()) if exact else ():
            managers = [manager for manager, _ in _inside(owners, f"f:{key}")]
            default = theirs[key] == _DEFAULTS.get(key) or not theirs[key] or key in _ALLOCATED
            if not default and (managers or key in _DEPENDENT):
                yield Change((*path, key), theirs[key], None, _named(managers))
    elif exact and path == ("spec", "ports") and isinstance(live, list):
        yield from _port_differences(cast("list[Manifest]", desired), cast("list[Manifest]", live), owners, path)
    elif (
        not exact
        and isinstance(desired, list)
        and isinstance(live, list)
        and len(cast("list[Any]", desired)) == len(cast("list[Any]", live))
    ):
        for index, (our, their) in enumerate(zip(cast("list[Any]", desired), cast("list[Any]", live), strict=True)):
            yield from _differences(our, their, [], (*path, str(index)), exact=False)
    elif not is_equal(desired, live, path) and not (live is None and desired == _DEFAULTS.get(path[-1])):
        yield Change(path, live, desired)


def _port_differences(ours: list[Manifest], theirs: list[Manifest], owners: Owners, path: Path) -> Iterator[Change]:
    """The ports of a Service, which are told apart by their numbers and protocols."""
    live = {_port(port): port for port in theirs}
    for port in ours:
        label = (*path, str(port["port"]))
        current = live.pop(_port(port), None)
        if current is None:
            yield Change(label, None, port)
        else:
            yield from _differences(port, current, _inside(owners, _port_key(port)), label, exact=True)
    for port in live.values():
        managers = [manager for manager, _ in _inside(owners, _port_key(port))]
        yield Change((*path, str(port["port"])), port, None, _named(managers))


def _port(port: Manifest) -> tuple[int, str]:
    return port["port"], port.get("protocol", "TCP")


def _port_key(port: Manifest) -> str:
    """The name of a port of a Service in `fieldsV1`."""
    number, protocol = _port(port)
    return f'k:{{"port":{number},"protocol":"{protocol}"}}'


def _inside(owners: Owners, name: str) -> Owners:
    """The managers that have set a field, or an item of a list. name: in `fieldsV1`.

    A field that is set as a whole has no fields of its own in `fieldsV1`.
    """
    return [
        (manager, cast("Mapping[str, Any]", fields.get(name, {})))
        for manager, fields in owners
        if not fields or name in fields
    ]


def _named(managers: Iterable[str]) -> str:
    return next((manager for manager in managers if manager and manager != FIELD_MANAGER), EARLIER)


def correction(item: DesiredObject, live: Object, changes: Iterable[Change]) -> Manifest:
    """A JSON merge patch (RFC 7396) that makes these changes; it replaces lists as a whole."""
    patch: Manifest = {}
    for change in changes:
        path, value = change.path, change.after
        part: Any = item.manifest
        for length, key in enumerate(path[:-1], 1):
            part = part[key]
            if isinstance(part, list):
                path, value = path[:length], cast("list[Manifest]", part)
                break
        node = patch
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = _with_node_ports(value, live) if path == ("spec", "ports") else value
    return patch


def _with_node_ports(ports: list[Manifest], live: Object) -> list[Manifest]:
    """The desired ports of a Service, which keep the node ports that the API server has allocated."""
    allocated = {_port(port): port["nodePort"] for port in live["spec"].get("ports", []) if port.get("nodePort")}
    return [({"nodePort": allocated[_port(port)]} if _port(port) in allocated else {}) | port for port in ports]


def _lines(item: DesiredObject, changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        by = f" (set by {change.manager})" if change.manager != EARLIER else ""
        match change.path:
            case ("spec", "ports", port):
                yield f"port {port} is closed{by}" if change.after is None else f"port {port} is opened"
            case ("spec", "selector", key) if change.after is None:
                yield f"selector {key}={change.before} is removed{by}: pods without it have had no connections"
            case ("spec", "ingress") if item.kind == "NetworkPolicy":
                before, after = _access(change.before), _access(change.after)
                yield from (f"is closed: {access}" for access in sorted(before - after))
                yield from (f"is opened: {access}" for access in sorted(after - before))
            case ("metadata", *_) if item.secret:
                yield str(masked(change))
            case _:
                yield str(replace(change, path=change.path[1:] if change.path[0] == "spec" else change.path))


def _access(rules: list[Manifest] | None) -> set[str]:
    """What the rules of a NetworkPolicy let in: a port, and from where."""
    return {
        f"port {port.get('port', 'any')} for {_source(source)}"
        for rule in rules or []
        for port in rule.get("ports", [{}])
        for source in rule.get("from", [None])
    }


def _source(source: Manifest | None) -> str:
    return "everyone" if source is None else yaml_text(source)
