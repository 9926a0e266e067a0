"""Sequences of edits, interrupted updates, manual changes and events against one running stack.

After each step: no foreign object was changed, ready edges never fell below the smaller of what was ready before and
what is desired after it, nothing was deleted that the preview did not announce, and the preview was right about every
workload. What is checked, is in `edit_oracle`.

EDIT_SEQUENCES: how many sequences (`make test-edits`: 200). More than five are distributed over stacks of five, which
run at the same time with `-n`. They are the same in every run, unless EDIT_SEED is set. EDIT_SEQUENCE: a sequence as a
failure has printed it, which runs instead.
"""

import contextlib
import copy
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings

import edit_sequences
from certificates import certificate, private_key, rsa_key
from cluster.live import LiveCluster
from cluster.state import read_state
from edit_oracle import FOREIGN_RELEASE, EdgeWatch, Live, Update, foreign_problems
from edit_sequences import (
    BAD_TIMEOUT,
    BASE,
    CERTIFICATES,
    HOOK_KEYS,
    LOGIN,
    Autoscaler,
    Changes,
    Config,
    CrashPod,
    DeleteConfig,
    DeletePods,
    Edit,
    Interrupted,
    Kubectl,
    LoseNode,
    Quota,
    Rejected,
    Revert,
    Step,
    cannot_become_ready,
    changed,
    is_legal,
    sequences,
    settings_of,
)
from model.desired.confs import mounted_confs
from model.desired.render import render
from stack import STATE, DevStack, Result, config_maps, eventually, operations
from testbed.cluster import EmbeddedCluster
from update.kept import read_kept
from update.plan import plan

