"""The cluster's certificates: three authorities, serving certificates, client certificates, the service-account key.

Every client authenticates with a certificate and verifies the server; there are no tokens in files.
"""

import base64
import datetime as dt
import ipaddress
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_YEARS = 10
SERVICE_IP = "10.96.0.1"
"""The address of the Service `kubernetes`: the first one of the cluster's service range."""

CLUSTER = "testbed"
"""The name of the cluster and of the context in every kubeconfig."""


@dataclass(frozen=True)
class Client:
    """A client of the API server: the name of its files, and its user and group in RBAC."""

    name: str
    user: str
    group: str | None = None


ADMIN = Client("admin", "admin", "system:masters")
CONTROLLER_MANAGER = Client("kube-controller-manager", "system:kube-controller-manager")
SCHEDULER = Client("kube-scheduler", "system:kube-scheduler")
KWOK = Client("kwok", "kwok")
KUBE_PROXY = Client("kube-proxy", "system:kube-proxy")
COREDNS = Client("coredns", "coredns")
KUBELETS = tuple(Client(f"node-{number}", f"system:node:node-{number}", "system:nodes") for number in (1, 2))
"""The kubelets of nodes that run containers (`testbed.containers.machine`)."""
FRONT_PROXY = Client("front-proxy-client", "front-proxy-client")
"""The API server as a client of aggregated API servers. It has an authority of its own, and no kubeconfig."""
CLIENTS = (ADMIN, CONTROLLER_MANAGER, SCHEDULER, KWOK, KUBE_PROXY, COREDNS, *KUBELETS)


@dataclass(frozen=True)
class Pki:
    """The folder of the certificates; `<name>.crt` and `<name>.key`, PEM."""

    folder: Path

    def crt(self, name: str) -> str:
        """The path of a certificate, for a flag."""
        return str(self.folder / f"{name}.crt")

    def key(self, name: str) -> str:
        """The path of a private key, for a flag."""
        return str(self.folder / f"{name}.key")

    @property
    def service_account_public_key(self) -> str:
        """The path of the key that verifies service-account tokens."""
        return str(self.folder / "service-account.pub")

    def kubeconfig(self, client: Client, server: str) -> str:
        """A self-contained kubeconfig (no paths) of a client for the API server at URL `server`."""

        def data(path: str) -> str:
            return base64.b64encode(Path(path).read_bytes()).decode()

        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": CLUSTER,
                        "cluster": {"server": server, "certificate-authority-data": data(self.crt("ca"))},
                    }
                ],
                "users": [
                    {
                        "name": client.user,
                        "user": {
                            "client-certificate-data": data(self.crt(client.name)),
                            "client-key-data": data(self.key(client.name)),
                        },
                    }
                ],
                "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": client.user}}],
                "current-context": CLUSTER,
            },
            sort_keys=False,
        )


def ensure_pki(folder: Path) -> Pki:
    """Create all certificates in `folder`; a folder that exists is complete and is used as it is.

    Only the certificates of aggregation may be missing, in the folder of a cluster that is older than they are.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _create_all(scratch)
            scratch.rename(folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    pki = Pki(folder)
    if not Path(pki.key(FRONT_PROXY.name)).exists():
        _create_front_proxy(folder)
    return pki


def _create_all(folder: Path) -> None:
    cluster = _Authority(folder, "ca")
    # etcd has an authority of its own, so that certificates of the cluster (of a scheduler, or of a user who got one
    # through the API) are valid for the API server only, where RBAC applies, and never for etcd.
    etcd = _Authority(folder, "etcd-ca")
    names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    cluster.issue("server", "kube-apiserver", names=names, addresses=["127.0.0.1", "::1", SERVICE_IP])
    # The one member of etcd is its own peer, so its certificate is for servers and clients.
    etcd.issue("etcd", "etcd", names=["localhost"], addresses=["127.0.0.1", "::1"], client=True)
    etcd.issue("etcd-client", "kube-apiserver", client=True)
    for client in CLIENTS:
        cluster.issue(client.name, client.user, organization=client.group, client=True)
    _create_front_proxy(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "service-account.key", key)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "service-account.pub").write_bytes(public)


def _create_front_proxy(folder: Path) -> None:
    # Whoever has a certificate of this authority may name any user to an aggregated API server, so it issues no other
    # ones (Kubernetes docs, "Configure the Aggregation Layer", "CA Reusage and Conflicts").
    _Authority(folder, "front-proxy-ca").issue(FRONT_PROXY.name, FRONT_PROXY.user, client=True)


class _Authority:
    """A self-signed authority that issues certificates into one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"testbed {name}")])
        builder = (
            _builder(self._name, self._name, self._key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
        )
        self._write(name, builder, self._key)

    def issue(
        self,
        name: str,
        common_name: str,
        *,
        organization: str | None = None,
        names: list[str] | None = None,
        addresses: list[str] | None = None,
        client: bool = False,
    ) -> None:
        """Write `<name>.crt` and `<name>.key`: a serving certificate if it has names, a client's if `client`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        uses = [ExtendedKeyUsageOID.SERVER_AUTH] if names else []
        if client:
            uses.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        builder = (
            _builder(x509.Name(subject), self._name, key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        )
        if names:
            alternatives: list[x509.GeneralName] = [x509.DNSName(dns_name) for dns_name in names]
            alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses or []]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        self._write(name, builder, key)

    def _write(self, name: str, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> None:
        certificate = builder.sign(self._key, hashes.SHA256())
        (self._folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(self._folder / f"{name}.key", key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    # An hour ago: the clocks of a machine and of its virtual machines rarely agree to the second.
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=365 * VALID_YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    write_private(path, pem)


def write_private(path: Path, content: bytes) -> None:
    """Write a file atomically that only its owner can read, at any moment."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    scratch.replace(path)
