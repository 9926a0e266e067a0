"""An error of the cloud API fails the update with the API's own reason, and the next update continues from there."""

import json
import socket

from integration.prod.prod_stack import CLB, SECRETS, ProdStack
from stack import Result


def assert_fails_with(failed: Result, *words: str) -> None:
    assert not failed.ok
    for word in words:
        assert word in failed.output, failed.output
    assert "Traceback" not in failed.output
    for secret in SECRETS:
        assert secret not in failed.output


def test_an_error_at_the_creation_of_the_clb_is_shown_and_no_pod_is_created(prod: ProdStack) -> None:
    for code, message in (
        ("QuotaExceeded.LoadBalancer", "The maximum number of SLB instances is exceeded."),
        ("PAY.INSUFFICIENT_BALANCE", "Your account does not have enough balance."),
        ("Forbidden.RAM", "User not authorized to operate on the specified resource."),
    ):
        prod.api.fail("CreateLoadBalancer", code, message)
        assert_fails_with(prod.update(), CLB, code, message)
        assert prod.api.clbs == {}
        assert prod.kubectl("get", "deployments").startswith("No resources found"), "no pod before the load balancer"
    prod.load_balancer["vswitchId"] = "vsw-elsewhere01"
    assert_fails_with(prod.update(), CLB, "InvalidVswitchID.NotFound", "Specified vswitch does not exist.")


def creations(prod: ProdStack) -> list[str]:
    """Successful calls that created something."""
    actions = ("CreateLoadBalancer", "AllocateEipAddress")
    return [call.action for call in prod.api.calls if call.action in actions and call.status == 200]


def test_an_update_after_a_partial_creation_creates_nothing_twice(prod: ProdStack) -> None:
    api = prod.api
    # The provider retries after throttling and after an internal error.
    api.fail("CreateLoadBalancer", "Throttling.User", "Request was denied due to user flow control.", times=1)
    prod.load_balancer["eip"] = {"bandwidth": 100}
    api.fail("AllocateEipAddress", "InternalError", "The request processing has failed.", 500, times=1)
    # The CLB exists and its address is not bound to it.
    api.fail("AssociateEipAddress", "InvalidAssociation.Limit", "The instance has reached its limit.", times=10)
    assert_fails_with(prod.update(), "InvalidAssociation.Limit")
    assert {(call.action, call.status) for call in api.calls} >= {
        ("CreateLoadBalancer", 400),
        ("AllocateEipAddress", 500),
    }
    created = creations(prod)
    assert sorted(created) == ["AllocateEipAddress", "CreateLoadBalancer"]
    api.clear_faults()
    prod.must_update()
    assert creations(prod) == created
    (eip,) = api.eips.values()
    assert eip["InstanceId"] == prod.clb["LoadBalancerId"]
    assert prod.replicas() == {"r5": 4}

    # A change that the API rejects leaves the edges alone.
    prod.load_balancer["name"] = "renamed"
    api.fail("SetLoadBalancerName", "OperationDenied.Locked", "The instance is locked.", times=10)
    endpoints = prod.endpoints()
    assert_fails_with(prod.update(), CLB, "OperationDenied.Locked")
    assert prod.endpoints() == endpoints
    api.clear_faults()
    prod.must_update()
    assert prod.clb["LoadBalancerName"] == "renamed"


def test_an_unreachable_api_shows_no_signed_request(prod: ProdStack) -> None:
    api = prod.api
    api.hang("CreateLoadBalancer", 6, times=10)
    assert_fails_with(prod.update(), CLB, "Client.Timeout")
    api.clear_faults()

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{unused.getsockname()[1]}"
        known = prod.provider_config["alicloud:endpoints"]
        prod.provider_config["alicloud:endpoints"] = json.dumps([{"slb": endpoint, "vpc": endpoint}])
        failed = prod.update()
        assert_fails_with(failed, "connection refused")
        assert "AccessKeyId=[secret]" in failed.output, "the output contains the redacted request"
    prod.provider_config["alicloud:endpoints"] = known
    prod.must_update()
    assert prod.replicas() == {"r5": 4}
