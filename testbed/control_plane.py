"""The components of the control plane: the command line of each, the files that they read, and their health checks.

Every component listens on 127.0.0.1 only and has a certificate of its own.
"""

import ssl
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from testbed.pki import ADMIN, CLIENTS, CONTROLLER_MANAGER, FRONT_PROXY, KWOK, SCHEDULER, Client, Pki, write_private

HEALTH_CHECKS = {
    "etcd": "/readyz",
    "kube-apiserver": "/readyz",
    "kube-controller-manager": "/healthz",
    "kube-scheduler": "/readyz",
    "kwok": "/healthz",
}
"""The components in the order in which they are started, with the path of each health check."""

PORTS = (*HEALTH_CHECKS, "etcd-peer")
"""The names of all ports."""

POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"

_STAGES = Path(__file__).parent / "nodes"


@dataclass(frozen=True)
class ControlPlane:
    """What the command lines depend on: the state folder, the certificates, and the port of each component."""

    state: Path
    pki: Pki
    ports: Mapping[str, int]

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://127.0.0.1:{self.ports['kube-apiserver']}"

    @property
    def config(self) -> Path:
        """The folder of configuration files and of the components' kubeconfigs."""
        return self.state / "config"

    def kubeconfig(self, client: Client) -> Path:
        """The kubeconfig of a client."""
        return self.state / "kubeconfig" if client is ADMIN else self.config / f"{client.name}.kubeconfig"

    @property
    def egress_socket(self) -> Path:
        """The socket of the proxy through which the API server reaches kubelets and pods.

        Simulated nodes have neither, and nothing listens there: the API server never connects to their addresses, and
        a request for the log of a simulated pod fails at once.
        """
        return self.state / "egress.sock"


def write_configs(plane: ControlPlane) -> None:
    """Write the kubeconfig of every client and the configuration files of the components."""
    plane.config.mkdir(exist_ok=True)
    for client in CLIENTS:
        write_private(plane.kubeconfig(client), plane.pki.kubeconfig(client, plane.server).encode())
    scheduler = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {
            "kubeconfig": str(plane.kubeconfig(SCHEDULER)),
            "qps": 500,
            "burst": 1000,
        },
        "leaderElection": {"leaderElect": False},
    }
    (plane.config / "scheduler.yaml").write_text(yaml.safe_dump(scheduler))
    connection = {
        "proxyProtocol": "HTTPConnect",
        "transport": {"uds": {"udsName": str(plane.egress_socket)}},
    }
    egress = {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    }
    (plane.config / "egress.yaml").write_text(yaml.safe_dump(egress))


def command(name: str, plane: ControlPlane, binaries: Mapping[str, Path]) -> list[str]:
    """The command line of a component."""
    return [str(binaries[name]), *_FLAGS[name](plane)]


def etcd(plane: ControlPlane) -> list[str]:
    """The flags of etcd."""
    pki, client_url, peer_url = plane.pki, _etcd_url(plane), f"https://127.0.0.1:{plane.ports['etcd-peer']}"
    return [
        "--name=testbed",
        f"--data-dir={plane.state / 'etcd'}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=testbed={peer_url}",
        f"--cert-file={pki.crt('etcd')}",
        f"--key-file={pki.key('etcd')}",
        f"--trusted-ca-file={pki.crt('etcd-ca')}",
        "--client-cert-auth",
        f"--peer-cert-file={pki.crt('etcd')}",
        f"--peer-key-file={pki.key('etcd')}",
        f"--peer-trusted-ca-file={pki.crt('etcd-ca')}",
        "--peer-client-cert-auth",
        # The data of a test cluster need not survive a power cut, and fsync is most of the time of a write.
        "--unsafe-no-fsync",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
        "--log-level=warn",
    ]


def kube_apiserver(plane: ControlPlane) -> list[str]:
    """The flags of the API server."""
    pki = plane.pki
    return [
        *_serving(plane, "kube-apiserver"),
        # The advertised address becomes the endpoint of the Service `kubernetes`, which rejects a loopback address.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--etcd-servers={_etcd_url(plane)}",
        f"--etcd-cafile={pki.crt('etcd-ca')}",
        f"--etcd-certfile={pki.crt('etcd-client')}",
        f"--etcd-keyfile={pki.key('etcd-client')}",
        f"--client-ca-file={pki.crt('ca')}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        # Policies that change objects, for the tests of those that clusters have; beta in 1.34, and off by default.
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.service_account_public_key}",
        f"--service-account-signing-key-file={pki.key('service-account')}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        # By default it waits 70 s when it is stopped, so that load balancers notice; there are none.
        "--shutdown-delay-duration=0s",
        f"--egress-selector-config-file={plane.config / 'egress.yaml'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={pki.crt(ADMIN.name)}",
        f"--kubelet-client-key={pki.key(ADMIN.name)}",
        *_aggregation(pki),
        "--profiling=false",
    ]


