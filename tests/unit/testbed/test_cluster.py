"""The life cycle of the cluster without its real components."""

import json
import os
import socket
from pathlib import Path

import pytest

from testbed.cluster import ClusterError, EmbeddedCluster
from testbed.control_plane import HEALTH_CHECKS, PORTS
from testbed.toolchain.install import Tools


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def broken(tmp_path: Path) -> Tools:
    """Tools that print an error and exit."""
    binary = tmp_path / "broken"
    binary.write_text("#!/bin/sh\necho member has already been bootstrapped\nexit 1\n")
    binary.chmod(0o755)
    return Tools(dict.fromkeys([*HEALTH_CHECKS, "kubectl"], binary), tmp_path / "home", (tmp_path,))


def test_a_component_that_ends_is_named_with_its_log_tail(tmp_path: Path, broken: Tools) -> None:
    cluster = EmbeddedCluster(tmp_path / "state", broken, quiet)
    with pytest.raises(ClusterError, match=r"etcd ended(.*\n)*member has already been bootstrapped"):
        cluster.start()
    assert {component.state for component in cluster.status()} == {"stopped"}


def test_ports_are_chosen_once(tmp_path: Path, broken: Tools) -> None:
    state = tmp_path / "state"
    chosen: list[dict[str, int]] = []
    for _ in range(2):
        with pytest.raises(ClusterError):
            EmbeddedCluster(state, broken, quiet).start()
        chosen.append(json.loads((state / "ports.json").read_text()))
    assert chosen[0] == chosen[1]
    assert chosen[0].keys() == set(PORTS)


def test_a_port_in_use_is_named_with_its_process(tmp_path: Path, broken: Tools) -> None:
    state = tmp_path / "state"
    with pytest.raises(ClusterError):
        EmbeddedCluster(state, broken, quiet).start()
    port = json.loads((state / "ports.json").read_text())["kwok"]
    message = rf"{port} \(kwok\) by process {os.getpid()} "
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ClusterError, match=message):
        EmbeddedCluster(state, broken, quiet).start()


def test_a_cluster_keeps_its_kind_of_nodes(tmp_path: Path, broken: Tools) -> None:
    with pytest.raises(ClusterError):
        EmbeddedCluster(tmp_path / "state", broken, quiet).start()
    with pytest.raises(ClusterError, match="this cluster has simulated nodes"):
        EmbeddedCluster(tmp_path / "state", broken, quiet).start(kind="containerd")


def test_a_cluster_that_was_never_started_has_a_status_and_can_be_stopped(tmp_path: Path) -> None:
    cluster = EmbeddedCluster(tmp_path / "state")
    assert {component.state for component in cluster.status()} == {"stopped"}
    assert cluster.stop() is False
    assert cluster.delete() is False
    assert not (tmp_path / "state").exists()


def test_only_a_clusters_folder_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ClusterError, match="not a cluster's state folder"):
        EmbeddedCluster(tmp_path).delete()
    assert (tmp_path / "precious").exists()
