"""Releases that `rollout abort` has taken out of rotation.

Their pods have another `app` label, which no Service selects; ReplicaSets select `run` and keep them. The Deployment is
paused, and an annotation on it identifies the pod template that was aborted. So the mark ends by itself when an update
gives the release another template, and an update that would bring the aborted pods back is rejected.
"""

import json

from cluster.live import Object
from model.names import ABORTED_ANNOTATION, config_hash


def abort_mark(deployment: Object) -> str:
    """The value of the annotation: it identifies the live pod template."""
    return config_hash(json.dumps(deployment["spec"]["template"], sort_keys=True))


def is_aborted(deployment: Object) -> bool:
    """Whether a release is aborted, and its pod template is still the one that was."""
    annotations: dict[str, str] = deployment["metadata"].get("annotations") or {}
    mark = annotations.get(ABORTED_ANNOTATION)
    return mark is not None and mark == abort_mark(deployment)
