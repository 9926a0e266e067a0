"""KEDA and metrics-server, and the aggregated APIs through which autoscalers ask them for metrics.

They are processes in the network of the nodes, as pods of the host network would be. A Service without a selector and
its EndpointSlice lead to each (Kubernetes docs, "Service", "Services without selectors").
"""

import json
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certificates import authority, certificate, private_key, rsa_key
from e2e.programs import go, running
from stack import eventually
from testbed.cluster import EmbeddedCluster
from testbed.containers.machine import ALL_NODES

ADDRESS = ALL_NODES[0].address
"""Where they listen: the endpoint of a Service must not be a loopback address."""

KEDA = "github.com/kedacore/keda/v2"
_GRPC = "127.0.0.1:9666"
"""Where the adapter of KEDA asks its operator."""

_READY_SECONDS = 60


@dataclass(frozen=True)
class AggregatedApi:
    """A group of the API that the program behind a Service serves, at a port of ADDRESS."""

    group: str
    service: str
    namespace: str
    port: int

    @property
    def name(self) -> str:
        """The name of its APIService."""
        return f"v1beta1.{self.group}"

    def objects(self) -> list[dict[str, Any]]:
        """What leads the API server to the program."""
        metadata = {"name": self.service, "namespace": self.namespace}
        labels = {"kubernetes.io/service-name": self.service}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"ports": [{"name": "https", "port": 443, "targetPort": self.port}]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**metadata, "labels": labels},
                "addressType": "IPv4",
                "ports": [{"name": "https", "port": self.port}],
                "endpoints": [{"addresses": [ADDRESS]}],
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": self.name},
                "spec": {
                    "group": self.group,
                    "version": "v1beta1",
                    "service": {"name": self.service, "namespace": self.namespace},
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "insecureSkipTLSVerify": True,  # as in the manifest of metrics-server
                },
            },
        ]


RESOURCE = AggregatedApi("metrics.k8s.io", "metrics-server", "kube-system", 4443)
EXTERNAL = AggregatedApi("external.metrics.k8s.io", "keda-metrics-apiserver", "keda", 6443)


@contextmanager
def keda(cluster: EmbeddedCluster, logs: Path) -> Generator[None]:
    """KEDA's operator and metrics adapter, without webhooks. logs: a folder for their logs and certificates.

    A stack with autoscalers must be deleted while they run: the operator removes the finalizer of each ScaledObject.
    """
    operator, adapter = (go("keda", "tool", "-n", f"{KEDA}/cmd/{name}") for name in ("operator", "adapter"))
    definitions = Path(go("keda", "list", "-m", "-f", "{{.Dir}}", KEDA)) / "config/crd"
    certificates = logs / "certificates"
    certificates.mkdir(parents=True)
    issuer, key = rsa_key(), rsa_key()
    for name, content in {
        "ca.crt": authority(issuer),
        "tls.crt": certificate(key, issuer),
        "tls.key": private_key(key),
    }.items():
        (certificates / name).write_text(content)
    variables = {"WATCH_NAMESPACE": "", "KEDA_CLUSTER_OBJECT_NAMESPACE": EXTERNAL.namespace}
    with ExitStack() as stack:
        stack.callback(_kubectl, cluster, "delete", "--wait=false", f"--kustomize={definitions}", "--ignore-not-found")
        # Some definitions are too large for the annotation of a client-side apply.
        _kubectl(cluster, "apply", "--server-side", f"--kustomize={definitions}")
        _wait_for(cluster, "Established", "crd/scaledobjects.keda.sh")
        stack.enter_context(_served(cluster, EXTERNAL))
        started = [
            [
                operator,
                f"--cert-dir={certificates}",
                "--metrics-bind-address=0",
                "--health-probe-bind-address=127.0.0.1:9131",
                f"--metrics-service-bind-address={_GRPC}",
            ],
            [
                adapter,
                f"--cert-dir={certificates}",
                f"--tls-cert-file={certificates / 'tls.crt'}",
                f"--tls-private-key-file={certificates / 'tls.key'}",
                f"--metrics-service-address={_GRPC}",
                "--port=9132",
                f"--lister-kubeconfig={cluster.kubeconfig}",
                *_serving(cluster, EXTERNAL),
            ],
        ]
        for command in started:
            log = logs / f"keda-{Path(command[0]).name}.log"
            stack.enter_context(running(cluster, command, log, {"KUBECONFIG": str(cluster.kubeconfig), **variables}))
        _wait_for(cluster, "Available", f"apiservice/{EXTERNAL.name}")
        yield


@contextmanager
def metrics_server(cluster: EmbeddedCluster, logs: Path) -> Generator[None]:
    """metrics-server, with the interval of its own manifest. logs: a folder for its log and its certificate."""
    logs.mkdir(parents=True)
    command = [
        go("metrics-server", "tool", "-n", "metrics-server"),
        f"--kubeconfig={cluster.kubeconfig}",  # kubelets accept its client certificate, too
        f"--cert-dir={logs}",
        "--kubelet-insecure-tls",  # the kubelets' certificates are self-signed
        "--kubelet-use-node-status-port",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=15s",
        *_serving(cluster, RESOURCE),
    ]
    with _served(cluster, RESOURCE), running(cluster, command, logs / "metrics-server.log"):
        _wait_for(cluster, "Available", f"apiservice/{RESOURCE.name}")
        yield


def _serving(cluster: EmbeddedCluster, api: AggregatedApi) -> list[str]:
    """The flags of an aggregated API server: where it listens, and whom it asks about its clients."""
    return [
        f"--bind-address={ADDRESS}",
        f"--secure-port={api.port}",
        f"--authentication-kubeconfig={cluster.kubeconfig}",
        f"--authorization-kubeconfig={cluster.kubeconfig}",
    ]


@contextmanager
def _served(cluster: EmbeddedCluster, api: AggregatedApi) -> Generator[None]:
    """The objects that lead to a program, while the block runs.

    The APIService is deleted: while it leads to no program, no namespace can be deleted.
    """
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": api.objects()})
    _kubectl(cluster, "apply", "--server-side", "--filename=-", text=objects)
    try:
        yield
    finally:
        _kubectl(cluster, "delete", "apiservice", api.name, "--ignore-not-found")


def _wait_for(cluster: EmbeddedCluster, condition: str, name: str) -> None:
    """Wait until an object has a condition. `kubectl wait` fails while its status has none at all."""

    def is_there() -> bool:
        status = json.loads(_kubectl(cluster, "get", name, "--output=json")).get("status", {})
        return any(item["type"] == condition and item["status"] == "True" for item in status.get("conditions") or [])

    eventually(is_there, _READY_SECONDS)


def _kubectl(cluster: EmbeddedCluster, *arguments: str, text: str | None = None) -> str:
    command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"kubectl {arguments}: {done.stderr}"
    return done.stdout
