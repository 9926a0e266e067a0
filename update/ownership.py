"""What belongs to a stack: its cluster, its namespace and its objects.

Every object carries the stack's name in an annotation. The stack's outputs record the cluster and the namespace of the
last update (`Binding`), and a later update compares them. Without this, another cluster or namespace in the config
would create a second cluster there and delete the first one, and two stacks in one namespace would overwrite each
other (pulumi-kubernetes #2509, #2745, #2926).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from cluster.live import Kind, Object
from cluster.state import LiveState
from model.names import FIELD_MANAGER, STACK_ANNOTATION
from model.objects import declared_objects
from model.problems import Problem
from model.settings.stack import StackSettings

_KUBERNETES = ("kubernetes",)


@dataclass(frozen=True)
class Binding:
    """What a stack was deployed to, as its output `deployment` records it.

    cluster_id: of the config. cluster_uid: the UID of the namespace kube-system, "" if it could not be read.
    namespace: its name. created_namespace: whether the stack created it.
    """

    cluster_id: str
    cluster_uid: str
    namespace: str
    created_namespace: bool

    @staticmethod
    def of(settings: StackSettings, state: LiveState, bound: Binding | None = None) -> Binding:
        """The binding of an update with these settings. bound: of the last update; a UID in it is kept."""
        kubernetes = settings.kubernetes
        uid = state.cluster_uid or (bound.cluster_uid if bound else "")
        return Binding(kubernetes.cluster_id, uid, kubernetes.namespace, kubernetes.create_namespace)

    @staticmethod
    def from_output(value: Any) -> Binding | None:
        """The binding in a stack output; None if it is missing."""
        if not isinstance(value, Mapping) or not value:
            return None
        fields = cast("Mapping[str, Any]", value)
        return Binding(
            str(fields["clusterId"]),
            str(fields["clusterUid"]),
            str(fields["namespace"]),
            bool(fields["createdNamespace"]),
        )

    def to_output(self) -> dict[str, Any]:
        """The stack output."""
        names = ("clusterId", "clusterUid", "namespace", "createdNamespace")
        return dict(zip(names, asdict(self).values(), strict=True))


def binding_problems(settings: StackSettings, state: LiveState, bound: Binding | None) -> Iterator[Problem]:
    """Another cluster or namespace than that of the last update. bound: None before the first update."""
    if bound is None:
        return
    kubernetes = settings.kubernetes
    if kubernetes.namespace != bound.namespace:
        yield Problem(
            (*_KUBERNETES, "namespace"),
            kubernetes.namespace,
            f"must stay {bound.namespace!r}: the stack runs there, and would be deleted there with all its "
            "connections. For another namespace create another stack, move the viewers there, then destroy this one",
        )
    if kubernetes.cluster_id != bound.cluster_id:
        yield Problem(
            (*_KUBERNETES, "clusterId"),
            kubernetes.cluster_id,
            f"must stay {bound.cluster_id!r}, even if it is wrong: it identifies the cluster in Pulumi's state, and "
            "another one would delete every object",
        )
    if bound.cluster_uid and state.cluster_uid and state.cluster_uid != bound.cluster_uid:
        yield Problem(
            (*_KUBERNETES, "kubeconfig"),
            kubernetes.kubeconfig,
            f"leads to another cluster (UID of kube-system {state.cluster_uid}) than the one that the stack runs in "
            f"({bound.cluster_uid}). Use the kubeconfig of that cluster, or another stack for this one",
        )
    if bound.created_namespace and not kubernetes.create_namespace and kubernetes.namespace == bound.namespace:
        yield Problem(
            (*_KUBERNETES, "createNamespace"),
            False,
            f"must stay true: the stack has created namespace {bound.namespace} and would delete it with everything in "
            "it",
        )


def namespace_problems(settings: StackSettings, state: LiveState, stack: str) -> Iterator[Problem]:
    """A namespace that the config expects and that is missing, or that it creates and that is not the stack's."""
    name = settings.kubernetes.namespace
    path = (*_KUBERNETES, "createNamespace")
    if state.namespace is None:
        if not settings.kubernetes.create_namespace:
            yield Problem(path, False, f"needs namespace {name} to exist; create it, or set createNamespace: true")
        return
    if settings.kubernetes.create_namespace and (owner := foreign_owner(state.namespace, stack)):
        yield Problem(
            path,
            True,
            f"cannot create namespace {name}: it exists and belongs to {owner}. Set createNamespace: false, which uses "
            "it and never deletes it, or choose another namespace",
        )


def object_problems(settings: StackSettings, state: LiveState, stack: str) -> Iterator[Problem]:
    """Objects under the stack's names that belong to somebody else; they are never modified."""
    for kind, name in declared_objects(settings):
        live = state.get(cast("Kind", kind), name)
        if live is not None and (owner := foreign_owner(live, stack)):
            yield Problem(
                (*_KUBERNETES, "namespace"),
                settings.kubernetes.namespace,
                f"already has a {kind} {name}, which belongs to {owner} and would be overwritten. Choose another "
                "namespace, or move its users and delete it first",
            )


def without_foreign(state: LiveState, stack: str) -> LiveState:
    """The state without the objects of others, which an update must not count, scale or announce as deleted.

    Such as edges that were applied by hand next to the stack's. Autoscalers stay: they are never the stack's.
    """
    objects = {
        kind: {
            name: item
            for name, item in items.items()
            if kind in ("HorizontalPodAutoscaler", "ReplicaSet") or foreign_owner(item, stack) is None
        }
        for kind, items in state.objects.items()
    }
    return replace(state, objects=objects)


def foreign_owner(live: Object, stack: str) -> str | None:
    """Whom a live object belongs to; None if it is this stack's.

    Objects of versions that wrote no annotation are recognized by their field manager.
    """
    metadata = live["metadata"]
    annotations: dict[str, str] = metadata.get("annotations") or {}
    if owner := annotations.get(STACK_ANNOTATION):
        return None if owner == stack else f"stack {owner}"
    if annotations.get("pulumi.com/patchFieldManager") == FIELD_MANAGER:
        return None
    if release := annotations.get("meta.helm.sh/release-name"):
        return f"Helm release {release}"
    managers = sorted({entry.get("manager", "") for entry in metadata.get("managedFields", [])})
    labels: dict[str, str] = metadata.get("labels") or {}
    if manager := labels.get("app.kubernetes.io/managed-by"):
        return f"an application that is managed by {manager}"
    return f"an object that was created with {', '.join(managers)}" if managers else "another application"
