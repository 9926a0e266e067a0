"""What must hold after every update, whatever happened before: compares the plan of a preview with the live objects."""

import copy
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kubernetes import client, config

from edit_sequences import Config
from model.desired.workloads import release_of
from model.names import EDGE_APP
from stack import DevStack, Result, is_ready

KINDS = (
    "deployments,statefulsets,services,serviceaccounts,configmaps,poddisruptionbudgets,networkpolicies,"
    "persistentvolumeclaims,secrets,pods"
)
FOREIGN_RELEASE = "blue"
"""A foreign Deployment that looks like one of our releases."""

Name = tuple[str, str]
"""Kind and name of an object."""

SMALL = ("ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "Secret")
"""Kinds whose deletion only the engine's part of the preview announces."""


@dataclass
class Live:
    """The objects of the namespace, and its pods that are not terminating, by workload."""

    objects: dict[Name, dict[str, Any]] = field(default_factory=dict[Name, dict[str, Any]])
    pods: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By uid."""

    @staticmethod
    def of(stack: DevStack) -> "Live":
        """Read them."""
        live = Live()
        for item in stack.get(KINDS)["items"]:
            if item["kind"] == "Pod":
                if "deletionTimestamp" not in item["metadata"]:
                    live.pods[item["metadata"]["uid"]] = item
            else:
                live.objects[item["kind"], item["metadata"]["name"]] = item
        return live

    def workload_pods(self, name: str) -> set[str]:
        """UIDs of the pods of a workload."""
        return {uid for uid, pod in self.pods.items() if workload_of(pod) == name}

    def is_settled(self, name: Name) -> bool:
        """Whether the rollout of a workload has ended, so that all its pods, ready or not, are of one revision."""
        if (live := self.objects.get(name)) is None:
            return True
        desired, status = live["spec"]["replicas"], live["status"]
        pods = [self.pods[uid] for uid in self.workload_pods(name[1])]
        revisions = {
            pod["metadata"]["labels"].get("pod-template-hash") or pod["metadata"]["labels"]["controller-revision-hash"]
            for pod in pods
        }
        return (
            status.get("observedGeneration") == live["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == desired == len(pods)
            and len(revisions) <= 1
            and not live["spec"].get("paused")
        )


def workload_of(pod: dict[str, Any]) -> str:
    """The name of the workload of a pod of the stack."""
    labels = pod["metadata"]["labels"]
    if run := labels.get("run"):
        return f"{run}-deploy"
    return labels["app"] if "controller-revision-hash" in labels else f"{labels['app']}-deploy"


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An object without what the API server and controllers write."""
    item = copy.deepcopy({key: value for key, value in item.items() if key != "status"})
    for key in ("resourceVersion", "generation", "managedFields"):
        item["metadata"].pop(key, None)
    item["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    return item


class EdgeWatch(threading.Thread):
    """Watches the edge pods of the stack, and records how many are ready at every change."""

    def __init__(self, stack: DevStack) -> None:
        super().__init__(daemon=True)
        core = client.CoreV1Api(config.new_client_from_config(str(stack.kubeconfig)))
        self._list: Any = partial(
            core.list_namespaced_pod, stack.namespace, label_selector=f"app={EDGE_APP}", _preload_content=False
        )
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._pods: dict[str, dict[str, Any]] = {}
        self._since = 0
        self._least: int | None = None
        self._most = 0
        self.changes = 0
        """How often pods have changed."""

    def run(self) -> None:
        while not self._end.is_set():
            with self._lock:
                version = self._read()
            while version and not self._end.is_set():
                for line in self._list(watch=True, resource_version=version, timeout_seconds=2):
                    event = json.loads(line)
                    if event["type"] == "ERROR":  # the version is too old: list again
                        version = ""
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._receive(event["type"], event["object"])

    def _read(self) -> str:
        """The pods now, and their version; events that come later and are older do not count."""
        listed = json.loads(self._list().data)
        self._pods = {item["metadata"]["uid"]: item for item in listed["items"] if not _is_foreign(item)}
        self._count()
        version: str = listed["metadata"]["resourceVersion"]
        self._since = int(version)
        return version

    def _receive(self, kind: str, pod: dict[str, Any]) -> None:
        if _is_foreign(pod):
            return
        with self._lock:
            if int(pod["metadata"]["resourceVersion"]) <= self._since:
                return
            if kind == "DELETED":
                self._pods.pop(pod["metadata"]["uid"], None)
            else:
                self._pods[pod["metadata"]["uid"]] = pod
            self.changes += 1
            self._count()

    def _count(self) -> None:
        ready = sum(self.ready().values())
        self._least = ready if self._least is None else min(self._least, ready)
        self._most = max(self._most, len(self._pods))

    def ready(self) -> Counter[str]:
        """Ready edges by release."""
        return Counter(
            release_of(workload_of(pod))
            for pod in self._pods.values()
            if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)
        )

    def restart(self) -> Counter[str]:
        """Forget the minimum and the maximum, and return the ready edges by release; a late event is not of now."""
        with self._lock:
            self._least, self._most = None, 0
            self._read()
            return self.ready()

    @property
    def least_ready(self) -> int:
        """The smallest number of ready edges since the restart."""
        with self._lock:
            return self._least or 0

    @property
    def most_pods(self) -> int:
        """The largest number of edge pods, ready or not, since the restart."""
        with self._lock:
            return self._most

    def settle(self, quiet: float = 1.0, limit: float = 15.0) -> None:
        """Wait until no pod has changed for a while."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            changes = self.changes
            time.sleep(quiet)
            if self.changes == changes:
                return

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self.join()


def _is_foreign(pod: dict[str, Any]) -> bool:
    return pod["metadata"]["labels"]["run"] == f"srs-edge-{FOREIGN_RELEASE}"


@dataclass
class Update:
    """An update and what was known before it. ready: by release, at its start. plan: the JSON of the preview.

    ok: None if it was interrupted.
    """

    config: Config
    before: Live
    ready: Counter[str]
    plan: dict[str, Any]
    preview: Result
    ok: bool | None
    after: Live

    def problems(self, watch: EdgeWatch) -> Iterator[str]:
        """What does not hold."""
        if self.plan["rejections"]:
            yield from self._rejected()
            return
        yield from self._deleted()
        yield from self._ready_edges(watch.least_ready)
        workloads = {(item["kind"], item["name"]): item for item in self.plan["workloads"]}
        for name, item in workloads.items():
            for problem in self._workload(name, item):
                yield f"{name[1]}, action {item['action']}: {problem}"
        settled = all(self.before.is_settled(name) for name in workloads)
        if settled and watch.most_pods > self.plan["peakEdgePods"]:
            yield f"there were {watch.most_pods} edge pods, and the plan announced at most {self.plan['peakEdgePods']}"

    def _rejected(self) -> Iterator[str]:
        if self.ok is not False or self.preview.ok:
            yield "the update is rejected, but the preview or the update has succeeded"
        for name in self.before.objects.keys() | self.after.objects.keys():
            before, after = self.before.objects.get(name), self.after.objects.get(name)
            if before is None or after is None or plain(before) != plain(after):
                yield f"the update is rejected, but {name} has changed: {difference(before, after)}"

    def _deleted(self) -> Iterator[str]:
        plan = self.plan
        deleted = {
            name for name, item in self.before.objects.items() if _uid(self.after.objects.get(name)) != _uid(item)
        }
        if self.ok is False:
            yield from (f"{name} was deleted by an update that failed" for name in deleted)
            return
        announced = {
            (item["kind"], item["name"])
            for item in (*plan["workloads"], *plan["objects"])
            if item["action"] == "delete"
        }
        nginx = {item["action"] for item in plan["workloads"] if item["name"] == "nginx-origin-deploy"}
        for name in deleted - announced:
            kind, own = name
            if kind in SMALL and self.preview.changes.get(own) == "delete":
                continue
            if kind == "Service" and any(
                f"Service {own} will be deleted" in warning["message"] for warning in plan["warnings"]
            ):
                continue
            if kind == "Service" and own.startswith("nginx-origin-service") and "delete" in nginx:
                continue
            if kind == "ConfigMap" and own.startswith("nginx-origin-") and nginx & {"delete", "roll"}:
                continue
            owners = self.before.objects[name]["metadata"].get("ownerReferences", [])
            if any((owner["kind"], owner["name"]) in deleted for owner in owners):  # collected with its owner
                continue
            yield f"{name} was deleted or replaced, and the plan did not announce it"

    def _ready_edges(self, least: int) -> Iterator[str]:
        # A rollout that an earlier step has started may have more ready pods than replicas for a moment.
        before = sum(
            min(count, item["spec"]["replicas"])
            for release, count in self.ready.items()
            if (item := self.before.objects.get(("Deployment", f"srs-edge-{release}-deploy")))
        )
        desired = sum(item["replicas"]["after"] for item in self.plan["workloads"] if item["release"])
        if least < min(before, desired):
            yield f"ready edges fell to {least}; {before} were ready before the update, {desired} are desired after it"

    def _workload(self, name: Name, item: dict[str, Any]) -> Iterator[str]:
        before, after = self.before.objects.get(name), self.after.objects.get(name)
        replicas = before["spec"]["replicas"] if before else 0
        if item["replicas"]["before"] != replicas:
            yield f"had {replicas} replicas, not {item['replicas']['before']}"
        pods = self.before.workload_pods(name[1])
        removed = pods - self.after.workload_pods(name[1])
        terminated = sum(is_ready(self.before.pods[uid]) for uid in removed)
        if terminated > item["terminatedPods"]:
            yield f"{terminated} ready pods were terminated, and the plan announced {item['terminatedPods']}"
        elif self.ok and terminated < item["terminatedPods"]:
            yield f"only {terminated} ready pods were terminated, and the plan announced {item['terminatedPods']}"
        if before and after:
            changes = list(difference(plain(before), plain(after)))
            if item["action"] == "none" and before["metadata"]["generation"] != after["metadata"]["generation"]:
                yield f"has changed: {changes}"
            if self.ok and item["action"] in ("scale", "update") and not changes:
                yield "has not changed"
            if self.ok and item["action"] == "roll" and not removed:
                yield "no pod was replaced"
        if self.ok:
            yield from self._end(item, after)

    def _end(self, item: dict[str, Any], after: dict[str, Any] | None) -> Iterator[str]:
        """The state after a successful update."""
        if item["action"] == "delete":
            if after is not None:
                yield "still exists"
            return
        if after is None:
            yield "does not exist"
        elif after["spec"]["replicas"] != item["replicas"]["after"]:
            yield f"has {after['spec']['replicas']} replicas, not {item['replicas']['after']}"
        elif not self._is_paused(item) and after["status"].get("readyReplicas", 0) != item["replicas"]["after"]:
            yield f"has {after['status'].get('readyReplicas', 0)} ready pods after a successful update"

    def _is_paused(self, item: dict[str, Any]) -> bool:
        return bool(item["release"] and self.config["edge"]["releases"].get(item["release"], {}).get("paused"))


def foreign_problems(foreign: Mapping[Name, dict[str, Any]], live: Live) -> Iterator[str]:
    """Changes of objects that do not belong to the stack."""
    for name, item in foreign.items():
        after = live.objects.get(name)
        # The status of a Deployment changes with its pods, and with it the version.
        version = "generation" if name[0] == "Deployment" else "resourceVersion"
        if after is None or plain(after) != plain(item) or after["metadata"][version] != item["metadata"][version]:
            yield f"the foreign object {name} has changed: {list(difference(item, after))}"


def _uid(item: dict[str, Any] | None) -> str | None:
    return item["metadata"]["uid"] if item else None


def difference(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The differences of two JSON values, a line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from difference(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from difference(*pair, f"{path}[{index}]")
    elif before != after:
        yield f"{path}: {json.dumps(before)[:200]} -> {json.dumps(after)[:200]}"
