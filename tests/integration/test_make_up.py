"""`make up`, `make shell`, `make demo` and `make down` in a checkout of their own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from testbed.cluster import EmbeddedCluster
from testbed.toolchain.install import ToolSettings

ROOT = Path(__file__).parents[2]


def git(checkout: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=checkout, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the working tree in a repository of its own, with this one's virtual environment."""
    copy = tmp_path / "checkout"
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    with (copy / ".gitignore").open("a") as ignored:
        ignored.write("/.venv\n")  # a link here, a folder elsewhere
    dev = copy / "Pulumi.dev.yaml"  # with a shorter minReady, because it is updated a dozen times
    dev.write_text(re.sub(r"(?m)^(    replicas: \d.*)$", r"\1\n    minReady: 2s", dev.read_text()))
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "all")
    return copy


def make(checkout: Path, target: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    home = checkout.parent / "home"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "KUBE", "MAKE"))}
    variables |= {
        "HOME": str(home),
        "SRS_TESTBED_CACHE": str(ToolSettings.from_environment().cache),
        "NO_COLOR": "1",
    }
    return subprocess.run(
        ["make", target], cwd=checkout, env=variables, input=stdin, capture_output=True, text=True, check=False
    )


def edge_rows(output: str) -> list[dict[str, list[str]]]:
    """The columns of each release that is in the config, by its name, for each table of edge releases."""
    tables: list[dict[str, list[str]]] = []
    for table in output.split("Edge releases")[1:]:
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
        tables.append({row[0]: row[1:] for row in rows if row[1] != "(removed)"})
    return tables


@pytest.mark.timeout(900)
def test_make_up_shell_demo_and_down(checkout: Path) -> None:
    kubeconfig = checkout.parent / "home/.kube/config"
    kubeconfig.parent.mkdir(parents=True)
    kubeconfig.write_text("current-context: mine\n")
    try:
        first = make(checkout, "up")
        assert first.returncode == 0, first.stdout + first.stderr
        assert "The dev stack is up (" in first.stdout
        assert "make shell" in first.stdout
        assert "rtmp://127.0.0.1:31935/live/livestream" in first.stdout
        (canary,) = edge_rows(first.stdout)
        # The columns after image and config: weight, desired, actual, ready, draining.
        assert canary["r5"][2:] == ["75", "75 %", "75 %", "3/3", "0"]
        assert canary["r6"][2:] == ["25", "25 %", "25 %", "1/1", "0"]
        assert git(checkout, "status", "--porcelain") == ""

        again = make(checkout, "up")
        assert again.returncode == 0, again.stdout + again.stderr
        assert "The dev stack is up to date; nothing changed (" in again.stdout

        shell = make(
            checkout,
            "shell",
            "pulumi preview && "
            "kubectl -n live get deployments && "
            "pulumi config set --path edge.releases.r5.srs.maxConnections 2000 && "
            "pulumi up --yes && "
            "git diff --stat && git checkout --quiet Pulumi.dev.yaml && "
            "pulumi up --yes --skip-preview\n",
        )
        assert shell.returncode == 0, shell.stdout + shell.stderr
        assert re.search(r"Resources:\s+\d+ unchanged", shell.stdout), shell.stdout
        assert "srs-edge-r5-deploy" in shell.stdout
        assert "Pulumi.dev.yaml | 2 +-" in shell.stdout

        demo = make(checkout, "demo")
        assert demo.returncode == 0, demo.stdout + demo.stderr
        ready = [{name: columns[5] for name, columns in table.items()} for table in edge_rows(demo.stdout)]
        assert ready == [
            {"r5": "4/4"},
            {"r5": "4/4"},
            {"r5": "4/4"},
            {"r5": "3/3", "r6": "1/1"},
            {"r5": "1/1", "r6": "3/3"},
            {"r5": "0/0", "r6": "4/4"},
            {"r6": "4/4"},
            {"r5": "4/4"},
            {"r5": "3/3", "r6": "1/1"},
        ], demo.stdout
        assert "image=ossrs/srs:v4.0.5 config=" in demo.stdout
        assert git(checkout, "status", "--porcelain") == ""

        running = [component.pid for component in EmbeddedCluster(checkout / ".testbed").status()]
        down = make(checkout, "down")
        assert down.returncode == 0, down.stdout + down.stderr
        assert not (checkout / ".testbed").exists()
        assert not [pid for pid in running if pid and _runs(pid)]
        assert kubeconfig.read_text() == "current-context: mine\n"
    finally:
        EmbeddedCluster(checkout / ".testbed", report=lambda _line: None).delete()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
