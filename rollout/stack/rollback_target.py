"""Which commit a rollback returns to."""

from collections.abc import Sequence

from rollout.command import CommandRejectedError, Context
from rollout.errors import OperationError
from rollout.stack.git import GitError, git, is_shallow
from rollout.stack.stack_file import StackFile

TRAILER = "Rollback-To"
"""Trailer of a commit that rolls back: the commit whose state it restores."""

UNSHALLOW = "this is a shallow clone, without the earlier commits: run `git fetch --unshallow` first"


UPDATES = 50
"""How many updates of the history are considered."""


def deployed_commits(context: Context) -> list[str]:
    """The commits of successful updates, newest first; empty if they are unknown."""
    try:
        updates = context.stack.history(UPDATES)
    except OperationError as error:
        context.report(f"the history of updates cannot be read, so the history of commits decides: {error}")
        return []
    return [
        update["environment"]["git.head"]
        for update in updates
        if (update["kind"], update["result"]) == ("update", "succeeded")
        and update["environment"].get("git.head")
        and update["environment"].get("git.dirty") != "true"
    ]


def named_commit(file: StackFile, name: str) -> tuple[str, StackFile]:
    """A commit by its name, and the stack file with its files in it. Raises CommandRejectedError and GitError."""
    try:
        commit = git(file.folder, "rev-parse", "--short", "--verify", "--end-of-options", f"{name}^{{commit}}")
        return commit, file.at_commit(commit)
    except GitError as error:
        if is_shallow(file.folder):
            raise CommandRejectedError(f"{error}; {UNSHALLOW}") from error
        raise


def previous_commit(file: StackFile, deployed: Sequence[str]) -> tuple[str, StackFile]:
    """The commit before the present state, and the stack file with its files in it.

    deployed: commits of successful updates, newest first; a state that was never deployed is passed over. Empty if they
    are unknown.

    Only commits that main itself had (first parents) are considered, and only states that differ by more than comments.
    A rollback continues from the commit that an earlier one has returned to, so a second one does not undo the first.
    Raises CommandRejectedError and GitError.
    """
    commits = _first_parents(file)
    states = [_at(file, commit) for commit in commits]
    position = -1
    if not states or states[0] is None or states[0].state != file.state:
        # An edit that is not committed; or an earlier rollback that is not committed.
        same = (index for index, earlier in enumerate(states) if earlier and earlier.state == file.state)
        position = next(same, -1)
    known = [found.state for commit in deployed if (found := _at(file, commit))]
    index = position
    while True:
        if index >= 0:
            index = _returned_to(file, commits, index)
        index += 1
        if index >= len(commits):
            break
        earlier = states[index]
        if earlier is None or earlier.state == file.state or (known and earlier.state not in known):
            continue
        return git(file.folder, "rev-parse", "--short", commits[index]), earlier
    reason = f"no earlier commit has another {file.name}" + (" that was deployed" if known else "")
    if is_shallow(file.folder):
        raise CommandRejectedError(f"{reason}; {UNSHALLOW}")
    raise CommandRejectedError(f"{reason}; use --to")


def _first_parents(file: StackFile) -> list[str]:
    """Commits that changed the stack file or the files that it names, newest first."""
    return git(file.folder, "log", "--first-parent", "--format=%H", "--", *file.paths).split()


def _at(file: StackFile, commit: str) -> StackFile | None:
    """The stack file in a commit; None if the commit or the file in it does not exist, or cannot be read."""
    try:
        earlier = file.at_commit(commit)
        _ = earlier.state
    except (GitError, ValueError):
        return None
    return earlier


def _returned_to(file: StackFile, commits: Sequence[str], index: int) -> int:
    """The position of the commit whose state this one restores; its own if it is no rollback."""
    trailer = git(file.folder, "log", "-1", f"--format=%(trailers:key={TRAILER},valueonly)", commits[index]).strip()
    matches = [number for number, commit in enumerate(commits) if trailer and commit.startswith(trailer)]
    return max([index, *matches])


def message_of(subject: str, commit: str) -> str:
    """The commit message of a rollback."""
    return f"{subject}\n\n{TRAILER}: {commit}"
