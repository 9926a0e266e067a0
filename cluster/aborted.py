"""Releases, and updates of the only release, that `rollout abort` has taken out of rotation.

Their pods have another `app` label, which no Service selects; ReplicaSets select `run` and keep them. The Deployment is
paused, and an annotation on it identifies the pod template that was aborted. So the mark ends by itself when an update
gives the release another template, and an update that would bring the aborted pods back is rejected.

If a release is the only one, its update in place is aborted: only the pods of its new revision are out of rotation.
"""

import json

from cluster.live import Object
from model.names import ABORTED_ANNOTATION, EDGE_APP, config_hash

WITHOUT_MARK: Object = {"metadata": {"annotations": {ABORTED_ANNOTATION: None}}}
"""A merge patch that removes the mark of a Deployment."""


def abort_mark(deployment: Object, only_update: bool = False) -> str:
    """The value of the annotation: it identifies the live pod template. only_update: see `is_update_aborted`."""
    mark = config_hash(json.dumps(deployment["spec"]["template"], sort_keys=True))
    return f"update-{mark}" if only_update else mark


def is_aborted(deployment: Object) -> bool:
    """Whether a release, or its update, is aborted, and its pod template is still the one that was."""
    mark = _mark(deployment)
    return mark is not None and mark in (abort_mark(deployment), abort_mark(deployment, only_update=True))


def is_update_aborted(deployment: Object) -> bool:
    """Whether only the pods of the newest revision are out of rotation; those of the earlier one serve."""
    mark = _mark(deployment)
    return mark is not None and mark == abort_mark(deployment, only_update=True)


def _mark(deployment: Object) -> str | None:
    annotations: dict[str, str] = deployment["metadata"].get("annotations") or {}
    return annotations.get(ABORTED_ANNOTATION)


def is_out_of_rotation(deployment: Object) -> bool:
    """Whether no Service selects the pods of a release: it was aborted, or is declared so (`outOfRotation`)."""
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"].get("labels") or {}
    aborted = is_aborted(deployment) and not is_update_aborted(deployment)
    return aborted or labels.get("app") != EDGE_APP
