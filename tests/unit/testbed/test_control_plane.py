from pathlib import Path
from stat import S_IMODE

import pytest
import yaml

from testbed.control_plane import HEALTH_CHECKS, PORTS, ControlPlane, command, write_configs
from testbed.pki import CLIENTS, ensure_pki

NUMBERS = {name: 16000 + index for index, name in enumerate(PORTS)}
BINARIES = {name: Path("/bin") / name for name in HEALTH_CHECKS}


@pytest.fixture
def plane(tmp_path: Path) -> ControlPlane:
    return ControlPlane(tmp_path, ensure_pki(tmp_path / "certs"), NUMBERS)


def flags(name: str, plane: ControlPlane) -> dict[str, str]:
    binary, *arguments = command(name, plane, BINARIES)
    assert binary == f"/bin/{name}"
    pairs = (argument.removeprefix("--").partition("=") for argument in arguments)
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("name", ["kube-apiserver", "kube-controller-manager", "kube-scheduler"])
def test_a_component_listens_on_loopback_with_its_port_and_certificate(plane: ControlPlane, name: str) -> None:
    component = flags(name, plane)
    assert component["bind-address"] == "127.0.0.1"
    assert component["secure-port"] == str(NUMBERS[name])
    assert component["tls-cert-file"] == plane.pki.crt("server")


def test_etcd_listens_on_loopback_and_verifies_its_clients(plane: ControlPlane) -> None:
    etcd = flags("etcd", plane)
    assert etcd["listen-client-urls"] == f"https://127.0.0.1:{NUMBERS['etcd']}"
    assert etcd["listen-peer-urls"] == f"https://127.0.0.1:{NUMBERS['etcd-peer']}"
    assert {"client-cert-auth", "peer-client-cert-auth"} <= etcd.keys()
    assert etcd["trusted-ca-file"] == plane.pki.crt("etcd-ca")


def test_kwok_listens_on_loopback(plane: ControlPlane) -> None:
    assert flags("kwok", plane)["server-address"] == f"127.0.0.1:{NUMBERS['kwok']}"


def test_the_api_server_reaches_kubelets_and_pods_through_the_socket_only(plane: ControlPlane) -> None:
    write_configs(plane)
    file = Path(flags("kube-apiserver", plane)["egress-selector-config-file"])
    (selection,) = yaml.safe_load(file.read_text())["egressSelections"]
    assert selection["connection"]["transport"] == {"uds": {"udsName": str(plane.egress_socket)}}


def test_the_api_server_forwards_users_to_aggregated_api_servers(plane: ControlPlane) -> None:
    server = flags("kube-apiserver", plane)
    assert server["requestheader-client-ca-file"] == plane.pki.crt("front-proxy-ca")
    assert server["proxy-client-cert-file"] == plane.pki.crt("front-proxy-client")
    assert server["requestheader-allowed-names"] == "front-proxy-client"


def test_every_file_that_a_flag_names_exists_and_kubeconfigs_are_private(plane: ControlPlane) -> None:
    write_configs(plane)
    for name in HEALTH_CHECKS:
        for flag, value in flags(name, plane).items():
            if flag.endswith("file") or flag in ("config", "kubeconfig"):
                assert Path(value).exists(), f"{name} --{flag}"
    for client in CLIENTS:
        assert S_IMODE(plane.kubeconfig(client).stat().st_mode) == 0o600
