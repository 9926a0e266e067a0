"""A stack of the program in a folder and a namespace of its own, and its live objects."""

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
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import psutil
import yaml
from kubernetes import client, config, watch
from kubernetes.client import ApiException
from kubernetes.dynamic import DynamicClient, Resource
from kubernetes.dynamic.discovery import EagerDiscoverer
from pulumi import automation as auto

ROOT = Path(__file__).parents[1]
PROGRAM = ["__main__.py", "Pulumi.yaml", "model", "update", "cluster", "components", "rollout"]
NAME = "dev"

QUICK = {"minReady": "1s"}
"""Settings that keep an update of simulated pods short."""

LOAD_BALANCER_CLASS = "example.com/lb"
LOAD_BALANCER_ADDRESS = "192.0.2.7"

READY_AFTER = "srs.testbed/ready-after"
STATE = "srs.testbed/state"
MESSAGE = "srs.testbed/message"
"""Annotations by which a simulated pod misbehaves (testbed/nodes/pod.yaml)."""


def release(tag: str, weight: int, **more: Any) -> dict[str, Any]:
    """The config of a release of ossrs/srs with this tag."""
    return {"image": f"ossrs/srs:{tag}", "weight": weight, **more}


@dataclass
class Result:
    """A run of the CLI: whether it succeeded, its output, its duration, its operations by resource name.

    stdout: standard output alone, of `rollout`.
    """

    ok: bool
    output: str
    seconds: float
    operations: dict[str, str] = field(default_factory=dict)
    stdout: str = ""

    @property
    def changes(self) -> dict[str, str]:
        """Operations that change something, by resource name."""
        reading = ("same", "refresh", "read")
        return {name: operation for name, operation in self.operations.items() if operation not in reading}


