"""The production stack in a folder and a namespace of its own, against the stand-in of the cloud."""

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from integration.prod.fake_alibaba_api import CloudApi
from integration.prod.fake_cloud_controller import PREFIX, CloudController
from stack import QUICK, ROOT, DevStack

ACCESS_KEY = "LTAI5tTestbedAccessKey00"
SECRET_KEY = "TestbedSecretKeyThatNobodyMaySee"
PASSWORD = "TestbedRegistryPassword"
SECRETS = (ACCESS_KEY, SECRET_KEY, PASSWORD)

CLB = "srs-edge-service-clb"


class ProdStack(DevStack):
    """Pulumi.prod.yaml with this cluster, the stand-in's vswitch, few replicas, and without protections."""

    controller: CloudController

    def __init__(self, folder: Path, kubeconfig: Path, name: str, api: CloudApi) -> None:
        self.api = api
        self.cloud: dict[str, Any] = {}
        super().__init__(folder, kubeconfig, f"prod-{name}")
        self._encrypt()

    def dev_config(self) -> dict[str, Any]:
        """The committed production stack's config, in this namespace and on the stand-in."""
        self.salt = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["encryptionsalt"]  # of an empty passphrase
        config = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
        self.cloud = {key: value for key, value in config.items() if key.startswith("alicloud:")}
        self.cloud |= {
            # Else every preview asks a public billing host.
            "alicloud:accountType": "Domestic",
            "alicloud:protocol": "HTTP",
            "alicloud:endpoints": json.dumps([{"slb": self.api.endpoint, "vpc": self.api.endpoint}]),
            "alicloud:clientReadTimeout": "3000",
        }
        made = {key.removeprefix("srs:"): value for key, value in config.items() if key.startswith("srs:")}
        made["kubernetes"] |= {"kubeconfig": str(self.kubeconfig), "namespace": self.namespace}
        made["hls"]["storageClass"] = "testbed-rwx"
        (vswitch,) = self.api.vswitches
        made["loadBalancer"]["vswitchId"] = vswitch
        return made

    def make_quick(self) -> None:
        """Few replicas, one origin, no node pools, no HLS, nothing protected."""
        for pool in ("origin", "edge", "hls"):
            for key in ("nodeSelector", "tolerations", "resources"):
                self.config[pool].pop(key, None)
        for release in self.config["edge"]["releases"].values():
            release.pop("resources", None)
        self.config["origin"] |= {"replicas": 1, "rolloutTimeout": "60s", **QUICK}
        self.config["edge"] |= {"replicas": 4, "rolloutTimeout": "60s", "warmUp": "0s", **QUICK}
        self.config["hls"] = {"enabled": False}
        self.config["images"] = {}
        self.lb.update({"protect": False, "deleteProtection": False, "addressTimeout": "30s"})
        self.lb.pop("eip", None)

    @property
    def lb(self) -> dict[str, Any]:
        """The config of the load balancer."""
        load_balancer: dict[str, Any] = self.config["loadBalancer"]
        return load_balancer

    def _encrypt(self) -> None:
        """Credentials as `pulumi config set --secret` writes them."""
        assert self.stack
        for key, value in {"alicloud:accessKey": ACCESS_KEY, "alicloud:secretKey": SECRET_KEY}.items():
            self.cloud[key] = self.set_secret(key, value)

    def set_secret(self, key: str, value: str, *options: str) -> Any:
        """Run `pulumi config set --secret`, and return what it has written for the key's first part."""
        self.write()
        command = ["pulumi", "config", "set", "--secret", *options, key, value, "--stack", "dev", "--non-interactive"]
        subprocess.run(command, cwd=self.folder, env={**os.environ, **self.variables}, check=True, capture_output=True)
        written = yaml.safe_load((self.folder / "Pulumi.dev.yaml").read_text())["config"]
        return copy.deepcopy(written[key.split(".")[0]])

    def write(self) -> None:
        """Write the config, credentials and all."""
        config = {f"srs:{key}": value for key, value in self.config.items()} | self.cloud
        (self.folder / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"encryptionsalt": self.salt, "config": config}))

    def endpoints_of(self, service: str) -> set[str]:
        """Names of the pods that a Service sends new connections to."""
        slices = self.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
        endpoints = [endpoint for each in slices for endpoint in each["endpoints"] or []]
        return {each["targetRef"]["name"] for each in endpoints if each["conditions"].get("ready")}

    @property
    def clb(self) -> dict[str, Any]:
        """The one CLB that is there."""
        (clb,) = self.api.clbs.values()
        return clb

    def told(self, service: str = "srs-edge-service") -> dict[str, str]:
        """The controller's annotations of a live Service, without their prefix."""
        annotations = self.get("service", service)["metadata"]["annotations"]
        return {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}

    def state_text(self) -> str:
        """All of the state that is on disk, in plain."""
        files = [each for each in (self.folder / "backend").rglob("*") if each.is_file()]
        return "\n".join(each.read_text(errors="replace") for each in files)
