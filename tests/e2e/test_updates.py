"""Whatever an operator changes, no connection is dropped, and new ones are accepted."""

import json
import shutil
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from certificates import authority, certificate, private_key, rsa_key
from e2e.expectations import assert_shares_fit, assert_undisturbed
from e2e.live_stack import EDGES, LiveStack
from e2e.versions import serves_https, version_of
from e2e.viewers import Audience, Size, Viewers
from stack import eventually
from testbed.containers.images import SrsImages

COUNT_SECONDS = 15.0
"""Period in which new connections are counted by version."""


def test_a_rolling_update_and_rollback_drop_nobody(stack: LiveStack, audience: Audience, old: str, new: str) -> None:
    """Rolling update of the image in place, and its rollback"""
    stack.must_update()
    before = stack.pod_names()
    with audience() as viewers:
        viewers.step(f"to {version_of(new)}")
        stack.one_release(new)
        stack.must_update()
        assert not before & stack.pod_names(), "every edge was replaced"
        viewers.step(f"rollback to {version_of(old)}")
        stack.one_release(old)
        stack.must_update()
        viewers.count(5)
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES
    assert set(viewers.record.samples) == {version_of(old), version_of(new)}


def test_a_canary_to_100_percent_drops_nobody(stack: LiveStack, audience: Audience, old: str, new: str) -> None:
    """Canary: 25 %, 75 %, all, and the old release removed"""
    stack.must_update()
    counts: list[tuple[Counter[str], dict[str, float]]] = []
    with audience() as viewers:
        for weights in ((75, 25), (25, 75)):
            viewers.step(f"{weights[1]} %")
            stack.two_releases(old, new, weights)
            stack.must_update()
            percent = stack.actual_percent()
            assert percent == {"r5": weights[0], "r6": weights[1]}
            counts.append(
                (viewers.count(COUNT_SECONDS), {version_of(old): percent["r5"], version_of(new): percent["r6"]})
            )
        viewers.step("100 %")
        stack.two_releases(old, new, (0, 100))
        stack.must_update()
        assert set(viewers.count(5)) == {version_of(new)}
        viewers.step("r5 removed")
        stack.releases(r6=stack.config["edge"]["releases"]["r6"])
        removal = stack.must_update()
        assert removal.seconds < 60
        viewers.count(5)
        assert viewers.open()[version_of(old)] == viewers.size.players, "players stay on the old release"
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES
    assert_shares_fit(counts)


def test_an_abort_and_a_rollback_during_a_canary_step_drop_nobody(
    stack: LiveStack, audience: Audience, old: str, new: str
) -> None:
    """A canary that is aborted while it gets more edges; then a step that is killed half-way, and its rollback"""
    stack.two_releases(old, new, (75, 25))
    stack.must_update()
    with audience() as viewers:
        viewers.count(2)
        on_canary = viewers.open()[version_of(new)]
        assert on_canary > 0
        stack.two_releases(old, new, (25, 75))
        update = stack.start_update()
        eventually(lambda: len(stack.pods("run=srs-edge-r6")) == 3, 60)
        viewers.step("rollout abort")
        command = time.time()
        aborted = stack.rollout("abort", "--release", "r6", "--json")
        assert aborted.ok, aborted.output
        assert update.wait(60) != 0, "the update in progress ends itself"
        viewers.count(5)
        out = datetime.fromisoformat(json.loads(aborted.stdout)["outAt"]).timestamp()
        last = max(tick["t"] for tick in viewers.record.of("tick") if tick["samples_by_version"].get(version_of(new)))
        print(
            f"out of rotation {out - command:.1f} s after the command, last new connection on the canary at most "
            f"{last - command:.1f} s after it"
        )
        assert last - out < 2 + 1, "2 s, and a tick is one second"
        assert viewers.open()[version_of(new)] == on_canary, "its viewers stay"
        viewers.step("75 %, killed")
        stack.two_releases(old, new, (25, 75))
        update = stack.start_update()
        eventually(lambda: stack.get("deployment", "srs-edge-r6-deploy")["spec"]["replicas"] == 3)
        stack.kill(update)
        viewers.step("rollback")
        stack.one_release(old)
        stack.must_update()
        viewers.count(5)
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES - 1, "the edge that was aborted is replaced after it has left"
    assert stack.replicas() == {"r5": EDGES}


