"""What is measured of each tool."""

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bench.objects import EARLIER, WEIGHTS, Object, State, rendered

WAIT_SECONDS = 180


@dataclass(frozen=True)
class Place:
    """Where a tool works: a folder and a namespace of its own. variables: environment of its commands."""

    folder: Path
    namespace: str
    kubeconfig: Path
    variables: Mapping[str, str]

    def run(self, *command: str, cwd: Path | None = None, accepted: tuple[int, ...] = (0,)) -> str:
        """Run a command and return its standard output. Raises RuntimeError with its output if it fails."""
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=dict(self.variables), capture_output=True, text=True, check=False
        )
        if done.returncode not in accepted:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def kubectl(self, *arguments: str, accepted: tuple[int, ...] = (0,)) -> str:
        """Run kubectl in the namespace."""
        return self.run("kubectl", "-n", self.namespace, *arguments, accepted=accepted)

    def get(self, *arguments: str) -> Any:
        """Objects as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))


class Tool(ABC):
    """A way to deploy the dev stack. Its public methods are what is timed; each returns when the pods are ready.

    title: of its column. cannot: why it has no figure, by the name of a method. notes: what its figures mean.
    """

    title: ClassVar[str]
    cannot: ClassVar[Mapping[str, str]] = {}
    notes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, place: Place) -> None:
        self.place = place
        self.objects = {state: rendered(place.namespace, place.kubeconfig, state) for state in WEIGHTS}
        place.folder.mkdir(parents=True)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Write files and create what exists before a first deployment; not timed."""

    @abstractmethod
    def deploy(self, state: State) -> None:
        """Deploy the objects of a state, and wait for the pods."""

    @abstractmethod
    def preview(self) -> None:
        """Show what an update without changes would change."""

    def first(self) -> None:
        """Deploy everything to a namespace that does not exist."""
        self.deploy("canary")

    def begin_canary(self) -> None:  # noqa: B027 (most tools are there already)
        """Reach the canary of 25 %, where the first deployment does not; not timed."""

    def unchanged(self) -> None:
        """Update without changes."""
        self.deploy("canary")

    def move(self) -> None:
        """Move the weight from the canary of 25 % to 100 %."""
        self.deploy("promoted")

    def rollback(self) -> None:
        """Return to the state before the weight move."""
        self.deploy("canary")

    def earlier_edges(self) -> set[str]:
        """The names of the edges of the earlier version."""
        pods = self.place.get("pods", "-l", f"run=srs-edge-{EARLIER}")["items"]
        return {pod["metadata"]["name"] for pod in pods}

    def clean_up(self) -> None:
        """Delete the namespace with all its pods."""
        self.place.kubectl("delete", "namespace", self.place.namespace, "--wait=false")
        self.place.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")


def wait_for_pods(place: Place, objects: list[Object]) -> None:
    """Wait with kubectl until the pods of all workloads are available, for tools that do not wait themselves."""
    workloads = [item for item in objects if item["kind"] in ("Deployment", "StatefulSet")]
    names = {item["metadata"]["name"] for item in workloads if item["kind"] == "Deployment"}
    timeout = f"--timeout={WAIT_SECONDS}s"
    place.kubectl("rollout", "status", timeout, *sorted(f"deployment/{name}" for name in names))
    for item in workloads:
        if item["kind"] == "StatefulSet":  # `rollout status` knows no strategy but RollingUpdate
            available = f"--for=jsonpath={{.status.availableReplicas}}={item['spec']['replicas']}"
            place.kubectl("wait", timeout, available, f"statefulset/{item['metadata']['name']}")