def _aggregation(pki: Pki) -> list[str]:
    """How the API server names a user to an aggregated API server, such as metrics-server, and proves who it is.

    As in the Kubernetes docs, "Configure the Aggregation Layer". It connects to endpoints, through the egress proxy:
    where the proxy is, no route leads to the addresses of Services.
    """
    return [
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki.crt('front-proxy-ca')}",
        f"--requestheader-allowed-names={FRONT_PROXY.user}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki.crt(FRONT_PROXY.name)}",
        f"--proxy-client-key-file={pki.key(FRONT_PROXY.name)}",
    ]


def kube_controller_manager(plane: ControlPlane) -> list[str]:
    """The flags of the controller manager."""
    pki = plane.pki
    return [
        *_serving(plane, "kube-controller-manager"),
        f"--kubeconfig={plane.kubeconfig(CONTROLLER_MANAGER)}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki.key('service-account')}",
        f"--root-ca-file={pki.crt('ca')}",
        f"--cluster-signing-cert-file={pki.crt('ca')}",
        f"--cluster-signing-key-file={pki.key('ca')}",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={POD_CIDR}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        # With the defaults (20 and 30 requests a second) a hundred pods take half a minute.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        # A terminating namespace is checked after half the grace period of its pods (hours here) or at this period
        # (by default 5 minutes), even if its pods have ended earlier.
        "--namespace-sync-period=5s",
        # The taint of a node that becomes Ready is removed at this period.
        "--node-monitor-period=1s",
        "--profiling=false",
    ]


def kube_scheduler(plane: ControlPlane) -> list[str]:
    """The flags of the scheduler."""
    return [
        *_serving(plane, "kube-scheduler"),
        f"--config={plane.config / 'scheduler.yaml'}",
        "--profiling=false",
    ]


def kwok(plane: ControlPlane) -> list[str]:
    """The flags of kwok, which simulates the kubelets of the nodes that have its annotation."""
    return [
        f"--kubeconfig={plane.kubeconfig(KWOK)}",
        f"--server-address=127.0.0.1:{plane.ports['kwok']}",
        *_certificate(plane),
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        # By default it logs every heartbeat of every node.
        "--v=WARN",
        # Without leases: a restarted kwok would not serve the nodes of its predecessor until its leases expire.
        "--node-lease-duration-seconds=0",
        *[f"--config={file}" for file in sorted(_STAGES.glob("*.yaml"))],
    ]


_FLAGS: Mapping[str, Callable[[ControlPlane], list[str]]] = {
    "etcd": etcd,
    "kube-apiserver": kube_apiserver,
    "kube-controller-manager": kube_controller_manager,
    "kube-scheduler": kube_scheduler,
    "kwok": kwok,
}


def _serving(plane: ControlPlane, name: str) -> list[str]:
    return ["--bind-address=127.0.0.1", f"--secure-port={plane.ports[name]}", *_certificate(plane)]


def _certificate(plane: ControlPlane) -> list[str]:
    return [f"--tls-cert-file={plane.pki.crt('server')}", f"--tls-private-key-file={plane.pki.key('server')}"]


def _etcd_url(plane: ControlPlane) -> str:
    return f"https://127.0.0.1:{plane.ports['etcd']}"


def is_ready(name: str, plane: ControlPlane) -> bool:
    """Whether the health check of a component succeeds now."""
    context = ssl.create_default_context(cafile=plane.pki.crt("etcd-ca" if name == "etcd" else "ca"))
    if name == "etcd":
        # The health checks of the other components are public; etcd's needs a client certificate of its authority.
        context.load_cert_chain(plane.pki.crt("etcd-client"), plane.pki.key("etcd-client"))
    url = f"https://127.0.0.1:{plane.ports[name]}{HEALTH_CHECKS[name]}"
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