SEQUENCES = int(os.environ.get("EDIT_SEQUENCES", "3"))
SEED = os.environ.get("EDIT_SEED")
PER_STACK = 5
STEPS = 4 if SEQUENCES > PER_STACK else 3
STACKS = -(-SEQUENCES // PER_STACK)
FIXED = SEED is None and STACKS == 1
REPLAY = os.environ.get("EDIT_SEQUENCE")

FOREIGN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: srs-edge-r5-0123456789, labels: {app: srs-edge-r5, app.kubernetes.io/part-of: srs}}
data: {srs.conf: "listen 1935;"}
---
apiVersion: v1
kind: Service
metadata: {name: srs-edge-service-old, labels: {app: srs-edge}}
spec: {selector: {app: srs-edge}, ports: [{name: rtmp, port: 1935}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: srs-hls-old, labels: {app: nginx-origin}}
spec: {storageClassName: testbed-rwx, accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
---
# Foreign edges, such as those of the article that were applied by hand; they crash.
apiVersion: apps/v1
kind: Deployment
metadata: {name: srs-edge-blue-deploy, labels: {run: srs-edge-blue}}
spec:
  replicas: 2
  selector: {matchLabels: {run: srs-edge-blue}}
  template:
    metadata: {labels: {app: srs-edge, run: srs-edge-blue}, annotations: {srs.testbed/state: crash}}
    spec:
      containers: [{name: srs, image: "ossrs/srs:v4.0.5"}]
"""


class SequenceStack(DevStack):
    """A stack whose commands can be interrupted, and that writes its plan."""

    def __init__(self, folder: Path, kubeconfig: Path, name: str, index: int) -> None:
        super().__init__(folder, kubeconfig, name)
        self.first_port = BASE["loadBalancer"]["rtmpPort"] + 6 * index
        self.plan_file = folder / "plan.json"
        self.variables |= {"SRS_PLAN_FILE": str(self.plan_file), "PULUMI_DEBUG_COMMANDS": "true"}
        (folder / "kubeconfig").symlink_to(kubeconfig)
        shutil.copy(kubeconfig, folder / "kubeconfig-copy")
        self.edited: Config = copy.deepcopy(BASE)
        self.has_quota = False
        self.encrypted: dict[str, Any] = {}
        self.write()
        self._must_run("stack", "init")
        for value in (LOGIN["password"], *HOOK_KEYS):
            self._must_run("config", "set", "--secret", "--path", "srs:images.registry.password", value)
            written = yaml.safe_load((folder / f"Pulumi.{self.stack_name}.yaml").read_text())["config"]
            self.encrypted[value] = written["srs:images"]["registry"]["password"]

    def write(self) -> None:
        """Write the edited config, with the namespace, ports and secrets of this stack."""
        self.config = self.rendered()
        for secrets in (self.config.get("images", {}).get("registry", {}), self.config.get("secrets", {})):
            secrets |= {key: self.encrypted.get(value, value) for key, value in secrets.items()}
        super().write()

    def rendered(self) -> Config:
        """The edited config, with the namespace and ports of this stack."""
        config = copy.deepcopy(self.edited)
        if config["kubernetes"]["namespace"] == BASE["kubernetes"]["namespace"]:
            config["kubernetes"]["namespace"] = self.namespace
        for key in ("loadBalancer", "formerLoadBalancer"):
            for port in ("rtmpPort", "httpPort", "httpsPort"):
                if port in config.get(key, {}):
                    config[key][port] += self.first_port - BASE["loadBalancer"]["rtmpPort"]
        if self.has_quota:  # whether an update can succeed is not known
            for key in ("edge", "origin"):
                config[key]["rolloutTimeout"] = BAD_TIMEOUT
        return config

    def cli(self, *arguments: str) -> Result:
        """Run a command of the CLI that previews or updates."""
        return self.result(self.start(*arguments))

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command of the CLI that previews or updates."""
        self.write()
        self.plan_file.unlink(missing_ok=True)
        self._events.unlink(missing_ok=True)
        return self._start(*arguments, "--event-log", str(self._events))

    def result(self, process: "subprocess.Popen[bytes]") -> Result:
        """Wait for a command."""
        started = time.monotonic()
        ok = process.wait() == 0
        return Result(ok, self._log.read_text(), time.monotonic() - started, operations(self._events))

    def conf_key(self) -> str:
        """The key of the hash of an srs.conf with secrets."""
        self._must_run("stack", "output", "confKey", "--show-secrets")
        return self._log.read_text().strip()

    def interrupt(self, process: "subprocess.Popen[bytes]") -> None:
        """End an update with SIGKILL. What it has started ends shortly after it."""
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        time.sleep(1)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.cancel()

    def plan(self) -> dict[str, Any]:
        """The plan of the last preview or update."""
        assert self.plan_file.exists(), self._log.read_text()
        return json.loads(self.plan_file.read_text())

    @property
    def _events(self) -> Path:
        return self.folder / "events.json"

    @property
    def _log(self) -> Path:
        return self.folder / "output.txt"

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command = ["pulumi", *arguments, "--stack", self.stack_name, "--non-interactive", "--color", "never"]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=dict(os.environ) | self.variables, stdout=log, stderr=subprocess.STDOUT
            )

    def _must_run(self, *arguments: str) -> None:
        process = self._start(*arguments)
        assert process.wait() == 0, self._log.read_text()


class Runner:
    """Runs sequences against a stack, which begins again after a failure."""

    def __init__(self, create: Callable[[], SequenceStack]) -> None:
        self._create = create
        self._stack: SequenceStack | None = None

    def run(self, sequence: list[Step]) -> None:
        """Run a sequence, restore the first config, and check after every step."""
        if self._stack is None:
            self._set_up()
        self.good, self.diverged = copy.deepcopy(BASE), False
        try:
            for step in sequence:
                self._log(str(step))
                self._step(step)
            self._restore()
        except BaseException:
            self.clean_up()
            raise

    def finish(self) -> None:
        """Check after the last sequence that for the engine, too, nothing is left to change."""
        preview = self.stack.cli("preview")
        assert preview.ok, preview.output
        assert preview.changes == {}, preview.output

    def clean_up(self) -> None:
        """Delete the stack."""
        if self._stack is not None:
            self.watch.stop()
            self._stack.clean_up()
            self._stack = None

    @property
    def stack(self) -> SequenceStack:
        """The running stack."""
        assert self._stack is not None
        return self._stack

    def _log(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    def _set_up(self) -> None:
        self._stack = stack = self._create()
        first = stack.cli("up", "--yes", "--skip-preview")
        assert first.ok, first.output
        subprocess.run(
            ["kubectl", "--kubeconfig", str(stack.kubeconfig), "-n", stack.namespace, "apply", "-f", "-"],
            input=FOREIGN.encode(),
            check=True,
            capture_output=True,
        )
        for name in CERTIFICATES:
            key = rsa_key()
            stack.create_certificate(name, certificate(key), private_key(key))
        eventually(lambda: stack.get("pvc", "srs-hls-old")["status"]["phase"] == "Bound")
        self.watch = EdgeWatch(stack)
        self.watch.start()
        self.watch.settle()
        names = {("ConfigMap", "srs-edge-r5-0123456789"), ("Service", "srs-edge-service-old")}
        names |= {("PersistentVolumeClaim", "srs-hls-old"), ("Deployment", f"srs-edge-{FOREIGN_RELEASE}-deploy")}
        names |= {("Secret", name) for name in CERTIFICATES}
        names |= {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}
        self.foreign = {name: item for name, item in Live.of(stack).objects.items() if name in names}
        assert len(self.foreign) == len(names)

    def _restore(self) -> None:
        """Restore the first config."""
        self._quota(None)
        if self.stack.edited["loadBalancer"].get("service"):  # back to the first Service, before the second one ends
            self._log("restoring the first Service")
            self._update({**BASE, "formerLoadBalancer": self.stack.edited["loadBalancer"]})
        self._log("restoring the config")
        rejections = self._update(BASE).plan["rejections"]
        assert not rejections, rejections

    def _step(self, step: Step) -> None:
        stack = self.stack
        match step:
            case Edit(changes):
                self._edit(changes, None)
            case Interrupted(changes, seconds):
                self._edit(changes, seconds)
            case Revert():
                self._update(self.good)
            case Rejected(changes, message):
                if not self.diverged:
                    self._must_be_rejected(changed(stack.edited, changes), message)
            case Autoscaler(release):
                deployment = f"srs-edge-{release}-deploy"
                if "autoscaled" in stack.kubectl("autoscale", "deploy", deployment, "--min=1", "--max=9", check=False):
                    self._must_be_rejected(stack.edited, f"conflicts with HorizontalPodAutoscaler {deployment} on")
                    stack.kubectl("delete", "hpa", deployment)
            case Kubectl(arguments):
                stack.kubectl(*arguments, check=False)
            case DeletePods(release, count):
                pods = sorted(stack.pod_names(f"run=srs-edge-{release}"))[:count]
                self._delete_pods(pods, "--wait=false")
            case DeleteConfig(release):
                deployment = Live.of(stack).objects.get(("Deployment", f"srs-edge-{release}-deploy"))
                for config in config_maps(deployment["spec"]["template"]["spec"]) if deployment else []:
                    stack.kubectl("delete", "configmap", config, check=False)
            case LoseNode():
                by_node: dict[str, list[str]] = {}
                for pod in stack.pods("app in (srs-edge, srs-origin),run!=srs-edge-blue"):
                    by_node.setdefault(pod["spec"].get("nodeName", ""), []).append(pod["metadata"]["name"])
                by_node.pop("", None)
                self._delete_pods(max(by_node.values(), key=len, default=[]), "--grace-period=0", "--force")
            case CrashPod(release):
                self._crash(release)
            case Quota(free):
                self._quota(free)
        if not isinstance(step, Edit | Interrupted | Revert | Rejected | Autoscaler):
            eventually(self._is_collected)
            self.watch.settle()

    def _delete_pods(self, pods: list[str], *options: str) -> None:
        if pods:
            self.stack.kubectl("delete", "pod", *pods, *options)

    def _is_collected(self) -> bool:
        """Whether garbage collection has deleted what belonged to a deleted object."""
        live = Live.of(self.stack)
        owners = {item["metadata"]["uid"] for item in live.objects.values()}
        replica_sets = {item["metadata"]["uid"] for item in self.stack.get("replicasets")["items"]}
        return all(
            owner["uid"] in owners | replica_sets
            for item in [*live.objects.values(), *live.pods.values()]
            for owner in item["metadata"].get("ownerReferences", [])
        )

    def _crash(self, release: str) -> None:
        def ready() -> set[str]:
            return self.stack.endpoints() & self.stack.pod_names(f"run=srs-edge-{release}")

        if pod := min(ready(), default=None):
            self.stack.kubectl("annotate", "pod", pod, f"{STATE}=crash-after-ready", "srs.testbed/crash-after=0s")
            eventually(lambda: pod not in ready())
            self.stack.kubectl("annotate", "pod", pod, f"{STATE}-", "srs.testbed/crash-after-", check=False)

    def _quota(self, free: int | None) -> None:
        stack = self.stack
        stack.kubectl("delete", "quota", "pods", "--ignore-not-found")
        stack.has_quota = free is not None
        if free is not None:
            stack.kubectl("create", "quota", "pods", f"--hard=pods={len(stack.get('pods')['items']) + free}")
            eventually(lambda: stack.get("quota", "pods").get("status", {}).get("used"))

    def _edit(self, changes: Changes, seconds: float | None) -> None:
        try:
            after = changed(self.stack.edited, changes)
        except KeyError:
            after = None
        if after is None or not is_legal(after):
            assert self.diverged
            self._log("skipped: it is no legal edit after the rejected one")
            return
        before = self.stack.edited
        update = self._update(after, seconds)
        if update.plan["rejections"]:
            self._log(f"  rejected: {update.plan['rejections']}")
            self.stack.edited, self.diverged = before, True

    def _must_be_rejected(self, config: Config, message: str) -> None:
        before = self.stack.edited
        update = self._update(config)
        self.stack.edited = before
        assert update.plan["rejections"], f"not rejected:\n{update.preview.output}"
        assert message in update.preview.output, update.preview.output

    def _update(self, config: Config, seconds: float | None = None) -> Update:
        """Preview, update and check. seconds: after the first change of a pod, the update is killed."""
        stack = self.stack
        stack.edited = copy.deepcopy(config)
        before = Live.of(stack)
        preview = stack.cli("preview")
        planned = stack.plan()
        started, changes, ready = time.monotonic(), self.watch.changes, self.watch.restart()
        process = stack.start("up", "--yes", "--skip-preview")
        ok: bool | None = None
        output = ""
        while process.poll() is None and (seconds is None or self.watch.changes == changes):
            time.sleep(0.1)
        if seconds is not None:
            time.sleep(seconds)
        if process.poll() is None:
            stack.interrupt(process)
        else:
            result = stack.result(process)
            ok, output = result.ok, result.output
        elapsed = time.monotonic() - started
        if ok:
            deleted = [item["name"] for item in planned["workloads"] if item["action"] == "delete"]
            eventually(lambda: not any(Live.of(stack).workload_pods(name) for name in deleted))
        self.watch.settle()
        update = Update(stack.edited, before, ready, planned, preview, ok, Live.of(stack))
        problems = [*update.problems(self.watch), *foreign_problems(self.foreign, update.after)]
        if not planned["rejections"]:
            if ok is not None and not stack.has_quota and ok is cannot_become_ready(stack.edited):
                problems.append(f"the update {'has succeeded' if ok else 'has failed'}, and that was not expected")
            if ok:
                self.good = stack.edited
                problems += [f"the next update would change {name}" for name in self._next_changes()]
        actions = {item["name"]: item["action"] for item in planned["workloads"]}
        outcome = {True: "succeeded", False: "failed", None: "interrupted"}[ok]
        self._log(f"  preview {preview.seconds:.0f} s, update {outcome} after {elapsed:.0f} s: {actions}")
        assert not problems, "\n".join(
            ["", *problems, f"plan: {json.dumps(planned, indent=1)}", f"preview: {preview.output}", f"update: {output}"]
        )
        return update

    def _next_changes(self) -> list[str]:
        """Workloads that the next update would change."""
        config = self.stack.rendered()
        config["kubernetes"]["kubeconfig"] = str(self.stack.kubeconfig)
        settings = settings_of(config)
        key = self.stack.conf_key() if mounted_confs(settings, "").have_secrets else ""
        state = read_state(LiveCluster(settings.kubernetes))
        stack = f"organization/srs/{self.stack.stack_name}"
        desired = render(settings, read_kept(settings, state, key, [stack]), stack)
        update = plan(desired, state, None)
        return [
            f"{change.workload.name}: {change.action} {change.fields}"
            for change in update.changes
            if change.action != "none"
        ] + [str(problem) for problem in update.rejections]


@pytest.fixture
def create(
    cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[int], SequenceStack]:
    """Creates stacks."""

    def create(index: int) -> SequenceStack:
        folder = tmp_path_factory.mktemp("sequences")
        return SequenceStack(folder, cluster.kubeconfig, f"{request.node.name}-{folder.name}", index)

    return create


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("index", range(STACKS))
def test_every_edit_is_safe_rejected_or_announced(create: Callable[[int], SequenceStack], index: int) -> None:
    indexes = itertools.count(index, 40)  # after a failure, node ports that are not in use
    runner = Runner(lambda: create(next(indexes)))

    @settings(
        max_examples=min(PER_STACK, SEQUENCES - index * PER_STACK),
        derandomize=FIXED,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # shrinking would take hours
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
        report_multiple_bugs=False,
    )
    @given(sequence=sequences(STEPS))
    def run(sequence: list[Step]) -> None:
        print(f"sequence = {sequence}")
        started = time.monotonic()
        runner.run(sequence)
        print(f"{time.monotonic() - started:.0f} s")

    try:
        if REPLAY:
            runner.run(eval(REPLAY, dict(vars(edit_sequences))))
        elif FIXED:
            run()
        else:
            seed(f"{SEED}-{index}")(run)()
        runner.finish()
    finally:
        runner.clean_up()
