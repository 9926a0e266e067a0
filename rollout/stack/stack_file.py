"""Edits of `Pulumi.<stack>.yaml`, the single source of truth: comments, order and all other lines stay as they are."""

import copy
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from model.config.edges_outline import EdgesOutline
from model.config.kubernetes import KubernetesSettings
from model.config.read import conf_files, read_kubernetes
from rollout.stack.git import GitError, commit_files, git_bytes
from rollout.stack.yaml_edit import CannotEditError, patched, quoted

PROJECT_FILE = "Pulumi.yaml"

MAX_DEPTH = 100
"""Maps and lists in each other; a stack file has about 15."""

MAX_VALUES = 100_000
"""Values of a stack file at the same depth, those of an alias as often as it is used."""

ReleasePatch = Mapping[str, Any]
"""Keys of a release to set, as in a JSON merge patch (RFC 7386): maps are merged, None removes a key."""


class StackFileError(ValueError):
    """The stack file cannot be read, or does not have what is to be edited; the message names the file."""


@dataclass(frozen=True)
class StackFile:
    """The content of a stack file, with the files that it names.

    path: where it is. content: its bytes. project: content of Pulumi.yaml, whose values it overrides. files: content of
    the srs.conf files that it names, by their paths relative to Pulumi.yaml; without those that cannot be read.
    """

    path: Path
    content: bytes
    project: bytes = b""
    folder: Path = Path()
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    @staticmethod
    def of(folder: Path, stack: str) -> "StackFile":
        """Read the file of a stack. folder: that of Pulumi.yaml. stack: its name, also with an organization.

        It is where pulumi finds it: in the `stackConfigDir` of Pulumi.yaml, if there is one. Raises StackFileError.
        """
        project = b""
        with suppress(OSError):
            project = (folder / PROJECT_FILE).read_bytes()
        settings = _load(project, PROJECT_FILE)
        directory = settings.get("stackConfigDir") or settings.get("config")
        path = folder / (directory if isinstance(directory, str) else "") / f"Pulumi.{stack.rpartition('/')[2]}.yaml"
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            if not _project_values(settings).get("srs:edge"):
                raise StackFileError(f"{path.name} cannot be read: {error.strerror}") from error
            content = b""
        except OSError as error:
            raise StackFileError(f"{path.name} cannot be read: {error.strerror}") from error
        file = StackFile(path, content, project, folder)
        file._document()
        return file._with_files(lambda name: (folder / Path(name).expanduser()).read_bytes())

    def _with_files(self, read: Callable[[str], bytes]) -> "StackFile":
        files: dict[str, bytes] = {}
        for name in sorted(self.named_files):
            with suppress(OSError, GitError, ValueError, RuntimeError):  # a path that is none
                files[name] = read(name)
        return replace(self, files=files)

    @property
    def named_files(self) -> set[str]:
        """The srs.conf files that it names, by their paths relative to Pulumi.yaml."""
        return conf_files({key: json.dumps(value, default=str) for key, value in self.config.items()})

    @property
    def state(self) -> tuple[Any, ...]:
        """What the stack should be: two files with the same state differ in comments and layout only."""
        return self.config, {name: self.files.get(name) for name in self.named_files}

    @property
    def name(self) -> str:
        """Its name, for messages."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """The config by key (`srs:edge`), as plain data."""
        values = _project_values(_load(self.project, PROJECT_FILE))
        own = self._document().get("config") or {}
        if not isinstance(own, dict):
            raise StackFileError(f"{self.name}: config must be a map")
        return values | {_full(key): value for key, value in _plain(own).items()}

    @property
    def kubernetes(self) -> KubernetesSettings:
        """Where the cluster is. Raises ConfigError. Nothing else is checked, and no CLI is asked: this is fast."""
        return read_kubernetes({"srs:kubernetes": json.dumps(self.config.get("srs:kubernetes") or {}, default=str)})

    @property
    def edges(self) -> EdgesOutline:
        """The edges: their number, and image and weight of each release. Raises StackFileError."""
        try:
            return EdgesOutline.model_validate(self.config.get("srs:edge") or {})
        except ValidationError as error:
            problems = "; ".join(
                f"config.srs:edge.{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
            )
            raise StackFileError(f"{self.name} cannot be used: {problems}") from error

    @property
    def releases(self) -> dict[str, dict[str, Any]]:
        """The releases by name, in the order of the file, as plain data. Raises StackFileError."""
        return _plain(self._releases({"config": self.config}))

    def with_releases(self, patches: Mapping[str, ReleasePatch | None]) -> "StackFile":
        """The file with changed releases; nothing is written.

        patches: by release. A release that does not exist is added at the end; None removes one.
        Raises StackFileError.
        """
        before = self.releases
        expected = _merged(before, patches)
        text = self.content.decode()
        if _key(self._document(), "srs:edge") is None:  # it is in Pulumi.yaml
            text = _with_edge(text, self._document(), self.config["srs:edge"])
        try:
            edge = _key(_load(text.encode(), self.name), "srs:edge") or "srs:edge"
            edited = replace(self, content=patched(text, ["config", edge, "releases"], patches).encode())
            if _without_null(edited.releases) == _without_null(expected):
                return edited
        except (CannotEditError, StackFileError, YAMLError):
            pass
        edited = replace(self, content=self._written_again(patches).encode())
        if _without_null(edited.releases) != _without_null(expected):
            raise StackFileError(f"{self.name}: releases share a map by an anchor; edit the file by hand")
        return edited

    def _written_again(self, patches: Mapping[str, ReleasePatch | None]) -> str:
        """The edited document as ruamel.yaml writes it; for what cannot be edited in place."""
        document = self._document()
        releases = self._releases(document)
        names = {str(name): name for name in releases}
        for name, patch in patches.items():
            if patch is None:
                releases.pop(names.get(name, name), None)
            else:
                _merge(releases.setdefault(names.get(name, name), {}), patch)
        text = io.StringIO()
        _yaml().dump(document, text)
        return text.getvalue()

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

    def write_files(self) -> None:
        """Write the files that it names. Raises OSError."""
        for name, content in self.files.items():
            replace(self, path=self.folder / Path(name).expanduser(), content=content).write()

    def commit(self, message: str) -> None:
        """Commit this file and those that it names, alone; nothing happens if they are not changed. Raises GitError."""
        commit_files(self.folder, self.paths, message)

    @property
    def paths(self) -> list[str]:
        """Its own path and those of the files that it names, relative to Pulumi.yaml."""
        own = os.path.relpath(self.path, self.folder)
        return [own, *(name for name in sorted(self.files) if not Path(name).expanduser().is_absolute())]

    def at_commit(self, commit: str) -> "StackFile":
        """The file, and the files that it named, as they were in a commit; Pulumi.yaml as it is without one.

        Raises GitError.
        """

        def show(name: str) -> bytes:
            return git_bytes(self.folder, "show", f"{commit}:./{os.path.normpath(name)}")

        project = self.project
        with suppress(GitError):
            project = show(PROJECT_FILE)
        earlier = replace(self, content=show(self.paths[0]), project=project)
        return earlier._with_files(show)

    def _document(self) -> dict[str, Any]:
        return _load(self.content, self.name)

    def _releases(self, document: Mapping[str, Any]) -> dict[str, Any]:
        node: Any = document
        for key in ("config", _key(document, "srs:edge") or "srs:edge", "releases"):
            node = cast("dict[str, Any]", node).get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise StackFileError(f"{self.name} has no map config.srs:edge.releases")
        for name, release in cast("dict[str, Any]", node).items():
            if not isinstance(release, dict):
                raise StackFileError(f"{self.name}: config.srs:edge.releases.{name} must be a map")
        return cast("dict[str, Any]", node)


def _load(content: bytes, name: str) -> dict[str, Any]:
    """A document that must be a map; an empty one is an empty map. Raises StackFileError."""
    try:
        document: Any = _yaml().load(content.decode())
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a number, a date or an encoding
        raise StackFileError(f"{name} is not valid YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise StackFileError(f"{name} must be a map")
    _check_size(document, name)
    return cast("dict[str, Any]", document)


def _check_size(document: Any, name: str) -> None:
    """Raise StackFileError for a document with a loop, or with an excess of values, both by aliases."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = list(islice((inner for value in level for inner in _children(value)), MAX_VALUES + 1))
        if not level:
            return
        if len(level) > MAX_VALUES:
            break
    raise StackFileError(f"{name} is too large, or refers to itself by an alias")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


