"""Control groups of version 2, as files; the machine of the test may have version 1."""

from pathlib import Path

import pytest

from testbed.containers.machine import MachineError, delegate_controllers


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
