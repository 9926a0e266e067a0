"""How origins drain: what a terminating origin waits for, and how the pods of a revision are told from other pods.

An origin that is replaced keeps its listeners, and with them its publishers and the pulls of edges, until its last
publisher has left: `preStop` delays SIGTERM until then. Meanwhile other origins, under other names, receive the new
publishers. All origins know all names (`model/desired/confs.py`), so they find each other's streams.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from model.config.origin import OriginDrainSettings
from model.desired.pre_stop import PUBLISHERS, hooks, wait_script

REVISION_ANNOTATION = "srs/revision"
"""Annotation of the origins: the hash of their pod template. It identifies the pods of a revision, also when the
StatefulSet has another template by now."""


def lifecycle(drain: OriginDrainSettings) -> dict[str, Any]:
    """The hooks of the SRS container: accept publishers while load balancers remove the pod, then wait for the last."""
    return hooks(wait_script(drain.deregister, drain.timeout, PUBLISHERS))


def drains(template: Mapping[str, Any]) -> bool:
    """Whether the pods of a live pod template wait for their publishers."""
    return REVISION_ANNOTATION in (template["metadata"].get("annotations") or {})


def revision(template: Mapping[str, Any]) -> str:
    """The hash of a pod template (JSON, in the notation of Kubernetes)."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
