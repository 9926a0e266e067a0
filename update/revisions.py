"""The pods of a live workload by revision: which of them an update replaces, and which of those cannot drain."""

from dataclasses import dataclass
from typing import Any, cast

from cluster.live import Object, ready_replicas
from cluster.state import LiveState
from model.config.stack import StackSettings
from model.config.values import parse_image
from model.srs.versions import capabilities, parse_version

_HASH_LABEL = "pod-template-hash"
"""The label that a Deployment adds to the template of its ReplicaSets."""


@dataclass(frozen=True)
class Outdated:
    """Pods of other revisions than the desired one, which a rolling update terminates.

    pods: all of them. ready: those that are ready. dropped: ready ones that cannot drain.
    current: whether pods of the desired revision exist already.
    """

    pods: int
    ready: int
    dropped: int
    current: bool


def outdated_pods(live: Object, template: Object, state: LiveState, settings: StackSettings) -> Outdated:
    """The pods of a Deployment whose revision is not the desired one.

    template: its pod template after the update. A Deployment uses an older ReplicaSet with the same template again
    (Kubernetes docs, "Rolling Back a Deployment"), so its pods are not replaced.
    """
    pods = ready = dropped = 0
    current = False
    for replica_set in state.replica_sets(live):
        replicas = replica_set["status"]["replicas"]
        if _same(replica_set["spec"]["template"], template):
            current = current or replicas > 0
            continue
        pods += replicas
        ready_here = ready_replicas(replica_set)
        ready += ready_here
        dropped += ready_here if drops_connections(replica_set["spec"]["template"], settings) else 0
    return Outdated(pods, ready, dropped, current)


def drops_connections(template: Object, settings: StackSettings) -> bool:
    """Whether SRS in a pod drops its connections when it quits (ossrs/srs #3805).

    By the version that the config names for its image, or by the image's tag; an unknown version is assumed to drain.
    """
    containers = cast("list[dict[str, Any]]", template["spec"].get("containers", []))
    image = next((str(container["image"]) for container in containers if container["name"] == "srs"), "")
    versions = {release.image: release.srs_version for release in settings.edge.releases.values()}
    try:
        version = versions.get(image) or parse_version(parse_image(image).tag or "")
    except ValueError:  # such as an image without a tag, set by hand
        return False
    return version is not None and not capabilities(version).drains


def _same(template: Object, desired: Object) -> bool:
    metadata = template["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if key != _HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}} == desired
