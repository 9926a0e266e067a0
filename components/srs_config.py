"""An srs.conf as a ConfigMap or a Secret that outlives its next change."""

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap, Secret, ServiceAccount

from components.manifest import metadata, owned_by
from model.conf_file import ConfFile


def srs_config(
    name: str,
    app: str,
    conf: ConfFile,
    namespace: pulumi.Input[str],
    anchor: ServiceAccount,
    parent: pulumi.Resource,
) -> list[pulumi.Resource]:
    """Declare the ConfigMap of an srs.conf. name: derived from its content. app: value of the `app` label.

    An srs.conf with secrets is mounted from a Secret; its ConfigMap then shows it without them (`ConfFile`).

    They are immutable and named by their content: an edit in place would reload every pod that mounts it, stable and
    canary alike (SRS's auto_reload_for_docker). The hash is part of the Pulumi name as well, so a change is
    a create and a delete and never a replacement: a replacement that a failed update leaves pending deletes the
    ConfigMap in use when the config is reverted.

    When the config changes, Pulumi removes it from its state but not from the cluster, because older ReplicaSets
    need it (`kubectl rollout undo`, a paused rollout). Garbage collection deletes it together with `anchor`.
    """
    meta = metadata(name, namespace, labels={"app": app})
    meta["owner_references"] = owned_by(anchor)
    opts = pulumi.ResourceOptions(parent=parent, retain_on_delete=True)
    shown = ConfigMap(name, metadata=meta, data={"srs.conf": conf.shown}, immutable=True, opts=opts)
    if not conf.is_secret:
        return [shown]
    content = pulumi.Output.secret({"srs.conf": conf.text})
    return [shown, Secret(name, metadata=meta, string_data=content, immutable=True, opts=opts)]
