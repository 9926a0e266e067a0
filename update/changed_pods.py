"""Pods that the cluster has changed when they were created: then they may not drain as the stack file says. Pure.

Policies and webhooks for pods leave the template as it is, so an update neither sees nor removes what they do.
"""

from collections.abc import Iterator
from typing import cast

from cluster.live import Object
from cluster.state import LiveState
from model.config.problems import UpdateWarning
from model.config.values import plural
from update.prediction import Change, Path, value_at

_DRAIN: tuple[Path, ...] = (
    ("spec", "terminationGracePeriodSeconds"),
    ("spec", "containers", "srs", "lifecycle"),
    ("spec", "containers", "srs", "command"),
)
"""The parts of a pod that a drain needs."""


def changed_pod_warnings(state: LiveState) -> Iterator[str]:
    """What may end pods, or connections through them, earlier than their drain, a line each.

    Containers that were added, such as the proxy of a service mesh, get SIGTERM together with SRS, and a proxy then
    ends the connections through it within seconds (Istio and Alibaba Cloud ASM: `terminationDrainDuration`, 5 s). A
    sidecar that is an init container ends after SRS (Kubernetes docs, "Sidecar Containers"), so it is not counted.
    """
    added: dict[str, list[str]] = {}
    changed: dict[str, list[str]] = {}
    for pod in state.pods:
        if template := _template(pod, state):
            for container in sorted(_containers(pod) - _containers(template)):
                added.setdefault(container, []).append(pod["metadata"]["name"])
            for path in _DRAIN:
                change = Change(path[1:], value_at(template, path), value_at(pod, path))
                if change.before != change.after:
                    changed.setdefault(str(change), []).append(pod["metadata"]["name"])
    for container, pods in sorted(added.items()):
        yield UpdateWarning(
            f"the cluster has added container {container} to {plural(len(pods), 'pod')}, such as {min(pods)}: it ends "
            "together with SRS, and does not wait for connections. If they go through it, as through the proxy of a "
            "service mesh, each update drops them: keep it out of the pods (docs/operations.md, Service meshes)",
            "ContainerAddedByCluster",
        )
    for change, pods in sorted(changed.items()):
        yield UpdateWarning(
            f"the cluster has changed {plural(len(pods), 'pod')} at their creation, such as {min(pods)} ({change}): "
            "they may end before their last connection. Have the policy changed that does it",
            "DrainChangedByCluster",
        )


def _containers(pod: Object) -> set[str]:
    return {container["name"] for container in pod["spec"]["containers"]}


def _template(pod: Object, state: LiveState) -> Object | None:
    """The template that a pod was made from; None if it is not known, as of origins of an earlier revision."""
    revision: str | None = pod["metadata"]["labels"].get("controller-revision-hash")
    if revision and state.origins and revision == state.origins.get("status", {}).get("updateRevision"):
        return cast("Object", state.origins["spec"]["template"])
    owners = {owner["uid"] for owner in pod["metadata"].get("ownerReferences", []) if "uid" in owner}
    sets = state.objects.get("ReplicaSet", {}).values()
    return next((item["spec"]["template"] for item in sets if item["metadata"].get("uid") in owners), None)