class DevStack:
    """The program, its stack config and its namespace.

    config: the values of the stack config by key without `srs:`. provider_config: other keys of the stack config.
    """

    def __init__(self, folder: Path, kubeconfig: Path, name: str, stack_name: str = NAME) -> None:
        self.stack_name = stack_name
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
        self.provider_config: dict[str, Any] = {}
        self.config = self.committed_config()
        self.make_quick()

    def committed_config(self) -> dict[str, Any]:
        """The committed dev stack's config, in this namespace."""
        text = (ROOT / "Pulumi.dev.yaml").read_text()
        self.salt = yaml.safe_load(text)["encryptionsalt"]
        settings = {key.removeprefix("srs:"): value for key, value in yaml.safe_load(text)["config"].items()}
        settings["kubernetes"] |= {"kubeconfig": str(self.kubeconfig), "namespace": self.namespace}
        return settings

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
        values = {f"srs:{key}": value for key, value in self.config.items()} | self.provider_config
        content = {"encryptionsalt": self.salt, "config": values}
        (self.folder / f"Pulumi.{self.stack_name}.yaml").write_text(yaml.safe_dump(content))

    def encrypt(self, path: str, value: str) -> None:
        """Set a value as `pulumi config set --secret --path` does."""
        self.stack.set_config(f"srs:{path}", auto.ConfigValue(value, secret=True), path=True)
        key = path.split(".")[0]
        written = yaml.safe_load((self.folder / f"Pulumi.{self.stack_name}.yaml").read_text())
        self.config[key] = written["config"][f"srs:{key}"]

    @contextmanager
    def load_balancer_controller(self) -> Generator[None]:
        """While the block runs, Services of LOAD_BALANCER_CLASS get an address, as from the controller of a cloud."""
        status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": LOAD_BALANCER_ADDRESS}]}}})

        def give_addresses() -> None:
            for service in self.get("services")["items"]:
                spec, name = service["spec"], service["metadata"]["name"]
                if spec.get("loadBalancerClass") == LOAD_BALANCER_CLASS and not service["status"]["loadBalancer"]:
                    self.kubectl("patch", "service", name, "--subresource=status", "--type=merge", "-p", status)

        with repeated(give_addresses):
            yield

    @cached_property
    def stack(self) -> auto.Stack:
        """The stack of Pulumi's Automation API."""
        self.write()
        options = auto.LocalWorkspaceOptions(env_vars=self.variables)
        return auto.create_or_select_stack(self.stack_name, work_dir=str(self.folder), opts=options)

    @property
    def state_file(self) -> Path:
        """The state in the backend."""
        return self.folder / f"backend/.pulumi/stacks/srs/{self.stack_name}.json"

    def update(self, *options: str) -> Result:
        """Run `pulumi up` with the config. options: of the command."""
        return self._run("up", *options)

    def must_update(self) -> Result:
        """Run `pulumi up` with the config, and assert that it succeeds."""
        result = self.update()
        assert result.ok, result.output
        self.settle()
        return result

    def settle(self, service: str = "srs-edge-service") -> None:
        """Wait until the EndpointSlices of a Service have its ready pods: they follow them, a moment later."""
        with contextlib.suppress(AssertionError):  # there is no such Service, or pods wait for a readiness gate
            selector = self.get("service", service)["spec"]["selector"].items()
            labels = ",".join(f"{key}={value}" for key, value in selector)
            eventually(lambda: self.ready_pods(labels) == self.endpoints(service), 5)

    def preview(self) -> Result:
        """Run `pulumi preview`."""
        return self._run("preview")

    def refresh(self) -> Result:
        """Run `pulumi refresh`."""
        return self._run("refresh")

    def destroy(self) -> Result:
        """Run `pulumi destroy`."""
        return self._run("destroy")

    def _command(self, command: str) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment of a command of the CLI. The stack exists, and its config is written."""
        assert self.stack
        self.write()
        arguments = ["--stack", self.stack_name, "--color", "never", "--non-interactive"]
        arguments += [] if command == "preview" else ["--yes", "--skip-preview"]
        return ["pulumi", command, *arguments], {**os.environ, **self.variables, "PULUMI_DEBUG_COMMANDS": "true"}

    def _run(self, command: str, *options: str) -> Result:
        """Not by the Automation API: it runs the CLI three more times after an update."""
        arguments, variables = self._command(command)
        log = self.folder / "events"
        log.unlink(missing_ok=True)
        started = time.monotonic()
        done = subprocess.run(
            [*arguments, "--event-log", str(log), *options],
            cwd=self.folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Result(done.returncode == 0, done.stdout, time.monotonic() - started, operations(log))

    def start_update(self) -> "subprocess.Popen[str]":
        """Start `pulumi up` of the plain CLI and do not wait for it."""
        arguments, variables = self._command("up")
        discard = subprocess.DEVNULL
        return subprocess.Popen(arguments, cwd=self.folder, env=variables, stdout=discard, stderr=discard, text=True)

    def kill(self, update: "subprocess.Popen[str]") -> None:
        """Interrupt a running update with SIGKILL, and cancel it; its child processes run on until the test ends."""
        self._orphans += psutil.Process(update.pid).children(recursive=True)
        update.kill()
        update.wait()
        self.cancel()

    def cancel(self) -> None:
        """Release the lock of an update that was interrupted, and restore the state if that was while the engine wrote
        it, both as docs/recovery.md describes it.

        A backend in a folder writes the file in place, and keeps the one before as `.bak`.
        """
        state = self.state_file
        backup = state.with_name(f"{state.name}.bak")
        if not _is_complete(state):
            if _is_complete(backup):
                shutil.copy(backup, state)
            else:
                state.unlink(missing_ok=True)
                self.stack.workspace.create_stack(self.stack_name)
        self.stack.cancel()

    # The live objects.

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

    def get(self, kinds: str, name: str = "", selector: str = "") -> Any:
        """An object or a list as `kubectl get -o json` prints it. Polling kubectl itself takes a third of a CPU."""
        items: list[Any] = []
        for kind in kinds.split(","):
            if kind not in _resources(self.kubeconfig):
                _resources.cache_clear()  # it is a newer one
            resource = _resources(self.kubeconfig)[kind]
            namespace = self.namespace if resource.namespaced else None
            try:
                found = resource.get(name=name, namespace=namespace, label_selector=selector, serialize=False)
            except ApiException as error:
                raise AssertionError(f"{kind} {name or selector}: {error.reason}") from None
            content = json.loads(found.data)
            for item in [content] if name else content["items"]:
                item["metadata"].pop("managedFields", None)
                items.append({"apiVersion": resource.group_version, "kind": resource.kind} | item)
        return items[0] if name else {"items": items}

    def create_certificate(self, name: str, pem: str, key: str) -> None:
        """Create a Secret with a certificate, or renew it, as cert-manager does."""
        content = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name}}
        file = self.folder / "certificate.json"
        file.write_text(json.dumps(content | {"stringData": {"tls.crt": pem, "tls.key": key}}))
        self.kubectl("apply", "-f", str(file))

    def replicas(self) -> dict[str, int]:
        """Ready replicas of each release's Deployment."""
        return {
            name.removeprefix("srs-edge-").removesuffix("-deploy"): item["status"].get("readyReplicas", 0)
            for item in self.get("deployments")["items"]
            if (name := item["metadata"]["name"]).startswith("srs-edge-")
        }

    def pods(self, selector: str = "app=srs-edge", terminating: bool = False) -> list[dict[str, Any]]:
        """Pods that are not terminating, or those that are."""
        items = self.get("pods", selector=selector)["items"]
        return [item for item in items if ("deletionTimestamp" in item["metadata"]) is terminating]

    def pod_names(self, selector: str = "app=srs-edge", terminating: bool = False) -> set[str]:
        """Names of the pods that are not terminating, or of those that are."""
        return {pod["metadata"]["name"] for pod in self.pods(selector, terminating)}

    def ready_pods(self, selector: str = "app=srs-edge") -> set[str]:
        """Names of the ready pods that are not terminating."""
        return {pod["metadata"]["name"] for pod in self.pods(selector) if is_ready(pod)}

    def endpoints(self, service: str = "srs-edge-service") -> set[str]:
        """Names of the pods that a Service sends new connections to."""
        return {endpoint["targetRef"]["name"] for endpoint in self.ready_endpoints(service)}

    def ready_endpoints(self, service: str) -> list[dict[str, Any]]:
        """The ready endpoints in the EndpointSlices of a Service."""
        slices = self.get("endpointslices", selector=f"kubernetes.io/service-name={service}")["items"]
        endpoints = [endpoint for endpoint_slice in slices for endpoint in endpoint_slice["endpoints"] or []]
        return [endpoint for endpoint in endpoints if endpoint["conditions"].get("ready")]

    @contextmanager
    def watched_endpoints(self, service: str = "srs-edge-service") -> Generator[list[int]]:
        """Record the number of ready endpoints of a Service, at every change, while the block runs."""
        self.settle(service)
        counts = [len(self.endpoints(service))]
        discovery = client.DiscoveryV1Api(config.new_client_from_config(str(self.kubeconfig)))
        ready: dict[str, int] = {}

        def record() -> None:
            events: Any = watch.Watch().stream(
                discovery.list_namespaced_endpoint_slice,
                self.namespace,
                label_selector=f"kubernetes.io/service-name={service}",
                timeout_seconds=2,  # then the watch starts again with the existing slices
            )
            for event in events:
                endpoint_slice = event["object"]
                endpoints = [] if event["type"] == "DELETED" else endpoint_slice.endpoints or []
                ready[endpoint_slice.metadata.name] = sum(bool(item.conditions.ready) for item in endpoints)
                counts.append(sum(ready.values()))

        with repeated(record, pause=0):
            yield counts

    def snapshot(self) -> dict[str, Any]:
        """The live Deployments, StatefulSets, Services and PodDisruptionBudgets, without the fields that the API server
        sets, and the srs.conf that their pods mount."""
        kept: dict[str, Any] = {}
        for item in self.get("deployments,statefulsets,services,poddisruptionbudgets")["items"]:
            kept[f"{item['kind']}/{item['metadata']['name']}"] = _plain(item)
        for workload in self.get("deployments,statefulsets")["items"]:
            for name in config_maps(workload["spec"]["template"]["spec"]):
                kept[f"srs.conf of {workload['metadata']['name']}"] = self.get("configmap", name)["data"]
        return kept

    def assert_successors_are_ready(self) -> None:
        """Delete one pod of each release; its successor becomes ready, and each ConfigMap that it mounts exists.

        (A real kubelet checks that a ConfigMap exists, a simulated one does not.)
        """
        by_release: dict[str, str] = {}
        for pod in self.pods():
            by_release[pod["metadata"]["labels"]["run"]] = pod["metadata"]["name"]
        before = len(self.ready_pods())
        self.kubectl("delete", "pod", "--grace-period=0", "--force", *by_release.values())
        eventually(lambda: len(self.ready_pods()) == before and not self.pod_names() & set(by_release.values()))
        eventually(lambda: sum(self.replicas().values()) == before)
        existing = {item["metadata"]["name"] for item in self.get("configmaps")["items"]}
        for pod in self.pods():
            assert set(config_maps(pod["spec"])) <= existing, pod["metadata"]["name"]

    def clean_up(self) -> None:
        """Delete the namespace with all its pods."""
        for orphan in self._orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found", check=False)
        self.kubectl("delete", "pod", "--all", "--grace-period=0", "--force", "--wait=false", check=False)
        shutil.rmtree(self.folder / "backend", ignore_errors=True)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _is_complete(state: Path) -> bool:
    try:
        json.loads(state.read_text())
    except (OSError, ValueError):
        return False
    return True


