"""Take a release out of rotation and back: at once, and without an update.

A pod leaves the Service when it loses the label that all releases share, and its connections stay open: nothing about
the pod itself changes. It gets another value of the label instead of none, so that the NetworkPolicies of the stack
still apply: without them, its pulls from the origins would be denied, and its viewers would have no media.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cluster.aborted import abort_mark, is_aborted
from cluster.live import LiveCluster, Object, by_name, owned_by
from cluster.rollout_status import pod_reason
from cluster.terminating import is_terminating
from model.names import ABORTED_ANNOTATION, ABORTED_APP, EDGE_APP, edge_deployment, edge_run

PARALLEL = 16
"""Pods that are changed at the same time."""

SWEEPS, SWEEP_INTERVAL = 8, 0.25
"""How often, and after how many seconds, it is checked that nothing has come back: an update in progress ends itself
within half a second (`update/polling.py`)."""


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
    if not (is_aborted(deployment) and deployment["spec"].get("paused")):
        # Paused, it creates no ReplicaSet; a replacement of a pod comes from the existing ones.
        annotations = {ABORTED_ANNOTATION: abort_mark(deployment)}
        live.patch(
            "Deployment", edge_deployment(release), {"metadata": {"annotations": annotations}, "spec": {"paused": True}}
        )
    _label_templates(live, deployment, ABORTED_APP)
    return [*names, *_label_pods(live, release, EDGE_APP, ABORTED_APP)]


def keep_out(live: LiveCluster, release: str) -> list[str]:
    """Take out what an update in progress still brings in; returns the names of its pods."""
    names: list[str] = []
    for _ in range(SWEEPS):
        time.sleep(SWEEP_INTERVAL)
        names += take_out(live, release)
    return names


def take_in(live: LiveCluster, release: str) -> list[str]:
    """Take a release back into rotation; returns the names of its pods. Raises UnreachableError."""
    deployment = live.deployment(edge_deployment(release))
    if deployment is not None:
        _label_templates(live, deployment, EDGE_APP)
        forget(live, release, paused=False)
    return _label_pods(live, release, ABORTED_APP, EDGE_APP)


def forget(live: LiveCluster, release: str, paused: bool = True) -> None:
    """Remove the mark of an abort, so that the next update may replace the aborted pods. paused: of the Deployment."""
    annotations = {ABORTED_ANNOTATION: None}
    live.patch(
        "Deployment", edge_deployment(release), {"metadata": {"annotations": annotations}, "spec": {"paused": paused}}
    )


def _label_templates(live: LiveCluster, deployment: Object, app: str) -> None:
    for replica_set in _active(
        owned_by(deployment, live.replica_sets(f"run={deployment['spec']['selector']['matchLabels']['run']}"))
    ):
        if replica_set["spec"]["template"]["metadata"]["labels"]["app"] != app:
            labels = {"spec": {"template": {"metadata": {"labels": {"app": app}}}}}
            live.patch("ReplicaSet", replica_set["metadata"]["name"], labels)


def _active(replica_sets: Sequence[Object]) -> Iterator[Object]:
    return (item for item in replica_sets if item["spec"].get("replicas") or item.get("status", {}).get("replicas"))


def _label_pods(live: LiveCluster, release: str, before: str, after: str) -> list[str]:
    """Change the label of the pods of a release; those that terminate are out of rotation already."""
    pods = by_name([pod for pod in live.pods(f"app={before},run={edge_run(release)}") if not is_terminating(pod)])
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(partial(live.patch, "Pod", content={"metadata": {"labels": {"app": after}}}), pods))
    return sorted(pods)
