"""The real cloud controller manager, kubernetes/cloud-provider-alibaba-cloud, on the embedded cluster and the fake API.

SRS_CCM is the path of its program, unchanged: 2.14, or a later one for what it has in addition. It is no part of this
project; see docs/alibaba.md.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from integration.prod.cloud_controller import CLUSTER, CloudController
from integration.prod.fake_alibaba_api import CONTROLLER_KEY, CloudApi


class RealCloudController(CloudController):
    """Runs the program; its log is in the file `log`, which stays if SRS_CCM_LOGS names a folder."""

    def __init__(self, api: CloudApi, kubeconfig: Path, namespace: str, default_backend: str = "ecs") -> None:
        super().__init__(api, kubeconfig, namespace, default_backend)
        self._program = Path(os.environ["SRS_CCM"]).resolve()
        self._folder = tempfile.TemporaryDirectory(prefix="srs-ccm-")
        self.log = Path(os.environ.get("SRS_CCM_LOGS", self._folder.name)) / f"{namespace}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def has_graceful_shutdown(self) -> bool:
        """Whether the program knows the annotation."""
        return b"loadbalancer-graceful-shutdown" in self._program.read_bytes()

    @property
    def down(self) -> bool:
        """Whether the program does not run."""
        return self._process is None

    @down.setter
    def down(self, value: bool) -> None:
        if value and self._process:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        elif not value and not self._process:
            self._start()

    def _start(self) -> None:
        cloud = {
            "clusterID": CLUSTER,
            "region": "cn-beijing",
            "vpcid": "vpc-testbed0001",
            "vswitchid": "cn-beijing-h:vsw-testbed0001",
            "zoneid": "cn-beijing-h",
            "serviceBackendType": self.default_backend,
        }
        file = Path(self._folder.name) / "cloud.json"
        file.write_text(json.dumps({"Global": cloud}))
        options = [
            f"--cloud-config={file}",
            "--controllers=service,nlb",
            "--configure-cloud-routes=false",
            "--leader-elect=false",
            "--metrics-bind-addr=0",
            "--health-probe-bind-addr=0",
            "--pprof-bind-addr=0",
            "--v=5",
        ]
        endpoint = self.api.endpoint
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "ALICLOUD_CLIENT_SCHEME": "HTTP",
            **dict.fromkeys(("SLB_ENDPOINT", "VPC_ENDPOINT", "ECS_ENDPOINT", "NLB_ENDPOINT"), endpoint),
            "METADATA_ENDPOINT": f"http://{endpoint}/meta",
            "ACCESS_KEY_ID": CONTROLLER_KEY,
            "ACCESS_KEY_SECRET": "none",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), *options], env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()