def operations(log: Path) -> dict[str, str]:
    """The operations in a log of `--event-log`, by resource name."""
    found: dict[str, str] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        if event := json.loads(line).get("resourcePreEvent"):
            found[event["metadata"]["urn"].split("::")[-1]] = event["metadata"]["op"]
    return found


@cache
def _resources(kubeconfig: Path) -> Mapping[str, Any]:
    """The kinds of a cluster by each of their names."""
    api = DynamicClient(config.new_client_from_config(str(kubeconfig)), discoverer=EagerDiscoverer)
    api.resources.invalidate_cache()  # a file, perhaps of an earlier cluster
    found: dict[str, Any] = {}
    for resource in api.resources.search():
        if isinstance(resource, Resource) and "list" in (resource.verbs or ()):
            full = f"{resource.name}.{resource.group}"
            for name in (resource.name, full, resource.singular_name, *(resource.short_names or ())):
                found.setdefault(str(name), resource)
    return found


def config_maps(pod: Mapping[str, Any]) -> list[str]:
    """Names of the ConfigMaps that a pod mounts."""
    return [volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume]


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    item = copy.deepcopy(item)
    item.pop("status", None)
    for key in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"):
        item["metadata"].pop(key, None)
    item["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    item["spec"].pop("ordinals", None)  # names of origins: other ones than those that drain
    if item["kind"] == "Service":
        for key in ("clusterIP", "clusterIPs"):
            item["spec"].pop(key, None)
    return item


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.3)


@contextmanager
def repeated(action: Callable[[], object], pause: float = 0.5) -> Generator[None]:
    """Carry out an action again and again in a thread while the block runs. pause: seconds before each time."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(pause):
            action()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
