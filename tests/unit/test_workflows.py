"""The GitHub workflows: what they may do, and what their scripts do with what a pull request gives them."""

import ast
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""How GitHub runs a step with `shell: bash`."""


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


PREVIEW = load(ROOT / ".github" / "workflows" / "preview.yml")
JOBS: dict[str, dict[str, Any]] = PREVIEW["jobs"]
# YAML 1.1 reads the key `on` as true.
TRIGGERS: dict[str, Any] = next(value for key, value in PREVIEW.items() if str(key) == "True")


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def step(job: str, name: str) -> dict[str, Any]:
    return next(step for step in JOBS[job]["steps"] if step.get("name") == name)


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


class Runner:
    """Runs the script of a step as GitHub does, in a folder of its own with the given programs on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temp = folder / "temp"
        self.checkout = folder / "checkout"
        self.programs = folder / "bin"
        for path in (self.temp, self.checkout, folder / "home", self.checkout / ".github"):
            path.mkdir()
        (self.checkout / ".github/scripts").symlink_to(ROOT / ".github/scripts")

    def run(self, step: dict[str, Any], **environment: str) -> subprocess.CompletedProcess[str]:
        # An expression is an empty text for what GitHub does not have.
        settings = {key: "" if "${{" in str(value) else str(value) for key, value in step.get("env", {}).items()}
        (self.folder / "output").write_text("")
        script = self.folder / "script"
        script.write_text(step["run"])
        command = [sys.executable] if step.get("shell") == "python3 {0}" else BASH
        return subprocess.run(
            [*command, str(script)],
            cwd=self.checkout,
            env=settings
            | {
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "HOME": str(self.folder / "home"),
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_OUTPUT": str(self.folder / "output"),
                "GITHUB_REPOSITORY": "org/srs",
                "GITHUB_SERVER_URL": "https://github.example",
                "GITHUB_RUN_ID": "77",
            }
            | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def outputs(self) -> dict[str, Any]:
        lines = (self.folder / "output").read_text().splitlines()
        return {name: json.loads(value) for name, value in (line.split("=", 1) for line in lines)}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    if sys.platform != "linux":
        pytest.skip("the scripts are for GitHub's Linux runners")
    return Runner(tmp_path)


UPDATE, CANARY = (load(ROOT / ".github" / "workflows" / f"{name}.yml") for name in ("update", "canary"))


# What a workflow may do.


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    uses = re.findall(r"^ *(?:- )?uses: +([^. ].*)$", path.read_text(), re.MULTILINE)
    assert uses
    assert len(uses) == sum("uses" in step for step in steps(load(path)))
    for action in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_script_has_an_expression_in_it(path: Path) -> None:
    """GitHub inserts the value into the script before the shell reads it; values come by `env` instead."""
    for step in steps(load(path)):
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_token_is_left_in_the_checkout(path: Path) -> None:
    for step in steps(load(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_code_of_a_pull_request_never_runs_beside_a_token_that_can_write() -> None:
    assert "pull_request_target" not in TRIGGERS
    assert PREVIEW["permissions"] == {}
    for name, job in JOBS.items():
        text = yaml.safe_dump(job)
        if "write" in job["permissions"].values():
            assert job["permissions"] == {"pull-requests": "write"}, name
            assert "actions/checkout@" not in text, name
            assert "secrets." not in text, name
        else:
            assert job["permissions"] == {"contents": "read"}, name


def test_credentials_that_change_things_are_behind_an_environment_and_beside_no_token_that_can_write() -> None:
    for workflow, expected in ((UPDATE, {"update"}), (CANARY, {"canary"})):
        assert workflow["permissions"] == {}
        with_secrets = {name: job for name, job in workflow["jobs"].items() if "secrets." in yaml.safe_dump(job)}
        assert set(with_secrets) == expected
        for job in with_secrets.values():
            assert job["environment"].startswith("update-${{ ")
            assert job["permissions"] == {"contents": "read"}
    triggers = {name: next(value for key, value in workflow.items() if str(key) == "True")
                for name, workflow in (("update", UPDATE), ("canary", CANARY))}  # fmt: skip
    assert triggers["update"] == {"push": {"branches": ["main"]}}
    assert list(triggers["canary"]) == ["workflow_dispatch"]
    assert CANARY["jobs"]["arguments"]["if"] == "${{ github.ref == 'refs/heads/main' }}"


def test_secrets_reach_the_jobs() -> None:
    """The secrets of an environment do not reach a reusable workflow that is called without `secrets`."""
    for path in WORKFLOWS:
        for job in load(path)["jobs"].values():
            assert "uses" not in job, path


def test_an_update_waits_until_a_canary_is_committed() -> None:
    group = {"cancel-in-progress": False, "queue": "max"}
    assert CANARY["concurrency"] == {"group": "update-${{ inputs.stack }}", **group}
    assert UPDATE["jobs"]["update"]["concurrency"] == {"group": "update-${{ matrix.stack }}", **group}
    assert not any("concurrency" in job for job in CANARY["jobs"].values()), "it would wait for its own workflow"


def test_an_abort_is_a_step_of_its_own_with_time_left() -> None:
    job = CANARY["jobs"]["canary"]
    run, abort, keep, hand_over = job["steps"][-4:]
    assert keep["if"] == hand_over["if"] == "${{ always() && steps.run.outcome != 'skipped' }}"
    assert abort["if"] == keep["if"].replace(" }}", " && steps.run.outcome != 'success' }}"), (
        "the commit of a complete canary does not depend on another step that needs the cluster"
    )
    assert run["timeout-minutes"] + abort["timeout-minutes"] < job["timeout-minutes"]


@pytest.mark.parametrize(("workflow", "name"), [(CANARY, "Run"), (UPDATE, "Update")])
def test_a_cancellation_interrupts_what_changes_the_stack(
    canary_job: "Runner", workflow: dict[str, Any], name: str
) -> None:
    """GitHub interrupts the process of the step, and no child of it: that has to be `rollout` or `pulumi`."""
    for program in (canary_job.programs / "pulumi", canary_job.checkout / "bin/rollout"):
        executable(program, 'echo "$PPID" >"$RUNNER_TEMP/parent"')
    shell_of_the_step = canary_job.run(named(workflow, name), **GIVEN, ARGUMENTS="[]")
    assert shell_of_the_step.returncode == 0, shell_of_the_step.stderr
    assert int((canary_job.temp / "parent").read_text()) == os.getpid(), "the shell of the step is its parent"


def test_scripts_are_files() -> None:
    """Steps have inline scripts only in jobs that can write and run nothing of a pull request."""
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            if "write" not in job.get("permissions", {}).values():
                for step in job.get("steps", []):
                    assert "\n" not in step.get("run", "").strip(), (path, name)


INPUTS = {
    "STACK": "prod",
    "RELEASE": "r6",
    "IMAGE": "ossrs/srs:v6.0-r1",
    "STEPS": "10,50,100",
    "PAUSE": "10m",
    "STREAM_URL": "",
}


def named(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    return next(step for step in steps(workflow) if step.get("name") == name)


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_inputs_of_a_canary_become_arguments_and_nothing_else(runner: Runner) -> None:
    check = named(CANARY, "Check the inputs")
    url = "rtmp://live.example.com:1935/live/livestream"
    for given, more in (("", []), (url, ["--stream-url", url])):
        assert runner.run(check, **INPUTS | {"STREAM_URL": given}).returncode == 0
        outputs = dict(line.split("=", 1) for line in (runner.folder / "output").read_text().splitlines())
        assert outputs["stack"] == "prod"
        assert json.loads(outputs["arguments"]) == [
            "--release", "r6", "--image", "ossrs/srs:v6.0-r1", "--steps", "10,50,100", "--pause", "10m", *more
        ]  # fmt: skip
    for name, value in {
        "STACK": "../x",
        "RELEASE": "r6 --yes",
        "IMAGE": "--x",
        "STEPS": "1;2",
        "PAUSE": "1",
        "STREAM_URL": "rtmp://x/$(id)",
    }.items():
        assert runner.run(check, **INPUTS | {name: value}).returncode == 1, name


GIVEN = {"STACK": "prod", "KUBECONFIG_DATA": "k", "PULUMI_BACKEND_URL": "s3://b"}


@pytest.fixture
def canary_job(runner: Runner) -> Runner:
    """A checkout with a stack file, `pulumi`, and a `rollout` whose status is in $RUNNER_TEMP/run."""
    executable(runner.programs / "pulumi", 'echo "pulumi $*" >>"$RUNNER_TEMP/calls"')
    executable(
        runner.checkout / "bin/rollout",
        """echo "$*" >>"$RUNNER_TEMP/calls"
        [[ -z ${KUBECONFIG_DATA-} && ${AWS_REGION-unset} == unset ]] || exit 99
        case $1 in
          run) echo "changed: 1" >>Pulumi.prod.yaml; exit "${CODE-0}" ;;
          status) cat "$RUNNER_TEMP/run" ;;
        esac""",
    )
    (runner.checkout / ".venv/bin").mkdir(parents=True)
    (runner.checkout / ".venv/bin/python").symlink_to(sys.executable)
    (runner.checkout / "Pulumi.prod.yaml").write_text("config: {srs:kubernetes: {kubeconfig: ~/.kube/x.yaml}}\n")
    return runner


def calls(runner: Runner) -> list[str]:
    return (runner.temp / "calls").read_text().splitlines()


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_a_canary_and_an_update_have_their_credentials(canary_job: Runner) -> None:
    arguments = json.dumps(["--release", "r6", "--pause", "10m"])
    assert canary_job.run(named(CANARY, "Run"), **GIVEN, ARGUMENTS=arguments, CODE="4").returncode == 4
    assert calls(canary_job) == ["run --stack prod --auto --release r6 --pause 10m"]
    assert (canary_job.folder / "home/.kube/x.yaml").read_text() == "k"
    before = (canary_job.temp / "result/before/Pulumi.prod.yaml").read_text()
    assert (canary_job.checkout / "Pulumi.prod.yaml").read_text() == f"{before}changed: 1\n"
    (canary_job.temp / "calls").unlink()
    assert canary_job.run(named(UPDATE, "Update"), **GIVEN).returncode == 0
    assert calls(canary_job)[0].startswith("pulumi up --stack prod --yes ")


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
@pytest.mark.parametrize("started", ["here", "earlier", "elsewhere", None])
def test_a_canary_that_this_job_has_begun_is_aborted(canary_job: Runner, started: str | None) -> None:
    assert canary_job.run(named(CANARY, "Run"), **GIVEN, ARGUMENTS="[]", CODE="130").returncode == 130
    process = int((canary_job.temp / "process").read_text())
    holders = {
        "here": f"{socket.gethostname()} (process {process})",
        "earlier": f"{socket.gethostname()} (process {process - 1})",
        "elsewhere": f"laptop (process {process})",
    }
    run = {"release": "r6", "startedBy": f"runner@{holders[started]}"} if started else None
    (canary_job.temp / "run").write_text(json.dumps({"run": run}))
    assert canary_job.run(named(CANARY, "Abort a canary that is still open"), **GIVEN).returncode == 0
    aborts = [call for call in calls(canary_job) if call.startswith("abort")]
    assert aborts == (["abort --stack prod --yes"] if started == "here" else [])
    assert canary_job.run(named(CANARY, "Keep the stack file"), **GIVEN).returncode == 0
    assert (canary_job.temp / "result/Pulumi.prod.yaml").read_text().endswith("changed: 1\n")


def test_a_canary_that_has_not_begun_is_not_aborted(canary_job: Runner) -> None:
    assert canary_job.run(named(CANARY, "Run"), STACK="prod", ARGUMENTS="[]").returncode == 1
    assert canary_job.run(named(CANARY, "Abort a canary that is still open"), STACK="prod").returncode == 0
    assert not (canary_job.temp / "calls").exists()


WAVE = load(ROOT / ".github" / "workflows" / "wave.yml")
WAVE_INPUTS = {
    "STACKS": "eu,us,asia",
    "SOAK": "0s",
    "RELEASE": "r6",
    "IMAGE": "ossrs/srs:v6.0-r1",
    "STEPS": "10,100",
    "PAUSE": "10m",
    "POLL": "0",
}


@pytest.fixture
def github(runner: Runner) -> Runner:
    """A `gh` that starts canaries: the third read has the new run, the sixth one its end. The first
    and the fourth read fail.

    The canary of the stack in $RUNNER_TEMP/bad fails.
    """
    executable(
        runner.programs / "gh",
        """calls="$RUNNER_TEMP/calls"
        echo "$*" >>"$calls"
        if [[ $1 == workflow ]]; then
          stack=${7#stack=}; echo "$stack" >"$RUNNER_TEMP/now"; echo 0 >"$RUNNER_TEMP/reads"; exit
        fi
        reads=$(($(<"$RUNNER_TEMP/reads") + 1))
        echo $reads >"$RUNNER_TEMP/reads"
        case "$*" in
          *event=workflow_dispatch*)
            [[ $TITLE == "canary of r6 in $(<"$RUNNER_TEMP/now"), wave 77-2" ]] || exit 9
            if ((reads == 1)); then echo "<html>502"; exit 1; fi
            if ((reads > 2)); then echo 7001; fi ;;
          *.conclusion*)
            if ((reads == 4)); then echo "<html>502"; exit 1; fi
            if ((reads < 6)); then exit; fi
            if grep -qx "$(<"$RUNNER_TEMP/now")" "$RUNNER_TEMP/bad"; then echo failure; else echo success; fi ;;
        esac""",
    )
    (runner.temp / "bad").write_text("")
    return runner


def dispatches(runner: Runner) -> list[str]:
    return [call for call in calls(runner) if call.startswith("workflow run")]


def test_a_wave_runs_one_canary_after_the_other(github: Runner) -> None:
    done = github.run(named(WAVE, "Run one canary after the other"), **WAVE_INPUTS, GITHUB_RUN_ATTEMPT="2")
    assert done.returncode == 0, done.stderr
    assert dispatches(github) == [
        f"workflow run canary.yml --ref main -f stack={stack} -f release=r6 -f image=ossrs/srs:v6.0-r1 -f steps=10,100 "
        "-f pause=10m -f wave=77-2"
        for stack in ("eu", "us", "asia")
    ]
    assert done.stdout.endswith("eu, us, asia: complete\n")
    ends = [index for index, call in enumerate(calls(github)) if ".conclusion" in call]
    starts = [index for index, call in enumerate(calls(github)) if call.startswith("workflow run")]
    assert starts == [0, ends[2] + 1, ends[5] + 1], "only after the one before is complete"


def test_a_canary_that_fails_ends_its_wave(github: Runner) -> None:
    (github.temp / "bad").write_text("us\n")
    done = github.run(named(WAVE, "Run one canary after the other"), **WAVE_INPUTS, GITHUB_RUN_ATTEMPT="2")
    assert done.returncode == 1
    assert "us: failure; the wave ends here" in done.stdout
    assert [call.split()[6] for call in dispatches(github)] == ["stack=eu", "stack=us"]


@pytest.mark.parametrize(
    ("name", "value"), [("STACKS", "eu us"), ("STACKS", "../x"), ("SOAK", "1 h"), ("SOAK", "$(id)")]
)
def test_a_wave_with_other_inputs_starts_nothing(github: Runner, name: str, value: str) -> None:
    inputs = WAVE_INPUTS | {name: value}
    assert github.run(named(WAVE, "Run one canary after the other"), **inputs, GITHUB_RUN_ATTEMPT="2").returncode == 1
    assert not (github.temp / "calls").exists()


def test_a_wave_has_no_credentials_and_names_the_inputs_of_a_canary() -> None:
    (job,) = WAVE["jobs"].values()
    assert "secrets." not in yaml.safe_dump(job)
    assert job["permissions"] == {"actions": "write", "contents": "read"}
    assert job["if"] == "${{ github.ref == 'refs/heads/main' }}"
    inputs = next(value for key, value in CANARY.items() if str(key) == "True")["workflow_dispatch"]["inputs"]
    script = (ROOT / ".github/scripts/wave.sh").read_text()
    assert set(re.findall(r'-f "(\w+)=', script)) <= inputs.keys()
    assert CANARY["run-name"].startswith("canary of ${{ inputs.release }} in ${{ inputs.stack }}${{ inputs.wave && ")


class Upstream:
    """A repository main, and the checkout of the job that commits."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.path = runner, runner.folder / "upstream"
        self.path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "receive.denyCurrentBranch", "updateInstead")
        self.write("replicas: 4\n\n\n\nweight: 100\n")
        (runner.checkout / ".github/scripts").unlink()
        (runner.checkout / ".github").rmdir()
        runner.checkout.rmdir()
        subprocess.run(["git", "clone", "--quiet", str(self.path), str(runner.checkout)], check=True)
        (runner.checkout / ".github").mkdir()
        (runner.checkout / ".github/scripts").symlink_to(ROOT / ".github/scripts")
        before = runner.temp / "result/before"
        before.mkdir(parents=True)
        (before / "Pulumi.prod.yaml").write_text(self.file.read_text())
        (runner.temp / "result/Pulumi.prod.yaml").write_text("replicas: 4\n\n\n\nweight: 75\nr6: 25\n")

    @property
    def file(self) -> Path:
        return self.path / "Pulumi.prod.yaml"

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", *arguments]
        return subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True).stdout

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", "edit")

    def commit_canary(self) -> subprocess.CompletedProcess[str]:
        return self.runner.run(named(CANARY, "Commit it"), STACK="prod", GH_TOKEN="t0", MESSAGE="Canary of r6")


def test_a_canary_is_committed_beside_what_was_merged_meanwhile(runner: Runner) -> None:
    upstream = Upstream(runner)
    upstream.write("replicas: 6\n\n\n\nweight: 100\n")
    done = upstream.commit_canary()
    assert done.returncode == 0, done.stdout + done.stderr
    assert upstream.file.read_text() == "replicas: 6\n\n\n\nweight: 75\nr6: 25\n"
    assert upstream.git("log", "-1", "--format=%s").strip() == "Canary of r6"


def test_a_conflict_with_what_was_merged_meanwhile_fails_and_overwrites_nothing(runner: Runner) -> None:
    upstream = Upstream(runner)
    upstream.write("replicas: 4\n\n\n\nweight: 50\n")
    done = upstream.commit_canary()
    assert done.returncode == 1
    assert "is not overwritten" in done.stdout
    assert upstream.file.read_text() == "replicas: 4\n\n\n\nweight: 50\n"


def test_a_change_that_main_has_already_is_not_committed_again(runner: Runner) -> None:
    upstream = Upstream(runner)
    assert upstream.commit_canary().returncode == 0
    again = upstream.commit_canary()
    assert (again.returncode, again.stdout) == (0, "main has this change of Pulumi.prod.yaml\n")
    assert upstream.git("log", "--format=%s").splitlines() == ["Canary of r6", "edit"]


def test_a_push_that_main_rejects_fails_with_its_reason(runner: Runner) -> None:
    upstream = Upstream(runner)
    executable(upstream.path / ".git/hooks/pre-receive", "echo protected branch >&2; exit 1")
    done = upstream.commit_canary()
    assert done.returncode == 1
    assert "protected branch" in done.stderr
    assert done.stdout.startswith("::error::the push to main was rejected, although main has not moved")


def test_a_commit_has_the_token_to_fetch_and_to_push(runner: Runner) -> None:
    """The checkout keeps no token (persist-credentials), and a private repository is not fetched without one."""
    upstream = Upstream(runner)
    git = shutil.which("git")
    key = "http.https://github.example/.extraheader"
    executable(
        runner.programs / "git",
        f'''case $1 in fetch | push) echo "$1 $({git} config {key})" >>"$RUNNER_TEMP/calls" ;; esac; exec {git} "$@"''',
    )
    assert upstream.commit_canary().returncode == 0
    header = f"AUTHORIZATION: basic {base64.b64encode(b'x-access-token:t0').decode()}"
    assert calls(runner) == [f"fetch {header}", f"push {header}"]
    assert "t0" not in (runner.checkout / ".git/config").read_text()


def test_a_canary_that_changed_nothing_is_not_committed(runner: Runner) -> None:
    upstream = Upstream(runner)
    (runner.temp / "result/Pulumi.prod.yaml").write_text(upstream.file.read_text())
    assert "is not changed" in upstream.commit_canary().stdout
    assert upstream.git("log", "--format=%s").split() == ["edit"]


def test_a_merge_updates_the_stacks_that_it_changes(runner: Runner) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=runner.checkout, check=True, capture_output=True, text=True).stdout.strip()

    def changed(before: str) -> Any:
        assert runner.run(named(UPDATE, "List the stacks that the merge changes"), BEFORE=before).returncode == 0
        return runner.outputs().get("stacks", [])

    git("init", "--quiet")
    for name in ("dev", "prod", "staging"):
        (runner.checkout / f"Pulumi.{name}.yaml").write_text("config: {}\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "1")
    first = git("rev-parse", "HEAD")
    assert changed("0" * 40) == ["prod", "staging"], "there is no earlier commit"
    (runner.checkout / "Pulumi.prod.yaml").write_text("config: {a: 1}\n")
    git("commit", "--quiet", "-am", "2")
    second = git("rev-parse", "HEAD")
    assert changed(first) == ["prod"]
    (runner.checkout / "requirements.txt").write_text("x\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "3")
    assert changed(second) == ["prod", "staging"]


def test_secrets_are_only_in_the_step_that_previews_behind_the_environment_of_its_stack() -> None:
    with_secrets = [step for step in steps(PREVIEW) if "secrets." in yaml.safe_dump(step)]
    assert [step["name"] for step in with_secrets] == ["Preview"]
    assert with_secrets[0] in JOBS["preview"]["steps"]
    assert JOBS["preview"]["environment"] == "preview-${{ matrix.stack }}"


def test_a_fork_gets_nothing() -> None:
    assert JOBS["stacks"]["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
    assert all("stacks" in job["needs"] for name, job in JOBS.items() if name != "stacks")


def test_the_cli_has_the_version_of_the_library() -> None:
    version = step("preview", "Install the Pulumi CLI")["with"]["pulumi-version"]
    assert f'"pulumi=={version}"' in (ROOT / "pyproject.toml").read_text()


def test_the_page_names_each_secret_and_variable_and_no_other() -> None:
    env = step("preview", "Preview")["env"]
    used = {name for name, value in env.items() if re.search(r"\b(secrets|vars)\.", str(value))}
    page = (ROOT / "docs" / "pull-requests.md").read_text()
    table = page.split("| name | kind | value |")[1].split("\n\n")[0]
    assert set(re.findall(r"`([A-Z_]+)`", table)) == used


def rules(role: str) -> list[dict[str, Any]]:
    objects = yaml.safe_load_all((ROOT / "docs" / role).read_text())
    return [rule for thing in objects for rule in thing.get("rules", [])]


def test_the_role_of_the_preview_can_only_read_and_reads_no_secret_and_no_log() -> None:
    assert rules("preview-role.yaml")
    for rule in rules("preview-role.yaml"):
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert not {"*", "secrets"} & {*rule["resources"], *rule["apiGroups"]}
        assert not [resource for resource in rule["resources"] if "/" in resource], "no pods/log"


def test_an_update_may_read_what_a_preview_may() -> None:
    def granted(role: str) -> set[tuple[str, str, str]]:
        return {
            (group, resource, verb)
            for rule in rules(role)
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    assert granted("preview-role.yaml") <= granted("update-role.yaml")
    assert "*" not in str(granted("update-role.yaml") | granted("operator-role.yaml"))


# Which stacks a pull request changes.


class Repository:
    """A git repository with stacks dev, prod and staging."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.git("init", "--quiet")
        for name in ("Pulumi.dev.yaml", "Pulumi.prod.yaml", "Pulumi.staging.yaml", "model/names.py", "README.md"):
            self.write(name, "1")
        self.write("Pulumi.staging.yaml", "config: {srs:edge: {releases: {r5: {srs: {conf: ./conf/edge.conf}}}}}\n")
        self.write("conf/edge.conf", "1")
        self.base = self.commit()

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.runner.checkout, capture_output=True, text=True, check=True).stdout

    def write(self, name: str, text: str = "2") -> None:
        path = self.runner.checkout / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD").strip()

    def stacks(self) -> tuple[subprocess.CompletedProcess[str], list[str] | None]:
        self.commit()
        result = self.runner.run(step("stacks", "List the stacks that the pull request changes"), BASE=self.base)
        return result, self.runner.outputs().get("stacks")


@pytest.fixture
def repository(runner: Runner) -> Repository:
    return Repository(runner)


@pytest.mark.parametrize(
    ("changed", "stacks"),
    [
        (["Pulumi.prod.yaml"], ["prod"]),
        (["Pulumi.prod.yaml", "Pulumi.eu-west-1.yaml", "README.md"], ["eu-west-1", "prod"]),
        (["model/names.py"], ["prod", "staging"]),
        (["update/plan.py", "Pulumi.prod.yaml"], ["prod", "staging"]),
        (["Pulumi.yaml"], ["prod", "staging"]),
        (["Pulumi.dev.yaml"], None),
        (["README.md"], None),
        (["conf/edge.conf"], ["staging"]),
        (["Pulumi.../x.yaml", "docs/Pulumi.prod.yaml"], None),
    ],
)
def test_stacks_that_a_pull_request_changes(
    repository: Repository, changed: list[str], stacks: list[str] | None
) -> None:
    for name in changed:
        repository.write(name)
    result, listed = repository.stacks()
    assert (result.returncode, listed) == (0, stacks), result.stderr


def test_a_stack_is_previewed_whose_conf_file_is_removed_or_renamed(repository: Repository) -> None:
    repository.git("mv", "conf/edge.conf", "conf/other.conf")
    assert repository.stacks()[1] == ["staging"]
    repository.git("rm", "--quiet", "conf/other.conf")
    assert repository.stacks()[1] == ["staging"]


def test_a_stack_that_is_removed_is_not_previewed(repository: Repository) -> None:
    (repository.runner.checkout / "Pulumi.prod.yaml").unlink()
    assert repository.stacks()[1] is None


@pytest.mark.parametrize(
    "stack",
    [
        "x; rm -rf ~",
        "..",
        "..\\x",
        "$(touch owned)",
        "`touch owned`",
        'a"b',
        "a'b",
        "a b",
        "a\nb",
        "a\n::error::b",
        "a.b",
        "-a",
        "Prod",
        "prüf",
        "",
        "a" * 42,
    ],
)
def test_a_stack_with_another_name_is_rejected_and_hides_no_other(repository: Repository, stack: str) -> None:
    repository.write(f"Pulumi.{stack}.yaml")
    repository.write("Pulumi.prod.yaml")
    result, listed = repository.stacks()
    assert (result.returncode, listed) == (1, ["prod"]), result.stderr
    errors = [line for line in result.stdout.splitlines() if line.startswith("::")]
    assert len(errors) == 1
    assert errors[0].startswith("::error::")
    assert "must match ^[a-z0-9][a-z0-9-]{0,40}$" in errors[0]
    assert not (repository.runner.checkout / "owned").exists()


def test_the_longest_name_is_taken(repository: Repository) -> None:
    repository.write(f"Pulumi.{'a' * 41}.yaml")
    assert repository.stacks()[1] == ["a" * 41]


def test_a_change_of_any_part_of_the_program_concerns_every_stack() -> None:
    assert TRIGGERS["pull_request"] is None, "a stack file may name any file"
    script = (ROOT / ".github/scripts/changed-stacks.sh").read_text()
    program = re.search(r"-- \\\n *(.*)\)\n", script)
    assert program
    tree = ast.parse((ROOT / "__main__.py").read_text())
    imported = {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    assert {name for name in imported if (ROOT / name).is_dir()} <= set(program[1].split())


# The preview.

CONFIG = "config:\n  srs:kubernetes:\n    kubeconfig: ~/.kube/prod.yaml\n"
SETTINGS = {
    "STACK": "prod",
    "PULUMI_BACKEND_URL": "azblob://state",
    "KUBECONFIG_DATA": "the kubeconfig",
    "PULUMI_CONFIG_PASSPHRASE": "the passphrase",
    "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=token%2B",
}


class Preview:
    """The step that previews, with a fake `pulumi`."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        executable(runner.checkout / ".venv" / "bin" / "python", f'exec "{sys.executable}" "$@"')
        self.config(CONFIG)

    def config(self, text: str) -> None:
        (self.runner.checkout / "Pulumi.prod.yaml").write_text(text)

    def run(self, pulumi: str, **settings: str) -> tuple[int, str, str]:
        """Exit code of the step, exit code and output that the comment is made from."""
        executable(self.runner.programs / "pulumi", pulumi)
        result = self.runner.run(step("preview", "Preview"), **(SETTINGS | settings))
        folder = self.runner.temp / "preview"
        output = (folder / "output.txt").read_text()
        assert result.stdout == output
        return result.returncode, (folder / "status").read_text().strip(), output


@pytest.fixture
def preview(runner: Runner) -> Preview:
    return Preview(runner)


def test_preview_of_the_stack(preview: Preview) -> None:
    arguments = "preview --refresh=false --stack prod --diff --non-interactive --color never --suppress-progress"
    assert preview.run('echo "$@"; echo "a warning" >&2') == (0, "0", f"{arguments}\na warning\n")


def test_a_dry_run_that_the_role_must_not_make_is_no_warning(preview: Preview) -> None:
    denied = 'Retry #0; creation failed: secrets "s" is forbidden: User "p" cannot patch resource "secrets"'
    assert preview.run(f"echo '    {denied}'; echo 'a warning'") == (0, "0", "a warning\n")


def test_the_kubeconfig_is_where_the_config_expects_it_and_only_the_runner_can_read_it(preview: Preview) -> None:
    preview.run("true")
    path = preview.runner.folder / "home" / ".kube" / "prod.yaml"
    assert path.read_text() == "the kubeconfig"
    assert path.stat().st_mode & 0o777 == 0o600


def test_pulumi_sees_no_credential_that_it_does_not_need_and_no_empty_one(preview: Preview) -> None:
    _, _, output = preview.run("env | cut -d= -f1")
    names = set(output.split())
    assert {"PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "AZURE_STORAGE_SAS_TOKEN"} <= names
    assert not names & {"KUBECONFIG_DATA", "PULUMI_ACCESS_TOKEN", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AZURE_CLIENT_ID"}


def test_a_failed_preview_fails_the_job_and_leaves_its_reason(preview: Preview) -> None:
    assert preview.run("echo 'error: cluster unreachable'; exit 255") == (255, "255", "error: cluster unreachable\n")


def test_a_preview_that_hangs_is_stopped(preview: Preview) -> None:
    assert preview.run("echo refreshing; exec sleep 30", TIMEOUT="0.5s") == (124, "124", "refreshing\n")


def test_without_a_path_in_the_config_the_kubeconfig_is_outside_of_the_checkout(preview: Preview) -> None:
    preview.config("config: {srs:kubernetes: {context: srs}}\n")
    path = preview.runner.temp / "kubeconfig"
    assert preview.run('echo "$KUBECONFIG"')[2] == f"{path}\n"
    assert path.read_text() == "the kubeconfig"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("config", ["config: {}\n", "config:\n  - [", "", "config: {srs:kubernetes: {}}\n"])
def test_a_config_without_a_cluster_is_rejected_by_the_program_not_by_the_script(preview: Preview, config: str) -> None:
    preview.config(config)
    assert preview.run("echo 'error: the stack config has 1 problem'; exit 1") == (
        1, "1", "error: the stack config has 1 problem\n",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["PULUMI_BACKEND_URL", "KUBECONFIG_DATA"])
def test_an_environment_that_is_not_set_up_is_a_reason(preview: Preview, name: str) -> None:
    status, _, output = preview.run("echo previewed", **{name: ""})
    assert status == 1
    assert output == f"error: environment preview-prod has no {name}; docs/pull-requests.md says what to set up\n"


@pytest.mark.parametrize("key", ["alicloud:accessKey", '"alicloud:secretKey"', "alicloud:securityToken"])
def test_a_key_that_can_change_the_cloud_is_not_decrypted_in_a_preview(preview: Preview, key: str) -> None:
    preview.config(f"{CONFIG}  {key}:\n    secure: v1:abc\n")
    status, _, output = preview.run("echo previewed")
    assert status == 1
    assert output.startswith("error: Pulumi.prod.yaml has an access key of Alibaba Cloud in it")
    assert "previewed" not in output


def test_secrets_are_masked_in_what_becomes_a_comment(preview: Preview) -> None:
    pulumi = 'echo "$PULUMI_CONFIG_PASSPHRASE"; echo "Get \\"https://a.example/b?sig=en%2Fcoded&sv=1\\": timeout"'
    assert preview.run(pulumi)[2] == '***\nGet "https://a.example/b?sig=***&sv=1": timeout\n'


# The comment.


def comment(runner: Runner, status: str | None, output: bytes = b"") -> str:
    folder = runner.temp / "preview"
    if status is not None:
        folder.mkdir()
        (folder / "status").write_text(f"{status}\n")
        (folder / "output.txt").write_bytes(output)
    result = runner.run(step("comment", "Write the comment"), STACK="prod", COMMIT=COMMIT)
    assert result.returncode == 0, result.stderr
    return (runner.temp / "body.md").read_text()


def test_the_comment_shows_the_preview(runner: Runner) -> None:
    assert comment(runner, "0", b"Previewing update (prod):\n    ~ spec\n") == (
        "<!-- preview of stack prod -->\n### Preview of stack `prod`\n\n"
        "Commit 0123456789ab, [run](https://github.example/org/srs/actions/runs/77)\n\n"
        "```text\nPreviewing update (prod):\n    ~ spec\n```\n"
    )


def test_the_comment_shows_why_the_preview_failed(runner: Runner) -> None:
    body = comment(runner, "255", b"error: the stack config has 1 problem; nothing was changed.\n")
    assert "### Preview of stack `prod`: failed" in body
    assert "The preview failed. The end of its output:" in body
    assert "error: the stack config has 1 problem; nothing was changed." in body


@pytest.mark.parametrize("status", ["124", "137"])
def test_the_comment_of_a_timeout(runner: Runner, status: str) -> None:
    body = comment(runner, status, b"refreshing")
    assert "### Preview of stack `prod`: timeout" in body
    assert "refreshing" in body


def test_the_comment_of_a_preview_that_never_ran(runner: Runner) -> None:
    body = comment(runner, None)
    assert body.startswith("<!-- preview of stack prod -->\n### Preview of stack `prod`: none\n")
    assert "Either the job was not approved (environment `preview-prod`), or it failed" in body


@pytest.mark.parametrize("status", ["0", "1"])
def test_a_long_output_is_cut_to_what_github_takes_and_keeps_its_reason(runner: Runner, status: str) -> None:
    body = comment(runner, status, b"the plan\n" + "ü…`".encode() * 50_000 + b"\nerror: the reason\n")
    assert len(body.encode()) < 61_000
    assert body.endswith("error: the reason\n```\n")
    assert ("the plan" in body) == (status == "0")
    assert "bytes are left out here" in body


def test_output_cannot_leave_its_code_block(runner: Runner) -> None:
    body = comment(runner, "1", b"```\n@everybody **look**\n`````\n\xff")
    assert body.endswith("``````text\n```\n@everybody **look**\n`````\n``````\n")


GH = """
printf '%s\\n' "$*" >>"$RUNNER_TEMP/calls"
while (($#)); do
    case $1 in --jq) filter=$2 ;; body=@*) cp "${1#body=@}" "$RUNNER_TEMP/sent" ;; esac
    shift
done
[[ ! -e $RUNNER_TEMP/sent ]] || { mv "$RUNNER_TEMP/sent" "$RUNNER_TEMP/sent.$(ls "$RUNNER_TEMP" | grep -c sent)"; }
case ${filter-} in .id) echo 900 ;; ?*) jq -c "$filter" "$RUNNER_TEMP/comments" ;; esac
"""


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_each_stack_has_one_comment_and_no_result_of_an_earlier_commit_stays_in_it(runner: Runner) -> None:
    executable(runner.programs / "gh", GH)
    marker = "<!-- preview of stack prod -->"
    comments = [
        {"id": 1, "user": {"login": "someone"}, "body": marker},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": "<!-- preview of stack prod-eu -->\nold"},
        {"id": 3, "user": {"login": "github-actions[bot]"}, "body": f"{marker}\nold"},
    ]
    (runner.temp / "comments").write_text(json.dumps(comments))
    announce = step("announce", "Replace the results of earlier commits")
    result = runner.run(announce, STACKS='["prod", "staging"]', COMMIT=COMMIT, PULL_REQUEST="5", GH_TOKEN="x")
    assert result.returncode == 0, result.stderr
    assert runner.outputs() == {"comments": {"prod": 3, "staging": 900}}
    _, edit, post = (runner.temp / "calls").read_text().splitlines()
    assert "--method PATCH repos/org/srs/issues/comments/3 " in edit
    assert post.startswith("api repos/org/srs/issues/5/comments ")
    sent = [path.read_text() for path in sorted(runner.temp.glob("sent.*"))]
    assert sent[0] == (
        f"{marker}\n### Preview of stack `prod`: waiting\n\n"
        "Commit 0123456789ab, [run](https://github.example/org/srs/actions/runs/77)\n\n"
        "The preview starts when a reviewer of environment `preview-prod` has approved it in the run.\n"
    )
    assert sent[1].startswith("<!-- preview of stack staging -->\n")

    comment(runner, "1", b"error: the reason")
    assert runner.run(step("comment", "Post the comment"), COMMENT="3", GH_TOKEN="x").returncode == 0
    assert "--method PATCH repos/org/srs/issues/comments/3 " in (runner.temp / "calls").read_text().splitlines()[-1]
    assert "error: the reason" in max(runner.temp.glob("sent.*")).read_text()
