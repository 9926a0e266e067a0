"""A change of a release rolls that release only, and `kubectl rollout history` shows every change."""

import json

from stack import DevStack, eventually, release


def history(stack: DevStack, name: str) -> list[str]:
    """The change-causes, oldest revision first."""
    lines = stack.kubectl("rollout", "history", f"deploy/srs-edge-{name}-deploy").splitlines()
    return [line.split(None, 1)[1] for line in lines if line[:1].isdigit()]


def config_hash(stack: DevStack, name: str) -> str:
    return str(stack.stack.outputs()["releases"].value[name]["configHash"])


def test_a_change_of_one_srs_conf_rolls_that_release_only(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.6", 1), r6=release("v4.0.6", 1))
    stack.must_update()
    r5, r6 = stack.pod_names("run=srs-edge-r5"), stack.pod_names("run=srs-edge-r6")
    stack.releases(r5=release("v4.0.6", 1), r6=release("v4.0.6", 1, srs={"maxConnections": 2000}))
    stack.must_update()
    assert stack.pod_names("run=srs-edge-r5") == r5
    assert not stack.pod_names("run=srs-edge-r6") & r6
    assert len(stack.pod_names("run=srs-edge-r6")) == 2


def test_history_shows_each_change_and_undo_finds_the_old_config(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_update()
    old = f"image=ossrs/srs:v4.0.5 config={config_hash(stack, 'r5')}"
    assert history(stack, "r5") == [old]

    stack.releases(r5=release("v4.0.6", 1))
    stack.must_update()
    image = f"image=ossrs/srs:v4.0.6 config={config_hash(stack, 'r5')}"
    assert history(stack, "r5") == [old, image]

    stack.releases(r5=release("v4.0.6", 1, srs={"maxConnections": 2000}))
    stack.must_update()
    config = f"image=ossrs/srs:v4.0.6 config={config_hash(stack, 'r5')}"
    assert history(stack, "r5") == [old, image, config]
    assert len({old, image, config}) == 3

    # A rollback by config makes the old ReplicaSet the newest revision, with its old cause.
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_update()
    assert history(stack, "r5") == [image, config, old]

    stack.kubectl("rollout", "undo", "deploy/srs-edge-r5-deploy")
    stack.kubectl("rollout", "status", "deploy/srs-edge-r5-deploy", "--timeout=30s")
    assert history(stack, "r5")[-1] == config
    stack.assert_successors_are_ready()

    stack.config["edge"]["replicas"] = 2
    stack.must_update()
    assert len(history(stack, "r5")) == 3, "a changed number of replicas creates no revision"


def test_a_configuration_is_kept_as_long_as_its_revision(stack: DevStack) -> None:
    def configurations() -> set[str]:
        return {item["metadata"]["name"] for item in stack.get("configmaps", selector="app=srs-edge-r5")["items"]}

    stack.releases(r5=release("v4.0.6", 1))
    stack.must_update()
    (first,) = configurations()
    stack.releases(r5=release("v4.0.6", 1, srs={"maxConnections": 2000}))
    stack.must_update()
    assert first in configurations()

    # As the controller does for a revision beyond the limit.
    (old,) = (
        item["metadata"]["name"]
        for item in stack.get("replicasets")["items"]
        if first in json.dumps(item["spec"]["template"])
    )
    stack.kubectl("delete", "replicaset", old)
    for pod in stack.pods(terminating=True):
        stack.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    assert f"ConfigMap {first}: delete" in stack.preview().output
    stack.must_update()
    (second,) = configurations()
    assert second != first


def test_a_rolling_update_can_be_paused_and_resumed(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.config["edge"] |= {"minReady": "7s", "rolloutTimeout": "3m"}  # slow enough to be interrupted
    stack.must_update()
    old = stack.pod_names()

    stack.releases(r5=release("v4.0.6", 1))
    update = stack.start_update()
    eventually(lambda: stack.pod_names() - old)
    update.terminate()
    update.wait()

    stack.releases(r5=release("v4.0.6", 1, paused=True))
    paused = stack.must_update()
    assert "edge release r5 is paused" in paused.output
    current = stack.pod_names()
    assert current & old, "the rollout was completed"
    assert len(stack.endpoints()) >= 4
    assert stack.get("deployment", "srs-edge-r5-deploy")["spec"]["paused"] is True
    assert stack.must_update().changes == {}
    assert stack.pod_names() == current

    stack.releases(r5=release("v4.0.6", 1))
    stack.must_update()
    assert not stack.pod_names() & old
    assert stack.replicas() == {"r5": 4}


def test_a_pause_that_contradicts_the_config_is_rejected(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_update()
    before = stack.snapshot()

    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 1, paused=True))
    rejected = stack.update()
    assert not rejected.ok
    assert "srs:edge.releases.r6.paused: true must be false on a release that does not exist yet" in rejected.output

    stack.releases(r5=release("v4.0.5", 1, paused=True))
    stack.config["edge"]["replicas"] = 3
    rejected = stack.update()
    assert not rejected.ok
    assert "srs:edge.releases.r5.paused: true must not be combined with a change of" in rejected.output
    assert stack.snapshot() == before
