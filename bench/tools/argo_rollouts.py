"""Argo Rollouts: the edges of both releases are one Rollout."""

import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.objects import EARLIER, NEW, State, with_rollout, write
from bench.tools.go import go_tool, module_folder
from bench.tools.tool import WAIT_SECONDS, Tool, wait_for_pods
from testbed.ports import free_ports

MODULE = "github.com/argoproj/argo-rollouts"


class ArgoRollouts(Tool):
    """`kubectl apply` of a Rollout, and a promotion as the plugin of Argo Rollouts does it."""

    title = "Argo Rollouts"
    notes = (
        "Argo Rollouts has all edges in one Rollout; the other objects are the same, applied by kubectl. Its first "
        "deployment has one version, the canary of 25 % is its first step (not in the table). The weight move is "
        "`promote --full`. The rollback leads to 100 % of the earlier version, not to the canary, within the "
        "`rollbackWindow`, so without steps. Its preview is `kubectl diff`.",
    )

    def prepare(self) -> None:
        """Write the manifests of both versions."""
        objects = self.objects["canary"]
        folder = self.place.folder
        self._others = with_rollout(objects, EARLIER)[:-1]
        self._manifests = {
            release: write(with_rollout(objects, release), folder / f"{release}.json") for release in (EARLIER, NEW)
        }

    def deploy(self, state: State) -> None:
        """Apply a version with all replicas: the earlier one for the canary, which is a step of its own."""
        self._apply(NEW if state == "promoted" else EARLIER, "Healthy")

    def begin_canary(self) -> None:
        """Apply the new version, and wait for its pause."""
        self._apply(NEW, "Paused")

    def unchanged(self) -> None:
        """Apply the same manifests in the pause."""
        self._apply(NEW, "Paused")

    def preview(self) -> None:
        """`kubectl diff`."""
        self.place.kubectl("diff", "-f", str(self._manifests[NEW]), accepted=(0, 1))

    def move(self) -> None:
        """Promote to 100 % (pkg/kubectl-argo-rollouts/cmd/promote: it patches the status)."""
        promote = '{"status": {"promoteFull": true}}'
        self.place.kubectl("patch", "rollout", "srs-edge", "--subresource=status", "--type=merge", "-p", promote)
        self._wait("Healthy")

    def _apply(self, release: str, phase: str) -> None:
        self.place.kubectl("apply", "-f", str(self._manifests[release]))
        generation = self.place.kubectl("get", "rollout", "srs-edge", "-o", "jsonpath={.metadata.generation}")
        self._until(f"{{.status.observedGeneration}}={generation}")
        self._wait(phase)
        wait_for_pods(self.place, self._others)

    def _wait(self, phase: str) -> None:
        self._until(f"{{.status.phase}}={phase}")

    def _until(self, condition: str) -> None:
        self.place.kubectl("wait", f"--for=jsonpath={condition}", f"--timeout={WAIT_SECONDS}s", "rollout/srs-edge")


@contextmanager
def controller(kubeconfig: Path, log: Path, variables: Mapping[str, str]) -> Generator[None]:
    """Run the controller while the block runs, with its kinds from the module's manifests."""
    binary = go_tool("argo-rollouts", f"{MODULE}/cmd/rollouts-controller")
    definitions = module_folder("argo-rollouts", MODULE) / "manifests/crds"
    files = [f"--filename={file}" for file in sorted(definitions.glob("*-crd.yaml"))]
    kubectl = ["kubectl", "--kubeconfig", str(kubeconfig)]
    subprocess.run([*kubectl, "create", *files], env=dict(variables), check=True, capture_output=True)
    established = ["wait", "--for=condition=Established", "--timeout=30s", *files]
    subprocess.run([*kubectl, *established], env=dict(variables), check=True, capture_output=True)
    metrics, health = free_ports(2)
    options = [f"--metricsPort={metrics}", f"--healthzPort={health}", "--leader-elect=false", "--loglevel=warn"]
    command = [binary, "--kubeconfig", str(kubeconfig), *options]
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=dict(variables), stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield
        finally:
            process.kill()
