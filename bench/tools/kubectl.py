"""kubectl with the rendered manifests."""

from bench.objects import State, write
from bench.tools.tool import Tool, wait_for_pods


class Kubectl(Tool):
    """`kubectl apply`, then `kubectl rollout status`."""

    title = "kubectl apply"
    notes = (
        "kubectl applies the rendered manifests, then waits (`rollout status` of all Deployments, `wait` for the "
        "origins, whose controller reports them up to one `minReady` late). Its preview is `kubectl diff`.",
    )

    def prepare(self) -> None:
        """Write the manifests of the canary."""
        self._manifests = write(self.objects["canary"], self.place.folder / "objects.json")

    def deploy(self, state: State) -> None:
        """Apply and wait."""
        write(self.objects[state], self._manifests)
        self.place.kubectl("apply", "-f", str(self._manifests))
        wait_for_pods(self.place, self.objects[state])

    def preview(self) -> None:
        """`kubectl diff`; its exit code is 1 if something differs."""
        self.place.kubectl("diff", "-f", str(self._manifests), accepted=(0, 1))
