"""Edits of a stack file change only what they are to change, byte for byte."""

import contextlib
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.config.read import ConfigError
from mutations import INPUTS, stack_files
from rollout.stack.git import GitError, check_commit
from rollout.stack.stack_file import StackFile, StackFileError
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


def test_a_changed_text_keeps_its_quotes(tmp_path: Path) -> None:
    before = stack_file(tmp_path)
    changed = before.with_releases({"r5": {"image": "x:v1"}, "r6": {"image": "it's"}})
    double, single = changed_lines(before, changed)
    assert 'image: "x:v1",' in double
    assert "image: 'it''s'" in single
    back = changed.with_releases({name: {"image": before.releases[name]["image"]} for name in ("r5", "r6")})
    assert back.content == before.content


def test_an_edit_changes_its_lines_only(tmp_path: Path) -> None:
    file = stack_file(tmp_path)
    edited = file.with_releases({"r5": {"weight": 50}})
    assert changed_lines(file, edited) == ['      r5: {image: "ossrs/srs:v4.0.5",  weight: 50}      # 3 edges']
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


def test_the_edges_are_read_through_the_model(tmp_path: Path) -> None:
    edges = stack_file(tmp_path).edges
    assert (edges.replicas, edges.weights) == (4, {"r5": 75, "r6": 25})
    assert edges.releases["r6"].image == "ossrs/srs:v4.0.6"
    wrong = stack_file(tmp_path, "config: {srs:edge: {replicas: 4, releases: {r5: {weight: many}}}}\n")
    with pytest.raises(StackFileError, match=r"config\.srs:edge\.releases\.r5\.weight: .* valid integer"):
        _ = wrong.edges


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


STYLES = """\
---
# 4 spaces, and a start of the document
config:
    srs:edge:
        replicas: 4
        releases:
            r5: &base
                image: "ossrs/srs:v4.0.5"
                version: 4.0.5
                weight: 75
            # r6 is on its way out
            r6:
                <<: *base
                weight: 25
            # what comes after r6
            20261129:
                image: a  # the build of that day
                weight: 0
                srs:
                    conf: |
                        vhost __defaultVhost__ {
                        }

            # the end
    srs:list: [a]
"""


def test_a_removed_release_leaves_the_comments_around_it(tmp_path: Path) -> None:
    file = stack_file(tmp_path, STYLES)
    removed = file.with_releases({"r6": None}).content.decode()
    assert removed == STYLES.replace("            r6:\n                <<: *base\n                weight: 25\n", "")
    last = file.with_releases({"20261129": None}).content.decode()
    assert last.endswith("            # what comes after r6\n\n            # the end\n    srs:list: [a]\n")


def test_a_release_named_by_a_number_is_edited_in_its_place(tmp_path: Path) -> None:
    file = stack_file(tmp_path, STYLES)
    assert set(file.edges.weights) == {"r5", "r6", "20261129"}
    edited = file.with_releases({"20261129": {"weight": 10, "image": "b"}}).content.decode()
    assert edited == STYLES.replace("image: a ", "image: b ").replace("weight: 0", "weight: 10")
    conf = file.with_releases({"20261129": {"srs": {"conf": "edge.conf"}}}).content.decode()
    assert "conf: edge.conf\n\n            # the end" in conf
    assert "---\n# 4 spaces" in conf


def test_a_key_of_a_yaml_merge_is_removed_by_null(tmp_path: Path) -> None:
    edited = stack_file(tmp_path, STYLES).with_releases({"r6": {"image": "ossrs/srs:v4.0.6", "version": None}})
    r6 = edited.releases["r6"]
    assert (r6["image"], r6["version"], r6["weight"]) == ("ossrs/srs:v4.0.6", None, 25)
    assert edited.releases["r5"]["version"] == "4.0.5"
    assert edited.edges.releases["r6"].version is None
    assert "    srs:list: [a]\n" in edited.content.decode()


def test_a_new_release_has_the_indentation_of_the_others(tmp_path: Path) -> None:
    new = {"image": "x:y", "weight": 5, "srs": {"conf": "a {\n    b;\n}\n"}}
    edited = stack_file(tmp_path, STYLES).with_releases({"r7": new})
    assert edited.releases["r7"] == new
    lines = edited.content.decode().splitlines()
    assert "            r7:" in lines
    assert "                image: x:y" in lines
    remaining = iter(lines)
    assert all(line in remaining for line in STYLES.splitlines()), "all other lines, in their order"


WORDS = st.text("abz019:#-{}'\" \n", max_size=6)
PATCHES = st.dictionaries(
    st.sampled_from(["r5", "r6", "20261129", "r8", "on"]),
    st.none()
    | st.dictionaries(
        st.sampled_from(["weight", "image", "version", "srs", "more"]),
        st.none() | st.integers(0, 100) | WORDS | st.dictionaries(st.sampled_from(["conf", "a"]), WORDS, min_size=1),
        min_size=1,
    ),
)


@given(text=st.sampled_from([ODD, STYLES]), patches=PATCHES)
@example(text=ODD, patches={"r5": {"weight": "0{"}})
@example(text=ODD, patches={"r5": {"weight": {"conf": ": 0"}}, "r6": None})
@settings(max_examples=100, deadline=None)
def test_any_edit_has_the_data_of_its_patch_and_keeps_every_other_line(text: str, patches: dict[str, Any]) -> None:
    file = StackFile(Path("Pulumi.dev.yaml"), text.encode())
    if "r5" in patches and text == STYLES:
        return  # r6 shares its map by an anchor
    edited = file.with_releases(patches)  # compares the data with that of the patch itself
    untouched = {name: value for name, value in file.releases.items() if name not in patches}
    assert {name: edited.releases[name] for name in untouched} == untouched
    comments = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
    assert [line.strip() for line in edited.content.decode().splitlines() if line.strip() in comments] == comments


