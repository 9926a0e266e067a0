"""What belongs to a stack: its cluster, its namespace and its objects.

Every object carries the stack's name in an annotation. The stack's outputs record the cluster and the namespace of the
last update (`Binding`), and a later update compares them. Without this, another cluster or namespace in the config
would create a second cluster there and delete the first one, and two stacks in one namespace would overwrite each
other (pulumi-kubernetes #2509, #2745, #2926).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from cluster.live import Kind, Object
from cluster.state import LiveState, Objects
from model.config.problems import Problem
from model.config.stack import StackSettings
from model.config.values import plural
from model.desired.render import Desired
from model.names import FIELD_MANAGER, STACK_ANNOTATION

_KUBERNETES = ("kubernetes",)


@dataclass(frozen=True)
class Binding:
    """What a stack was deployed to, as its output `deployment` records it.

    cluster_id: of the config. cluster_uid: the UID of the namespace kube-system, "" if it could not be read.
    namespace: its name. created_namespace: whether the stack created it. stacks: the names that the stack has had
    (organization/project/stack): it may be renamed, or its state may move to another backend or organization.
    """

    cluster_id: str
    cluster_uid: str
    namespace: str
    created_namespace: bool
    stacks: tuple[str, ...] = ()

    @staticmethod
    def of(desired: Desired, state: LiveState, bound: Binding | None = None) -> Binding:
        """The binding of an update. bound: of the last update; its UID and its names are kept."""
        kubernetes = desired.settings.kubernetes
        uid = state.cluster_uid or (bound.cluster_uid if bound else "")
        return Binding(
            kubernetes.cluster_id, uid, kubernetes.namespace, kubernetes.create_namespace, stack_names(desired, bound)
        )

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
            tuple(map(str, fields.get("stacks", ()))),  # absent in earlier versions
        )

    def to_output(self) -> dict[str, Any]:
        """The stack output."""
        names = ("clusterId", "clusterUid", "namespace", "createdNamespace", "stacks")
        return dict(zip(names, (*asdict(self).values(),), strict=True)) | {"stacks": list(self.stacks)}


def stack_names(desired: Desired, bound: Binding | None) -> tuple[str, ...]:
    """The names that the stack has, and has had: what its state records as its own in this namespace is its own."""
    return tuple(dict.fromkeys((*(bound.stacks if bound else ()), desired.stack)))


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
            reason="NamespaceChanges",
        )
    if kubernetes.cluster_id != bound.cluster_id:
        yield Problem(
            (*_KUBERNETES, "clusterId"),
            kubernetes.cluster_id,
            f"must stay {bound.cluster_id!r}, even if it is wrong: it identifies the cluster in Pulumi's state, and "
            "another one would delete every object",
            reason="ClusterIdChanges",
        )
    if bound.cluster_uid and state.cluster_uid and state.cluster_uid != bound.cluster_uid:
        yield Problem(
            (*_KUBERNETES, "kubeconfig"),
            kubernetes.kubeconfig,
            f"leads to another cluster (UID of kube-system {state.cluster_uid}) than the one that the stack runs in "
            f"({bound.cluster_uid}). Use the kubeconfig of that cluster, or another stack for this one",
            reason="OtherCluster",
        )
    if bound.created_namespace and not kubernetes.create_namespace and kubernetes.namespace == bound.namespace:
        yield Problem(
            (*_KUBERNETES, "createNamespace"),
            False,
            f"must stay true: the stack has created namespace {bound.namespace} and would delete it with everything "
            "in it",
            reason="NamespaceIsCreated",
        )


@dataclass(frozen=True)
class Owner:
    """Whom a foreign object belongs to. text: in messages. by_hand: kubectl made it, and nothing else manages it."""

    text: str
    by_hand: bool = False


@dataclass(frozen=True)
class ForeignObject:
    """A foreign object under one of the stack's names. adopted: whether the stack takes it over."""

    kind: Kind
    name: str
    owner: Owner
    adopted: bool


def foreign_objects(desired: Desired, state: LiveState, stacks: Collection[str]) -> Iterator[ForeignObject]:
    """The foreign objects under the stack's names. stacks: see `stack_names`."""
    adopt = desired.settings.kubernetes.adopt
    for kind, name in desired.objects:
        live = state.get(kind, name)
        if live is not None and (owner := foreign_owner(live, stacks)):
            yield ForeignObject(kind, name, owner, adopt and owner.by_hand)


