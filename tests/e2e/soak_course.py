"""The course of a soak: what exists and what it costs, sampled while the stack changes."""

import json
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from e2e.live_stack import LiveStack
from e2e.viewers import Record
from stack import is_ready

SYSTEM = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
"""Objects that Kubernetes puts into every namespace."""

IGNORED = {"events", "events.events.k8s.io", "endpoints"}
"""Logs, and what EndpointSlices have replaced."""


@dataclass
class Course:
    """The samples, actions and problems of a soak, written to `target` after each of them."""

    target: Path | None
    head: dict[str, Any]
    samples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    actions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    problems: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    clients: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    lock: Any = field(default_factory=threading.RLock)

    def problem(self, text: str, time_: float | None = None) -> None:
        """Record and print what must not be."""
        with self.lock:
            self.problems.append({"t": time_ or time.time(), "text": text})
        print(f"PROBLEM {time.strftime('%H:%M:%S', time.localtime(time_))} {text[:3000]}", flush=True)
        self.write()

    def watch(self, record: Record, after: int = 0) -> int:
        """Record dropped and refused connections among the events from the given one on; return the next one."""
        end = len(record.events)
        if self.target:
            with self.lock, self.target.with_suffix(".events").open("a") as log:
                log.writelines(json.dumps(event) + "\n" for event in record.events[after:end])
        for event in record.events[after:end]:
            if event["event"] in ("cut", "failed", "nomedia"):
                self.problem(f"{event['event']}: {json.dumps(event)}", event["t"])
        return end

    def write(self) -> None:
        """Write the record; a run that is ended early keeps what it has."""
        if self.target:
            with self.lock:
                scratch = self.target.with_suffix(".new")
                scratch.write_text(json.dumps(self.content))
                scratch.replace(self.target)

    @property
    def content(self) -> dict[str, Any]:
        """The record."""
        parts = ("samples", "actions", "problems", "clients")
        return self.head | {part: list(getattr(self, part)) for part in parts}


class Observer:
    """Reads the stack."""

    def __init__(self, stack: LiveStack) -> None:
        self.stack = stack
        listed = stack.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        self.kinds = ",".join(kind for kind in listed if kind not in IGNORED)
        self._left: set[str] = set()

    def sample(self) -> dict[str, Any]:
        """Pods by state, their SRS processes, other components, objects, and the size of the Pulumi state."""
        items = self.stack.get(self.kinds)["items"]
        pods = {item["metadata"]["uid"]: item for item in items if item["kind"] == "Pod"}
        states = Counter(_state(pod) for pod in pods.values())
        restarts = sum(
            status["restartCount"] for pod in pods.values() for status in pod["status"].get("containerStatuses", [])
        )
        sets = Counter(
            owner["name"]
            for item in items
            if item["kind"] == "ReplicaSet"
            for owner in item["metadata"]["ownerReferences"]
        )
        srs, others = self._processes(pods)
        backend = self.stack.folder / "backend"
        return {
            "pods": states,
            "restarts": restarts,
            "objects": Counter(item["kind"] for item in items),
            "most_replica_sets": max(sets.values(), default=0),
            "srs": srs,
            "others": others,
            "state_bytes": self.stack.state_file.stat().st_size,
            "backend_bytes": sum(file.stat().st_size for file in backend.rglob("*") if file.is_file()),
            "load": psutil.getloadavg()[0],
        }

    def _processes(self, pods: dict[str, Any]) -> tuple[dict[str, list[float]], dict[str, list[int]]]:
        """[bytes of memory, descriptors] of all processes of a name by name; of SRS by pod, with the seconds that it
        has run and that it has waited for a CPU."""
        srs: dict[str, list[float]] = {}
        others: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for process in psutil.Process(self.stack.cluster.machine_pid).children(recursive=True):
            with suppress(psutil.Error, OSError):
                figures = [process.memory_info().rss, process.num_fds()]
                group = Path(f"/proc/{process.pid}/cgroup").read_text()
                pod = next((pod for uid, pod in pods.items() if uid in group), None)
                if pod and process.name() == "srs":
                    srs[pod["metadata"]["name"]] = [*figures, *self.stack.scheduled(process.pid)]
                total = others[process.name()]
                total[0], total[1] = total[0] + figures[0], total[1] + figures[1]
        return srs, dict(others)

    def evidence(self, seconds: float) -> str:
        """What explains a problem: the pods, their logs of the last seconds, and the busiest processes."""
        objects = self.stack.kubectl("get", "pods,endpointslices", "-o", "wide")
        top = subprocess.run(["top", "-b", "-n1", "-w200"], capture_output=True, text=True, check=False).stdout
        return "\n".join([objects, self.stack.logs(f"--since={seconds:.0f}s"), top[:5000]])

    def left_over(self) -> set[str]:
        """Objects that nothing needs now, and did not when this was called before.

        The stack declares an object; or its owner exists, and a pod template names it if it is a ConfigMap or a Secret.
        The pods of a removed release drain without an owner.
        """
        items = self.stack.get(self.kinds)["items"]
        uids = {item["metadata"]["uid"] for item in items}
        declared = self._declared()
        named = {name for item in items for name in _named(item)}
        found: set[str] = set()
        for item in items:
            name = (item["kind"], item["metadata"]["name"])
            owners = item["metadata"].get("ownerReferences", [])
            is_needed = (
                name in declared
                or "deletionTimestamp" in item["metadata"]
                or (
                    any(owner["uid"] in uids for owner in owners)
                    and (item["kind"] not in ("ConfigMap", "Secret") or name[1] in named)
                )
            )
            if not is_needed and name not in SYSTEM:
                found.add("/".join(name))
        left, self._left = found & self._left, found
        return left

    def _declared(self) -> set[tuple[str, str]]:
        """Kind and name of the objects in the Pulumi state."""
        resources = json.loads(self.stack.state_file.read_text())["checkpoint"]["latest"].get("resources", [])
        found = [resource.get("outputs", {}) for resource in resources if resource["type"].startswith("kubernetes:")]
        return {(item["kind"], item["metadata"]["name"]) for item in found if "metadata" in item}


def _state(pod: dict[str, Any]) -> str:
    role = "edge" if pod["metadata"]["labels"].get("app") == "srs-edge" else "origin"
    if "deletionTimestamp" in pod["metadata"]:
        return f"{role} draining"
    return f"{role} ready" if is_ready(pod) else f"{role} not ready"


def _named(item: dict[str, Any]) -> Iterator[str]:
    """The ConfigMaps and Secrets that the volumes of a pod, or of the pods of a workload, name."""
    spec = item.get("data", item).get("spec", {}) if isinstance(item.get("data"), dict) else item.get("spec", {})
    template = spec.get("template", {}).get("spec", spec)
    for volume in template.get("volumes", []):
        yield from (
            source["name"] for key in ("configMap", "secret") if (source := volume.get(key)) and "name" in source
        )
        if "secret" in volume:
            yield volume["secret"].get("secretName", "")
