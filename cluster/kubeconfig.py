"""A client from a kubeconfig, or one message that names the file, the user and the command that fails."""

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config
from kubernetes.client import ApiClient

MAX_MESSAGE = 500
"""Characters of an error of the login that are shown; a plugin may print pages."""

DEFAULT = "~/.kube/config"
"""What kubectl uses without KUBECONFIG."""


def client(kubeconfig: str | None, context: str | None) -> ApiClient:
    """A client with the login of a context, by default the current one.

    kubeconfig: None for the files that kubectl uses.

    Raises ValueError if the file cannot be used. The client of Kubernetes raises many kinds of errors for a file that
    is wrong (of YAML, base64, the types of values, an OIDC provider that does not answer), and only logs that a command
    fails which is to log in: the API server would then reject `system:anonymous`.
    """
    paths = _paths(kubeconfig)
    files = os.pathsep.join(map(str, paths))
    key = "srs:kubernetes.kubeconfig" if kubeconfig else "srs:kubernetes.kubeconfig is absent, and KUBECONFIG"
    key = f"{key}: {kubeconfig or files!r}"
    if not any(path.is_file() for path in paths):
        raise ValueError(
            f"{key} is not a file; it must be the path of a kubeconfig (`make up` creates the one of the dev stack)"
        )
    failure = ""
    with _logged_errors() as logged:
        try:
            api = config.new_client_from_config(files, context)
        except Exception as error:
            failure = f"{error}" if str(error) else type(error).__name__
            raise ValueError(f"{key} cannot be used{login(kubeconfig, context)}: {_short(failure)}") from None
    if logged:
        raise ValueError(f"{key} cannot log in{login(kubeconfig, context)}: {_short('; '.join(logged))}")
    return api


def _paths(kubeconfig: str | None) -> list[Path]:
    """The file of a config, or those that kubectl would use."""
    paths = [kubeconfig] if kubeconfig is not None else (os.environ.get("KUBECONFIG") or DEFAULT).split(os.pathsep)
    return [_expanded(path) for path in paths if path]


def _expanded(path: str) -> Path:
    """The path; as it is where `~user` has no home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def login(kubeconfig: str | None, context: str | None) -> str:
    """The user of a context and what logs it in, as ` as user 'x', by the command 'y'`; "" if that is unknown."""
    return next((text for path in _paths(kubeconfig) if (text := _login(path, context))), "")


def _login(path: Path, context: str | None) -> str:
    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = context or found["current-context"]
        user = str(_named(found["contexts"], name)["context"]["user"])
        settings: Mapping[str, Any] = _named(found["users"], user).get("user") or {}
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError, StopIteration):
        return ""
    method = ""
    if "exec" in settings:
        method = f", by the command {settings['exec'].get('command')!r}"
    elif "auth-provider" in settings:
        method = f", by the provider {settings['auth-provider'].get('name')!r}"
    return f" as user {user!r}{method}"


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= MAX_MESSAGE else f"{line[: MAX_MESSAGE - 1]}…"


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _logged_errors() -> Generator[list[str]]:
    """The errors that are logged within the block, instead of where logs go."""
    root, collector = logging.getLogger(), _Collector()
    handlers = list(root.handlers)
    root.handlers[:] = [collector]
    try:
        yield collector.messages
    finally:
        root.handlers[:] = handlers
