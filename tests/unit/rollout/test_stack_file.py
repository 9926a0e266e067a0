"""Edits of a stack file change only what they are to change, byte for byte."""

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.stack_file import GitError, StackFile, StackFileError
from testbed.environment import PROJECT

ODD = """\
# 集群配置
config:
  srs:kubernetes: {kubeconfig: k, clusterId: c, namespace: live}
  srs:edge:
    replicas:   4                 # all
    releases:                     # normally one
      # the stable one
      r5: {image: "ossrs/srs:v4.0.5",  weight: 75}      # 3 edges

      r6:
          image: 'ossrs/srs:v4.0.6'
          weight: 25  # 1 edge
          srs:
            maxConnections: 900
  srs:list:
  - a
encryptionsalt: v1:x
"""


def stack_file(folder: Path, text: str = ODD) -> StackFile:
    (folder / "Pulumi.dev.yaml").write_text(text)
    return StackFile.of(folder, "dev")


def changed_lines(before: StackFile, after: StackFile) -> list[str]:
    old = before.content.decode().splitlines()
    return [line for line in after.content.decode().splitlines() if line not in old]


def releases(file: StackFile) -> Any:
    return yaml.safe_load(file.content)["config"]["srs:edge"]["releases"]


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_no_edit_changes_no_byte_of_the_committed_files(stack: str) -> None:
    file = StackFile.of(PROJECT, stack)
    assert file.with_releases({}).content == file.content


def test_an_edit_changes_its_lines_only(tmp_path: Path) -> None:
    file = stack_file(tmp_path)
    edited = file.with_releases({"r5": {"weight": 50}})
    assert changed_lines(file, edited) == ['      r5: {image: "ossrs/srs:v4.0.5", weight: 50}       # 3 edges']
    assert releases(edited)["r5"] == {"image": "ossrs/srs:v4.0.5", "weight": 50}


def test_an_edit_in_lines_of_another_style_is_still_right(tmp_path: Path) -> None:
    edited = stack_file(tmp_path).with_releases(
        {"r6": {"weight": 50, "srs": {"maxConnections": None, "gopCache": True}}}
    )
    assert releases(edited)["r6"] == {"image": "ossrs/srs:v4.0.6", "weight": 50, "srs": {"gopCache": True}}
    assert all(comment in edited.content.decode() for comment in ("# 集群配置", "# the stable one", "# 1 edge"))


def test_a_release_is_added_and_removed_and_the_rest_stays(tmp_path: Path) -> None:
    file = stack_file(tmp_path)
    added = file.with_releases({"r7": {"image": "ossrs/srs:v6.0-r1", "weight": 10}})
    assert list(added.releases) == ["r5", "r6", "r7"]
    assert added.releases["r7"] == {"image": "ossrs/srs:v6.0-r1", "weight": 10}
    removed = added.with_releases({"r7": None, "r6": None})
    assert list(removed.releases) == ["r5"]
    assert "# the stable one" in removed.content.decode()
    assert yaml.safe_load(removed.content)["config"]["srs:list"] == ["a"]


def test_a_change_of_a_shared_map_is_rejected(tmp_path: Path) -> None:
    text = "config:\n  srs:edge:\n    releases:\n      r5: &base {weight: 1}\n      r6: *base\n"
    with pytest.raises(StackFileError, match="anchor"):
        stack_file(tmp_path, text).with_releases({"r6": {"weight": 2}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config: [", "is not valid YAML"),
        ("- a\n", "must be a map"),
        ("config: {}\n", "has no map config.srs:edge.releases"),
        ("config: {srs:edge: {releases: {r5: 1}}}\n", "config.srs:edge.releases.r5 must be a map"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StackFileError, match=rf"Pulumi\.dev\.yaml:? {message}"):
        stack_file(tmp_path, text).with_releases({"r5": {"weight": 1}})
    with pytest.raises(StackFileError, match=r"Pulumi\.other\.yaml cannot be read: No such file"):
        StackFile.of(tmp_path, "org/srs/other")


def test_a_write_replaces_the_file_and_keeps_its_mode_and_link(tmp_path: Path) -> None:
    file = stack_file(tmp_path)
    file.path.chmod(0o640)
    (tmp_path / "Pulumi.link.yaml").symlink_to("Pulumi.dev.yaml")
    link = StackFile.of(tmp_path, "link")
    link.with_releases({"r5": {"weight": 1}}).write()
    assert StackFile.of(tmp_path, "dev").releases["r5"]["weight"] == 1
    assert (tmp_path / "Pulumi.link.yaml").is_symlink()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640
    file.write()
    assert file.path.read_bytes() == ODD.encode()
    assert len(list(tmp_path.iterdir())) == 2, "no temporary file is left"


def test_the_file_leads_to_the_cluster(tmp_path: Path) -> None:
    assert stack_file(tmp_path).kubernetes.namespace == "live"


def test_a_commit_has_this_file_only(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    file = stack_file(tmp_path)
    with pytest.raises(GitError, match="not a git repository"):
        file.commit("Start")
    git("init", "-q")
    git("config", "user.name", "n")
    git("config", "user.email", "e@example.com")
    (tmp_path / "other").write_text("1")
    git("add", "other")
    file.commit("Start")
    edited = file.with_releases({"r5": {"weight": 1}})
    edited.write()
    edited.commit("Change r5")
    edited.commit("Nothing")
    assert git("log", "--format=%s").split("\n")[:2] == ["Change r5", "Start"]
    assert git("status", "--porcelain") == "A  other\n"
    assert edited.at_commit("HEAD~1").content == file.content
