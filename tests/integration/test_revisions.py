"""A change of a release rolls that release only, and `kubectl rollout history` tells the story."""

from stack import DevStack, eventually, release


def history(stack: DevStack, name: str) -> list[str]:
    """The change-causes, oldest revision first."""
    lines = stack.kubectl("rollout", "history", f"deploy/srs-edge-{name}-deploy").splitlines()
    return [line.split(None, 1)[1] for line in lines if line[:1].isdigit()]


def config_hash(stack: DevStack, name: str) -> str:
    return str(stack.stack.outputs()["releases"].value[name]["configHash"])


def test_a_change_of_one_srs_conf_rolls_that_release_only(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.6", 1), r6=release("v4.0.6", 1))
    stack.must_up()
    r5, r6 = stack.pod_names("run=srs-edge-r5"), stack.pod_names("run=srs-edge-r6")
    stack.releases(r5=release("v4.0.6", 1), r6=release("v4.0.6", 1, srs={"maxConnections": 2000}))
    stack.must_up()
    assert stack.pod_names("run=srs-edge-r5") == r5
    assert not stack.pod_names("run=srs-edge-r6") & r6
    assert len(stack.pod_names("run=srs-edge-r6")) == 2


def test_history_tells_each_change_and_undo_finds_the_old_config(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_up()
    old = f"image=ossrs/srs:v4.0.5 config={config_hash(stack, 'r5')}"
    assert history(stack, "r5") == [old]

    stack.releases(r5=release("v4.0.6", 1))
    stack.must_up()
    image = f"image=ossrs/srs:v4.0.6 config={config_hash(stack, 'r5')}"
    assert history(stack, "r5") == [old, image]

    stack.releases(r5=release("v4.0.6", 1, srs={"maxConnections": 2000}))
    stack.must_up()
    config = f"image=ossrs/srs:v4.0.6 config={config_hash(stack, 'r5')}"
    assert history(stack, "r5") == [old, image, config]
    assert len({old, image, config}) == 3

    # A rollback by config is a new revision with the old cause (the revision of the same template moves up).
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_up()
    assert history(stack, "r5") == [image, config, old]

    stack.kubectl("rollout", "undo", "deploy/srs-edge-r5-deploy")
    stack.kubectl("rollout", "status", "deploy/srs-edge-r5-deploy", "--timeout=30s")
    assert history(stack, "r5")[-1] == config
    stack.assert_successors_are_ready()

    stack.config["edge"]["replicas"] = 2
    stack.must_up()
    assert len(history(stack, "r5")) == 3, "a change of replicas is no revision"


def test_a_rolling_update_can_be_held_and_let_go_on(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.config["edge"]["minReady"] = "5s"  # slow enough to be interrupted half-way
    stack.must_up()
    old = stack.pod_names()

    stack.releases(r5=release("v4.0.6", 1))
    up = stack.begin_up()
    eventually(lambda: stack.pod_names() - old)
    up.terminate()
    up.wait()

    stack.releases(r5=release("v4.0.6", 1, paused=True))
    held = stack.must_up()
    assert held.seconds < 30
    assert "release r5 is held" in held.output
    now = stack.pod_names()
    assert now & old, "the rollout went on to its end"
    assert len(stack.endpoints()) >= 4
    assert stack.get("deployment", "srs-edge-r5-deploy")["spec"]["paused"] is True
    assert stack.must_up().changes == {}
    assert stack.pod_names() == now

    stack.releases(r5=release("v4.0.6", 1))
    stack.must_up()
    assert not stack.pod_names() & old
    assert stack.replicas() == {"r5": 4}


def test_a_hold_is_refused_where_it_makes_no_sense(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1))
    stack.must_up()
    before = stack.snapshot()

    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 1, paused=True))
    refused = stack.up()
    assert not refused.ok
    assert "srs:edge.releases.r6.paused: True must be false on a release that does not exist yet" in refused.output

    stack.releases(r5=release("v4.0.5", 1, paused=True))
    stack.config["edge"]["replicas"] = 3
    refused = stack.up()
    assert not refused.ok
    assert "srs:edge.releases.r5.paused: True must not come together with a change of" in refused.output
    assert stack.snapshot() == before