def test_the_file_is_where_pulumi_finds_it_and_pulumi_yaml_has_the_values_of_all_stacks(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text(
        "name: srs\nstackConfigDir: stacks\nconfig:\n"
        "  srs:kubernetes: {value: {kubeconfig: k, clusterId: c, namespace: live}}\n"
        "  edge: {default: {replicas: 4, releases: {r5: {weight: 100}}}}\n"
    )
    (tmp_path / "stacks").mkdir()
    assert StackFile.of(tmp_path, "dev").edges.weights == {"r5": 100}, "all values are those of the project"
    (tmp_path / "stacks/Pulumi.dev.yaml").write_text("# mine\nconfig:\n  srs:demo: {enabled: false}\n")
    file = StackFile.of(tmp_path, "org/srs/dev")
    assert (file.kubernetes.namespace, file.edges.replicas) == ("live", 4)
    edited = file.with_releases({"r5": {"weight": 50}, "r6": {"weight": 50}})
    edited.write()
    assert edited.content.startswith(b"# mine\nconfig:\n  srs:demo: {enabled: false}\n  srs:edge:\n")
    assert StackFile.of(tmp_path, "dev").edges.weights == {"r5": 50, "r6": 50}
    assert edited.edges.replicas == 4
    (tmp_path / "Pulumi.yaml").write_text("name: srs\nconfig: {srs:edge: {default: {}}}\n")
    with pytest.raises(StackFileError, match=r"Pulumi\.other\.yaml cannot be read"):
        StackFile.of(tmp_path, "other")


def repository(folder: Path) -> Callable[..., str]:
    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("config", "user.name", "n")
    git("config", "user.email", "e@example.com")
    return git


def test_the_unit_is_the_stack_file_with_the_files_that_it_names(tmp_path: Path) -> None:
    git = repository(tmp_path)
    (tmp_path / "conf").mkdir()
    conf = tmp_path / "conf/edge.conf"
    conf.write_text("good\n")
    text = "config: {srs:edge: {releases: {r5: {weight: 1, srs: {conf: ./conf/edge.conf}}}}}\n"
    file = stack_file(tmp_path, text)
    assert file.files == {"./conf/edge.conf": b"good\n"}
    file.commit("1")
    assert git("show", "--name-only", "--format=").split() == ["Pulumi.dev.yaml", "conf/edge.conf"]
    conf.write_text("bad\n")
    bad = StackFile.of(tmp_path, "dev")
    assert bad.state != file.state
    bad.commit("2")
    earlier = bad.at_commit("HEAD~1")
    assert earlier.state == file.state
    earlier.write_files()
    assert conf.read_text() == "good\n"


def test_a_commit_is_checked_before_anything_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        check_commit(tmp_path)
    git = repository(tmp_path)
    check_commit(tmp_path)
    hook = tmp_path / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no; exit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match="pre-commit hook fails"):
        check_commit(tmp_path)
    file = stack_file(tmp_path)
    with pytest.raises(GitError):
        file.commit("x")
    assert git("status", "--porcelain") == "?? Pulumi.dev.yaml", "nothing stays staged"
    hook.unlink()
    for scope in ("user.name", "user.email"):
        git("config", "--unset", scope)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("EMAIL", "")
    git("config", "user.useConfigOnly", "true")
    with pytest.raises(GitError, match="git var"):
        check_commit(tmp_path)


def test_a_mutated_file_is_read_or_rejected(tmp_path: Path) -> None:
    """Never with another exception, and never an edit of a file that cannot be read."""
    (tmp_path / "Pulumi.yaml").write_bytes((PROJECT / "Pulumi.yaml").read_bytes())

    @settings(max_examples=min(INPUTS // 5, 1000))  # the library takes 0.1 s for each
    @given(stack_files(), st.sampled_from(["state", "kubernetes", "edges", "edit"]))
    def check(content: bytes, use: str) -> None:
        (tmp_path / "Pulumi.dev.yaml").write_bytes(content)
        try:
            file = StackFile.of(tmp_path, "dev")
            if use == "edit":
                assert file.with_releases({"r6": {"weight": 1}}).releases["r6"]["weight"] == 1
            else:
                getattr(file, use)
        except (StackFileError, ConfigError):
            pass

    check()


@pytest.mark.parametrize(
    "line",
    [
        "config: []",
        "config: {srs:edge: 1, srs:kubernetes: {namespace: 2026-01-01}}",
        "config: {srs:origin: &a [*a]}",
        "config: {srs:edge: 2026-13-45}",
        f"config: {'[' * 400}",
        "".join(f"l{i}: &l{i} [{f'*l{i - 1}, ' * 9 if i else 'x'}]\n" for i in range(12)),
    ],
)
@pytest.mark.parametrize("use", ["state", "kubernetes", "releases"])
def test_what_is_no_stack_file_is_no_traceback(tmp_path: Path, line: str, use: str) -> None:
    (tmp_path / "Pulumi.yaml").write_bytes((PROJECT / "Pulumi.yaml").read_bytes())
    (tmp_path / "Pulumi.dev.yaml").write_text(line)
    with contextlib.suppress(StackFileError, ConfigError):
        getattr(StackFile.of(tmp_path, "dev"), use)