def namespace_problems(settings: StackSettings, state: LiveState, stacks: Collection[str]) -> Iterator[Problem]:
    """A namespace that the config expects and that is missing, or that it creates and that is not the stack's."""
    name = settings.kubernetes.namespace
    path = (*_KUBERNETES, "createNamespace")
    if state.namespace is None:
        if not settings.kubernetes.create_namespace:
            yield Problem(
                path,
                False,
                f"needs namespace {name} to exist; create it, or set createNamespace: true",
                reason="NamespaceMissing",
            )
        return
    if settings.kubernetes.create_namespace and (owner := foreign_owner(state.namespace, stacks)):
        yield Problem(
            path,
            True,
            f"cannot create namespace {name}, which exists ({owner.text}). Set createNamespace: false, which uses it "
            "and never deletes it, or choose another namespace",
            reason="NamespaceIsForeign",
        )


def object_problems(settings: StackSettings, found: Sequence[ForeignObject]) -> Iterator[Problem]:
    """Foreign objects, which must not be modified."""
    foreign = [item for item in found if not item.adopted]
    if not foreign:
        return
    alternative = (
        "kubernetes.adopt: true takes over objects that were created with kubectl; read docs/migration.md first. Or "
        "choose another namespace"
        if all(item.owner.by_hand for item in foreign)
        else "Choose another namespace, or move their users and delete them first"
    )
    yield Problem(
        (*_KUBERNETES, "namespace"),
        settings.kubernetes.namespace,
        f"already has {plural(len(foreign), 'object')} under the stack's names that would be overwritten: "
        f"{object_list(foreign)}. {alternative}",
        reason="ForeignObjects",
    )


def object_list(objects: Sequence[ForeignObject]) -> str:
    """Objects grouped by owner: `Service a, Service b (created with kubectl); Service c (of stack x/y/z)`."""
    by_owner: dict[str, list[str]] = {}
    for item in objects:
        by_owner.setdefault(item.owner.text, []).append(f"{item.kind} {item.name}")
    return "; ".join(f"{', '.join(names)} ({owner})" for owner, names in by_owner.items())


def own_state(desired: Desired, state: LiveState, stacks: Collection[str]) -> LiveState:
    """The live state without foreign objects. What the stack takes over remains, as do autoscalers, and
    the revisions of workloads."""
    objects: dict[Kind, Objects] = {}
    for kind, items in state.objects.items():
        objects[kind] = {
            name: item
            for name, item in items.items()
            if kind in ("HorizontalPodAutoscaler", "ScaledObject", "ReplicaSet", "ControllerRevision")
            or (kind, name) in desired.objects
            or not foreign_owner(item, stacks)
        }
    return replace(state, objects=objects)


def foreign_owner(live: Object, stacks: Collection[str]) -> Owner | None:
    """Whom a live object belongs to; None if it is this stack's.

    Objects of versions that wrote no annotation are recognized by their field manager.
    """
    metadata = live["metadata"]
    annotations: dict[str, str] = metadata.get("annotations") or {}
    if owner := annotations.get(STACK_ANNOTATION):
        return None if owner in stacks else Owner(f"of stack {owner}")
    if annotations.get("pulumi.com/patchFieldManager") == FIELD_MANAGER:
        return None
    if release := annotations.get("meta.helm.sh/release-name"):
        return Owner(f"of Helm release {release}")
    labels: dict[str, str] = metadata.get("labels") or {}
    if manager := labels.get("app.kubernetes.io/managed-by"):
        return Owner(f"managed by {manager}")
    for reference in metadata.get("ownerReferences", []):
        return Owner(f"of {reference['kind']} {reference['name']}")
    return _maker(metadata.get("managedFields", []))


_KUBECTL = ("kubectl", "before-first-apply")
"""Field managers of kubectl, by prefix."""

_CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
"""Field managers that set fields of objects that they have not made, such as the volume of a claim."""


def _maker(managed_fields: Sequence[Object]) -> Owner:
    """Who made an object, by its field managers.

    Only those that set its spec, if it has one: a cloud controller, for example, adds labels and finalizers.
    """
    entries = [entry for entry in managed_fields if not entry.get("subresource")]
    of_spec = [entry for entry in entries if "f:spec" in entry.get("fieldsV1", {})]
    managers = {str(entry.get("manager")) for entry in of_spec or entries} - set(_CONTROLLERS)
    if not managers:
        return Owner("of another application")
    if all(manager.startswith(_KUBECTL) for manager in managers):
        return Owner("created with kubectl", by_hand=True)
    return Owner(f"managed by {', '.join(sorted(managers))}")
