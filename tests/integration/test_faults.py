"""Faults of the API server, of the state and of the machine during an update.

After each of them: no ready edge was lost, the update that fails says what to do, and the next one recovers. A stack of
two releases whose program reaches the API server through a proxy (`faulty_api`); the tests run in order, and each one
leaves the stack with nothing to change.

Those that take long, or that stop a part of the cluster, run with SRS_FAULTS=1 only (`make test-faults`).
"""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from faulty_api import FaultyApi
from rollout_operator import Operator
from stack import NAME, READY_AFTER, ROOT, DevStack, Result, eventually, release
from testbed.cluster import EmbeddedCluster

OUTAGE = 30.0
"""Seconds."""

EARLIER_VERSION = "89e1ecb^"
"""A commit of version 2.0."""

slow = pytest.mark.skipif(not os.environ.get("SRS_FAULTS"), reason="takes minutes: make test-faults")


class FaultyStack(DevStack):
    """A stack with two releases behind the proxy."""

    def __init__(self, folder: Path, cluster: EmbeddedCluster, name: str, api: FaultyApi) -> None:
        super().__init__(folder, cluster.kubeconfig, name)
        self.api = api
        self.config["kubernetes"]["kubeconfig"] = str(api.kubeconfig)
        self.config["edge"]["rolloutTimeout"] = "150s"
        self.canary(75, 25)

    def canary(self, r5: int, r6: int, **more: object) -> None:
        """Set the weights. more: settings of r6."""
        self.releases(r5=release("v4.0.5", r5), r6=release("v4.0.6", r6, **more))

    def recover(self, replicas: dict[str, int]) -> None:
        """The next update succeeds, and the one after that has nothing to change."""
        self.must_update()
        assert self.replicas() == replicas
        preview = self.preview()
        assert preview.ok, preview.output
        assert preview.changes == {}, preview.output

    def started(self) -> "Started":
        """Start `pulumi up`."""
        return Started(self)


class Started:
    """A running `pulumi up` of the plain CLI, with its output."""

    def __init__(self, stack: DevStack) -> None:
        stack.write()
        self._log = stack.folder / "output.txt"
        command = ["pulumi", "up", "--yes", "--skip-preview", "--stack", NAME, "--color", "never", "--non-interactive"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=stack.folder, env={**os.environ, **stack.variables}, stdout=log, stderr=subprocess.STDOUT
            )

    def result(self, timeout: float = 300) -> Result:
        """Wait until it ends."""
        started = time.monotonic()
        code = self.process.wait(timeout)
        return Result(code == 0, self._log.read_text(), time.monotonic() - started)


@pytest.fixture(scope="module")
def api(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyApi]:
    """The running proxy."""
    with FaultyApi(cluster.state, tmp_path_factory.mktemp("api")).running() as running:
        yield running


@pytest.fixture(scope="module")
def stack(cluster: EmbeddedCluster, api: FaultyApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStack]:
    """The stack after its first update."""
    created = FaultyStack(tmp_path_factory.mktemp("faults"), cluster, "faults", api)
    created.must_update()
    yield created
    created.clean_up()


def test_an_update_while_the_api_server_is_down_changes_nothing(stack: FaultyStack) -> None:
    before, edges = stack.snapshot(), stack.endpoints()
    stack.canary(25, 75)
    with stack.api.down():
        failed = stack.update()
        preview = stack.preview()
    assert not failed.ok
    assert failed.seconds < 60
    assert "unreachable" in failed.output or "does not answer" in failed.output, failed.output
    assert "Traceback" not in failed.output
    assert "Traceback" not in preview.output
    assert stack.snapshot() == before
    assert stack.endpoints() == edges
    stack.recover({"r5": 1, "r6": 3})


@slow
def test_an_api_server_that_fails_a_tenth_of_the_calls_loses_nothing(stack: FaultyStack) -> None:
    stack.canary(75, 25)
    with stack.watched_endpoints() as ready, stack.api.failing(0.1):
        for _ in range(2):
            result = stack.update()
            assert "Traceback" not in result.output, result.output
            # The provider does not repeat its reads, and has the words of Kubernetes for 503.
            assert result.ok or "pulumi up" in result.output or "unable to handle" in result.output, result.output
    assert stack.api.failed
    stack.recover({"r5": 3, "r6": 1})
    assert min(ready) >= 4, ready


@slow
def test_a_second_update_at_the_same_time_is_rejected(stack: FaultyStack) -> None:
    stack.canary(25, 75, podAnnotations={READY_AFTER: "5s"})
    first = stack.started()
    eventually(lambda: stack.get("deployment", "srs-edge-r6-deploy")["spec"]["replicas"] == 3)
    second = stack.update()
    assert not second.ok
    assert "the stack is currently locked by 1 lock(s)" in second.output
    assert "pulumi cancel" in second.output
    assert first.result().ok
    stack.recover({"r5": 1, "r6": 3})


