"""What can be said of the cluster without its real components."""

import json
import os
import socket
from pathlib import Path

import pytest

from testbed.cluster import ClusterError, EmbeddedCluster
from testbed.environment import PROJECT, environment
from testbed.toolchain.install import Tools

NAMES = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl"]


@pytest.fixture
def broken(tmp_path: Path) -> Tools:
    """Tools that end at once, with a last word."""
    binary = tmp_path / "broken"
    binary.write_text("#!/bin/sh\necho member has already been bootstrapped\nexit 1\n")
    binary.chmod(0o755)
    return Tools(dict.fromkeys(NAMES, binary), tmp_path / "home", (tmp_path,))


def test_a_component_that_ends_is_named_with_its_last_words(tmp_path: Path, broken: Tools) -> None:
    cluster = EmbeddedCluster(tmp_path / "state", broken, lambda _line: None)
    with pytest.raises(ClusterError, match=r"etcd ended(.*\n)*member has already been bootstrapped"):
        cluster.start()
    assert {each.state for each in cluster.status()} == {"stopped"}


def test_ports_are_chosen_once_and_kept(tmp_path: Path, broken: Tools) -> None:
    state = tmp_path / "state"
    seen = []
    for _ in range(2):
        with pytest.raises(ClusterError):
            EmbeddedCluster(state, broken, lambda _line: None).start()
        seen.append(json.loads((state / "ports.json").read_text()))
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 6
    # Out of the range from which outgoing connections are served.
    assert all(16000 <= port < 30000 for port in seen[0].values())


def test_a_kept_port_that_is_taken_is_named_with_its_taker(tmp_path: Path, broken: Tools) -> None:
    state = tmp_path / "state"
    with pytest.raises(ClusterError):
        EmbeddedCluster(state, broken, lambda _line: None).start()
    port = json.loads((state / "ports.json").read_text())["kwok"]
    expected = rf"{port} \(kwok\) by process {os.getpid()} "
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ClusterError, match=expected):
        EmbeddedCluster(state, broken, lambda _line: None).start()


def test_a_cluster_that_never_was_can_be_asked_and_stopped(tmp_path: Path) -> None:
    cluster = EmbeddedCluster(tmp_path / "state")
    assert {each.state for each in cluster.status()} == {"stopped"}
    assert cluster.stop() is False
    assert cluster.delete() is False
    assert not (tmp_path / "state").exists()


def test_nothing_of_the_users_is_in_the_environment(tmp_path: Path, broken: Tools) -> None:
    variables = environment(tmp_path / "state", broken)
    folders = variables["PATH"].split(os.pathsep)
    assert folders[:2] == [str(PROJECT / ".venv" / "bin"), str(tmp_path)]
    assert folders[2:] == os.environ["PATH"].split(os.pathsep)
    assert variables["KUBECONFIG"] == str(tmp_path / "state" / "kubeconfig")
    assert variables["PULUMI_HOME"] == str(tmp_path / "home")
    assert variables["PULUMI_BACKEND_URL"] == (tmp_path / "state" / "pulumi").as_uri()
    assert (tmp_path / "state" / "pulumi").is_dir()
