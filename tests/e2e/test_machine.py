"""The machine of the nodes: it is reachable from outside, and leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from e2e.live_stack import LiveStack
from stack import ROOT, eventually
from testbed.cluster import EmbeddedCluster
from testbed.containers.machine import CONTROL_GROUPS
from testbed.toolchain.install import ensure_tools

RUN = """
import signal, sys, time
from pathlib import Path
from testbed.cluster import EmbeddedCluster, tools_for
from testbed.guard import guarded
from testbed.toolchain.install import ensure_tools

signal.signal(signal.SIGINT, signal.default_int_handler)  # the background job of a shell ignores it
state = Path(sys.argv[1])
with guarded(state):
    cluster = EmbeddedCluster(state, ensure_tools(tools=tools_for("containerd")), print, node_ports={})
    cluster.start(kind="containerd")
    print("started", flush=True)
    time.sleep(600)
"""
"""A test run that only has a cluster."""

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "pod"},
    "spec": {
        "automountServiceAccountToken": False,
        "containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10", "imagePullPolicy": "IfNotPresent"}],
    },
}


def traces() -> set[str]:
    """Traces that a machine could leave: links, network namespaces, rules, mounts, folders."""

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    rules = [line for line in lines("iptables-save") if line.startswith(("-A", ":KUBE", ":CNI"))]
    links = [line.split()[0] for line in lines("ip", "-brief", "link")]
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    folders = [str(folder) for folder in (Path("/var/lib/cni"), Path("/var/lib/kubelet"), Path("/run/netns"))]
    existing = [folder for folder in folders if Path(folder).exists()]
    return {*rules, *links, *lines("ip", "netns"), *mounts, *existing}


def control_groups(state: Path) -> list[Path]:
    """The control groups of a cluster; other workers may have clusters, too."""
    name = EmbeddedCluster(state).machine.control_group
    return list(CONTROL_GROUPS.glob(f"**/{name}"))


def processes_of(state: Path) -> list[str]:
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            if any(str(state) in argument for argument in process.cmdline()):
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return found


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder with a short path, because it contains sockets."""
    folder = Path(tempfile.mkdtemp(prefix="srs-"))
    yield folder / "state"
    EmbeddedCluster(folder / "state", report=lambda _line: None).delete()
    shutil.rmtree(folder)


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.usefixtures("cluster")  # else the folders of another worker's cluster could appear meanwhile
def test_a_run_that_is_ended_leaves_nothing_behind(state: Path, ended: signal.Signals) -> None:
    before = traces()
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(state)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert run.stdout is not None
        assert any(line == "started\n" for line in run.stdout), "the cluster did not start"
        kubectl = [str(ensure_tools().binaries["kubectl"]), "--kubeconfig", str(state / "kubeconfig")]
        subprocess.run([*kubectl, "create", "-f", "-"], input=json.dumps(POD), text=True, check=True)
        subprocess.run([*kubectl, "wait", "--for=condition=Ready", "pod/pod", "--timeout=60s"], check=True)
        assert processes_of(state)
        assert control_groups(state), "a trace that this test detects"
    finally:
        run.send_signal(ended)
        run.wait()
    eventually(lambda: not processes_of(state) and not state.exists(), 60)
    assert not control_groups(state)
    assert traces() == before


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_publishes_and_plays_through_ports_of_this_machine(stack: LiveStack) -> None:
    stack.must_update()
    rtmp, http = stack.cluster.node_ports
    url = f"rtmp://127.0.0.1:{rtmp}/live/livestream"
    picture = ["-f", "lavfi", "-i", "testsrc=size=160x90:rate=15", "-f", "lavfi", "-i", "sine"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-c:a", "aac"]
    encoder = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-re", *picture, *codecs, "-f", "flv", url], stdin=subprocess.DEVNULL
    )
    try:
        for source in (url, f"http://127.0.0.1:{http}/live/livestream.flv"):
            eventually(lambda source=source: "h264" in _played(source), 30)
    finally:
        encoder.terminate()
        encoder.wait()


def _played(source: str) -> str:
    """The codecs of a stream, by ffprobe."""
    probe = ["ffprobe", "-v", "error", "-rw_timeout", "5000000", "-show_entries", "stream=codec_name", source]
    return subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False).stdout
