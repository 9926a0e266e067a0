"""The program on nodes that run containers: a small stack whose pods are real."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from stack import NAME, ROOT, DevStack, Result, eventually
from testbed.cluster import NODE_PORTS, EmbeddedCluster

TINY = {"cpu": "10m", "memory": "128Mi"}
"""What each pod asks for: draining ones multiply, and the nodes share two cores."""

EDGES = 4


class LiveStack(DevStack):
    """Two origins, four edges of one release, behind the node ports; drains may take as long as the test does."""

    def __init__(self, folder: Path, cluster: EmbeddedCluster, name: str, image: str) -> None:
        super().__init__(folder, cluster.kubeconfig, name)
        self.cluster = cluster
        self.config["origin"] |= {"image": image, "replicas": 2, "resources": TINY}
        self.config["edge"] |= {
            "replicas": EDGES,
            "drain": {"deregister": "5s", "timeout": "1h"},
            "warmUp": "2s",
            "minReady": "1s",
            "rolloutTimeout": "90s",
        }
        rtmp, http = NODE_PORTS
        self.config["loadBalancer"] = {"kind": "nodePort", "rtmpPort": rtmp, "httpPort": http, "host": "127.0.0.1"}
        self.one_release(image)

    def one_release(self, image: str, **more: Any) -> None:
        """Have one release, r5, of this image."""
        self.releases(r5=release(image, 100, **more))

    def two_releases(self, stable: str, canary: str, weights: tuple[int, int], **more: Any) -> None:
        """Have r5 of one image and r6, the canary, of another, with these weights; `more` is the canary's."""
        self.releases(r5=release(stable, weights[0]), r6=release(canary, weights[1], **more))

    def real_percent(self) -> dict[str, float]:
        """The share of each release, as the program reports it."""
        releases = self.stack.outputs()["releases"].value
        return {name: release["realPercent"] for name, release in releases.items()}

    def rollout(self, *arguments: str) -> Result:
        """Run the operator's command, `python -m rollout`."""
        assert self.stack  # made before
        self.write()
        begun = time.monotonic()
        command = [str(ROOT / ".venv/bin/python"), "-m", "rollout", "--stack", NAME, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **self.variables}, capture_output=True, text=True, check=False
        )
        return Result(done.returncode == 0, done.stdout + done.stderr, time.monotonic() - begun)

    def process(self, pod: str) -> psutil.Process:
        """The first process of a pod's SRS container, on this machine."""
        (status,) = self.get("pod", pod)["status"]["containerStatuses"]
        container = status["containerID"].rpartition("/")[2]
        for process in psutil.Process(self.cluster.machine_pid).children(recursive=True):
            if container in Path(f"/proc/{process.pid}/cgroup").read_text():
                return process
        raise AssertionError(f"no process of container {container}")

    def components(self, name: str) -> list[psutil.Process]:
        """The running components of the nodes that have this name, such as `kubelet`."""
        # The machine's first process starts them; what they start has the same name for a moment.
        return [each for each in self.cluster.machine.init(self.cluster.machine_pid).children() if each.name() == name]

    def is_there(self, pod: str) -> bool:
        """Whether the pod exists, terminating or not."""
        return "NotFound" not in self.kubectl("get", "pod", pod, check=False)

    def wait_until_drained(self, selector: str = "app=srs-edge", seconds: float = 60) -> float:
        """Wait until no terminating pod is left; how many seconds that took."""
        begun = time.monotonic()
        eventually(lambda: not self.pods(selector, terminating=True), seconds)
        return time.monotonic() - begun

    def wait_until_gone(self) -> None:
        """Wait until the namespace is gone."""
        eventually(lambda: "NotFound" in self.kubectl("get", "namespace", self.namespace, check=False), 60)

    def clean_up(self) -> None:
        """Take all away, and wait until the node ports are free for the next test."""
        super().clean_up()
        self.wait_until_gone()


def release(image: str, weight: int, **more: Any) -> dict[str, Any]:
    """The config of a release of an image (whole name)."""
    return {"image": image, "weight": weight, "resources": TINY, **more}
