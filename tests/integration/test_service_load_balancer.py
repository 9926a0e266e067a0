"""A load balancer of a controller that the program knows nothing about: `kind: service`."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager

from stack import DevStack

CLASS = "example.com/lb"
ADDRESS = "192.0.2.7"


@contextmanager
def controller(stack: DevStack) -> Generator[None]:
    """Gives Services of its class an address, as a controller does when it has made their load balancer."""
    done = threading.Event()
    status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}})

    def run() -> None:
        while not done.wait(0.5):
            for service in stack.get("services")["items"]:
                spec, name = service["spec"], service["metadata"]["name"]
                if spec.get("loadBalancerClass") == CLASS and not service["status"].get("loadBalancer"):
                    stack.kubectl("patch", "service", name, "--subresource=status", "--type=merge", "-p", status)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_load_balancer_of_any_controller(stack: DevStack) -> None:
    """The address is awaited before any pod; what would drop connections is rejected; updates leave it alone."""
    stack.config["loadBalancer"] = {
        "kind": "service",
        "drainCeiling": "15m",
        "loadBalancerClass": CLASS,
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
    with controller(stack):
        stack.must_update()
        service = stack.get("service", "srs-edge-service")
        assert [port["port"] for port in service["spec"]["ports"]] == [1936, 80]
        assert service["spec"]["loadBalancerSourceRanges"] == ["203.0.113.0/24"]
        assert stack.stack.outputs()["urls"].value["flv"] == f"http://{ADDRESS}:80/live/livestream.flv"

        # A controller's own fields are no drift.
        assert not stack.update().changes

        before = stack.snapshot()
        stack.config["loadBalancer"] |= {"loadBalancerClass": "example.com/other", "rtmpPort": 1935}
        assert "cannot be changed on Service srs-edge-service" in stack.update().output
        assert stack.snapshot() == before
