"""Helm with a chart of the rendered manifests."""

from typing import ClassVar

import yaml

from bench.objects import State, write
from bench.tools.go import go_tool
from bench.tools.tool import WAIT_SECONDS, Tool

PACKAGE = "helm.sh/helm/v3/cmd/helm"


class Helm(Tool):
    """`helm upgrade --install --wait`."""

    title = "helm --wait"
    cannot: ClassVar = {"preview": "no diff without a plugin"}
    notes = (
        "Helm installs a chart that consists of the rendered manifests (`helm upgrade --install --wait`). It does not "
        "wait for the origins, whose strategy is OnDelete, and does not wait until pods have been ready for "
        "`minReady`.",
    )

    def prepare(self) -> None:
        """Write the chart. The objects are a file of it, so that Helm does not take srs.conf for a template."""
        self._helm = go_tool("helm", PACKAGE)
        chart = self.place.folder / "chart"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "srs", "version": "1.0.0"}))
        (chart / "templates/objects.yaml").write_text('{{ .Files.Get "files/objects.json" }}\n')
        write(self.objects["canary"], chart / "files/objects.json")

    def deploy(self, state: State) -> None:
        """Upgrade, or install. The release is recorded in another namespace: the chart has the Namespace itself."""
        write(self.objects[state], self.place.folder / "chart/files/objects.json")
        options = ["--namespace", "default", "--wait", f"--timeout={WAIT_SECONDS}s"]
        self.place.run(self._helm, "upgrade", "--install", self.place.namespace, "chart", *options)

    def preview(self) -> None:
        """See `cannot`."""
        raise NotImplementedError
