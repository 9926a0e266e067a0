"""An open run is seen, ended and continued from another checkout: two checkouts of one stack, and killed processes."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.live import LiveCluster
from cluster.run_record import read_run
from model.run_record import RunRecord
from rollout.stack.stack_file import StackFile
from stack import NAME, ROOT, DevStack, eventually, release

RUN = ["run", "--release", "r6", "--image", "ossrs/srs:v4.0.6", "--no-viewers", "--auto", "--steps", "25,100"]


class Checkout:
    """A folder of the stack's project, and `rollout` in it."""

    def __init__(self, stack: DevStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.file = folder / f"Pulumi.{NAME}.yaml"

    @staticmethod
    def copy(stack: DevStack, folder: Path) -> "Checkout":
        shutil.copytree(stack.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("backend"))
        return Checkout(stack, folder)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(ROOT / "bin/rollout"), *arguments, "--stack", NAME],
            cwd=self.folder,
            env={**os.environ, **self.stack.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == code, output + errors
        return output + errors

    def json(self, *arguments: str, code: int = 0) -> Any:
        process = self.start(*arguments, "--json")
        output, errors = process.communicate(timeout=300)
        assert process.returncode == code, output + errors
        return json.loads(output)

    def record(self) -> RunRecord | None:
        stored = read_run(LiveCluster(StackFile.of(self.folder, NAME).kubernetes))
        return stored.record if stored else None

    def weights(self) -> dict[str, int]:
        releases = yaml.safe_load(self.file.read_text())["config"]["srs:edge"]["releases"]
        return {name: settings["weight"] for name, settings in releases.items()}


@pytest.fixture
def checkouts(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Checkout]:
    """A stack with one release, and two checkouts of it."""
    stack.releases(r5=release("v4.0.5", 100))
    stack.must_update()
    here = Checkout(stack, stack.folder)
    elsewhere = Checkout.copy(stack, tmp_path_factory.mktemp("elsewhere") / "checkout")
    return here, elsewhere


def test_a_run_is_seen_guarded_and_ended_from_another_checkout(checkouts: tuple[Checkout, Checkout]) -> None:
    here, elsewhere = checkouts
    stack = here.stack
    before = here.file.read_text()
    run = here.start(*RUN, "--pause", "10m", "--json")
    eventually(lambda: stack.replicas().get("r6") == 1, 120)

    status = elsewhere.json("status", "--no-plan")
    assert (status["run"]["release"], status["run"]["steps"], status["run"]["index"]) == ("r6", [25, 100], 0)
    assert f"(process {run.pid})" in status["run"]["holder"]
    assert "a rollout run of release r6 (step 1 of 2" in elsewhere.run("status", "--no-plan")
    for verb in (["promote", "--release", "r5", "--yes"], ["pause", "--release", "r5", "--yes"], RUN, ["resume"]):
        assert "is open; `rollout abort` ends it" in elsewhere.run(*verb, code=3)

    # An update by hand, and the preview of a pull request, from a stack file without the canary.
    stack.write()  # the file of before the run
    for result in (stack.preview(), stack.update()):
        assert not result.ok
        assert "r5, r6 must not change while a rollout run of release r6 (step 1 of 2" in result.output
    assert stack.replicas()["r6"] == 1

    started = time.monotonic()
    abort = elsewhere.start("abort", "--json")
    eventually(lambda: all("-r5-" in name for name in stack.endpoints()), 30)
    print(f"out of rotation {time.monotonic() - started:.1f} s after the start of the command")
    output, errors = abort.communicate(timeout=300)
    assert abort.returncode == 0, output + errors
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 4, output + errors
    assert json.loads(output)["result"] == "aborted"
    assert "the run was aborted by" in json.loads(output)["reasons"][0]
    assert not stack.replicas().get("r6")
    assert stack.replicas()["r5"] == 4
    assert here.file.read_text() == before
    assert elsewhere.record() is None


def test_a_killed_run_is_continued_in_another_checkout(checkouts: tuple[Checkout, Checkout]) -> None:
    here, elsewhere = checkouts
    stack = here.stack
    run = here.start(*RUN, "--pause", "1s")
    eventually(lambda: (record := here.record()) is not None and record.index == 0, 60)
    run.kill()  # its update runs on
    run.wait()
    assert elsewhere.record(), "the record outlives its process"
    resumed = elsewhere.json("resume")
    assert resumed["result"] == "complete"
    # The last step keeps a control, which a last update removes.
    assert [step["percent"] for step in resumed["steps"]] == [25, 100, 100]
    assert stack.replicas() == {"r5": 0, "r6": 4}
    assert elsewhere.weights() == {"r5": 0, "r6": 100}
    assert elsewhere.record() is None


def test_an_edit_during_a_run_survives_its_revert(checkouts: tuple[Checkout, Checkout]) -> None:
    """The evening peak: replicas 4 to 6 while the canary runs, which then fails."""
    here, elsewhere = checkouts
    stack = here.stack
    run = here.start(*RUN, "--pause", "10m")
    eventually(lambda: stack.replicas().get("r6") == 1, 120)
    for checkout in checkouts:
        checkout.file.write_text(checkout.file.read_text().replace("replicas: 4", "replicas: 6"))
    elsewhere.run("abort")
    run.communicate(timeout=60)
    assert stack.replicas()["r5"] == 6
    assert yaml.safe_load(here.file.read_text())["config"]["srs:edge"]["replicas"] == 6
    assert here.weights() == {"r5": 100}
