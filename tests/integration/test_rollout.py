"""Every verb of `rollout` on live objects: one stack, in the order of an operator's day.

The tests run in order and build on each other; together they take about a minute.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest

from cluster.live import LiveCluster
from cluster.run_record import read_run
from model.run_record import RunRecord
from rollout.canary.run_state import RunHolder
from rollout.stack.stack_file import StackFile
from rollout_operator import Operator
from stack import NAME, READY_AFTER, ROOT, STATE, DevStack, eventually, release
from testbed.cluster import EmbeddedCluster

SLOW = {"podAnnotations": {READY_AFTER: "8s"}}
"""An update waits for these edges, and can be aborted meanwhile."""


@pytest.fixture(scope="module")
def operator(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A stack with a canary of 25 %, whose file is committed."""
    stack = DevStack(tmp_path_factory.mktemp("rollout"), cluster.kubeconfig, "rollout")
    stack.releases(r5=release("v4.0.5", 75), r6=release("v4.0.6", 25, **SLOW))
    stack.must_update()
    created = Operator(stack)
    created.file.write_text(f"# 集群\n{created.file.read_text()}")
    created.commit_first("Canary r6")
    yield created
    stack.clean_up()


def test_status_shows_releases_origins_and_the_plan(operator: Operator) -> None:
    status = operator.json("status")
    columns = ("name", "desiredPercent", "actualPercent", "ready")
    assert [[item[key] for key in columns] for item in status["releases"]] == [["r5", 75, 75, 3], ["r6", 25, 25, 1]]
    assert status["releases"][1]["image"] == "ossrs/srs:v4.0.6"
    assert status["releases"][1]["changeCause"].endswith(status["releases"][1]["configHash"])
    assert [origin["ready"] for origin in status["origins"]] == [True]
    assert {workload["action"] for workload in status["plan"]["workloads"]} == {"none"}
    text = operator.run("status")
    assert "An update would change no workload." in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_abort_takes_the_canary_out_at_once_and_keeps_it_out(operator: Operator) -> None:
    stack = operator.stack
    (canary,) = [name for name in stack.pod_names() if "-r6-" in name]
    # As `rollout run` leaves it, killed in a step.
    live = LiveCluster(StackFile.of(stack.folder, NAME).kubernetes)
    weights = {"before": {"r5": 100, "r6": 0}, "of the step": {"r5": 50, "r6": 50}}
    run = RunHolder.begin(
        live,
        RunRecord(
            release="r6",
            steps=(50,),
            index=0,
            is_new=False,
            weights_before=weights["before"],
            weights=weights["of the step"],
        ),
    )
    assert "a rollout run of release r6 (step 1 of 1, since" in operator.run(
        "promote", "--release", "r6", "--yes", code=3
    )
    stack.config["edge"]["releases"] |= {"r5": release("v4.0.5", 50), "r6": release("v4.0.6", 50, **SLOW)}
    # An update in progress ends itself, before it scales the other release down.
    stack.variables["SRS_RUN_TOKEN"] = run.record.token
    with stack.watched_endpoints() as ready:
        update = stack.start_update()
        eventually(lambda: stack.get("deployment", "srs-edge-r6-deploy")["spec"]["replicas"] == 2)
        aborted, seconds = operator.timed_abort()
        update.wait()
    del stack.variables["SRS_RUN_TOKEN"]
    assert seconds < 5, "2 s without the load of other tests"
    assert canary in aborted["edges"]
    assert aborted["remaining"]["desired"] == 4
    assert operator.weights() == weights["before"], "the inverse of what the run has written"
    assert stack.replicas() == {"r5": 4, "r6": 0}
    assert not stack.get("deployment", "srs-edge-r6-deploy")["spec"].get("paused")
    assert all("-r5-" in name for name in stack.endpoints())
    assert min(ready) >= 3, "the edges of r5 served all the time"
    assert read_run(live) is None


def test_an_aborted_release_stays_out_until_it_is_changed_or_resumed(operator: Operator) -> None:
    stack = operator.stack
    operator.git("checkout", "--", operator.file.name)
    stack.stack.up()
    backend = stack.variables["PULUMI_BACKEND_URL"]
    stack.variables["PULUMI_BACKEND_URL"] = "https://127.0.0.1:9"
    out = operator.run("abort", "--release", "r6", "--yes", code=1)
    stack.variables["PULUMI_BACKEND_URL"] = backend
    assert "release r6 is out of rotation after" in out, "without a call of the backend, which does not answer"
    (name,) = stack.pod_names("app=srs-edge-aborted")
    assert name not in stack.endpoints()
    stack.kubectl("delete", "pod", "--grace-period=0", "--force", name)
    eventually(lambda: stack.replicas()["r6"] == 1)
    assert all("-r5-" in endpoint for endpoint in stack.endpoints()), "its replacement does not rejoin"
    rejected = operator.json("status")["planError"]
    assert "srs:edge.releases.r6.weight: 25 must be 0, because the release was aborted" in rejected
    assert "r6 is aborted: it receives no new viewers" in operator.run("status", "--no-plan")
    assert "no other release than r5 has ready edges" in operator.run("abort", "--release", "r5", code=3)
    operator.run("resume", "--release", "r6", "--yes")
    eventually(lambda: len(stack.endpoints()) == 4)
    assert {w["action"] for w in operator.json("status")["plan"]["workloads"]} == {"none"}, "nothing rolls"


