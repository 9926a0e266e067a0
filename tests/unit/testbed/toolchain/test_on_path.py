import os
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.toolchain.install import TOOLS, ToolError, ToolSettings, ensure_tools
from testbed.toolchain.on_path import find_all, search_path, version_of
from unit.testbed.fakes import Listener, fake_tool

ACCEPTED = [
    ("pulumi", "v3.259.0", True),
    ("pulumi", "v3.300.1", True),
    ("pulumi", "3.258.9", False),
    ("pulumi", "v4.0.0", False),
    ("kubectl", "Client Version: v1.33.0", True),
    ("kubectl", "Client Version: v1.35.9\nKustomize Version: v5.7.1", True),
    ("kubectl", "Client Version: v1.32.4-dispatcher", False),
    ("kubectl", "Client Version: v1.36.0", False),
    ("etcd", "etcd Version: 3.6.4\nGit SHA: x\nGo Version: go1.26.8", True),
    ("etcd", "etcd Version: 3.5.9", False),
    ("kube-apiserver", "Kubernetes v1.34.0", True),
    ("kube-apiserver", "Kubernetes v1.35.0", False),
    ("kube-controller-manager", "Kubernetes v1.33.4", False),
    ("kube-scheduler", "Kubernetes v1.34.4+vendor", True),
    ("kwok", "kwok version v0.8.0 go1.26.8 (linux/amd64)", True),
    ("kwok", "kwok version v0.7.0 go1.24.1 (linux/amd64)", False),
]


@pytest.mark.parametrize(("name", "says", "accepted"), ACCEPTED)
def test_only_versions_that_go_together_are_taken_from_path(
    name: str, says: str, accepted: bool, tmp_path: Path, write_tool: Callable[..., Path]
) -> None:
    tool = next(each for each in TOOLS if each.name == name)
    version, _ = version_of(write_tool(tmp_path, name, says), tool.version_arguments)
    assert version is not None
    assert tool.accepts(version) is accepted


def test_a_binary_that_does_not_run_has_no_version(tmp_path: Path, write_tool: Callable[..., Path]) -> None:
    broken = write_tool(tmp_path, "broken", "1.2.3")
    broken.write_text("#!/bin/sh\necho liberal 1.2.3: no such library >&2; exit 127\n")
    assert version_of(broken, []) == (None, "liberal 1.2.3: no such library")
    assert version_of(tmp_path / "absent", [])[0] is None


def test_pulumi_without_its_language_host_is_not_enough(tmp_path: Path, write_tool: Callable[..., Path]) -> None:
    pulumi = next(each for each in TOOLS if each.name == "pulumi")
    write_tool(tmp_path, "pulumi", "v3.259.0")
    assert find_all(pulumi.binaries, str(tmp_path)) is None
    for name in pulumi.binaries:
        write_tool(tmp_path, name, "v3.259.0")
    assert find_all(pulumi.binaries, str(tmp_path)) == {name: tmp_path / name for name in pulumi.binaries}


def test_the_cache_and_the_virtual_environment_do_not_count_as_path(tmp_path: Path) -> None:
    cache, venv, own = tmp_path / "cache", tmp_path / "venv" / "bin", tmp_path / "own"
    path = os.pathsep.join(map(str, [venv, cache / "kwok-1", own, cache]))
    assert search_path([cache, venv], path) == str(own)


def test_what_is_passed_over_is_said(
    tmp_path: Path, write_tool: Callable[..., Path], listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_tool(tmp_path / "bin", "fake", "2.0.0")
    monkeypatch.setenv("PATH", str(old.parent), prepend=os.pathsep)
    settings = ToolSettings(tmp_path / "cache", way="path")
    with pytest.raises(ToolError, match=r"fake 1\.x is not on PATH"):
        ensure_tools(settings, listener.report, [fake_tool()], plugin=False)
    assert f"fake: {old} is 2.0.0, wanted is 1.x; it is passed over" in listener.text


def test_a_fitting_tool_on_path_is_used_where_it_is(
    tmp_path: Path, write_tool: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_tool(tmp_path / "bin", "fake", "1.9.0")
    monkeypatch.setenv("PATH", str(place.parent), prepend=os.pathsep)
    tools = ensure_tools(ToolSettings(tmp_path / "cache"), tools=[fake_tool()], plugin=False)
    assert tools.binaries == {"fake": place}
    assert tools.path == ()
    assert not (tmp_path / "cache").exists()


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    settings = ToolSettings.from_environment(
        {
            "SRS_TESTBED_CACHE": str(tmp_path),
            "SRS_TESTBED_TOOLS": "build",
            "SRS_TESTBED_GO_CACHE": "shared",
            "SRS_TESTBED_RELEASES": "github=http://127.0.0.1:1/ kubernetes=http://127.0.0.1:2",
        }
    )
    assert settings.cache == tmp_path
    assert settings.way == "build"
    assert settings.shared_go_cache
    assert settings.releases["github"] == "http://127.0.0.1:1"
    assert settings.releases["kubernetes"] == "http://127.0.0.1:2"
    xdg = ToolSettings.from_environment({"XDG_CACHE_HOME": str(tmp_path), "SRS_TESTBED_TOOLS": "auto"})
    assert xdg.cache == tmp_path / "srs-testbed"
    assert xdg.way is None


@pytest.mark.parametrize("wrong", [{"SRS_TESTBED_TOOLS": "brew"}, {"SRS_TESTBED_RELEASES": "gitlab=http://x"}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ToolError, match=next(iter(wrong))):
        ToolSettings.from_environment(wrong)
