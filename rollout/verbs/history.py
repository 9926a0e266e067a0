"""`rollout history`: the releases of earlier updates, from the stack's history and git."""

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.config.read import ConfigError, conf_files, read_settings
from model.desired.context import Kept
from model.desired.render import render
from rollout.command import Context, Exit, Verb
from rollout.show import short_image
from rollout.stack.git import GitError, git, git_bytes
from rollout.stack.stack_file import StackFile, StackFileError

LIMIT = 10
"""Updates that are listed by default."""


def run(context: Context, arguments: argparse.Namespace) -> int:
    """List updates, and the commits of the stack file."""
    file = context.read_file()
    updates = [_update(file, entry) for entry in context.stack.history(arguments.limit)]
    commits = _commits(context, arguments.limit)
    lines = [line for update in updates for line in _lines(update)]
    if commits:
        lines += ["", f"commits of {context.read_file().name}:"]
        lines += [f"{item['commit'][:7]} {item['date'][:10]} {item['author']}: {item['subject']}" for item in commits]
    context.result({"updates": updates, "commits": commits}, "\n".join(lines))
    return Exit.DONE


def _lines(update: Mapping[str, Any]) -> Iterator[str]:
    """An update for a terminal: what happened, and a line for each release."""
    commit = f"{update['commit'][:7]}{'+' if update['dirty'] else ''}"
    what = (update["startedAt"][:16].replace("T", " "), update["result"], commit, update["who"], update["message"])
    yield "  ".join(part for part in what if part)
    for release in update["releases"]:
        line = (
            f"    {release['name']}  {release['share']} %  {short_image(release['image'])}  {release['config'] or ''}"
        )
        yield line.rstrip()


def _update(file: StackFile, entry: Mapping[str, Any]) -> dict[str, Any]:
    folder = file.folder
    environment: Mapping[str, str] = entry["environment"]
    commit, dirty = environment.get("git.head") or "", environment.get("git.dirty") == "true"
    return {
        "version": entry["version"],
        "kind": entry["kind"],
        "result": entry["result"],
        "startedAt": entry["startedAt"],
        "seconds": entry["seconds"],
        "message": entry["message"],
        "who": environment.get("git.committer") or environment.get("git.author") or "",
        "commit": commit,
        "dirty": dirty,
        "releases": _releases(entry["config"], {} if dirty else _files(folder, entry["config"], commit))
        or ([] if dirty else _committed_releases(file, commit)),
        "changes": entry["changes"],
    }


def _files(folder: Path, config: Mapping[str, str], commit: str) -> dict[str, str]:
    """The srs.conf files of an earlier config, as they were in its commit."""
    files: dict[str, str] = {}
    for path in conf_files(config):
        with suppress(GitError, ValueError):  # a path that is none
            files[path] = git_bytes(folder, "show", f"{commit}:./{path}").decode(errors="replace")
    return files


def _releases(config: Mapping[str, str], files: Mapping[str, str]) -> list[dict[str, Any]]:
    """The releases of an earlier config. files: its srs.conf files.

    Without hashes and edges if this program cannot read the config any more, or a file is not known; and without edges
    if autoscalers decided.
    """
    try:
        settings = read_settings(config, [], files)
    except ConfigError:
        try:
            edge: dict[str, Any] = json.loads(config.get("srs:edge") or "{}")
        except json.JSONDecodeError:  # with a secret in it, pulumi masks the whole map
            return []
        releases: dict[str, dict[str, Any]] = edge.get("releases") or {}
        total = sum(int(release.get("weight", 0)) for release in releases.values()) or 1
        return [
            {
                "name": name,
                "image": release.get("image"),
                "config": None,
                "weight": release.get("weight"),
                "share": round(100 * int(release.get("weight", 0)) / total),
                "edges": None,
            }
            for name, release in releases.items()
        ]
    scaled = settings.edge.autoscaling is not None
    return [
        {
            "name": name,
            "image": release["image"],
            "config": release["configHash"],
            "weight": release["weight"],
            "share": round(release["desiredPercent" if scaled else "actualPercent"]),
            "edges": None if scaled else release["replicas"],
        }
        for name, release in render(settings, Kept(), "").release_outputs().items()
    ]


def _committed_releases(file: StackFile, commit: str) -> list[dict[str, Any]]:
    """The releases in the stack file of a commit, without what depends on secrets; empty if it cannot be read."""
    if not commit:
        return []
    try:
        edges = file.at_commit(commit).edges
    except (GitError, StackFileError):
        return []
    total = sum(edges.weights.values()) or 1
    return [
        {
            "name": name,
            "image": edges.releases[name].image,
            "config": None,
            "weight": weight,
            "share": round(100 * weight / total),
            "edges": None,
        }
        for name, weight in edges.weights.items()
    ]


def _commits(context: Context, limit: int) -> list[dict[str, str]]:
    """The commits of the stack file, newest first; empty without git."""
    try:
        log = git(
            context.folder,
            "log",
            f"-{limit}",
            "--first-parent",
            "--format=%H%x00%aI%x00%an%x00%s",
            "--",
            *context.read_file().paths,
        )
    except GitError:
        return []
    names = ("commit", "date", "author", "subject")
    return [dict(zip(names, line.split("\0"), strict=True)) for line in log.splitlines()]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", metavar="N", type=int, default=LIMIT, help=f"at most this many updates (default: {LIMIT})"
    )


VERB = Verb(
    "history",
    "the releases of earlier updates: when, who, image, config, share, result",
    "Lists the updates of the stack, newest first, with the releases of each: its share in per cent, its image "
    "and the hash of its srs.conf; and the commits of the stack file and of the files that it names. `+` marks a "
    "commit with changes that were not committed. `rollout rollback --to COMMIT` returns to one.",
    run,
    _add_arguments,
    json="`updates` (`version`, `kind`, `result`, `startedAt`, `seconds`, `message`, `who`, `commit`, `dirty`, "
    "`releases`, `changes`) and `commits` (`commit`, `date`, `author`, `subject`). A release has `name`, `image`,"
    " `config`, `weight`, `share` (per cent) and `edges`.",
)
