"""Git, as the command uses it: reads of earlier commits, and commits that are checked before anything is edited."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class GitError(RuntimeError):
    """A git command failed; the message is git's own."""


def git(folder: Path, *arguments: str) -> str:
    """The output of a git command. Raises GitError."""
    return git_bytes(folder, *arguments).decode(errors="replace").strip()


def git_bytes(folder: Path, *arguments: str) -> bytes:
    """The output of a git command, as it is. Raises GitError."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, check=False, capture_output=True)
    except OSError as error:
        raise GitError(f"git cannot be run: {error}") from error
    if done.returncode:
        output = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise GitError(f"git {arguments[0]}: {output}")
    return done.stdout


def check_commit(folder: Path) -> None:
    """Raise GitError if a commit would fail: no repository, ownership, no identity, a failing pre-commit hook."""
    git(folder, "rev-parse", "--is-inside-work-tree")
    git(folder, "var", "GIT_AUTHOR_IDENT")
    git(folder, "var", "GIT_COMMITTER_IDENT")
    if "hook" not in git(folder, "--list-cmds=main").split():
        return  # git before 2.36
    try:
        git(folder, "hook", "run", "--ignore-missing", "pre-commit")
    except GitError as error:
        raise GitError(f"the pre-commit hook fails: {error}") from error


def commit_files(folder: Path, paths: Sequence[str], message: str) -> None:
    """Commit these files alone; nothing happens if they are not changed, and nothing stays staged if it fails.

    Raises GitError.
    """
    paths = [path for path in paths if _is_inside(folder, path)]
    if not git(folder, "status", "--porcelain", "--", *paths):
        return
    try:
        git(folder, "add", "--", *paths)
        git(folder, "commit", "--quiet", "--only", "-m", message, "--", *paths)
    except GitError:
        with suppress(GitError):
            git(folder, "reset", "--quiet", "--", *paths)
        raise


def is_shallow(folder: Path) -> bool:
    """Whether the clone has no complete history. Raises GitError."""
    return git(folder, "rev-parse", "--is-shallow-repository") == "true"


def _is_inside(folder: Path, path: str) -> bool:
    """Whether a file is in the repository of the folder."""
    top = Path(git(folder, "rev-parse", "--show-toplevel")).resolve()
    return (folder / path).resolve().is_relative_to(top)