def test_promote_pause_resume_and_rollback_edit_the_file_and_update(operator: Operator) -> None:
    stack = operator.stack
    comment = operator.file.read_text().splitlines()[0]
    assert "--yes is required" in operator.run("promote", "--release", "r6", code=3)
    assert operator.weights() == {"r5": 75, "r6": 25}, "the answer was no"
    promoted = operator.json("promote", "--release", "r6", "--commit", "--yes")
    assert promoted["message"] == "Promote release r6"
    assert operator.weights() == {"r5": 0, "r6": 100}
    assert operator.file.read_text().splitlines()[0] == comment
    assert stack.replicas() == {"r5": 0, "r6": 4}

    operator.run("pause", "--release", "r6", "--yes")
    assert stack.get("deployment", "srs-edge-r6-deploy")["spec"]["paused"]
    operator.run("resume", "--release", "r6", "--yes")
    assert not stack.get("deployment", "srs-edge-r6-deploy")["spec"].get("paused")

    rolled_back = operator.json("rollback", "--commit", "--yes")
    assert rolled_back["commit"] == operator.git("rev-parse", "--short", "HEAD~2").strip()
    assert operator.weights() == {"r5": 75, "r6": 25}
    assert stack.replicas() == {"r5": 3, "r6": 1}


def test_the_history_has_who_what_and_the_result(operator: Operator) -> None:
    history = operator.json("history")
    last = history["updates"][0]
    assert (last["result"], last["who"]) == ("succeeded", "Operator")
    assert last["message"].startswith("Roll back Pulumi.dev.yaml to ")
    assert [(item["name"], item["share"], item["edges"]) for item in last["releases"]] == [("r5", 75, 3), ("r6", 25, 1)]
    assert [commit["subject"] for commit in history["commits"]][1:] == ["Promote release r6", "Canary r6"]
    text = operator.run("history", "--limit", "3")
    assert "r6  100 %  v4.0.6" in text
    assert max(map(len, text.splitlines())) <= 100


def test_an_update_that_fails_has_the_programs_own_reason(operator: Operator) -> None:
    text = operator.file.read_text()
    operator.file.write_text(text.replace("weight: 25", "wieght: 25"))
    output = operator.run("promote", "--release", "r5", "--yes", code=3)
    assert "unknown key; did you mean 'weight'?" in output
    operator.file.write_text(text)


def test_draining_lists_the_edges_of_the_promotion(operator: Operator) -> None:
    draining = operator.json("draining")
    assert {entry["pod"] for entry in draining} == operator.stack.pod_names("", terminating=True)


def test_an_interrupted_run_is_resumed_and_a_second_one_rejected(operator: Operator) -> None:
    stack = operator.stack
    canary = ["run", "--release", "r7", "--image", "ossrs/srs:v4.0.271", "--no-viewers", "--auto"]
    options = [*canary, "--pause", "1s", "--steps", "25,50"]
    before = operator.file.read_bytes()
    dry = operator.json(*options, "--dry-run")
    assert [step["percent"] for step in dry["steps"]] == [25, 50]
    assert operator.file.read_bytes() == before
    process = subprocess.Popen(
        [str(ROOT / "bin/rollout"), *options, "--stack", NAME],
        cwd=stack.folder,
        env={**os.environ, **stack.variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: "r7" in stack.replicas(), 60)
    process.kill()  # the update runs on
    process.wait()
    assert "a rollout run of release r7 (step 1 of 2" in operator.run(*options, code=3)
    resumed = operator.json("resume")
    assert resumed["result"] == "complete"
    assert [step["percent"] for step in resumed["steps"]] == [25, 50]
    assert stack.replicas()["r7"] == 2
    assert read_run(LiveCluster(StackFile.of(stack.folder, NAME).kubernetes)) is None


def test_a_canary_that_crashes_under_its_first_viewers_is_reverted(operator: Operator) -> None:
    stack = operator.stack
    operator.git("checkout", "--", operator.file.name)
    crashing = {"podAnnotations": {STATE: "crash-after-ready", "srs.testbed/crash-after": "8s"}}
    file = StackFile.of(stack.folder, NAME).with_releases({"r7": release("v4.0.271", 0, **crashing)})
    file.write()
    run = ["run", "--release", "r7", "--no-viewers", "--auto", "--pause", "60s", "--steps", "25,100"]
    reverted = operator.json(*run, code=4)
    assert reverted["result"] == "reverted"
    assert any("has restarted" in reason or "is not ready" in reason for reason in reverted["reasons"]), reverted
    assert operator.file.read_bytes() == file.content
    assert "r7" not in {name for name, count in stack.replicas().items() if count}
