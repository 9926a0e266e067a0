"""A small stack of the program on nodes that run containers."""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from model.names import API_PORT, EXPORTER_PORT, HTTP_PORT, HTTPS_PORT, RTMP_PORT
from stack import NAME, ROOT, DevStack, Result, eventually
from testbed.cluster import NODE_PORTS, EmbeddedCluster

TINY = {"cpu": "10m", "memory": "128Mi"}
"""Requests of each pod: there are many draining pods, and the nodes share two cores."""

EDGES = 4

PROXY_DELAY = 5.0
"""Seconds in which nodes may still lead connections to a pod that ends (docs/operations.md, measured)."""

END = "-----END CERTIFICATE-----"

PULL = re.compile("pull|Ingester|redirect|no origin has|signal|listen at")
"""The lines of the logs that say where an edge gets a stream from, and when a server starts and ends."""


class LiveStack(DevStack):
    """Two origins and four edges of one release behind the node ports; drains may last as long as the test."""

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
        """Configure one release, r5, of this image."""
        self.releases(r5=_release(image, 100, **more))

    def two_releases(self, stable: str, canary: str, weights: tuple[int, int], **more: Any) -> None:
        """Configure r5 and the canary r6 with these weights; `more` are settings of the canary."""
        self.releases(r5=_release(stable, weights[0]), r6=_release(canary, weights[1], **more))

    def settle(self, service: str = "srs-edge-service") -> None:
        """Wait until the EndpointSlices of a Service have its ready pods, and the nodes send connections to them.

        On a busy machine kube-proxy follows the EndpointSlices some seconds later, and all players of a test that
        begins at once would be on the other pods.
        """
        super().settle(service)
        command = self.cluster.machine.enter(self.cluster.machine_pid, ["iptables-save", "-t", "nat"])

        def forwarded() -> bool:
            rules = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            destinations = set(re.findall(r"--to-destination ([\d.]+):", rules))
            return destinations >= {endpoint["addresses"][0] for endpoint in self.ready_endpoints(service)}

        eventually(forwarded)

    def actual_percent(self) -> dict[str, float]:
        """The share of each release that the program reports."""
        releases = self.stack.outputs()["releases"].value
        return {name: release["actualPercent"] for name, release in releases.items()}

    def rollout(self, *arguments: str) -> Result:
        """Run `rollout`."""
        assert self.stack  # created before
        self.write()
        started = time.monotonic()
        command = [str(ROOT / "bin/rollout"), *arguments, "--stack", NAME]
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **self.variables}, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - started
        return Result(done.returncode == 0, done.stdout + done.stderr, seconds, stdout=done.stdout)

    def process(self, pod: str) -> psutil.Process:
        """The first process of a pod's SRS container, on this machine."""
        (status,) = self.get("pod", pod)["status"]["containerStatuses"]
        container = status["containerID"].rpartition("/")[2]
        for process in psutil.Process(self.cluster.machine_pid).children(recursive=True):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if container in Path(f"/proc/{process.pid}/cgroup").read_text():
                    return process
        raise AssertionError(f"no process of container {container}")

    def run_in_network(self, pod: str, *command: str) -> None:
        """Run a command of this machine in the network of a pod."""
        network = f"--net=/proc/{self.process(pod).pid}/ns/net"
        subprocess.run(["nsenter", network, "--", *command], check=True)

    def origin_of_stream(self) -> str:
        """The origin pod with the most RTMP connections: it has the stream, and edges pull from it."""
        return max(self.pod_names("app=srs-origin"), key=self.rtmp_connections)

    def certificates(self) -> set[str]:
        """The certificates that edges present to a new connection, as PEM."""
        script = f"import ssl, sys; print(*(ssl.get_server_certificate((ip, {HTTPS_PORT})) for ip in sys.argv[1:]))"
        addresses = [pod["status"]["podIP"] for pod in self.pods()]
        command = [sys.executable, "-c", script, *addresses]
        entered = self.cluster.machine.enter(self.cluster.machine_pid, command)
        output = subprocess.run(entered, capture_output=True, text=True, check=True).stdout
        return {f"{pem.strip()}\n{END}\n" for pem in output.split(END)[:-1]}

    def rtmp_connections(self, pod: str) -> int:
        """How many RTMP connections of clients the SRS of a pod has."""
        net = Path(f"/proc/{self.process(pod).pid}/net")
        sockets = (net / "tcp").read_text() + (net / "tcp6").read_text()
        return len(re.findall(r":078F \w+:\w+ 01 ", sockets))  # port 1935, established

    @staticmethod
    def scheduled(pid: int) -> tuple[float, float]:
        """Seconds that a process has run, and that it has waited for a CPU (/proc/<pid>/schedstat of its threads)."""
        threads = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        ran, waited = (sum(int(thread[index]) for thread in threads) / 1e9 for index in (0, 1))
        return ran, waited

    @staticmethod
    def connections(pid: int) -> int | None:
        """How many connections of clients the SRS with this process has, on all ports; None if it has ended."""
        try:
            net = Path(f"/proc/{pid}/net")
            sockets = (net / "tcp").read_text() + (net / "tcp6").read_text()
        except OSError:
            return None
        ports = "|".join(f"{port:04X}" for port in (RTMP_PORT, HTTP_PORT, HTTPS_PORT, API_PORT, EXPORTER_PORT))
        return len(re.findall(rf":(?:{ports}) \w+:\w+ 01 ", sockets))  # established

    def components(self, name: str) -> list[psutil.Process]:
        """The processes of a component on all nodes, such as `kubelet`."""
        # Only children of the first process: for a moment, a component's own children have its name too.
        found: list[psutil.Process] = []
        for process in self.cluster.machine.init(self.cluster.machine_pid).children():
            with suppress(psutil.NoSuchProcess):  # it has ended
                if process.name() == name:
                    found.append(process)
        return found

    def drain_node(self, node: str) -> "subprocess.Popen[str]":
        """Start `kubectl drain`. It ends when the last pod is deleted, which may take as long as its connections."""
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), "drain", node, "--delete-emptydir-data", "--force"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def logs(self, *options: str) -> str:
        """The logs of all edges and origins, each line with its pod and its time. options: of `kubectl logs`."""
        logs = ("logs", "--prefix", "--timestamps", "--max-log-requests=100", "--tail=-1", *options)
        return "\n".join(self.kubectl(*logs, "-l", f"app=srs-{role}", check=False) for role in ("edge", "origin"))

    def pulls(self) -> str:
        """What the logs say of the pulls of edges."""
        return "\n".join(line for line in self.logs().splitlines() if PULL.search(line))

    def exists(self, pod: str) -> bool:
        """Whether the pod exists, terminating or not."""
        return "NotFound" not in self.kubectl("get", "pod", pod, check=False)

    def wait_until_drained(self, selector: str = "app=srs-edge", seconds: float = 60) -> float:
        """Wait until no terminating pod is left, and return the seconds."""
        started = time.monotonic()
        eventually(lambda: not self.pods(selector, terminating=True), seconds)
        return time.monotonic() - started

    def wait_until_deleted(self) -> None:
        """Wait until the namespace is deleted."""
        eventually(lambda: "NotFound" in self.kubectl("get", "namespace", self.namespace, check=False), 60)

    def clean_up(self) -> None:
        """Delete the namespace; the node ports are free for the next test."""
        self.kubectl("delete", "services", "--all", "--wait=false", check=False)
        super().clean_up()


def _release(image: str, weight: int, **more: Any) -> dict[str, Any]:
    return {"image": image, "weight": weight, "resources": TINY, **more}
