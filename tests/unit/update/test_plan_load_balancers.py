"""What a plan rejects and warns about when it compares load balancers with the live Services."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from bad_configs import ALICLOUD, GOOD, NLB, SERVICE, SIX, SLB, ZONES
from cluster.state import LiveState, address
from model.config.problems import Problem
from model.config.read import read_settings
from model.config.stack import StackSettings
from model.load_balancers.alibaba import PREFIX
from model.load_balancers.exposed_service import IDENTITY
from unit.update.live_objects import metadata, planned, rendered, state_after
from update.kept import read_kept


def with_load_balancer(load_balancer: dict[str, Any], **more: Any) -> StackSettings:
    config = copy.deepcopy(GOOD) | {"loadBalancer": load_balancer} | more
    return read_settings(ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()})


def services(settings: StackSettings) -> LiveState:
    """The state after an update with these settings."""
    return state_after(settings)


def rejections(settings: StackSettings, state: LiveState) -> tuple[Problem, ...]:
    return planned(settings, state).rejections


NEXT = SLB | {"service": "srs-edge-next"}
UNPROTECTED = SLB | {"protect": False, "deleteProtection": False}
EIP = SLB | {"eip": {"bandwidth": 100}}
ACL = {f"{PREFIX}acl-status": "on", f"{PREFIX}acl-type": "white", f"{PREFIX}acl-id": "acl-2ze0001"}


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
        (SLB, SLB | {"resourceGroupId": "rg-acfm0001"}, ["resourceGroupId"]),
        (EIP, SLB, ["eip"]),
        (EIP, SLB | {"eip": {"bandwidth": 100, "chargeType": "PayByBandwidth"}}, ["eip"]),
        (SLB, SLB | {"annotations": {f"{PREFIX}cookie": "x"}}, ["annotations"]),
        (NLB, NLB | {"zoneMaps": ZONES | {"cn-beijing-k": "vsw-2ze0003"}}, ["zoneMaps"]),
        (NLB, NLB | {"annotations": {f"{PREFIX}security-group-ids": "sg-1"}}, ["annotations"]),
        (SERVICE, SERVICE | {"loadBalancerClass": "example.com/lb"}, ["loadBalancerClass"]),
        (SERVICE, SERVICE | {"annotations": {"example.com/key": "x"}}, ["annotations"]),
        (SERVICE, SERVICE | {"httpPort": 80, "rtmpPort": 1936}, ["httpPort", "rtmpPort"]),
        (SERVICE, SERVICE | {"externalTrafficPolicy": "Local"}, ["externalTrafficPolicy"]),
        (GOOD["loadBalancer"], GOOD["loadBalancer"] | {"rtmpPort": 31936}, ["rtmpPort"]),
        (GOOD["loadBalancer"], GOOD["loadBalancer"] | {"httpPort": 30081}, ["httpPort"]),
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
    if {"rtmpPort", "httpPort"} & set(path):
        now = now | {"rtmpPort": 31937, "httpPort": 30082}
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
        {"annotations": ACL | {"external-dns.alpha.kubernetes.io/hostname": "a.example.com"}},
    ],
    ids=str,
)
def test_what_can_be_changed_in_place(change: dict[str, Any]) -> None:
    assert not rejections(with_load_balancer(SLB | change), services(with_load_balancer(SLB)))


def test_a_rejected_change_says_what_is_and_what_was_to_be() -> None:
    (problem,) = rejections(with_load_balancer(SLB | {"vswitchId": "vsw-2ze0009"}), services(with_load_balancer(SLB)))
    assert str(problem).startswith(
        "srs:loadBalancer.vswitchId: 'vsw-2ze0009' cannot be changed on Service srs-edge-service, where it is "
        "'vsw-2ze0001': connections through it would be dropped. Move the existing load balancer to"
    )


def test_an_eip_keeps_its_address() -> None:
    wider = with_load_balancer(SLB | {"eip": {"bandwidth": 200}})
    assert not rejections(wider, services(with_load_balancer(EIP)))


def test_access_control_is_turned_off_before_its_annotations_are_removed() -> None:
    on, off = SLB | {"annotations": ACL}, SLB | {"annotations": ACL | {f"{PREFIX}acl-status": "off"}}
    (problem,) = rejections(with_load_balancer(SLB), services(with_load_balancer(on)))
    assert problem.path == ("loadBalancer", "annotations", f"{PREFIX}acl-status")
    assert problem.reason == "AccessControlStaysOn"
    assert "Set it to off, run `pulumi up`, and remove it after that" in str(problem)
    assert not rejections(with_load_balancer(off), services(with_load_balancer(on)))
    assert not rejections(with_load_balancer(SLB), services(with_load_balancer(off)))


@pytest.mark.parametrize(
    ("billing", "key"),
    [
        ({"instanceChargeType": "PayBySpec", "spec": "slb.s2.small"}, "instanceChargeType"),
        ({"internetChargeType": "PayByBandwidth", "bandwidth": 100}, "internetChargeType"),
    ],
)
def test_a_new_clb_has_no_billing_that_was_discontinued(billing: dict[str, Any], key: str) -> None:
    settings = with_load_balancer({"kind": "slb", "addressType": "internet"} | billing)
    inside = services(with_load_balancer({"kind": "none"}))
    for state in (LiveState("uid"), inside):
        (problem,) = rejections(settings, state)
        assert (problem.path, problem.reason) == (("loadBalancer", key), "DiscontinuedBilling")
    # A CLB of before June 2025 keeps it; and nothing is known of a cluster that does not answer.
    assert not rejections(settings, services(settings))
    assert not rejections(settings, LiveState(unreachable="timeout"))


def test_the_last_tags_of_an_nlb_stay() -> None:
    tagged = services(with_load_balancer(NLB | {"tags": {"a": "1", "b": "2"}}))
    (line,) = [line for line in warnings(with_load_balancer(NLB), tagged) if "tags" in line]
    assert line.startswith("srs:loadBalancer.tags: the last tags stay on the NLB")
    assert "a=1,b=2" in line
    assert not [line for line in warnings(with_load_balancer(NLB | {"tags": {"a": "1"}}), tagged) if "tags" in line]


def test_an_earlier_version_recorded_less() -> None:
    """What its annotation does not have is read from the Service, or may change once."""
    old = services(with_load_balancer(EIP))
    recorded = {"kind": "slb", "addressType": "intranet", "backend": "ecs", "externalTrafficPolicy": "Cluster"}
    annotate(old, **{IDENTITY: json.dumps(recorded | {"id": "", "vswitchId": "vsw-2ze0001"})})
    assert not rejections(with_load_balancer(EIP), old)
    (problem,) = rejections(with_load_balancer(SLB), old)
    assert "loadBalancer.eip: (absent) cannot be changed on Service srs-edge-service, where it is" in str(problem)
    (problem,) = rejections(with_load_balancer(EIP | {"vswitchId": "vsw-2ze0009"}), old)
    assert problem.path[-1] == "vswitchId"


def annotate(state: LiveState, **annotations: str | None) -> None:
    """Change annotations of srs-edge-service by hand."""
    live = state.services["srs-edge-service"]["metadata"]["annotations"]
    for key, value in annotations.items():
        live.pop(key, None)
        if value is not None:
            live[key] = value


@pytest.mark.parametrize("annotation", [None, "other", '"other"', ""])
def test_a_service_whose_annotation_was_changed_by_hand_is_checked_all_the_same(annotation: str | None) -> None:
    for then, now, key in (
        (SLB, SLB | {"backend": "eni"}, "backend"),
        (NLB, NLB | {"zoneMaps": ZONES | {"cn-beijing-k": "vsw-2ze0003"}}, "zoneMaps"),
        (GOOD["loadBalancer"], GOOD["loadBalancer"] | {"rtmpPort": 31936}, "rtmpPort"),
        (SERVICE, SERVICE | {"rtmpPort": 1936}, "rtmpPort"),
        (SERVICE, SERVICE | {"externalTrafficPolicy": "Local"}, "externalTrafficPolicy"),
        (SERVICE | {"loadBalancerClass": "example.com/lb"}, SERVICE, "loadBalancerClass"),
    ):
        edge = copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}}
        state = services(with_load_balancer(then, edge=edge))
        annotate(state, **{IDENTITY: annotation})
        assert not rejections(with_load_balancer(then, edge=edge), state)
        (problem,) = rejections(with_load_balancer(now, edge=edge), state)
        assert problem.path == ("loadBalancer", key)
        (problem,) = rejections(with_load_balancer(NEXT, edge=edge), state)
        assert "srs-edge-service would be deleted" in str(problem)


def test_a_protected_load_balancer_is_unprotected_before_it_is_removed() -> None:
    both = with_load_balancer(NEXT, formerLoadBalancer=SLB)
    (problem,) = rejections(with_load_balancer(NEXT), services(both))
    assert str(problem).startswith("srs:formerLoadBalancer: (absent) must still have the load balancer of Service srs-")
    assert "Set its protect and its deleteProtection to false" in str(problem)
    half = with_load_balancer(NEXT, formerLoadBalancer=SLB | {"protect": False})
    assert rejections(with_load_balancer(NEXT), services(half)), "deleteProtection protects it as well"
    unprotected = with_load_balancer(NEXT, formerLoadBalancer=UNPROTECTED)
    assert not rejections(unprotected, services(both))
    assert not rejections(with_load_balancer(NEXT), services(unprotected))


def test_a_load_balancer_can_be_given_up() -> None:
    inside = {"kind": "none", "service": "srs-edge-inside"}
    both = with_load_balancer(inside, formerLoadBalancer=UNPROTECTED)
    assert not rejections(both, services(with_load_balancer(UNPROTECTED)))
    assert not rejections(with_load_balancer(inside), services(both))
    # A Service inside the cluster can be renamed in the same way.
    renamed = with_load_balancer({"kind": "none"}, formerLoadBalancer=inside)
    assert rejections(with_load_balancer({"kind": "none"}), services(with_load_balancer(inside)))
    assert not rejections(renamed, services(with_load_balancer(inside)))
    assert not rejections(with_load_balancer({"kind": "none"}), services(renamed))


def test_the_load_balancer_of_encoders_is_replaced_by_a_second_one() -> None:
    def publish(**target: Any) -> StackSettings:
        return with_load_balancer(SLB, publish=target)

    before = {"to": "edges", "loadBalancer": UNPROTECTED}
    state = services(publish(**before))
    (problem,) = rejections(publish(**before | {"to": "origins"}), state)
    assert str(problem).startswith("srs:publish.to: 'origins' cannot be changed on Service srs-publish-service, which")
    assert "srs:publish.former" in str(problem)
    (problem,) = rejections(publish(**before), services(publish(**before | {"to": "origins"})))
    assert str(problem).startswith("srs:publish.to: 'edges' cannot be changed on Service srs-publish-service, which")
    assert "which leads to the origins: " in str(problem)
    other = {"kind": "slb", "addressType": "internet"}
    (*problems,) = rejections(publish(to="edges", loadBalancer=other), state)
    assert {problem.path for problem in problems} == {
        ("publish", "loadBalancer", "addressType"),
        ("publish", "loadBalancer", "vswitchId"),
    }
    other |= {"service": "srs-publish-next"}
    (problem,) = rejections(publish(to="origins", loadBalancer=other), state)
    assert problem.path == ("publish", "loadBalancer", "service")
    assert "srs:publish.former" in str(problem)

    both = publish(to="origins", loadBalancer=other, former=before)
    assert not rejections(both, state)
    for selector in (None, {"app": "other"}):  # changed by hand, and corrected
        live = copy.deepcopy(services(publish(**before)))
        live.services["srs-publish-service"]["spec"]["selector"] = selector
        assert not rejections(publish(**before), live)
    (problem,) = rejections(publish(to="origins", loadBalancer=other, former=before | {"to": "origins"}), state)
    assert problem.path == ("publish", "former", "to")
    assert str(problem).endswith("It must stay as it is until it is removed")
    assert not rejections(publish(to="origins", loadBalancer=other), services(both))
    assert not rejections(publish(), state), "encoders publish through the viewers' load balancer again"
    external = copy.deepcopy(state)
    del external.services["srs-publish-service"]["spec"]["ports"]  # by hand: an ExternalName needs none
    assert not rejections(publish(), external)
    (problem,) = rejections(publish(), services(publish(to="edges", loadBalancer=SLB)))
    assert str(problem).startswith("srs:publish.former: (absent) must still have the load balancer of Service srs-pub")


def test_another_port_of_hls_is_opened_before_the_first_is_closed() -> None:
    def hls(**ports: int) -> StackSettings:
        return with_load_balancer(SLB, hls=GOOD["hls"] | ports)

    (problem,) = rejections(hls(port=81), services(hls(port=80)))
    assert str(problem).startswith("srs:hls.port: 81 cannot replace port 80 of Service nginx-origin-service")
    assert "Set hls.formerPort: 80" in str(problem)
    both = hls(port=81, formerPort=80)
    assert not rejections(both, services(hls(port=80)))
    assert not rejections(hls(port=81), services(both))
    for settings, ports in (
        (hls(port=81), "1 port of Service nginx-origin-service: 80"),
        (hls(), "2 ports of Service nginx-origin-service: 81, 80"),
    ):
        (warning,) = [line for line in warnings(settings, services(both)) if "HLS" in line]
        assert warning == f"HLS is not served any more on {ports}"
        assert getattr(warning, "reason", "") == "ClosesPort"
    new = SLB | {"service": "srs-edge-clb-service"}
    moved = with_load_balancer(new, formerLoadBalancer=SLB, hls=GOOD["hls"] | {"port": 80})
    (warning,) = [
        line
        for line in warnings(with_load_balancer(new, hls=GOOD["hls"] | {"port": 80}), services(moved))
        if "HLS" in line
    ]
    assert warning == "HLS is not served any more on 1 port of Service nginx-origin-service: 80"
    disabled = with_load_balancer(SLB, hls={})
    assert not [line for line in warnings(disabled, services(both)) if "not served any more" in line], "another warning"
    assert not [line for line in warnings(both, services(hls(port=80))) if "HLS" in line]


@pytest.mark.parametrize("load_balancer", [GOOD["loadBalancer"], SLB, SERVICE, {"kind": "none"}], ids=str)
def test_another_port_of_https_is_opened_before_the_first_is_closed(load_balancer: dict[str, Any]) -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"releases": SIX, "drain": {"timeout": "10m"}}

    def https(**tls: Any) -> StackSettings:
        return with_load_balancer(load_balancer, edge=edge, tls={"secretName": "live-tls"} | tls)

    def rejected(settings: StackSettings, before: StackSettings) -> list[str]:
        problems = [str(problem) for problem in rejections(settings, services(before))]
        return [problem for problem in problems if "must be a Secret" not in problem]

    def closed(settings: StackSettings, before: StackSettings) -> list[str]:
        return [line for line in warnings(settings, services(before)) if line.startswith("HTTPS is not served")]

    none, before = with_load_balancer(load_balancer, edge=edge), https()
    both, after = https(port=444, formerPort=443), https(port=444)
    (problem,) = rejected(after, before)
    assert problem.startswith("srs:tls.port: 444 cannot replace port 443 of Service srs-edge-service, whose URLs would")
    assert "Set tls.formerPort: 443" in problem
    gone = ["HTTPS is not served any more on 1 port of Service srs-edge-service: 443"]
    for now, then, warned in ((both, before, []), (after, both, gone), (none, before, gone), (before, none, [])):
        assert not rejected(now, then)
        assert closed(now, then) == warned


def test_the_service_of_hls_names_the_clb_that_it_leaves_until_the_controller_has_cleaned_up() -> None:
    """Without both annotations the controller leaves the listener, whose node port another Service may get."""
    outside = with_load_balancer(SLB, hls=GOOD["hls"] | {"port": 80})
    inside = with_load_balancer(SLB, hls={key: value for key, value in GOOD["hls"].items() if key != "port"})
    state = services(outside)
    live = state.services["nginx-origin-service"]
    kept = {f"{PREFIX}id": "lb-2ze0001", f"{PREFIX}force-override-listeners": "true"}
    live["metadata"]["annotations"] = {**live["metadata"].get("annotations", {}), **kept}
    assert read_kept(outside, state, "").leaving == {}
    assert read_kept(inside, state, "").leaving == {"nginx-origin-service": kept}
    # The update has made it a ClusterIP; the controller was down.
    live["spec"]["type"] = "ClusterIP"
    live["metadata"]["finalizers"] = ["service.k8s.alibaba/resources"]
    assert read_kept(inside, state, "").leaving == {"nginx-origin-service": kept}
    live["metadata"]["finalizers"] = []
    assert read_kept(inside, state, "").leaving == {}


def test_another_port_of_https_of_hls_is_opened_before_the_first_is_closed() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"releases": SIX}

    def hls(**ports: int) -> StackSettings:
        return with_load_balancer(
            SLB, edge=edge, tls={"secretName": "live-tls"}, hls=GOOD["hls"] | {"port": 80} | ports
        )

    def found(settings: StackSettings, before: StackSettings) -> list[str]:
        return [str(problem) for problem in rejections(settings, services(before)) if "hls" in str(problem)]

    (problem,) = found(hls(httpsPort=446), hls(httpsPort=445))
    assert problem.startswith("srs:hls.httpsPort: 446 cannot replace port 445 of Service nginx-origin-service")
    assert "Set hls.formerHttpsPort: 445" in problem
    both = hls(httpsPort=446, formerHttpsPort=445)
    assert not found(both, hls(httpsPort=445))
    assert not found(hls(httpsPort=446), both)
    assert not found(hls(), both), "removed, with a warning"


def test_a_node_port_of_https_that_nobody_uses_can_change() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"releases": SIX}
    moved = GOOD["loadBalancer"] | {"httpsPort": 30444}
    plain = services(with_load_balancer(GOOD["loadBalancer"], edge=edge))
    assert not rejections(with_load_balancer(moved, edge=edge), plain)
    used = services(with_load_balancer(GOOD["loadBalancer"], edge=edge, tls={"secretName": "live-tls"}))
    problems = rejections(with_load_balancer(moved, edge=edge, tls={"secretName": "live-tls"}), used)
    assert [problem.path[-1] for problem in problems if "Secret" not in str(problem)] == ["httpsPort"]


def test_a_listener_that_another_namespace_uses_is_rejected() -> None:
    existing = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}
    settings = with_load_balancer(existing, hls=GOOD["hls"] | {"port": 80})

    def used(*ports: int, clb: str = "lb-2ze0001", kind: str = "LoadBalancer") -> LiveState:
        other = {
            "metadata": {"namespace": "other", "name": "web", "annotations": {f"{PREFIX}id": clb}},
            "spec": {"type": kind, "ports": [{"port": port} for port in ports]},
        }
        return replace(services(settings), other_services=(other, other_clb))

    other_clb = {
        "metadata": {"namespace": "other", "name": "api", "annotations": {f"{PREFIX}id": "lb-2ze0009"}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 443}]},
    }
    assert not rejections(settings, used(443))
    assert not rejections(settings, used(1935, clb="lb-2ze0002"))
    assert not rejections(settings, used(1935, kind="ClusterIP")), "its CLB has lost it"
    for ports, path in (((443, 8080), ("loadBalancer", "id")), ((80,), ("hls", "port"))):
        (problem,) = rejections(settings, used(*ports))
        assert problem.path == path
        assert ": 'lb-2ze0001' is already used by Service other/web (namespace/name) on the same port" in str(problem)
    unknown = replace(services(settings), other_services=None)
    assert [line for line in warnings(settings, unknown) if "cannot be checked" in line]
    behind = with_load_balancer(GOOD["loadBalancer"], publish={"to": "edges", "loadBalancer": existing})
    (problem,) = rejections(behind, replace(services(behind), other_services=used(1935).other_services))
    assert problem.path == ("publish", "loadBalancer", "id"), "of the second Service, the first one has no CLB"
    # A CLB that this stack has created, and the other one names by its id.
    created = with_load_balancer(SLB)
    state = replace(services(created), other_services=used(1935).other_services)
    annotate(state, **{f"{PREFIX}id": "lb-2ze0001"})
    assert rejections(created, state)


@pytest.mark.parametrize(
    ("load_balancer", "change", "warned"),
    [
        ({"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}, {"other_services": None}, True),
        ({"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}, {}, False),
        (SLB, {"other_services": None}, False),
        (GOOD["loadBalancer"], {"other_services": None}, False),
    ],
)
def test_foreign_listeners_that_cannot_be_checked_are_a_warning(
    load_balancer: dict[str, Any], change: dict[str, Any], warned: bool
) -> None:
    settings = with_load_balancer(load_balancer)
    found = [line for line in warnings(settings, replace(services(settings), **change)) if "cannot be checked" in line]
    assert bool(found) == warned


def warnings(settings: StackSettings, state: LiveState) -> tuple[str, ...]:
    return planned(settings, state).warnings


def on_nodes(nodes: dict[str, str], **load_balancer: Any) -> StackSettings:
    """Edges that run on nodes with these labels."""
    return with_load_balancer(SLB | load_balancer, edge=copy.deepcopy(GOOD["edge"]) | {"nodeSelector": nodes})


def test_the_backends_of_a_service_in_use_lose_no_node() -> None:
    pool, other = {"pool": "edge"}, {"pool": "edge2"}
    everywhere = services(on_nodes({}))
    # A stack of an earlier version, or edges that got a node pool: the Service keeps its nodes.
    assert rendered(on_nodes(pool), everywhere).kept.backend_nodes == {"srs-edge-service": {}}
    assert rendered(on_nodes(other), services(on_nodes(pool))).kept.backend_nodes == {"srs-edge-service": pool}
    assert rendered(on_nodes(pool), LiveState("uid")).kept.backend_nodes == {"srs-edge-service": pool}
    (problem,) = rejections(on_nodes(pool, backendNodes=pool), everywhere)
    assert str(problem).startswith("srs:loadBalancer.backendNodes: {pool: 'edge'} would remove nodes from the backends")
    assert "of Service srs-edge-service, which are any labels: " in str(problem)
    assert "srs:formerLoadBalancer" in str(problem)
    both = pool | {"zone": "a"}
    (problem,) = rejections(on_nodes(pool, backendNodes={"zone": "b"}), services(on_nodes(pool, backendNodes=both)))
    assert "which are pool=edge,zone=a: connections through them would be dropped" in str(problem)
    for stated in (pool, both):
        assert not rejections(on_nodes(pool, backendNodes=stated), services(on_nodes(pool, backendNodes=both)))
    assert not rejections(on_nodes(pool, backendNodes={}), services(on_nodes(pool)))


def test_new_services_have_the_nodes_of_their_pods_as_backends() -> None:
    edge, origin = (copy.deepcopy(GOOD[key]) | {"nodeSelector": {"pool": key}} for key in ("edge", "origin"))
    publish = {"to": "origins", "loadBalancer": SLB}
    hls = GOOD["hls"] | {"port": 80}
    settings = with_load_balancer(SLB, edge=edge, origin=origin, publish=publish, hls=hls)
    everywhere = services(with_load_balancer(SLB, hls=hls))
    edges, origins = {"pool": "edge"}, {"pool": "origin"}
    assert rendered(settings, LiveState("uid")).kept.backend_nodes == {
        "srs-edge-service": edges,
        "srs-publish-service": origins,
        "nginx-origin-service": edges,  # its listener is one of the viewers' CLB
    }
    assert rendered(settings, everywhere).kept.backend_nodes == {
        "srs-edge-service": {},
        "srs-publish-service": origins,
        "nginx-origin-service": {},
    }
    stated = with_load_balancer(SLB | {"backendNodes": {"pool": "other"}}, edge=edge)
    assert rendered(stated, LiveState("uid")).kept.backend_nodes == {"srs-edge-service": {"pool": "other"}}
    inside = services(with_load_balancer({"kind": "none"}))
    assert rendered(with_load_balancer(SLB, edge=edge), inside).kept.backend_nodes == {"srs-edge-service": edges}


def test_nodes_that_need_not_carry_connections_are_a_warning() -> None:
    pool, other = {"pool": "edge"}, {"pool": "edge2"}
    (line,) = warnings(on_nodes({}), LiveState("uid"))
    assert line.startswith("srs:loadBalancer: every node of the cluster carries its connections")
    assert line.endswith("backendNodes limits them to stable nodes")
    publish = with_load_balancer(GOOD["loadBalancer"], publish={"to": "edges", "loadBalancer": SLB})
    (line,) = warnings(publish, LiveState("uid"))
    assert line.startswith("srs:publish.loadBalancer: every node of the cluster carries its connections")
    (line,) = warnings(on_nodes(pool), services(on_nodes({})))
    assert "on a new Service only. Move the existing load balancer" in line
    (line,) = [line for line in warnings(on_nodes(other), services(on_nodes(pool))) if "nodes with" in line]
    assert "still go through nodes with pool=edge, while its pods run on nodes with pool=edge2" in line
    assert not warnings(on_nodes(pool), services(on_nodes(pool)))
    assert not warnings(on_nodes({}, backendNodes={}), LiveState("uid")), "the operator has decided it"


def node(name: str, provider: str = "cn-beijing.i-2ze0001", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"providerID": provider} if provider else {}}


def edge_on(node: str) -> dict[str, Any]:
    return {"metadata": {"name": "edge", "labels": {"app": "srs-edge"}}, "spec": {"nodeName": node}}


@pytest.mark.parametrize(
    ("nodes", "pods", "reasons"),
    [
        ([node("a", pool="edge")], [edge_on("a")], []),
        ([], [], []),  # nodes that must not be read
        ([node("a", pool="other")], [], ["NoBackendNodes"]),
        ([node("a", pool="edge"), node("b", "", pool="edge")], [], ["NodesWithoutProviderId"]),
        ([node("a", pool="edge"), node("b", "kwok://b", pool="edge")], [], ["NodesWithoutProviderId"]),
        ([node("a", pool="edge"), node("b", "", pool="other")], [], []),
        ([node("a", pool="edge"), node("b", "ack-hybrid://b", pool="edge")], [], []),
        ([node("a", pool="edge"), node("v", "", type="virtual-kubelet")], [edge_on("a")], []),
        (
            [node("a", pool="edge"), node("v", "", type="virtual-kubelet")],
            [edge_on("v")],
            ["VirtualNodesAreNoBackends", "VirtualNodesLimitDrain"],
        ),
        (
            [node("a", pool="edge"), node("v", "", type="virtual-kubelet", pool="edge")],
            [edge_on("v")],
            ["VirtualNodesLimitDrain"],
        ),
    ],
)
def test_nodes_that_the_controller_rejects_are_a_warning(nodes: Any, pods: Any, reasons: list[str]) -> None:
    settings = on_nodes({"pool": "edge"})
    state = replace(services(settings), nodes=tuple(nodes), pods=tuple(pods))
    found = [warning for warning in warnings(settings, state) if "ode" in getattr(warning, "reason", "")]
    assert [getattr(warning, "reason", "") for warning in found] == reasons
    # Where pods are the backends, nodes do not matter.
    eni = with_load_balancer(SLB | {"backend": "eni"}, edge=copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}})
    assert not [line for line in warnings(eni, replace(state, objects=services(eni).objects)) if "node" in line]


def test_a_service_without_connections_from_outside_may_change_its_kind() -> None:
    for kind in (SLB, NLB, GOOD["loadBalancer"]):
        assert not rejections(with_load_balancer(kind), services(with_load_balancer({"kind": "none"})))


def test_services_of_earlier_versions_are_identified_by_their_type() -> None:
    ports = [{"port": 1935, "nodePort": 31935}, {"port": 8080, "nodePort": 30080}]
    spec = {"type": "NodePort", "selector": {"app": "srs-edge"}, "ports": ports}
    service = {"metadata": metadata("srs-edge-service"), "spec": spec}
    state = LiveState("uid", objects={"Service": {"srs-edge-service": service}})
    (problem,) = rejections(with_load_balancer(SLB), state)
    assert "where it is 'nodePort'" in str(problem)
    assert not rejections(with_load_balancer(GOOD["loadBalancer"]), state)


def test_an_old_load_balancer_is_not_deleted_together_with_the_creation_of_the_new_one() -> None:
    (problem,) = rejections(with_load_balancer(NEXT), services(with_load_balancer(SLB)))
    assert str(problem).startswith("srs:loadBalancer.service: 'srs-edge-next' is a new Service, and srs-edge-service")
    both = with_load_balancer(NEXT, formerLoadBalancer=UNPROTECTED)
    assert not rejections(both, services(with_load_balancer(SLB)))
    assert not rejections(with_load_balancer(NEXT), services(both)), "it has no users any more"
    deleted = "Service srs-edge-service will be deleted, with its load balancer and all connections through it"
    (warning,) = [line for line in warnings(with_load_balancer(NEXT), services(both)) if line == deleted]
    assert getattr(warning, "reason", "") == "DeletesService"
    assert deleted not in warnings(both, services(with_load_balancer(SLB)))


def test_a_service_has_the_address_of_its_load_balancer() -> None:
    assert address(None) is None
    assert address({"status": {"loadBalancer": {}}}) is None
    assert address({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}) == "192.0.2.1"
    assert address({"status": {"loadBalancer": {"ingress": [{"hostname": "nlb.example.com"}]}}}) == "nlb.example.com"
