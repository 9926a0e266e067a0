"""Which commit `rollout rollback` returns to."""

import subprocess
from pathlib import Path

import pytest

from rollout.command import CommandRejectedError
from rollout.commands.rollback import _target
from rollout.stack_file import StackFile


def test_the_last_commit_with_another_file_is_the_target(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    path = tmp_path / "Pulumi.dev.yaml"
    git("init", "-q")
    git("config", "user.name", "n")
    git("config", "user.email", "e@example.com")
    commits: list[str] = []
    for weight in (1, 2):
        path.write_text(f"config: {{srs:edge: {{releases: {{r5: {{weight: {weight}}}}}}}}}\n")
        file = StackFile.of(tmp_path, "dev")
        if weight == 1:
            file.commit("1")
            with pytest.raises(CommandRejectedError, match="no commit has another"):
                _target(file, None)
        else:
            file.commit("2")
        commits.append(git("rev-parse", "--short", "HEAD").strip())
    assert _target(file, None)[0] == commits[0], "the last commit is reverted"
    file.with_releases({"r5": {"weight": 3}}).write()
    assert _target(StackFile.of(tmp_path, "dev"), None)[0] == commits[1], "an edit that is not committed is reverted"
    commit, earlier = _target(file, "HEAD~1")
    assert (commit, earlier.releases["r5"]["weight"]) == (commits[0], 1)