def test_a_damaged_state_is_reported_and_imported_from_a_backup(stack: FaultyStack) -> None:
    """As docs/recovery.md describes it."""
    backup = stack.folder / "backup.json"
    backup.write_text(_pulumi(stack, "stack", "export"))
    edges, replicas = stack.pod_names(), stack.replicas()
    state = stack.state_file
    state.write_bytes(state.read_bytes()[:1000])
    failed = stack.update()
    assert not failed.ok
    assert "failed to load checkpoint" in failed.output
    assert "restore the state as docs/recovery.md describes it" in Operator(stack).run("status")
    state.unlink()
    _pulumi(stack, "stack", "init", NAME)
    _pulumi(stack, "stack", "import", "--file", str(backup))
    stack.recover(replicas)
    assert stack.pod_names() == edges


def _pulumi(stack: DevStack, *arguments: str) -> str:
    option = [] if arguments[1] == "init" else ["--stack", NAME]
    done = subprocess.run(
        ["pulumi", *arguments, *option, "--non-interactive"],
        cwd=stack.folder,
        env={**os.environ, **stack.variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@slow
def test_an_outage_while_an_update_waits_is_survived(stack: FaultyStack) -> None:
    stack.canary(75, 25, podAnnotations={READY_AFTER: "10s"})  # it also rolls r6
    with stack.watched_endpoints() as ready:
        update = stack.started()
        generation = stack.get("deployment", "srs-edge-r6-deploy")["metadata"]["generation"]
        eventually(lambda: stack.get("deployment", "srs-edge-r6-deploy")["metadata"]["generation"] > generation)
        time.sleep(1)
        with stack.api.down():
            time.sleep(OUTAGE)
        result = update.result()
    assert result.ok, result.output
    assert min(ready) >= 4
    stack.recover({"r5": 3, "r6": 1})


@slow
@pytest.mark.parametrize("kind", ["statefulsets", "deployments"])
def test_an_outage_while_objects_are_written_is_recovered(stack: FaultyStack, kind: str) -> None:
    weights = (25, 75) if kind == "statefulsets" else (75, 25)
    stack.config["origin"]["podAnnotations"] = {"outage": kind}
    stack.canary(*weights)
    begin = threading.Event()
    written = re.compile(rf"/{kind}/")
    stack.api.on_call = lambda method, path: begin.set() if method == "PATCH" and written.search(path) else None
    with stack.watched_endpoints() as ready:
        update = stack.started()
        assert begin.wait(60)
        with stack.api.down():
            time.sleep(OUTAGE)
        result = update.result()
        stack.api.on_call = lambda _method, _path: None
        assert "Traceback" not in result.output, result.output
        assert result.ok or "pulumi up" in result.output or "connection refused" in result.output, result.output
        stack.recover({"r5": 1, "r6": 3} if kind == "statefulsets" else {"r5": 3, "r6": 1})
    assert min(ready) >= 4, ready


@slow
def test_an_update_through_a_slow_api_server_succeeds(stack: FaultyStack) -> None:
    stack.canary(25, 75)
    with stack.watched_endpoints() as ready, stack.api.slow(2):
        result = stack.update()
    assert result.ok, result.output
    assert min(ready) >= 4
    stack.recover({"r5": 1, "r6": 3})


KILLED_FIRST = ["/namespaces/", "/services/", "/configmaps/", "/statefulsets/", "/deployments/"]
KILLED_MOVES = [
    ("PATCH", "/deployments/srs-edge-r6-deploy"),
    ("GET", "/pods"),
    ("PATCH", "/deployments/srs-edge-r5-deploy"),
]


@slow
@pytest.mark.parametrize("written", KILLED_FIRST)
def test_a_first_update_that_is_killed_is_completed_by_the_next_one(
    cluster: EmbeddedCluster, api: FaultyApi, tmp_path: Path, written: str
) -> None:
    stack = FaultyStack(tmp_path, cluster, f"killed{written}", api)
    assert stack.stack
    try:
        _killed(stack, "PATCH", written)
        stack.recover({"r5": 3, "r6": 1})
    finally:
        stack.clean_up()


@slow
@pytest.mark.parametrize(("method", "path"), KILLED_MOVES, ids=lambda value: value.strip("/"))
def test_a_weight_move_that_is_killed_is_completed_by_the_next_one(stack: FaultyStack, method: str, path: str) -> None:
    stack.canary(75, 25)
    stack.must_update()
    with stack.watched_endpoints() as ready:
        stack.canary(25, 75)
        _killed(stack, method, path)
        stack.recover({"r5": 1, "r6": 3})
    assert min(ready) >= 4, ready


@slow
def test_a_removal_that_is_killed_is_completed_by_the_next_one(stack: FaultyStack) -> None:
    with stack.watched_endpoints() as ready:
        stack.releases(r6=release("v4.0.6", 1))
        _killed(stack, "DELETE", "/deployments/srs-edge-r5-deploy")
        stack.recover({"r6": 4})
        stack.canary(25, 75)
        stack.recover({"r5": 1, "r6": 3})
    assert min(ready) >= 4, ready


def _killed(stack: FaultyStack, method: str, path: str) -> None:
    """An update that is killed with SIGKILL at its first call of this kind, after the engine's refresh."""
    reached = threading.Event()
    expected = (method, path)

    def on_call(method: str, path: str) -> None:
        if method == expected[0] and expected[1] in path:
            reached.set()

    stack.api.on_call = on_call
    update = stack.started()
    assert reached.wait(90), "the update has not made this call"
    update.process.kill()
    update.process.wait()
    stack.api.on_call = lambda _method, _path: None
    stack.cancel()


@slow
def test_a_controller_that_reacts_after_a_minute_is_awaited(cluster: EmbeddedCluster, stack: FaultyStack) -> None:
    (pid,) = [item.pid for item in cluster.status() if item.name == "kube-controller-manager"]
    assert pid
    stack.canary(75, 25)
    with stack.watched_endpoints() as ready:
        os.kill(pid, signal.SIGSTOP)
        try:
            update = stack.started()
            eventually(lambda: stack.get("deployment", "srs-edge-r5-deploy")["spec"]["replicas"] == 3, 60)
            time.sleep(60)
            assert update.process.poll() is None
        finally:
            os.kill(pid, signal.SIGCONT)
        result = update.result()
    assert result.ok, result.output
    assert min(ready) >= 4
    stack.recover({"r5": 3, "r6": 1})


@slow
def test_a_full_disk_under_the_state_loses_nothing(stack: FaultyStack) -> None:
    """The backend is on a file system of its own, which is full when the update begins, or after its lock."""
    folder = stack.folder / "backend/.pulumi"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("needs root, to mount a file system")
    weights = (25, 75)
    replicas = {"r5": 1, "r6": 3}
    for free in (0, 8):
        stack.canary(*weights)
        stack.write()
        edges = stack.endpoints()
        saved = stack.folder / f"saved-{free}"
        size = sum(file.stat().st_size + 8192 for file in folder.rglob("*")) // 1024 + 64
        script = f"""
            mkdir {saved}-before && cp -a {folder}/. {saved}-before
            mount -t tmpfs -o size={size}k tmpfs {folder} && cp -a {saved}-before/. {folder}
            dd if=/dev/zero of={folder}/fill bs=4k status=none; truncate -s -{free}k {folder}/fill
            pulumi up --yes --skip-preview --stack {NAME} --color never --non-interactive
            code=$?
            rm {folder}/fill
            cp -a {folder} {saved}
            exit $code
        """
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script],
            cwd=stack.folder,
            env={**os.environ, **stack.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode, done.stdout
        assert "no space left on device" in done.stdout + done.stderr, done.stdout + done.stderr
        assert len(stack.endpoints()) >= len(edges)
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
        stack.cancel()
        stack.recover(replicas)
        weights, replicas = (75, 25), {"r5": 3, "r6": 1}


@slow
def test_the_state_of_an_earlier_version_is_updated(cluster: EmbeddedCluster, api: FaultyApi, tmp_path: Path) -> None:
    """Version 2.0 creates the stack; this version updates it without losing an edge."""
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    archive = subprocess.run(["git", "archive", EARLIER_VERSION], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip("needs the history of the repository")
    subprocess.run(["tar", "-x", "-C", str(earlier)], input=archive.stdout, check=True)
    folder = tmp_path / "stack"
    folder.mkdir()
    stack = FaultyStack(folder, cluster, "earlier version", api)
    try:
        programs = [link for link in folder.iterdir() if link.is_symlink() and link.name != ".venv"]
        for link in programs:
            link.unlink()
        for part in earlier.iterdir():
            if not part.name.startswith(".") and not part.name.startswith("Pulumi.dev") and part.name != "backend":
                (folder / part.name).symlink_to(part)
        stack.must_update()
        for part in earlier.iterdir():
            (folder / part.name).unlink(missing_ok=True)
        for name in [link.name for link in programs]:
            (folder / name).symlink_to(ROOT / name)
        preview = stack.preview()
        assert preview.ok, preview.output
        with stack.watched_endpoints() as ready:
            stack.recover({"r5": 3, "r6": 1})
        assert min(ready) >= 4, ready
    finally:
        stack.clean_up()


@slow
def test_no_program_of_a_killed_update_is_left(stack: FaultyStack) -> None:
    """The program of a killed update ends itself. (Plugins of Pulumi stay, and do nothing.)"""

    def left() -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline", "cwd"])
            if str(stack.folder) in str(process.info["cwd"])
            and any("pulumi-language-python-exec" in argument for argument in process.info["cmdline"] or [])
        ]

    try:
        eventually(lambda: not left(), 30)
    except AssertionError:
        raise AssertionError([process.info for process in left()]) from None
