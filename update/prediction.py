"""What a server-side apply of our object changes in the live one.

The provider applies with one field manager, by force, and before that it takes over the fields of kubectl and of
client-side apply (pulumi-kubernetes, provider/pkg/await/await.go, `fixCSAFieldManagers`). So an apply sets our fields,
and removes fields that this manager or kubectl has set and that we do not declare. It happens only if a field of ours
differs: fields that other managers added are no reason for an apply (the provider removes them from its comparison).
"""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from kubernetes.utils.quantity import parse_quantity

from cluster.live import Object
from model.config.problems import REDACTED
from model.config.values import yaml_text
from model.names import FIELD_MANAGER

_ABSORBED = ("kubectl", "before-first-apply", "pulumi-kubernetes", "pulumi-resource-kubernetes")
"""Field managers whose fields the provider takes over, by prefix."""

EARLIER = "an earlier update"
"""Stands for our own field manager in `Change.manager`."""

Path = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A field that an apply changes. path: from the root of the object. before, after: None where it is absent.

    manager: the field manager that had added a field which the apply removes; "" for other changes.
    by_admission: whether the cluster makes this change, and not the declared one (`admitted`).
    """

    path: Path
    before: Any
    after: Any
    manager: str = ""
    by_admission: bool = False

    def __str__(self) -> str:
        """The change in one line."""
        name = ".".join(self.path)
        if self.manager:
            return f"{name}: removed" if self.manager == EARLIER else f"{name}: removed (set by {self.manager})"
        if self.before is None and isinstance(self.after, Mapping):
            return f"{name}: added{self.cause}"
        return f"{name}: {_short(self.before)} -> {_short(self.after)}{self.cause}"

    @property
    def cause(self) -> str:
        """What makes the change, if it is not the stack config: the end of a line."""
        return " (by an admission policy of the cluster)" if self.by_admission else ""


_PUBLIC = ("image", "replicas", "paused", "terminationGracePeriodSeconds", "config")
"""Parts of a workload that the stack sets itself, and that other messages show as well."""


def masked(change: Change) -> Change:
    """A change without the values that a secret key of the stack config may have set."""
    if set(_PUBLIC) & set(change.path):
        return change
    before, after = (None if value is None else REDACTED for value in (change.before, change.after))
    return replace(change, before=before, after=after)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else yaml_text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def apply_changes(desired: Object, live: Object) -> list[Change]:
    """The changes by an apply of `desired` (the JSON of what is declared) to the live object; empty if there is none.

    The API server's defaults are no changes: only fields of `desired` are compared.
    """
    changes = list(_set_fields(desired, live, ()))
    own = [*_removed_fields(desired, live, (FIELD_MANAGER,), "Apply")]
    if not changes and not own:
        return []
    return [*changes, *own, *_removed_fields(desired, live, _ABSORBED, "Update", "Apply")]


def admitted(changes: Iterable[Change], live: Object, stored: Object | None) -> list[Change]:
    """The changes that remain after admission: policies and webhooks of the cluster may undo, alter and add some.

    stored: what the API server would store of the live object with these changes (`cluster/admission.py`); None if
    that is not known. What a policy adds is looked for in the pod template, because that rolls a workload.
    """
    changes = list(changes)
    if stored is None:
        return changes
    found: list[Change] = []
    for change in changes:
        before, after = value_at(live, change.path), value_at(stored, change.path)
        if before == after:
            continue
        as_declared = change.after is None or not any(_set_fields(change.after, after, change.path))
        found.append(change if as_declared else replace(change, after=after, by_admission=True))
    known = [change.path for change in changes]
    template = ("spec", "template")
    ours, theirs = value_at(stored, template), value_at(live, template)
    added = [*_set_fields(ours, theirs, template)]
    added += [Change(item.path, item.after, None) for item in _set_fields(theirs, ours, template) if not item.before]
    for change in added:
        if not any(path[: len(change.path)] == change.path[: len(path)] for path in known):
            found.append(replace(change, by_admission=True))
    return found


def unseen_changes(changes: Sequence[Change]) -> list[Change]:
    """The changes that are no reason for an apply by the provider, and that remain if there is no other one.

    It compares only fields that its last inputs have, without those that are empty, zero or false (pulumi-kubernetes,
    provider/pkg/provider/provider.go, `normalizeInputs` and `pruneLiveState`).
    """
    return [change for change in changes if not change.manager and not change.after]


def applied(live: Object, changes: Sequence[Change]) -> Object:
    """The live object after these changes; without the API server's defaults for what they add."""
    result = copy.deepcopy(live)
    for change in changes:
        with suppress(ValueError, IndexError):  # an item that is not there any more
            _apply(result, change)
    return result


def _apply(result: Object, change: Change) -> None:
    *parents, last = change.path
    node: Any = result
    for part in parents:
        if isinstance(node, list):
            items = cast("list[Any]", node)
            node = items[_index(items, part)]
        else:
            node = node.setdefault(part, {})
    if isinstance(node, list):
        items = cast("list[Any]", node)
        if change.after is None:
            del items[_index(items, last)]
        elif change.before is None:
            items.append(change.after)
        else:
            items[_index(items, last)] = change.after
    elif change.after is None:
        node.pop(last, None)
    else:
        node[last] = change.after


def _index(items: list[Any], label: str) -> int:
    """The position of an item by one of LIST_KEYS, or by its number; ValueError if none.

    Not by its other fields: one may have the key of another item as its value, such as the environment A=B and B=C.
    """
    maps = [cast("dict[str, Any]", item) if isinstance(item, dict) else {} for item in items]
    for key in LIST_KEYS:
        for index, item in enumerate(maps):
            if key in item and str(item[key]) == label:
                return index
    return int(label)


