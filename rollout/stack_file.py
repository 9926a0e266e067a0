"""Edits of `Pulumi.<stack>.yaml`, the single source of truth: comments, order and all other lines stay as they are."""

import copy
import difflib
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from model.config import read_kubernetes
from model.settings.kubernetes import KubernetesSettings

ReleasePatch = Mapping[str, Any]
"""Keys of a release to set, as in a JSON merge patch (RFC 7386): maps are merged, None removes a key."""


class StackFileError(ValueError):
    """The stack file cannot be read, or does not have what is to be edited; the message names the file."""


class GitError(RuntimeError):
    """A git command failed; the message is git's own."""


@dataclass(frozen=True)
class StackFile:
    """The content of a stack file. path: where it is. content: its bytes."""

    path: Path
    content: bytes

    @staticmethod
    def of(folder: Path, stack: str) -> "StackFile":
        """Read the file of a stack. folder: that of Pulumi.yaml. stack: its name, also with an organization.

        Raises StackFileError.
        """
        path = folder / f"Pulumi.{stack.rpartition('/')[2]}.yaml"
        try:
            file = StackFile(path, path.read_bytes())
        except OSError as error:
            raise StackFileError(f"{path.name} cannot be read: {error.strerror}") from error
        file._document()
        return file

    @property
    def name(self) -> str:
        """Its name, for messages."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """The config by key (`srs:edge`), as plain data."""
        return _plain(self._document().get("config") or {})

    @property
    def kubernetes(self) -> KubernetesSettings:
        """Where the cluster is. Raises ConfigError. Nothing else is checked, and no CLI is asked: this is fast."""
        return read_kubernetes({"srs:kubernetes": json.dumps(self.config.get("srs:kubernetes") or {})})

    @property
    def releases(self) -> dict[str, dict[str, Any]]:
        """The releases by name, in the order of the file, as plain data. Raises StackFileError."""
        return _plain(self._releases(self._document()))

    def with_releases(self, patches: Mapping[str, ReleasePatch | None]) -> "StackFile":
        """The file with changed releases; nothing is written.

        patches: by release. A release that does not exist is added at the end; None removes one.
        Raises StackFileError.
        """
        document = self._document()
        releases = self._releases(document)
        untouched = {name: _plain(release) for name, release in releases.items() if name not in patches}
        for name, patch in patches.items():
            if patch is None:
                releases.pop(name, None)
            else:
                _merge(releases.setdefault(name, {}), patch)
        if untouched != {name: _plain(release) for name, release in releases.items() if name not in patches}:
            raise StackFileError(f"{self.name}: releases share a map by an anchor; edit the file by hand")
        before, after = _dump(self._document()), _dump(document)
        merged = _merge_lines(self.content.decode(), before, after)
        # A change in lines that are formatted in another way than ours may not fit into its surroundings.
        fits = _same(merged, after)
        return replace(self, content=(merged if fits else after).encode())

    def write(self) -> None:
        """Replace the file at once, so that no reader and no crash sees half of it. Raises OSError."""
        target = self.path.resolve()
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.content)
                os.fsync(file.fileno())
                if target.exists():
                    os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def commit(self, message: str) -> None:
        """Commit this file alone; nothing happens if it is not changed. Raises GitError."""
        folder, name = self.path.parent, self.path.name
        if git(folder, "status", "--porcelain", "--", name):
            git(folder, "add", "--", name)
            git(folder, "commit", "--quiet", "--only", "-m", message, "--", name)

    def at_commit(self, commit: str) -> "StackFile":
        """The file as it was in a commit. Raises GitError."""
        content = git_bytes(self.path.parent, "show", f"{commit}:./{self.path.name}")
        return replace(self, content=content)

    def _document(self) -> dict[str, Any]:
        try:
            document: Any = _yaml().load(self.content.decode())
        except (YAMLError, UnicodeDecodeError) as error:
            raise StackFileError(f"{self.name} is not valid YAML: {error}") from error
        if not isinstance(document, dict):
            raise StackFileError(f"{self.name} must be a map")
        return cast("dict[str, Any]", document)

    def _releases(self, document: Mapping[str, Any]) -> dict[str, Any]:
        node: Any = document
        for key in ("config", "srs:edge", "releases"):
            node = cast("dict[str, Any]", node).get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise StackFileError(f"{self.name} has no map config.srs:edge.releases")
        for name, release in cast("dict[str, Any]", node).items():
            if not isinstance(release, dict):
                raise StackFileError(f"{self.name}: config.srs:edge.releases.{name} must be a map")
        return cast("dict[str, Any]", node)


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


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # no line is wrapped
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dump(document: Mapping[str, Any]) -> str:
    text = io.StringIO()
    _yaml().dump(document, text)
    return text.getvalue()


def _plain(value: Any) -> Any:
    """Data without comments and positions, and without shared parts."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in cast("list[Any]", value)]
    return copy.copy(value)


def _merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], cast("Mapping[str, Any]", value))
        elif target.get(key) != value:
            target[key] = _plain(value)


def _merge_lines(original: str, before: str, after: str) -> str:
    """Put the changes from `before` to `after` into `original`, of which `before` is the normalized form."""
    lines, old, new = (text.splitlines(keepends=True) for text in (original, before, after))
    if len(lines) != len(old):
        return after
    merged: list[str] = []
    for operation, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        merged += lines[start:end] if operation == "equal" else new[new_start:new_end]
    return "".join(merged)


def _same(text: str, other: str) -> bool:
    """Whether two YAML documents have the same data."""
    try:
        return bool(_plain(_yaml().load(text)) == _plain(_yaml().load(other)))
    except YAMLError:
        return False
