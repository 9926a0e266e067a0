"""Which commit `rollout rollback` returns to."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.command import CommandRejectedError
from rollout.stack.rollback_target import message_of, named_commit, previous_commit
from rollout.stack.stack_file import StackFile

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    def run(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "-q", "-b", "main")
    run("config", "user.name", "n")
    run("config", "user.email", "e@example.com")
    return run


def write(folder: Path, weight: int, more: str = "") -> StackFile:
    text = f"config: {{srs:edge: {{releases: {{r5: {{weight: {weight}}}}}}}}}\n{more}"
    (folder / "Pulumi.dev.yaml").write_text(text)
    return StackFile.of(folder, "dev")


def commit(git: Git, folder: Path, weight: int, more: str = "") -> str:
    write(folder, weight, more).commit(f"{weight}{more}")
    return git("rev-parse", "--short", "HEAD")


def weight(target: tuple[str, StackFile]) -> int:
    return target[1].edges.weights["r5"]


def test_the_last_commit_with_another_state_is_the_target(git: Git, tmp_path: Path) -> None:
    first = commit(git, tmp_path, 1)
    with pytest.raises(CommandRejectedError, match="no earlier commit has another"):
        previous_commit(StackFile.of(tmp_path, "dev"), [])
    second = commit(git, tmp_path, 2)
    file = StackFile.of(tmp_path, "dev")
    assert previous_commit(file, [])[0] == first, "the last commit is reverted"
    assert previous_commit(write(tmp_path, 3), [])[0] == second, "an edit that is not committed is reverted"
    assert weight(named_commit(file, "HEAD~1")) == 1


def test_a_commit_of_comments_is_passed_over(git: Git, tmp_path: Path) -> None:
    first = commit(git, tmp_path, 1)
    commit(git, tmp_path, 2)
    commit(git, tmp_path, 2, "# why\n")
    assert previous_commit(StackFile.of(tmp_path, "dev"), [])[0] == first


def test_commits_within_a_merged_branch_were_never_on_main(git: Git, tmp_path: Path) -> None:
    first = commit(git, tmp_path, 1)
    git("switch", "-qc", "edit")
    commit(git, tmp_path, 5)
    commit(git, tmp_path, 6)
    git("switch", "-q", "main")
    git("merge", "-q", "--no-ff", "--no-edit", "edit")
    assert previous_commit(StackFile.of(tmp_path, "dev"), [])[0] == first


@pytest.mark.parametrize("committed", [True, False])
def test_a_second_rollback_goes_further_back(git: Git, tmp_path: Path, committed: bool) -> None:
    for number in (1, 2, 3):
        commit(git, tmp_path, number)
    for expected in (2, 1):
        target, earlier = previous_commit(StackFile.of(tmp_path, "dev"), [])
        assert earlier.edges.weights == {"r5": expected}
        earlier.write()
        if committed:
            earlier.commit(message_of("Roll back", target))
    with pytest.raises(CommandRejectedError, match="no earlier commit"):
        previous_commit(StackFile.of(tmp_path, "dev"), [])


def test_a_state_that_was_never_deployed_is_passed_over(git: Git, tmp_path: Path) -> None:
    deployed = [commit(git, tmp_path, 1), commit(git, tmp_path, 2)]
    commit(git, tmp_path, 3)
    deployed.append(commit(git, tmp_path, 4))
    assert weight(previous_commit(StackFile.of(tmp_path, "dev"), deployed)) == 2
    assert weight(previous_commit(StackFile.of(tmp_path, "dev"), [])) == 3
    with pytest.raises(CommandRejectedError, match="that was deployed"):
        previous_commit(StackFile.of(tmp_path, "dev"), deployed[2:])


@pytest.mark.usefixtures("git")
def test_a_bad_conf_file_is_the_last_change(tmp_path: Path) -> None:
    def with_conf(edges: int, conf: str) -> StackFile:
        (tmp_path / "edge.conf").write_text(conf)
        text = (
            f"config: {{srs:edge: {{replicas: {edges}, releases: {{r5: {{weight: 1, srs: {{conf: edge.conf}}}}}}}}}}\n"
        )
        (tmp_path / "Pulumi.dev.yaml").write_text(text)
        return StackFile.of(tmp_path, "dev")

    with_conf(4, "good").commit("4 edges")
    with_conf(40, "good").commit("40 edges")
    bad = with_conf(40, "bad")
    bad.commit("a bad conf")
    earlier = previous_commit(bad, [])[1]
    assert (earlier.edges.replicas, earlier.files) == (40, {"edge.conf": b"good"})


def test_a_shallow_clone_says_so(git: Git, tmp_path: Path) -> None:
    for number in (1, 2):
        commit(git, tmp_path, number)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", tmp_path.as_uri(), str(clone)], check=True)
    file = StackFile.of(clone, "dev")
    for find in (lambda: previous_commit(file, []), lambda: named_commit(file, "HEAD~1")):
        with pytest.raises(CommandRejectedError, match="git fetch --unshallow"):
            find()
