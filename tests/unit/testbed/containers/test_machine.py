"""What a machine creates outside of its folder. Control groups are files: the machine of the test has one version."""

from pathlib import Path

import pytest

from testbed.containers import machine
from testbed.containers.machine import Machine, MachineError, delegate_controllers
from testbed.pki import Pki


def test_the_groups_of_the_nodes_have_all_controllers(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    delegate_controllers(tmp_path, "name")
    for group in (tmp_path, tmp_path / "name"):
        assert (group / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids"


def test_controllers_that_cannot_be_enabled_are_an_error_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    (tmp_path / "cgroup.subtree_control").mkdir()  # cannot be written
    with pytest.raises(MachineError, match=r"cannot be enabled .* --cgroupns=host"):
        delegate_controllers(tmp_path, "name")


def test_pods_outweigh_the_processes_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path / "groups")
    created = Machine(tmp_path / "machine", None, Pki(tmp_path), tmp_path)
    shares = tmp_path / "groups" / "cpu" / created.control_group / "cpu.shares"
    shares.parent.mkdir(parents=True)
    shares.write_text("1024")  # as the kernel creates it
    created._create_control_groups()
    assert int(shares.read_text()) == 10 * 1024


def test_the_last_machine_removes_the_mount_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount_points = (tmp_path / "cni", tmp_path / "log")
    (tmp_path / "log").mkdir()
    (tmp_path / "groups" / "cpu").mkdir(parents=True)
    monkeypatch.setattr(machine, "HOST_FOLDERS", mount_points)
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path / "groups")
    first, second = (Machine(tmp_path / name, None, Pki(tmp_path), tmp_path) for name in ("first", "second"))
    for each in (first, second):
        each._create_control_groups()
        each._create_host_folders()
    first.clean_up()
    assert mount_points[0].exists(), "the other machine has mounted there"
    second.clean_up()
    assert not mount_points[0].exists()
    assert mount_points[1].exists(), "it was there before"
    assert not any((tmp_path / "groups" / "cpu").iterdir())
