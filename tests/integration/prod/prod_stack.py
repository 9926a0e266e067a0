"""The production stack in a folder and a namespace of its own, with the fake Alibaba API."""

import copy
import json
import os
import subprocess
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from integration.prod.cloud_controller import PREFIX, CloudController, cloud_controller
from integration.prod.fake_alibaba_api import CloudApi
from stack import NAME, QUICK, ROOT, DevStack
from testbed.cluster import EmbeddedCluster
from testbed.locking import exclusive

ACCESS_KEY = "LTAI5tTestbedAccessKey00"
SECRET_KEY = "TestbedSecretKeyThatNobodyMaySee"
PASSWORD = "TestbedRegistryPassword"
SECRETS = (ACCESS_KEY, SECRET_KEY, PASSWORD)

CLB = "srs-edge-service-clb"


class ProdStack(DevStack):
    """Pulumi.prod.yaml with this cluster, the vswitch of the fake API, few replicas, and without protections."""

    controller: CloudController

    def __init__(self, folder: Path, kubeconfig: Path, name: str, api: CloudApi) -> None:
        self.api = api
        super().__init__(folder, kubeconfig, f"prod-{name}")
        self._encrypt()

    def committed_config(self) -> dict[str, Any]:
        """The committed production stack's config, in this namespace and with the fake API."""
        self.salt = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["encryptionsalt"]  # of an empty passphrase
        config = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
        self.provider_config = {key: value for key, value in config.items() if key.startswith("alicloud:")}
        self.provider_config |= {
            # With another type, every preview calls a public billing host.
            "alicloud:accountType": "Domestic",
            "alicloud:protocol": "HTTP",
            "alicloud:endpoints": json.dumps([{"slb": self.api.endpoint, "vpc": self.api.endpoint}]),
            "alicloud:clientReadTimeout": "3000",
        }
        settings = {key.removeprefix("srs:"): value for key, value in config.items() if key.startswith("srs:")}
        settings["kubernetes"] |= {"kubeconfig": str(self.kubeconfig), "namespace": self.namespace}
        settings["hls"]["storageClass"] = "testbed-rwx"
        (vswitch,) = self.api.vswitches
        for load_balancer in (settings["loadBalancer"], settings["publish"]["loadBalancer"]):
            load_balancer["vswitchId"] = vswitch
        return settings

    def make_quick(self) -> None:
        """Few replicas, one origin, no node pools, no HLS, no load balancer for encoders, nothing protected."""
        for pool in ("origin", "edge", "hls"):
            for key in ("nodeSelector", "tolerations", "resources", "priorityClass"):
                self.config[pool].pop(key, None)
        for release in self.config["edge"]["releases"].values():
            release.pop("resources", None)
        self.config["origin"] |= {"replicas": 1, "rolloutTimeout": "60s", **QUICK}
        self.config["edge"] |= {"replicas": 4, "rolloutTimeout": "60s", "warmUp": "0s", **QUICK}
        self.config["hls"] = {"enabled": False}
        del self.config["publish"]
        self.load_balancer.update({"protect": False, "deleteProtection": False, "addressTimeout": "30s"})
        self.load_balancer.pop("eip", None)

    @property
    def load_balancer(self) -> dict[str, Any]:
        """The config of the load balancer."""
        load_balancer: dict[str, Any] = self.config["loadBalancer"]
        return load_balancer

    def _encrypt(self) -> None:
        """Credentials as `pulumi config set --secret` writes them."""
        assert self.stack
        for key, value in {"alicloud:accessKey": ACCESS_KEY, "alicloud:secretKey": SECRET_KEY}.items():
            self.provider_config[key] = self.set_secret(key, value)

    def set_secret(self, key: str, value: str, *options: str) -> Any:
        """Run `pulumi config set --secret`, and return what it writes for the key's first part."""
        self.write()
        command = ["pulumi", "config", "set", "--secret", *options, key, value, "--stack", NAME, "--non-interactive"]
        subprocess.run(command, cwd=self.folder, env={**os.environ, **self.variables}, check=True, capture_output=True)
        written = yaml.safe_load((self.folder / "Pulumi.dev.yaml").read_text())["config"]
        return copy.deepcopy(written[key.split(".")[0]])

    @property
    def clb(self) -> dict[str, Any]:
        """The only CLB."""
        (clb,) = self.api.clbs.values()
        return clb

    def controller_annotations(self, service: str = "srs-edge-service") -> dict[str, str]:
        """The controller's annotations of a live Service, without their prefix."""
        annotations = self.get("service", service)["metadata"]["annotations"]
        return {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}

    def state_text(self) -> str:
        """All files of the state backend."""
        files = [path for path in (self.folder / "backend").rglob("*") if path.is_file()]
        return "\n".join(path.read_text(errors="replace") for path in files)


def only_user_of_nodes(cluster: EmbeddedCluster) -> AbstractContextManager[None]:
    """While the block runs, no other test changes the nodes of the cluster, or depends on their changes."""
    return exclusive(cluster.state / "nodes.lock", report=lambda _line: None)


@contextmanager
def production_stack(cluster: EmbeddedCluster, folder: Path, name: str) -> Generator[ProdStack]:
    """A production stack with its fake Alibaba API and cloud controller while the block runs."""
    assert not [variable for variable in os.environ if variable.startswith(("ALICLOUD_", "ALIBABA_CLOUD_"))]
    with CloudApi() as api:
        stack = ProdStack(folder, cluster.kubeconfig, name, api)
        with cloud_controller(api, stack.kubeconfig, stack.namespace) as stack.controller:
            yield stack
            stack.clean_up()
            stack.controller.down = False
            stack.controller.wait_for_finalizers()
            assert not stack.controller.errors, stack.controller.errors
