"""`kind: service` with a controller of bare metal."""

from pathlib import Path

from e2e.live_stack import LiveStack
from e2e.metallb import ADDRESS, CLASS, metallb
from e2e.versions import version_of
from e2e.viewers import Size, Viewers


def test_an_update_behind_metallb_drops_nobody(
    stack: LiveStack, size: Size, old: str, new: str, tmp_path: Path
) -> None:
    stack.config["loadBalancer"] = {
        "kind": "service",
        "drainCeiling": "none",
        "loadBalancerClass": CLASS,
        "httpPort": 80,
        "protect": False,
    }
    stack.config["edge"]["replicas"] = 2
    with metallb(stack.cluster, tmp_path) as client:
        stack.must_update()
        assert stack.stack.outputs()["urls"].value["flv"] == f"http://{ADDRESS}:80/live/livestream.flv"
        before = stack.get("service", "srs-edge-service")
        with Viewers(stack.cluster, size, rtmp=f"{ADDRESS}:1935", http=f"{ADDRESS}:80", network=client) as viewers:
            viewers.step(f"{version_of(old)} to {version_of(new)}")
            edges = stack.pod_names()
            stack.one_release(new)
            stack.must_update()
            assert set(viewers.count(5)) == {version_of(new)}
            assert viewers.open()[version_of(old)] > 0
            assert stack.pod_names(terminating=True) == edges, "they have players"
        assert viewers.record.dropped == []
        assert viewers.record.failed == []
        after = stack.get("service", "srs-edge-service")
        assert after["status"]["loadBalancer"] == before["status"]["loadBalancer"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert stack.must_update().changes == {}, "the controller's own fields are no drift"
