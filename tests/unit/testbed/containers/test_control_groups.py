"""Control groups of version 2, as far as files go: this is written where version 1 rules."""

from pathlib import Path

import pytest

from testbed.containers.machine import MachineError, share_out


def test_the_nodes_groups_get_all_controllers(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    share_out(tmp_path, "name")
    for group in (tmp_path, tmp_path / "name"):
        assert (group / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids"


def test_a_system_that_does_not_let_it_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    (tmp_path / "cgroup.subtree_control").mkdir()  # cannot be written
    with pytest.raises(MachineError, match=r"cannot be shared out .* --cgroupns=host"):
        share_out(tmp_path, "name")
