"""The one release is updated in place and turns out black: its new revision leaves rotation, the earlier one serves.

The tests build on each other; the stack has one release of 4 edges, whose file is committed.
"""

import subprocess
from collections.abc import Iterator

import pytest

from cluster.live import ConflictError, LiveCluster
from rollout.stack.stack_file import StackFile
from rollout_operator import Operator
from stack import NAME, READY_AFTER, DevStack, eventually, release
from testbed.cluster import EmbeddedCluster

BLACK = release("v4.0.6", 100, podAnnotations={READY_AFTER: "6s"})
"""Its edges are ready after some seconds, one after the other: the update can be aborted meanwhile."""


@pytest.fixture(scope="module")
def operator(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    stack = DevStack(tmp_path_factory.mktemp("abort"), cluster.kubeconfig, "abort-update")
    # A run in place has `minReady` to pause the update, before the controller replaces the next edge.
    stack.config["edge"] |= {"maxSurge": 1, "minReady": "3s", "rolloutTimeout": "5m"}
    stack.releases(r5=release("v4.0.5", 100))
    stack.must_update()
    created = Operator(stack)
    created.commit_first("Release r5")
    yield created
    stack.clean_up()


def image(stack: DevStack) -> str:
    deployment = stack.get("deployment", "srs-edge-r5-deploy")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def black_edges(stack: DevStack) -> set[str]:
    return {
        pod["metadata"]["name"]
        for pod in stack.pods("run=srs-edge-r5")
        if pod["spec"]["containers"][0]["image"].endswith("v4.0.6")
    }


def begin_black_update(operator: Operator) -> "subprocess.Popen[str]":
    """An update in place whose first new edge has viewers, and whose last one has not begun."""
    stack = operator.stack
    stack.releases(r5=BLACK)
    update = stack.start_update()
    eventually(lambda: black_edges(stack) & stack.endpoints(), 90)
    return update


def assert_restored(operator: Operator, before: set[str]) -> None:
    stack = operator.stack
    assert operator.edge()["releases"]["r5"]["image"] == "ossrs/srs:v4.0.5"
    assert image(stack) == "ossrs/srs:v4.0.5"
    assert stack.replicas() == {"r5": 4}
    assert len(stack.endpoints()) == 4
    assert len(stack.endpoints() & before) >= 2, "edges that had not been replaced serve on"
    assert not black_edges(stack)
    deployment = stack.get("deployment", "srs-edge-r5-deploy")
    assert not deployment["spec"].get("paused")
    assert "srs/aborted" not in deployment["metadata"]["annotations"]
    assert "An update would change no workload." in operator.run("status")


@pytest.mark.parametrize("killed", [False, True], ids=["in progress", "killed"])
def test_an_update_of_the_only_release_is_aborted_by_revision(operator: Operator, killed: bool) -> None:
    stack = operator.stack
    before = stack.endpoints()
    update = begin_black_update(operator)
    if killed:
        stack.kill(update)
    with stack.watched_endpoints() as ready:
        aborted, seconds = operator.timed_abort("--release", "r5")
    update.wait()
    assert seconds < 5, "2 s without the load of other tests"
    assert aborted["edges"], "the new revision had viewers"
    assert aborted["remaining"]["ready"] >= 2
    assert min(ready) >= 2, "edges of the earlier revision served all the time"
    assert_restored(operator, before)


IN_PLACE = ("run", "--release", "r5", "--image", "ossrs/srs:v4.0.6", "--no-viewers", "--auto", "--commit")


def paused_at(operator: Operator, new: int) -> bool:
    """Whether the update is paused, with this number of new edges in rotation beside those of the earlier revision.

    There may be one more: the Deployment controller replaces the next edge as soon as the last one is available.
    """
    stack = operator.stack
    new_edges = black_edges(stack) & stack.endpoints()
    return bool(
        stack.get("deployment", "srs-edge-r5-deploy")["spec"].get("paused")
        and len(new_edges) in (new, new + 1)
        and len(stack.endpoints() - new_edges) >= 4 - len(new_edges)
        and stack.endpoints() - new_edges
    )


def test_a_run_updates_the_only_release_in_place_and_is_aborted_while_it_is_paused(operator: Operator) -> None:
    stack = operator.stack
    before, file = stack.endpoints(), operator.file.read_bytes()
    run = operator.start(*IN_PLACE, "--steps", "50,100", "--pause", "5m")
    eventually(lambda: paused_at(operator, 2), 90)
    status = operator.run("status")
    assert "a rollout run of release r5 (step 1 of 2" in status
    assert "r5 must not change while" in " ".join(status.split()), "an update by hand would resume it"
    aborted, seconds = operator.timed_abort()
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 4, output + errors
    assert "the run was aborted by" in output
    assert seconds < 5, "2 s without the load of other tests"
    assert len(aborted["edges"]) in (2, 3)
    assert_restored(operator, before)
    assert operator.file.read_bytes() == file


def test_a_run_in_place_keeps_an_edge_of_the_earlier_revision_until_its_last_step_has_passed(
    operator: Operator,
) -> None:
    stack = operator.stack
    run = operator.start(*IN_PLACE, "--steps", "25,100", "--pause", "8s")
    for new in (1, 3):
        eventually(lambda new=new: paused_at(operator, new), 90)
    output, errors = run.communicate(timeout=120)
    assert run.returncode == 0, output + errors
    assert stack.endpoints() == black_edges(stack)
    assert len(stack.endpoints()) == 4
    assert not stack.get("deployment", "srs-edge-r5-deploy")["spec"].get("paused")
    assert "An update would change no workload." in operator.run("status")
    operator.run("rollback", "--yes")
    assert image(stack) == "ossrs/srs:v4.0.5"


def test_an_abort_without_an_earlier_file_can_be_taken_back(operator: Operator) -> None:
    stack = operator.stack
    begin_black_update(operator)
    hidden = stack.folder / ".git.hidden"
    (stack.folder / ".git").rename(hidden)
    failed = operator.run("abort", "--release", "r5", code=1)
    assert "the edges of the earlier revision of release r5 serve, and its update stays aborted" in failed
    eventually(lambda: len(stack.endpoints()) == 4)
    assert not black_edges(stack), "the paused Deployment does not create them again"
    status = operator.run("status")
    assert "the update of r5 is aborted: the edges of its earlier revision serve" in status
    assert "because its update was aborted" in status
    operator.run("resume", "--release", "r5", "--yes")
    eventually(lambda: len(black_edges(stack) & stack.endpoints()) == 4, 60)
    eventually(lambda: stack.endpoints() == black_edges(stack))
    hidden.rename(stack.folder / ".git")


def test_a_complete_update_has_no_earlier_revision_to_return_to(operator: Operator) -> None:
    rejected = operator.run("abort", "--release", "r5", code=3)
    assert "it has none of an earlier revision" in rejected
    assert "`rollout rollback`" in rejected


def test_an_earlier_version_of_a_deployment_is_not_resumed(operator: Operator) -> None:
    live = LiveCluster(StackFile.of(operator.stack.folder, NAME).kubernetes)
    with pytest.raises(ConflictError):
        live.pause("srs-edge-r5-deploy", False, "1")
    assert not operator.stack.get("deployment", "srs-edge-r5-deploy")["spec"].get("paused")
