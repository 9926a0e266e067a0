"""An srs.conf as a ConfigMap that outlives its next change."""

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap, ServiceAccount

from components.manifest import metadata, owned_by


def srs_config(
    name: str,
    app: str,
    text: str,
    namespace: pulumi.Input[str],
    anchor: ServiceAccount,
    parent: pulumi.Resource,
) -> ConfigMap:
    """Declare the ConfigMap of an srs.conf. name: derived from its content. app: value of the `app` label.

    It is immutable and named by its content: an edit in place would reload every pod that mounts it, stable and
    canary alike (SRS's auto_reload_for_docker). The hash is part of the Pulumi name as well, so a change is
    a create and a delete and never a replacement: a replacement that a failed update leaves pending deletes the
    ConfigMap in use when the config is reverted.

    When the config changes, Pulumi removes it from its state but not from the cluster, because older ReplicaSets
    need it (`kubectl rollout undo`, a paused rollout). Garbage collection deletes it together with `anchor`.
    """
    meta = metadata(name, namespace, labels={"app": app})
    meta["owner_references"] = owned_by(anchor)
    return ConfigMap(
        name,
        metadata=meta,
        data={"srs.conf": text},
        immutable=True,
        opts=pulumi.ResourceOptions(parent=parent, retain_on_delete=True),
    )
