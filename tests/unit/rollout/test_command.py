"""The arguments, errors and exit codes that all verbs of `rollout` share."""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.live import UnreachableError
from model.config.problems import Problem
from model.config.read import ConfigError
from rollout import __main__ as rollout
from rollout.command import CommandRejectedError, Context, Exit, Verb, selected_stack
from rollout.errors import OperationError, RejectedError
from testbed.environment import PROJECT

Run = Callable[[Context, argparse.Namespace], int]


def use(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(rollout, "VERBS", (Verb("try", "tries", "Tries.", run, json="x", asks=True),))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandRejectedError("no"), Exit.REJECTED),
        (RejectedError("no"), Exit.REJECTED),
        (ConfigError([Problem(("edge",), 1, "must be a map")]), Exit.REJECTED),
        (OperationError("no"), Exit.FAILED),
        (UnreachableError("no"), Exit.FAILED),
    ],
)
def test_each_error_has_its_exit_code_and_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def run(_context: Context, _arguments: argparse.Namespace) -> int:
        raise error

    use(monkeypatch, run)
    monkeypatch.chdir(PROJECT)
    assert rollout.main(["try", "--stack", "dev", "--json"]) == code
    output = capsys.readouterr()
    assert output.err == f"error: {error}\n"
    assert json.loads(output.out) == {"error": str(error)}


@pytest.mark.parametrize("argv", [["--stack", "a", "--cwd", "model", "try"], ["try", "--cwd", "model", "--stack", "a"]])
def test_the_stack_may_stand_before_and_after_the_verb(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    seen: list[Context] = []
    use(monkeypatch, lambda context, _arguments: seen.append(context) or 0)
    monkeypatch.chdir(PROJECT)
    assert rollout.main(argv) == 0
    assert (seen[0].stack_name, seen[0].folder) == ("a", PROJECT), "the folder above that has Pulumi.yaml"


def test_without_a_project_or_a_verb_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollout.main(["draining", "--cwd", str(tmp_path)]) == Exit.REJECTED
    assert "no Pulumi.yaml" in capsys.readouterr().err
    with pytest.raises(SystemExit) as usage:
        rollout.main(["--stack", "dev"])
    assert usage.value.code == Exit.USAGE


def test_the_script_runs_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "rollout").symlink_to(PROJECT / "bin/rollout")
    done = subprocess.run([tmp_path / "rollout", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "draining" in done.stdout


def test_what_takes_long_to_load_is_loaded_when_it_is_needed() -> None:
    """`rollout abort` acts before Pulumi, FFmpeg and SciPy are loaded."""
    check = "import sys, rollout.__main__; print({'pulumi', 'av', 'scipy', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == "set()"


def test_verbs_import_no_other_verbs() -> None:
    """What verbs share is a module of its own, so that a verb can be read and changed alone."""
    for module in (PROJECT / "rollout").glob("**/*.py"):
        if module.name != "__init__.py" and module != PROJECT / "rollout/__main__.py":
            assert "rollout.verbs" not in module.read_text(), module


def test_the_selected_stack_is_known_without_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the files of pulumi 3.259; an abort does not wait for a state that is far away."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: srs\n")
    workspaces = tmp_path / "home/workspaces"
    workspaces.mkdir(parents=True)
    digest = hashlib.sha1(str(project / "Pulumi.yaml").encode(), usedforsecurity=False).hexdigest()
    selected = {"stacks": {"s3://state": "organization/srs/prod", "file://x": "organization/srs/dev"}}
    (workspaces / f"srs-{digest}-workspace.json").write_text(json.dumps(selected))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://state")
    assert selected_stack(project) == "organization/srs/prod"
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    (tmp_path / "home/credentials.json").write_text(json.dumps({"current": "file://x"}))
    assert selected_stack(project) == "organization/srs/dev"
    monkeypatch.setenv("PULUMI_STACK", "staging")
    assert selected_stack(project) == "staging"
    monkeypatch.delenv("PULUMI_STACK")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://other")
    with pytest.raises(CommandRejectedError, match="pulumi CLI is not on PATH"):
        selected_stack(project)
