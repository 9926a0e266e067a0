import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from testbed.pki import ADMIN, CLIENTS, FRONT_PROXY, KUBELETS, Pki, ensure_pki


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return ensure_pki(tmp_path_factory.mktemp("state") / "certs")


def certificate(pki: Pki, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(pki.crt(name)).read_bytes())


def verifies(pki: Pki, name: str, authority: str) -> bool:
    store = Store([certificate(pki, authority)])
    verifier = PolicyBuilder().store(store)
    try:
        if name in ("server", "etcd"):
            verifier.build_server_verifier(x509.DNSName("localhost")).verify(certificate(pki, name), [])
        else:
            certificate(pki, name).verify_directly_issued_by(certificate(pki, authority))
    except (VerificationError, ValueError):
        return False
    return True


@pytest.mark.parametrize("name", ["server", *[client.name for client in CLIENTS]])
def test_certificates_of_the_cluster_are_not_valid_for_etcd(pki: Pki, name: str) -> None:
    assert verifies(pki, name, "ca")
    assert not verifies(pki, name, "etcd-ca")


@pytest.mark.parametrize("name", ["etcd", "etcd-client"])
def test_certificates_of_etcd_are_not_valid_for_the_cluster(pki: Pki, name: str) -> None:
    assert verifies(pki, name, "etcd-ca")
    assert not verifies(pki, name, "ca")


@pytest.mark.parametrize("name", ["server", "etcd", "etcd-client", *[client.name for client in CLIENTS]])
def test_no_client_but_the_api_server_can_name_users_to_aggregated_api_servers(pki: Pki, name: str) -> None:
    assert verifies(pki, FRONT_PROXY.name, "front-proxy-ca")
    assert not verifies(pki, FRONT_PROXY.name, "ca")
    assert not verifies(pki, name, "front-proxy-ca")


def test_an_older_cluster_gets_the_certificates_of_aggregation_and_keeps_the_others(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path / "certs")
    kept = {file.name: file.read_bytes() for file in pki.folder.iterdir() if not file.name.startswith("front-proxy")}
    for file in pki.folder.glob("front-proxy*"):
        file.unlink()
    ensure_pki(pki.folder)
    assert verifies(pki, FRONT_PROXY.name, "front-proxy-ca")
    assert kept.items() <= {file.name: file.read_bytes() for file in pki.folder.iterdir()}.items()


def handshake(pki: Pki, client: str, client_authority: str) -> str:
    """The client certificate that a server receives in a TLS connection that both sides verify."""
    at_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.crt(client_authority))
    at_server.load_cert_chain(pki.crt("server"), pki.key("server"))
    at_server.verify_mode = ssl.CERT_REQUIRED
    at_client = ssl.create_default_context(cafile=pki.crt("ca"))
    at_client.load_cert_chain(pki.crt(client), pki.key(client))
    left, right = socket.socketpair()
    received: list[object] = []

    def serve() -> None:
        try:
            with at_server.wrap_socket(left, server_side=True) as secure:
                received.append(secure.getpeercert())
                secure.send(b"x")
        except (ssl.SSLError, OSError) as error:
            received.append(error)
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with at_client.wrap_socket(right, server_hostname="127.0.0.1") as secure:
            secure.recv(1)
    finally:
        thread.join(5)
    if isinstance(received[0], Exception):
        raise received[0]
    return str(received[0])


def test_server_and_client_verify_each_other(pki: Pki) -> None:
    assert "system:masters" in handshake(pki, "admin", "ca")
    with pytest.raises((ssl.SSLError, OSError)):
        handshake(pki, "etcd-client", "ca")


def test_certificates_have_the_user_and_group_of_rbac(pki: Pki) -> None:
    def names(name: str, kind: x509.ObjectIdentifier) -> list[object]:
        return [attribute.value for attribute in certificate(pki, name).subject.get_attributes_for_oid(kind)]

    assert names("admin", NameOID.ORGANIZATION_NAME) == ["system:masters"]
    assert names("kube-scheduler", NameOID.COMMON_NAME) == ["system:kube-scheduler"]
    assert names("kube-controller-manager", NameOID.COMMON_NAME) == ["system:kube-controller-manager"]
    # The node authorizer needs both.
    assert names("node-1", NameOID.COMMON_NAME) == ["system:node:node-1"]
    assert names("node-1", NameOID.ORGANIZATION_NAME) == ["system:nodes"]
    others = [client.name for client in CLIENTS if client is not ADMIN and client not in KUBELETS]
    assert all(names(name, NameOID.ORGANIZATION_NAME) == [] for name in others)


def test_certificates_are_valid_for_ten_years(pki: Pki) -> None:
    now = dt.datetime.now(dt.UTC)
    for name in ["ca", "etcd-ca", "server", "etcd", "etcd-client", *[client.name for client in CLIENTS]]:
        assert certificate(pki, name).not_valid_before_utc < now
        assert certificate(pki, name).not_valid_after_utc > now + dt.timedelta(days=3600)


def test_private_keys_are_readable_by_their_owner_only(pki: Pki) -> None:
    keys = list(pki.folder.glob("*.key"))
    assert len(keys) == 8 + len(CLIENTS)
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)


def test_the_service_account_keys_are_a_pair(pki: Pki) -> None:
    private = serialization.load_pem_private_key(Path(pki.key("service-account")).read_bytes(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert Path(pki.service_account_public_key).read_bytes() == public


def test_certificates_are_created_once(pki: Pki) -> None:
    before = Path(pki.crt("ca")).read_bytes()
    assert Path(ensure_pki(pki.folder).crt("ca")).read_bytes() == before


def test_a_kubeconfig_is_self_contained(pki: Pki) -> None:
    config = yaml.safe_load(pki.kubeconfig(ADMIN, "https://127.0.0.1:6443"))
    assert config["current-context"] == config["contexts"][0]["name"] == "testbed"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert "insecure-skip-tls-verify" not in str(config)
    assert str(pki.folder) not in str(config)