LIST_KEYS = (
    "name",
    "mountPath",
    "devicePath",
    "containerPort",
    "port",
    "topologyKey",
    "ip",
    "uid",
    "conditionType",
    "type",
)
"""Keys of the items of lists, the more specific ones first (Kubernetes API, `x-kubernetes-list-map-keys`)."""


def _set_fields(desired: Any, live: Any, path: Path) -> Iterator[Change]:
    if isinstance(desired, Mapping):
        live_map = cast("Mapping[str, Any]", live) if isinstance(live, Mapping) else {}
        for key, value in cast("Mapping[str, Any]", desired).items():
            if value is not None:
                yield from _set_fields(value, live_map.get(key), (*path, key))
    elif isinstance(desired, list) and isinstance(live, list):
        ours, theirs = cast("list[Any]", desired), cast("list[Any]", live)
        if _names(ours) and _names(theirs):  # merged by name; items of other managers stay
            by_name = dict(zip(_names(theirs), theirs, strict=True))
            for name, our in zip(_names(ours), ours, strict=True):
                if name in by_name:
                    yield from _set_fields(our, by_name[name], (*path, name))
                else:
                    yield Change((*path, name), None, our)
            return
        if len(ours) != len(theirs):
            yield Change(path, live, ours)
            return
        for index, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from _set_fields(our, their, (*path, str(index)))
    elif not is_equal(desired, live, path):
        yield Change(path, live, desired)


def _names(items: list[Any]) -> list[str]:
    """The names of the items of a list; empty if they have none."""
    maps = [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
    named = [str(item["name"]) for item in maps if "name" in item]
    return named if len(set(named)) == len(items) else []


def is_equal(desired: Any, live: Any, path: Path) -> bool:
    """Whether the API server keeps a desired value as the live one: quantities by value; it omits empty values."""
    if desired == live or (live is None and not desired):
        return True
    if {"requests", "limits"} & set(path) or path[-1] == "sizeLimit":
        return live is not None and parse_quantity(str(desired)) == parse_quantity(str(live))
    return False


def _removed_fields(desired: Object, live: Object, managers: tuple[str, ...], *operations: str) -> Iterator[Change]:
    entries: list[Object] = live["metadata"].get("managedFields", [])
    for entry in entries:
        manager: str = entry.get("manager", "")
        absorbed = manager in managers if managers == (FIELD_MANAGER,) else manager.startswith(managers)
        if absorbed and entry.get("operation") in operations and not entry.get("subresource"):
            for path in _missing(entry.get("fieldsV1", {}), desired, ()):
                # Labels and annotations of the object itself are not compared.
                if path[0] == "spec" and not _is_default(live, path):
                    yield Change(path, "", None, EARLIER if manager == FIELD_MANAGER else manager)


def _is_default(live: Object, path: Path) -> bool:
    """Whether a live field has the default of the API server: its removal changes nothing.

    Source: Kubernetes, pkg/apis/core/v1/defaults.go and pkg/apis/apps/v1/defaults.go.
    """
    parent = value_at(live, path[:-1])
    value = _child(parent, path[-1])
    if value in ({}, []):
        return True
    if path[-1] == "imagePullPolicy":
        tag = str(parent["image"]).rpartition("/")[2].partition(":")[2]
        return value == ("Always" if tag in ("", "latest") else "IfNotPresent")
    return value is not None and value == _SERVER_DEFAULTS.get(path[-1])


def value_at(node: Any, path: Path) -> Any:
    """The value at a path, None if there is none."""
    for part in path:
        node = _child(node, part)
    return node


def _child(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return cast("Mapping[str, Any]", node).get(part)
    if isinstance(node, list):
        items = cast("list[Any]", node)
        with suppress(ValueError, IndexError):
            return items[_index(items, part)]
    return None


_SERVER_DEFAULTS: dict[str, Any] = {
    "apiVersion": "v1",  # of a fieldRef
    "defaultMode": 0o644,
    "dnsPolicy": "ClusterFirst",
    "enableServiceLinks": True,
    "failureThreshold": 3,
    "minReadySeconds": 0,
    "periodSeconds": 10,
    "podManagementPolicy": "OrderedReady",
    "progressDeadlineSeconds": 600,
    "protocol": "TCP",
    "replicas": 1,
    "restartPolicy": "Always",
    "revisionHistoryLimit": 10,
    "schedulerName": "default-scheduler",
    "scheme": "HTTP",
    "successThreshold": 1,
    "terminationGracePeriodSeconds": 30,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "timeoutSeconds": 1,
}
"""By the name of the field, in a workload and its pod template."""


def _missing(fields: Mapping[str, Any], desired: Any, path: Path) -> Iterator[Path]:
    """Paths of managed fields (`fieldsV1`) that are not in `desired`."""
    for key, inner in fields.items():
        kind, _, name = key.partition(":")
        if kind == "f":
            child = cast("Mapping[str, Any]", desired).get(name) if isinstance(desired, Mapping) else None
            label = name
        elif kind == "k":
            child, label = _item(desired, name)
        else:  # an item of a set, or "." for the field itself
            continue
        if child is None:
            yield (*path, label)
        else:
            yield from _missing(cast("Mapping[str, Any]", inner), child, (*path, label))


def _item(items: Any, key: str) -> tuple[Any, str]:
    """The item of a list with this key (JSON of its key fields), and its name."""
    wanted = cast("dict[str, Any]", json.loads(key))
    label = str(next(iter(wanted.values())))
    for item in cast("list[Mapping[str, Any]]", items) if isinstance(items, list) else []:
        if all(item.get(name, _SERVER_DEFAULTS.get(name)) == value for name, value in wanted.items()):
            return item, label
    return None, label
