"""What a plan rejects and warns about when it compares load balancers with the live Services."""

import copy
import json
from typing import Any

import pytest

from bad_configs import ALICLOUD, GOOD, NLB, SLB
from cluster.state import LiveState, address
from model.config import read_settings
from model.problems import Problem
from model.settings.stack import StackSettings
from unit.update.live_objects import STACK, metadata, state_after
from update.plan import plan


def with_load_balancer(load_balancer: dict[str, Any], **more: Any) -> StackSettings:
    config = copy.deepcopy(GOOD) | {"loadBalancer": load_balancer} | more
    return read_settings(ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()})


def services(settings: StackSettings) -> LiveState:
    """The state after an update with these settings."""
    return state_after(settings)


def rejections(settings: StackSettings, state: LiveState) -> tuple[Problem, ...]:
    return plan(settings, state, STACK, None).rejections


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
def test_a_change_that_would_drop_connections_is_rejected(
    then: dict[str, Any], now: dict[str, Any], path: list[str]
) -> None:
    short = {"edge": copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}}}
    problems = rejections(with_load_balancer(now, **short), services(with_load_balancer(then, **short)))
    assert sorted(str(problem.path[-1]) for problem in problems) == path
    for problem in problems:
        assert problem.path[0] == "loadBalancer"
        assert "cannot be changed on Service srs-edge-service, where it is" in problem.allowed
        assert "srs:formerLoadBalancer" in problem.allowed
    # The alternative in the message.
    moved = with_load_balancer(now | {"service": "srs-edge-next"}, formerLoadBalancer=then, **short)
    assert not rejections(moved, services(with_load_balancer(then, **short)))


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
    assert not rejections(with_load_balancer(SLB | change), services(with_load_balancer(SLB)))


def test_a_service_without_connections_from_outside_may_change_its_kind() -> None:
    for kind in (SLB, NLB, GOOD["loadBalancer"]):
        assert not rejections(with_load_balancer(kind), services(with_load_balancer({"kind": "none"})))


def test_services_of_earlier_versions_are_identified_by_their_type() -> None:
    service = {"metadata": metadata("srs-edge-service"), "spec": {"type": "NodePort", "selector": {"app": "srs-edge"}}}
    state = LiveState("uid", objects={"Service": {"srs-edge-service": service}})
    (problem,) = rejections(with_load_balancer(SLB), state)
    assert "where it is 'nodePort'" in str(problem)
    assert not rejections(with_load_balancer(GOOD["loadBalancer"]), state)


def test_an_old_load_balancer_is_not_deleted_together_with_the_creation_of_the_new_one() -> None:
    (problem,) = rejections(with_load_balancer(NEXT), services(with_load_balancer(SLB)))
    assert str(problem).startswith("srs:loadBalancer.service: 'srs-edge-next' is a new Service, and srs-edge-service")
    both = with_load_balancer(NEXT, formerLoadBalancer=SLB)
    assert not rejections(both, services(with_load_balancer(SLB)))
    assert not rejections(with_load_balancer(NEXT), services(both)), "nobody uses it any more"
    (warning,) = plan(with_load_balancer(NEXT), services(both), STACK, None).warnings
    assert warning == (
        "Service srs-edge-service will be deleted, with its load balancer and all connections through it"
    )
    assert not plan(both, services(with_load_balancer(SLB)), STACK, None).warnings


def test_a_service_has_the_address_of_its_load_balancer() -> None:
    assert address(None) is None
    assert address({"status": {"loadBalancer": {}}}) is None
    assert address({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}) == "192.0.2.1"
    assert address({"status": {"loadBalancer": {"ingress": [{"hostname": "nlb.example.com"}]}}}) == "nlb.example.com"
