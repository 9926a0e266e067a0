"""Declares desired objects as resources, with what only the engine knows: the UID of an owner, the id of a CLB."""

from collections.abc import Iterable, Mapping
from typing import Any

import pulumi

from model.desired.objects import DesiredObject, Kind


class Declarer:
    """Declares the objects of one run.

    namespace: its name, which carries the dependency on it once the stack has declared it.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace: pulumi.Input[str] = namespace
        self._declared: dict[tuple[Kind, str], pulumi.CustomResource] = {}

    def declare_namespace(self, item: DesiredObject, opts: pulumi.ResourceOptions) -> None:
        """Declare the namespace of all other objects."""
        resource: Any = self.declare(item, opts)
        self.namespace = resource.metadata["name"]

    def has(self, item: DesiredObject) -> bool:
        """Whether an object is declared."""
        return (item.kind, item.name) in self._declared

    def resource(self, item: DesiredObject) -> pulumi.CustomResource:
        """The resource of a declared object."""
        return self._declared[item.kind, item.name]

    def declare(
        self,
        item: DesiredObject,
        opts: pulumi.ResourceOptions,
        annotations: Mapping[str, pulumi.Input[str]] | None = None,
    ) -> pulumi.CustomResource:
        """Declare an object. annotations: those that only the engine knows."""
        manifest: dict[str, Any] = dict(item.manifest)
        metadata = {**manifest["metadata"]}
        metadata["annotations"] = {**metadata["annotations"], **(annotations or {})}
        if "namespace" in metadata:
            metadata["namespace"] = self.namespace
        if item.owner:
            metadata["ownerReferences"] = [_owner(self._declared["ServiceAccount", item.owner])]
        manifest["metadata"] = metadata
        if item.secret:
            metadata["annotations"] = pulumi.Output.secret(metadata["annotations"])
            manifest["spec"] = pulumi.Output.secret(manifest["spec"])
        if "stringData" in manifest:
            manifest["stringData"] = pulumi.Output.secret(manifest["stringData"])
        needs = [self._declared[need.kind, need.name] for need in item.needs]
        own = pulumi.ResourceOptions(
            depends_on=needs or None,
            protect=item.protected or None,
            retain_on_delete=item.retained or None,
            additional_secret_outputs=["data", "stringData"] if item.kind == "Secret" else None,
        )
        opts = pulumi.ResourceOptions.merge(opts, own)
        # Not by the provider's generated classes: their import takes a third of a second in every run.
        group, _, version = manifest["apiVersion"].rpartition("/")
        token = f"kubernetes:{group or 'core'}/{version}:{item.kind}"
        resource = pulumi.CustomResource(token, item.resource, manifest, opts)
        self._declared[item.kind, item.name] = resource
        return resource

    def declare_all(self, items: Iterable[DesiredObject], parent: pulumi.Resource) -> list[pulumi.CustomResource]:
        """Declare objects under a component."""
        return [self.declare(item, pulumi.ResourceOptions(parent=parent)) for item in items]


def _owner(account: Any) -> dict[str, Any]:
    """An owner reference: garbage collection deletes an object together with the account."""
    # A preview does not know the UID of an object to be created, but knows that its id is unknown.
    uid = pulumi.Output.all(account.id, account.metadata).apply(lambda known: str(known[1]["uid"]))
    return {"apiVersion": "v1", "kind": "ServiceAccount", "name": account.metadata["name"], "uid": uid}
