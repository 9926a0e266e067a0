"""Take a release out of rotation and back: at once, and without an update.

A pod leaves the Service when it loses the label that all releases share, and its connections stay open: nothing about
the pod itself changes. It gets another value of the label instead of none, so that the NetworkPolicies of the stack
still apply: without them, its pulls from the origins would be denied, and its viewers would have no media.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from cluster.aborted import WITHOUT_MARK, abort_mark, is_update_aborted
from cluster.live import PARALLEL, LiveCluster, Object, by_name, owned_by
from cluster.rollout_status import is_observed, pod_reason
from cluster.terminating import is_terminating
from model.names import ABORTED_ANNOTATION, ABORTED_APP, EDGE_APP, edge_deployment, edge_run

SWEEPS, SWEEP_INTERVAL = 8, 0.25
"""How often, and after how many seconds, it is checked that nothing has come back. An update in progress ends itself
within half a second (`update/polling.py`); as long as it has the stack's lock, the check goes on."""


def serving(live: LiveCluster) -> dict[str, int]:
    """The ready edges in rotation, by release."""
    counts: dict[str, int] = {}
    for pod in live.pods(f"app={EDGE_APP}"):
        if pod_reason(pod) is None:
            release = pod["metadata"]["labels"].get("run", "").removeprefix(edge_run(""))
            counts[release] = counts.get(release, 0) + 1
    return counts


def take_out(live: LiveCluster, release: str) -> list[str]:
    """Take the pods of a release out of rotation; returns the names of those that were in it. Raises UnreachableError.

    Pods first, since they receive viewers; then what could create new ones.
    """
    names = _label_pods(live, release, EDGE_APP, ABORTED_APP)
    deployment = live.deployment(edge_deployment(release))
    if deployment is None:
        return names
    _hold(live, deployment, abort_mark(deployment))
    _label_templates(live, _active(_sets(live, deployment)), ABORTED_APP)
    return [*names, *_label_pods(live, release, EDGE_APP, ABORTED_APP)]


@dataclass(frozen=True)
class Update:
    """A rolling update of the only release. template: the pod template of its new revision."""

    release: str
    template: Object

    def sets(self, replica_sets: Sequence[Object]) -> list[Object]:
        """The ReplicaSets of the new revision, also after `take_out_update`."""
        wanted = _without_labels(self.template)
        return [item for item in replica_sets if _without_labels(item["spec"]["template"]) == wanted]


def update_in_place(live: LiveCluster, release: str) -> Update | None:
    """The rolling update of a release that serves alone.

    None if there is none, if no edge of its earlier revisions is ready, or if another release serves. Raises
    UnreachableError.
    """
    found = update_with_sets(live, release)
    return found[0] if found else None


def update_with_sets(live: LiveCluster, release: str) -> tuple[Update, list[Object]] | None:
    """The same with the ReplicaSets of the release, also of earlier revisions. Raises UnreachableError."""
    ready = [pod for pod in live.pods(f"app={EDGE_APP}") if pod_reason(pod) is None]
    if any(pod["metadata"]["labels"].get("run") != edge_run(release) for pod in ready):
        return None
    deployment = live.deployment(edge_deployment(release))
    if deployment is None:
        return None
    update = Update(release, deployment["spec"]["template"])
    sets = _sets(live, deployment)
    new = update.sets(sets)
    began = is_update_aborted(deployment) or any(_active(new))
    hashes = set(map(revision_hash, new))
    return (update, sets) if began and any(revision_hash(pod) not in hashes for pod in ready) else None