def _full(key: str) -> str:
    """A config key with its namespace, which may be left out for the project's own keys."""
    return key if ":" in key else f"srs:{key}"


def _key(document: Mapping[str, Any], key: str) -> str | None:
    """A config key as the document has it."""
    config = document.get("config")
    keys = cast("dict[str, Any]", config) if isinstance(config, dict) else {}
    return next((name for name in keys if _full(str(name)) == key), None)


def _project_values(project: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all stacks in Pulumi.yaml; a stack file overrides them as a whole."""
    config = project.get("config")
    values: dict[str, Any] = {}
    for key, entry in (cast("dict[str, Any]", _plain(config)) if isinstance(config, dict) else {}).items():
        found = entry
        if isinstance(entry, dict):
            typed = cast("dict[str, Any]", entry)
            found = typed.get("value", typed.get("default"))
        if found is not None:
            values[_full(key)] = found
    return values


def _with_edge(text: str, document: Mapping[str, Any], edge: Any) -> str:
    """A stack file with the edges of Pulumi.yaml: a value of the stack overrides the one of the project as a whole."""
    if isinstance(document.get("config"), dict) and document["config"]:
        return patched(text, ["config"], {"srs:edge": edge})
    added = io.StringIO()
    _yaml().dump({"config": {"srs:edge": edge}}, added)
    if "config" in document:
        raise StackFileError("config is empty; remove the key")
    return f"{text.rstrip()}\n{added.getvalue()}".lstrip("\n")


def _merged(releases: Mapping[str, Any], patches: Mapping[str, ReleasePatch | None]) -> dict[str, Any]:
    """The releases that patches should lead to."""
    expected = copy.deepcopy(dict(releases))
    for name, patch in patches.items():
        if patch is None:
            expected.pop(name, None)
        else:
            _merge(expected.setdefault(name, {}), patch)
    return expected


def _without_null(value: Any) -> Any:
    """Data without keys that are null: they are the same as absent ones."""
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value)
        return {key: _without_null(item) for key, item in inner.items() if item is not None}
    return value


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # no line is wrapped
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


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
            target[key] = quoted(value)
