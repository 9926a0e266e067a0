"""A stack of the program in a folder and a namespace of its own, and what is live in it."""

import contextlib
import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import yaml
from kubernetes import client, config, watch
from pulumi import automation as auto

ROOT = Path(__file__).parents[1]
PROGRAM = ["__main__.py", "Pulumi.yaml", "model", "update", "cluster", "components", "rollout"]
NAME = "dev"

QUICK = {"minReady": "1s"}
"""What makes a stack quick enough to be updated many times."""

READY_AFTER = "srs.testbed/ready-after"
STATE = "srs.testbed/state"
MESSAGE = "srs.testbed/message"
"""Annotations by which a simulated pod misbehaves (testbed/nodes/pod.yaml)."""


def release(image: str, weight: int, **more: Any) -> dict[str, Any]:
    """The config of a release; image: the tag of ossrs/srs."""
    return {"image": f"ossrs/srs:{image}", "weight": weight, **more}


@dataclass
class Result:
    """What a run of the CLI printed, whether it succeeded, how long it took (seconds), what it did by resource name."""

    ok: bool
    output: str
    seconds: float
    operations: dict[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, str]:
        """Operations other than `same`, by resource name."""
        return {name: operation for name, operation in self.operations.items() if operation not in ("same", "refresh")}


class DevStack:
    """The program, its stack config and its namespace."""

    def __init__(self, folder: Path, kubeconfig: Path, name: str) -> None:
        self.folder = folder
        self.kubeconfig = kubeconfig
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).removeprefix("test-")[:30].rstrip("-")
        self.namespace = f"{words}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        self._orphans: list[psutil.Process] = []
        for part in PROGRAM:
            (folder / part).symlink_to(ROOT / part)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        (folder / "backend").mkdir()
        self.variables = {
            "PULUMI_BACKEND_URL": (folder / "backend").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "",
        }
        self.config = self.dev_config()
        self.make_quick()
        self._stack: auto.Stack | None = None

    def dev_config(self) -> dict[str, Any]:
        """The committed dev stack's config, in this namespace."""
        text = (ROOT / "Pulumi.dev.yaml").read_text()
        self.salt = yaml.safe_load(text)["encryptionsalt"]
        made = {key.removeprefix("srs:"): value for key, value in yaml.safe_load(text)["config"].items()}
        made["kubernetes"] |= {"kubeconfig": str(self.kubeconfig), "namespace": self.namespace}
        return made

    def make_quick(self) -> None:
        """One origin, no HLS, no demo stream, a ClusterIP (node ports are the cluster's, not the namespace's)."""
        self.config["origin"] |= {"replicas": 1, "rolloutTimeout": "60s", **QUICK}
        self.config["edge"] |= {"replicas": 4, "rolloutTimeout": "60s", "warmUp": "0s", **QUICK}
        self.config["loadBalancer"] = {"kind": "none"}
        self.config["hls"] = {"enabled": False}
        self.config["demo"] = {"enabled": False}

    def releases(self, **releases: dict[str, Any]) -> None:
        """Set the releases."""
        self.config["edge"]["releases"] = releases

    def write(self) -> None:
        """Write the config to Pulumi.dev.yaml."""
        text = {"encryptionsalt": self.salt, "config": {f"srs:{key}": value for key, value in self.config.items()}}
        (self.folder / f"Pulumi.{NAME}.yaml").write_text(yaml.safe_dump(text))

    @cached_property
    def stack(self) -> auto.Stack:
        """The stack, as Pulumi's Automation API has it."""
        self.write()
        options = auto.LocalWorkspaceOptions(env_vars=self.variables)
        self._stack = auto.create_or_select_stack(NAME, work_dir=str(self.folder), opts=options)
        return self._stack

    def up(self) -> Result:
        """Bring the config about."""
        return self._run("up")

    def must_up(self) -> Result:
        """Bring the config about; anything but success is a failure of the test."""
        result = self.up()
        assert result.ok, result.output
        return result

    def preview(self) -> Result:
        """What an up would do."""
        return self._run("preview")

    def refresh(self) -> Result:
        """Look for drift."""
        return self._run("refresh")

    def destroy(self) -> Result:
        """Take everything away."""
        return self._run("destroy")

    def _run(self, command: str) -> Result:
        stack = self.stack
        self.write()
        lines: list[str] = []
        operations: dict[str, str] = {}

        def event(engine: auto.EngineEvent) -> None:
            if engine.resource_pre_event:
                step = engine.resource_pre_event.metadata
                operations[step.urn.split("::")[-1]] = str(step.op.value)

        begun = time.monotonic()
        try:
            getattr(stack, command)(on_output=lines.append, on_event=event, color="never")
            ok = True
        except auto.CommandError as error:
            ok = False
            lines.append(str(error))
        return Result(ok, "\n".join(lines), time.monotonic() - begun, operations)

    def begin_up(self) -> "subprocess.Popen[str]":
        """Start an up with the plain CLI and do not wait for it."""
        assert self.stack  # made before
        self.write()
        return subprocess.Popen(
            ["pulumi", "up", "--yes", "--skip-preview", "--stack", NAME, "--color", "never", "--non-interactive"],
            cwd=self.folder,
            env={**os.environ, **self.variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def kill(self, up: "subprocess.Popen[str]") -> None:
        """Kill a running up with SIGKILL; what it started runs on, until the test ends."""
        self._orphans += psutil.Process(up.pid).children(recursive=True)
        up.kill()
        up.wait()

    def cancel(self) -> None:
        """`pulumi cancel`, after an up was killed."""
        self.stack.cancel()

    # What is live.

    @cached_property
    def api(self) -> client.ApiClient:
        return config.new_client_from_config(str(self.kubeconfig))

    @cached_property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @cached_property
    def apps(self) -> client.AppsV1Api:
        return client.AppsV1Api(self.api)

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Run kubectl in the namespace."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), "-n", self.namespace, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def get(self, *arguments: str) -> Any:
        """An object or a list as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def replicas(self) -> dict[str, int]:
        """Ready replicas of each release's Deployment."""
        return {
            item["metadata"]["name"].removeprefix("srs-edge-").removesuffix("-deploy"): item["status"].get(
                "readyReplicas", 0
            )
            for item in self.get("deployments")["items"]
            if item["metadata"]["name"].startswith("srs-edge-")
        }

    def pods(self, selector: str = "app=srs-edge", terminating: bool = False) -> list[dict[str, Any]]:
        """Pods that are not terminating, or those that are."""
        items = self.get("pods", "-l", selector)["items"]
        return [item for item in items if ("deletionTimestamp" in item["metadata"]) is terminating]

    def pod_names(self, selector: str = "app=srs-edge") -> set[str]:
        """Names of the pods that are not terminating."""
        return {pod["metadata"]["name"] for pod in self.pods(selector)}

    def endpoints(self) -> set[str]:
        """Names of the pods that the edge Service sends new connections to."""
        slices = self.get("endpointslices", "-l", "kubernetes.io/service-name=srs-edge-service")["items"]
        return {
            endpoint["targetRef"]["name"]
            for each in slices
            for endpoint in each["endpoints"] or []
            if endpoint["conditions"].get("ready")
        }

    @contextmanager
    def watched_endpoints(self) -> Iterator[list[int]]:
        """Record the number of ready endpoints of the edge Service, at every change, while the block runs."""
        counts = [len(self.endpoints())]
        discovery = client.DiscoveryV1Api(self.api)
        done = threading.Event()

        def record() -> None:
            ready: dict[str, int] = {}
            while not done.is_set():
                events = watch.Watch().stream(
                    discovery.list_namespaced_endpoint_slice,
                    self.namespace,
                    label_selector="kubernetes.io/service-name=srs-edge-service",
                    timeout_seconds=2,  # after which it begins anew, with the slices that are there
                )
                for event in events:
                    each = event["object"]
                    gone = event["type"] == "DELETED"
                    ready[each.metadata.name] = (
                        0 if gone else sum(bool(endpoint.conditions.ready) for endpoint in each.endpoints or [])
                    )
                    counts.append(sum(ready.values()))

        thread = threading.Thread(target=record)
        thread.start()
        try:
            yield counts
        finally:
            done.set()
            thread.join()

    def snapshot(self) -> dict[str, Any]:
        """The live Deployments, StatefulSets, Services and PodDisruptionBudgets with the srs.conf that their pods
        mount, less what the API server adds."""
        kept = {}
        for item in self.get("deployments,statefulsets,services,poddisruptionbudgets")["items"]:
            kept[f"{item['kind']}/{item['metadata']['name']}"] = _plain(item)
        for workload in self.get("deployments,statefulsets")["items"]:
            for name in config_maps(workload["spec"]["template"]["spec"]):
                kept[f"srs.conf of {workload['metadata']['name']}"] = self.get("configmap", name)["data"]
        return kept

    def assert_successors_are_ready(self) -> None:
        """Delete one pod of each release; its successor gets ready, and all that it mounts is there.

        (A simulated kubelet does not look whether a ConfigMap exists; a real one does.)
        """
        by_release: dict[str, str] = {}
        for pod in self.pods():
            by_release[pod["metadata"]["labels"]["run"]] = pod["metadata"]["name"]
        before = self.replicas()
        self.kubectl("delete", "pod", "--grace-period=0", "--force", *by_release.values())
        eventually(lambda: self.replicas() == before and not self.pod_names() & set(by_release.values()))
        existing = {item["metadata"]["name"] for item in self.get("configmaps")["items"]}
        for pod in self.pods():
            assert set(config_maps(pod["spec"])) <= existing, pod["metadata"]["name"]

    def clean_up(self) -> None:
        """Take the namespace away with all its pods."""
        for orphan in self._orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found", check=False)
        self.kubectl("delete", "pod", "--all", "--grace-period=0", "--force", check=False)
        shutil.rmtree(self.folder / "backend", ignore_errors=True)


def config_maps(pod: Mapping[str, Any]) -> list[str]:
    """Names of the ConfigMaps that a pod mounts."""
    return [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    item = copy.deepcopy(item)
    item.pop("status", None)
    for key in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"):
        item["metadata"].pop(key, None)
    item["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    if item["kind"] == "Service":
        for key in ("clusterIP", "clusterIPs"):
            item["spec"].pop(key, None)
    return item


def eventually(holds: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.3)