def take_out_update(live: LiveCluster, update: Update) -> list[str]:
    """Take the pods of an update's new revision out of rotation; returns the names of those that were in it.

    Then the Deployment is paused, and the ReplicaSets of the revision are scaled to 0. A paused Deployment gives all
    its replicas to the only ReplicaSet that is left (kubernetes, pkg/controller/deployment/sync.go, `scale`): the
    earlier revision, at once. Raises UnreachableError.
    """
    deployment = live.deployment(edge_deployment(update.release))
    if deployment is None:
        return []
    new = update.sets(_sets(live, deployment))
    names = _label_pods(live, update.release, EDGE_APP, ABORTED_APP, new)
    if deployment["spec"]["template"] == update.template:  # else it was updated again since
        _hold(live, deployment, abort_mark(deployment, only_update=True))
    _label_templates(live, _active(new), ABORTED_APP)
    names += _label_pods(live, update.release, EDGE_APP, ABORTED_APP, new)
    if deployment["spec"].get("paused") and is_observed(deployment):  # else it would scale them up again
        for replica_set in _active(new):
            live.patch("ReplicaSet", replica_set["metadata"]["name"], {"spec": {"replicas": 0}})
    return names


def keep_out(take_out: Callable[[], list[str]]) -> list[str]:
    """Take out what an update in progress still brings in; returns the names of its pods."""
    names: list[str] = []
    for _ in range(SWEEPS):
        time.sleep(SWEEP_INTERVAL)
        names += take_out()
    return names


def take_in(live: LiveCluster, release: str) -> list[str]:
    """Take a release back into rotation; returns the names of its pods. Raises UnreachableError."""
    deployment = live.deployment(edge_deployment(release))
    if deployment is not None:
        _label_templates(live, _active(_sets(live, deployment)), EDGE_APP)
        forget(live, release, resume=True)
    return _label_pods(live, release, ABORTED_APP, EDGE_APP)


def forget(live: LiveCluster, release: str, resume: bool) -> None:
    """Remove the mark of an abort. resume: whether the Deployment is paused no more."""
    resumed = {"spec": {"paused": False}} if resume else {}
    live.patch("Deployment", edge_deployment(release), WITHOUT_MARK | resumed)


def _hold(live: LiveCluster, deployment: Object, mark: str) -> None:
    """Mark a Deployment and pause it: it creates no ReplicaSet; a replacement of a pod comes from the existing ones."""
    metadata = deployment["metadata"]
    annotations = {ABORTED_ANNOTATION: mark}
    if not (annotations.items() <= (metadata.get("annotations") or {}).items() and deployment["spec"].get("paused")):
        live.patch("Deployment", metadata["name"], {"metadata": {"annotations": annotations}, "spec": {"paused": True}})


def _sets(live: LiveCluster, deployment: Object) -> list[Object]:
    return owned_by(deployment, live.replica_sets(f"run={deployment['spec']['selector']['matchLabels']['run']}"))


def revision_hash(item: Object) -> str:
    """Identifies the revision of a pod or a ReplicaSet of a Deployment."""
    return str(item["metadata"]["labels"].get("pod-template-hash", ""))


def _without_labels(template: Object) -> Object:
    """A pod template without what its ReplicaSet and an abort change."""
    metadata = template["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if key not in ("app", "pod-template-hash")}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _label_templates(live: LiveCluster, replica_sets: Iterable[Object], app: str) -> None:
    for replica_set in replica_sets:
        if replica_set["spec"]["template"]["metadata"]["labels"]["app"] != app:
            labels = {"spec": {"template": {"metadata": {"labels": {"app": app}}}}}
            live.patch("ReplicaSet", replica_set["metadata"]["name"], labels)


def _active(replica_sets: Sequence[Object]) -> Iterator[Object]:
    return (item for item in replica_sets if item["spec"].get("replicas") or item.get("status", {}).get("replicas"))


def _label_pods(
    live: LiveCluster, release: str, before: str, after: str, replica_sets: Sequence[Object] | None = None
) -> list[str]:
    """Change the label of the pods of a release; those that terminate are out of rotation already.

    replica_sets: only their pods, None for all.
    """
    hashes = None if replica_sets is None else set(map(revision_hash, replica_sets))
    pods = by_name(
        [
            pod
            for pod in live.pods(f"app={before},run={edge_run(release)}")
            if not is_terminating(pod) and (hashes is None or revision_hash(pod) in hashes)
        ]
    )
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(partial(live.patch, "Pod", content={"metadata": {"labels": {"app": after}}}), pods))
    return sorted(pods)