def test_another_srs_conf_drops_nobody(stack: LiveStack, audience: Audience, old: str) -> None:
    """A changed srs.conf: the release rolls"""
    stack.must_update()
    before = stack.pod_names()
    with audience() as viewers:
        viewers.step("maxConnections")
        stack.one_release(old, srs={"maxConnections": 900})
        stack.must_update()
        viewers.count(5)
        assert not before & stack.pod_names()
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES


def test_https_viewers_survive_a_renewed_certificate_and_an_update(
    stack: LiveStack, audience: Audience, images: SrsImages
) -> None:
    """HTTPS: the certificate is renewed, then the release rolls"""
    image = next((name for name in images.names if serves_https(name)), None)
    if image is None:
        pytest.skip("SRS_IMAGES has no version that serves HTTPS")
    keys = [rsa_key() for _ in range(3)]
    first, renewed = (certificate(key, issuer=keys[0]) for key in keys[1:])
    ca = stack.folder / "ca.crt"
    ca.write_text(authority(keys[0]))
    stack.kubectl("create", "namespace", stack.namespace)
    stack.create_certificate("live-tls", first, private_key(keys[1]))
    stack.config["kubernetes"]["createNamespace"] = False
    stack.config["tls"] = {"secretName": "live-tls"}
    stack.config["origin"]["image"] = image  # all players use HTTP-FLV, which 6.0.157 cannot pull from 4.0
    stack.one_release(image)
    stack.must_update()
    assert stack.certificates() == {first}
    before = stack.pod_names()
    with audience(ca) as viewers:
        viewers.step("renewed")
        stack.create_certificate("live-tls", renewed, private_key(keys[2]))
        # The kubelet renews the files when it looks at the pod next: at a change of the pod, or within two minutes.
        stack.kubectl("annotate", "pods", "--all", "e2e=renewed")
        eventually(lambda: stack.certificates() == {renewed}, 150)
        assert stack.pod_names() == before, "a renewed certificate replaces no edge"
        viewers.step("maxConnections")
        stack.one_release(image, srs={"maxConnections": 900})
        stack.must_update()
        assert not before & stack.pod_names()
        assert stack.certificates() == {renewed}
        with Viewers(stack.cluster, Size(8, 0), publish=False, ca=ca):
            viewers.count(5)
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES


def test_a_scale_down_from_8_to_3_edges_drops_nobody(stack: LiveStack, audience: Audience) -> None:
    """Fewer edges: from 8 to 3"""
    stack.config["edge"]["replicas"] = 8
    stack.must_update()
    with audience() as viewers:
        viewers.step("3 edges")
        stack.config["edge"]["replicas"] = 3
        stack.must_update()
        viewers.count(10)
        assert len(stack.endpoints()) == 3
        assert len(stack.pods(terminating=True)) > 0, "the other edges drain"
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= 3


def test_control_without_grace_settings_drops_connections(stack: LiveStack, audience: Audience, new: str) -> None:
    """Control: the same update without the grace settings"""
    remove_grace_settings(stack)
    stack.must_update()
    with audience() as viewers:
        viewers.step(f"to {version_of(new)}")
        stack.one_release(new)
        stack.must_update()
        viewers.count(5)
    # Tests that cannot show dropped connections would measure nothing.
    assert len(viewers.record.dropped_players) >= viewers.size.players / 2
    assert viewers.record.dropped_encoders


def remove_grace_settings(stack: LiveStack) -> None:
    """Give the stack its own copy of the program, without graceful quit, and no time to deregister."""
    model = stack.folder / "model"
    source = model.resolve()
    model.unlink()
    shutil.copytree(source, model)
    renderer: Path = model / "srs" / "conf.py"
    text = renderer.read_text()
    assert '"force_grace_quit on"' in text
    renderer.write_text(text.replace('"force_grace_quit on"', '"force_grace_quit off"'))
    stack.config["edge"]["drain"]["deregister"] = "0s"
