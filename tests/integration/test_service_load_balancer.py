"""A load balancer of a controller that the program knows nothing about: `kind: service`."""

from stack import LOAD_BALANCER_ADDRESS, LOAD_BALANCER_CLASS, DevStack


def test_a_load_balancer_of_any_controller(stack: DevStack) -> None:
    """The address is awaited before any pod; what would drop connections is rejected; updates leave it alone."""
    stack.config["loadBalancer"] = {
        "kind": "service",
        "drainCeiling": "15m",
        "loadBalancerClass": LOAD_BALANCER_CLASS,
        "rtmpPort": 1936,
        "httpPort": 80,
        "addressTimeout": "3s",
        "protect": False,
        "sourceRanges": ["203.0.113.0/24"],
    }
    stack.config["edge"]["drain"] = {"timeout": "12h"}
    rejected = stack.update()
    assert (
        "12h is longer than srs:loadBalancer can keep: by its drainCeiling it ends a connection 15m" in rejected.output
    )

    stack.config["edge"]["drain"] = {"deregister": "1s", "timeout": "10m"}
    failed = stack.update()
    assert "no address: srs-edge-service. No pod was changed." in failed.output
    assert not stack.get("pods")["items"]

    stack.config["loadBalancer"]["addressTimeout"] = "1m"
    with stack.load_balancer_controller():
        stack.must_update()
        service = stack.get("service", "srs-edge-service")
        assert [port["port"] for port in service["spec"]["ports"]] == [1936, 80]
        assert service["spec"]["loadBalancerSourceRanges"] == ["203.0.113.0/24"]
        assert stack.stack.outputs()["urls"].value["flv"] == f"http://{LOAD_BALANCER_ADDRESS}:80/live/livestream.flv"

        # A controller's own fields are no drift.
        assert not stack.update().changes

        before = stack.snapshot()
        stack.config["loadBalancer"] |= {"loadBalancerClass": "example.com/other", "rtmpPort": 1935}
        assert "cannot be changed on Service srs-edge-service" in stack.update().output
        assert stack.snapshot() == before
