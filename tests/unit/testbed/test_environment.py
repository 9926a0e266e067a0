import os
from pathlib import Path

import pytest

from testbed.environment import PROJECT, child_environment, environment
from testbed.toolchain.install import Tools


def test_the_environment_uses_the_testbeds_kubeconfig_login_and_plugins(tmp_path: Path) -> None:
    state, home, folder = tmp_path / "state", tmp_path / "home", tmp_path / "tools"
    variables = environment(state, Tools({}, home, (folder,)))
    folders = variables["PATH"].split(os.pathsep)
    assert folders[:3] == [str(PROJECT / ".venv" / "bin"), str(PROJECT / "bin"), str(folder)]
    assert folders[3:] == os.environ["PATH"].split(os.pathsep)
    assert variables["KUBECONFIG"] == str(state / "kubeconfig")
    assert variables["PULUMI_HOME"] == str(home)
    assert variables["PULUMI_BACKEND_URL"] == (state / "pulumi").as_uri()
    assert (state / "pulumi").is_dir()


def test_a_child_process_does_not_inherit_the_login_of_pulumi_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "token")
    child = child_environment({"PULUMI_HOME": "/home"})
    assert child == {name: value for name, value in os.environ.items() if name != "PULUMI_ACCESS_TOKEN"} | {
        "PULUMI_HOME": "/home"
    }
