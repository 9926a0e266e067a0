"""What the cloud refuses: the up fails with the cloud's own reason, and the next one goes on from there."""

import json
import socket

from integration.prod.prod_stack import CLB, SECRETS, ProdStack
from stack import Result


def assert_told(failed: Result, *words: str) -> None:
    assert not failed.ok
    for word in words:
        assert word in failed.output, failed.output
    assert "Traceback" not in failed.output
    for secret in SECRETS:
        assert secret not in failed.output


def creations(prod: ProdStack, action: str) -> int:
    return len([call for call in prod.api.calls if call.action == action and call.status == 200])


def test_each_refusal_is_told_and_the_next_up_goes_on(prod: ProdStack) -> None:
    api = prod.api
    for code, message in (
        ("QuotaExceeded.LoadBalancer", "The maximum number of SLB instances is exceeded."),
        ("PAY.INSUFFICIENT_BALANCE", "Your account does not have enough balance."),
        ("Forbidden.RAM", "User not authorized to operate on the specified resource."),
    ):
        api.fail("CreateLoadBalancer", code, message)
        assert_told(prod.up(), CLB, code, message)
        assert api.clbs == {}
        assert prod.kubectl("get", "deployments").startswith("No resources found"), "no pod before the load balancer"

    # The vswitch is not there.
    (known,) = api.vswitches
    prod.lb["vswitchId"] = "vsw-elsewhere01"
    assert_told(prod.up(), CLB, "InvalidVswitchID.NotFound", "Specified vswitch does not exist.")
    prod.lb["vswitchId"] = known

    # Throttled: the provider tries again by itself.
    api.fail("CreateLoadBalancer", "Throttling.User", "Request was denied due to user flow control.", times=1)
    prod.lb["eip"] = {"bandwidth": 100}
    # A 500 in the middle, likewise.
    api.fail("AllocateEipAddress", "InternalError", "The request processing has failed.", 500, times=1)
    # A refusal in the middle: the CLB is there, the address is not bound to it.
    api.fail("AssociateEipAddress", "InvalidAssociation.Limit", "The instance has reached its limit.", times=10)
    assert_told(prod.up(), "InvalidAssociation.Limit")
    assert {(call.action, call.status) for call in api.calls} >= {
        ("CreateLoadBalancer", 400),
        ("AllocateEipAddress", 500),
    }
    assert (creations(prod, "CreateLoadBalancer"), creations(prod, "AllocateEipAddress")) == (1, 1)
    api.mend()
    prod.must_up()
    assert (creations(prod, "CreateLoadBalancer"), creations(prod, "AllocateEipAddress")) == (1, 1)
    (eip,) = api.eips.values()
    assert eip["InstanceId"] == prod.clb["LoadBalancerId"]
    assert prod.replicas() == {"r5": 4}

    # A change that is refused leaves what is there.
    prod.lb.update({"instanceChargeType": "PayBySpec", "spec": "slb.s3.large"})
    api.fail("ModifyLoadBalancerInstanceChargeType", "OperationDenied.OnlyOneTimePerDay", "Once a day.", times=10)
    endpoints = prod.endpoints()
    assert_told(prod.up(), CLB, "OperationDenied.OnlyOneTimePerDay")
    assert prod.endpoints() == endpoints
    api.mend()
    prod.must_up()
    assert prod.clb["LoadBalancerSpec"] == "slb.s3.large"


def test_an_api_that_is_away_shows_no_signed_request(prod: ProdStack) -> None:
    api = prod.api
    api.hang("CreateLoadBalancer", 6, times=10)
    assert_told(prod.up(), CLB, "Client.Timeout")
    api.mend()

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{nobody.getsockname()[1]}"
        known = prod.cloud["alicloud:endpoints"]
        prod.cloud["alicloud:endpoints"] = json.dumps([{"slb": endpoint, "vpc": endpoint}])
        away = prod.up()
        assert_told(away, "connection refused")
        assert "AccessKeyId=[secret]" in away.output, "else this test would not see a key that leaks"
    prod.cloud["alicloud:endpoints"] = known
    prod.must_up()
    assert prod.replicas() == {"r5": 4}
