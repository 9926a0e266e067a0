"""A kubeconfig that cannot be used is one message, which names the file, the user and the command."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.kubeconfig import client


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: Any) -> str:
    path = folder / "kubeconfig"
    content = {
        "current-context": "prod",
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "ops"}}],
        "clusters": [{"name": "prod", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
        "users": [{"name": "ops", "user": user}],
    }
    path.write_text(json.dumps(content))
    return str(path)


_EXPIRED = base64.urlsafe_b64encode(json.dumps({"exp": 1}).encode()).decode().rstrip("=")
OIDC = {
    "id-token": f"e30.{_EXPIRED}.e30",
    "idp-issuer-url": "https://127.0.0.1:1",
    "client-id": "ops",
    "refresh-token": "r",
}


def plugin(command: str, *args: str) -> dict[str, Any]:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args}}


def message(path: str, context: str | None = None) -> str:
    with pytest.raises(ValueError, match=r"srs:kubernetes\.kubeconfig: '.*kubeconfig'") as error:
        client(path, context)
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None
    return str(error.value)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (
            plugin("sh", "-c", "echo token expired >&2; exit 3"),
            "by the command 'sh': exec: process returned 3. token ex",
        ),
        (plugin("no-such-command"), "by the command 'no-such-command': [Errno 2] No such file or directory"),
        (plugin("echo", "hello"), "by the command 'echo': exec: failed to decode process output"),
        ({"client-certificate-data": "a"}, "cannot be used as user 'ops': "),
        ({"client-certificate": "absent.crt", "client-key": "absent.key"}, "cannot be used as user 'ops': "),
        (
            {"auth-provider": {"name": "oidc", "config": OIDC}},
            "as user 'ops', by the provider 'oidc': ",
        ),
    ],
)
def test_a_login_that_fails(tmp_path: Path, user: dict[str, Any], expected: str, caplog: Any) -> None:
    """The client of Kubernetes would go on without a login, and the API server reject `system:anonymous`."""
    assert expected in message(kubeconfig(tmp_path, user))
    assert not caplog.records


@pytest.mark.parametrize("content", ["", "a: [", "- a", "current-context: a", "contexts: 5", "\x00"])
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    assert "cannot be used" in message(str(path))


def test_a_context_that_does_not_exist(tmp_path: Path) -> None:
    assert "staging" in message(kubeconfig(tmp_path, {"token": "a"}), "staging")


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text("certificate")
    path = kubeconfig(tmp_path, plugin("sh", "-c", "exit 1"), **{"certificate-authority": "ca.crt"})
    monkeypatch.chdir("/")
    assert "by the command 'sh'" in message(path)


def test_without_a_path_the_files_are_those_of_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kubeconfig(tmp_path, plugin("sh", "-c", "exit 1"))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{path}")
    with pytest.raises(ValueError, match=r"is absent, and KUBECONFIG: '.*' cannot log in as user 'ops', by the comma"):
        client(None, "prod")
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"is absent, and KUBECONFIG: '.*/\.kube/config' is not a file"):
        client(None, "prod")


def test_a_home_that_nobody_has_is_no_file() -> None:
    with pytest.raises(ValueError, match="is not a file"):
        client("~no-such-user/config", None)
