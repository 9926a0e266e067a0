"""What is refused, and what is said, when the load balancers of the config are held against the live Services."""

import copy
import json
from typing import Any

import pytest

from bad_configs import ALICLOUD, GOOD, NLB, SLB
from cluster.state import LiveState, address, consequences, refusals
from model.config import read_settings
from model.settings import StackSettings
from model.settings.load_balancer import IDENTITY


def front(load_balancer: dict[str, Any], **more: Any) -> StackSettings:
    config = copy.deepcopy(GOOD) | {"loadBalancer": load_balancer} | more
    return read_settings(ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()})


def services(of: StackSettings) -> LiveState:
    """The Services as an up with these settings leaves them."""
    live = {
        each.service: {
            "metadata": {"name": each.service, "annotations": {IDENTITY: each.identity}},
            "spec": {"selector": {"app": each.app}},
        }
        for each in of.fronts
    }
    return LiveState(services=live)


NEXT = SLB | {"service": "srs-edge-next"}


@pytest.mark.parametrize(
    ("then", "now", "path"),
    [
        (GOOD["loadBalancer"], SLB, ["kind"]),
        (SLB, {"kind": "none"}, ["kind"]),
        (SLB, NLB, ["addressType", "kind"]),
        (SLB, SLB | {"vswitchId": "vsw-2ze0009"}, ["vswitchId"]),
        (SLB, {"kind": "slb", "addressType": "internet"}, ["addressType", "vswitchId"]),
        (SLB, {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}, ["id", "vswitchId"]),
        (SLB, SLB | {"externalTrafficPolicy": "Local"}, ["externalTrafficPolicy"]),
        (SLB, SLB | {"backend": "eni"}, ["backend"]),
    ],
    ids=str,
)
def test_what_would_cut_those_who_are_connected_is_refused(
    then: dict[str, Any], now: dict[str, Any], path: list[str]
) -> None:
    short = {"edge": copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}}}
    problems = refusals(front(now, **short), services(front(then, **short)))
    assert sorted(str(problem.path[-1]) for problem in problems) == path
    for problem in problems:
        assert problem.path[0] == "loadBalancer"
        assert "cannot be changed on Service srs-edge-service, where it is" in problem.allowed
        assert "srs:formerLoadBalancer" in problem.allowed
    # The way to go that the message names.
    moved = front(now | {"service": "srs-edge-next"}, formerLoadBalancer=then, **short)
    assert not refusals(moved, services(front(then, **short)))


@pytest.mark.parametrize(
    "change",
    [
        {"scheduler": "rr"},
        {"connectionDrain": "10s"},
        {"instanceChargeType": "PayBySpec", "spec": "slb.s2.small"},
        {"name": "other"},
        {"tags": {"a": "b"}},
        {"deleteProtection": False, "modificationProtection": False, "protect": False},
        {"eip": {"bandwidth": 100}},
        {"host": "live.example.com"},
    ],
    ids=str,
)
def test_what_can_be_changed_in_place(change: dict[str, Any]) -> None:
    assert not refusals(front(SLB | change), services(front(SLB)))


def test_a_service_that_nobody_outside_uses_may_become_anything() -> None:
    for kind in (SLB, NLB, GOOD["loadBalancer"]):
        assert not refusals(front(kind), services(front({"kind": "none"})))


def test_services_of_earlier_versions_are_known_by_their_type() -> None:
    service = {"metadata": {"name": "srs-edge-service"}, "spec": {"type": "NodePort", "selector": {"app": "srs-edge"}}}
    state = LiveState(services={"srs-edge-service": service})
    (problem,) = refusals(front(SLB), state)
    assert "where it is 'nodePort'" in str(problem)
    assert not refusals(front(GOOD["loadBalancer"]), state)


def test_the_old_load_balancer_may_not_go_when_the_new_one_comes() -> None:
    (problem,) = refusals(front(NEXT), services(front(SLB)))
    assert str(problem).startswith("srs:loadBalancer.service: 'srs-edge-next' is a new Service, and srs-edge-service")
    both = front(NEXT, formerLoadBalancer=SLB)
    assert not refusals(both, services(front(SLB)))
    assert not refusals(front(NEXT), services(both)), "nobody uses it any more: it may go now"
    (line,) = consequences(front(NEXT), services(both))
    assert line == "Service srs-edge-service goes, with its load balancer and all connections through it"
    assert not list(consequences(both, services(front(SLB))))


def test_the_address_of_a_service() -> None:
    assert address(None) is None
    assert address({"status": {"loadBalancer": {}}}) is None
    assert address({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}) == "192.0.2.1"
    assert address({"status": {"loadBalancer": {"ingress": [{"hostname": "nlb.example.com"}]}}}) == "nlb.example.com"
