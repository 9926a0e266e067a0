"""An srs.conf as a ConfigMap or a Secret that outlives its next change."""

from model.desired.context import Context
from model.desired.objects import DesiredObject
from model.srs.conf_file import ConfFile


def srs_configs(context: Context, name: str, app: str, conf: ConfFile, owner: str) -> tuple[DesiredObject, ...]:
    """The ConfigMap of an srs.conf. name: derived from its content. app: value of the `app` label.

    An srs.conf with secrets is mounted from a Secret; its ConfigMap then shows it without them (`ConfFile`).

    They are immutable and named by their content: an edit in place would reload every pod that mounts it, stable and
    canary alike (SRS's auto_reload_for_docker). The hash is part of the Pulumi name as well, so a change is
    a create and a delete and never a replacement: a replacement that a failed update leaves pending deletes the
    ConfigMap in use when the config is reverted.

    When the config changes, Pulumi removes it from its state but not from the cluster, because older ReplicaSets
    need it (`kubectl rollout undo`, a paused rollout). A later update deletes it when none of them mounts it
    (`update/object_changes.py`), and garbage collection together with its owner.
    """
    labels = {"app": app}
    shown = {"data": {"srs.conf": conf.shown}, "immutable": True}
    found = [context.object("ConfigMap", name, "configuration", labels, shown, owner=owner, retained=True)]
    if conf.is_secret:
        content = {"stringData": {"srs.conf": conf.text}, "immutable": True}
        found.append(context.object("Secret", name, "configuration", labels, content, owner=owner, retained=True))
    return tuple(found)
