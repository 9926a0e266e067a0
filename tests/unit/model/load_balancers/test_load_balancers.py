"""Rules of load balancers: the drain that each keeps, distortions of a canary, annotations for the controller."""

import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_configs import ALICLOUD, GOOD, NLB, SERVICE, SIX, SLB
from model.config.read import ConfigError, read_settings
from model.config.stack import StackSettings
from model.config.stack_warnings import config_warnings
from model.load_balancers import alibaba
from model.load_balancers.exposed_service import service_annotations
from model.load_balancers.interface import LoadBalancer
from model.load_balancers.urls import urls as stack_urls

MINUTE = timedelta(minutes=1)
P = alibaba.PREFIX


def annotations(load_balancer: LoadBalancer) -> dict[str, str]:
    return service_annotations(load_balancer, {})


def read(load_balancer: dict[str, Any], drain: dict[str, Any] | None = None, **more: Any) -> StackSettings:
    config = copy.deepcopy(GOOD) | {"loadBalancer": load_balancer} | more
    config["edge"]["drain"] = {"timeout": "12h"} if drain is None else drain
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    return read_settings(values | {"alicloud:region": "cn-beijing"})


@pytest.mark.parametrize(
    ("backend", "policy", "kept"),
    [("ecs", "Cluster", None), ("ecs", "Local", 5 * MINUTE), ("eni", "Cluster", 5 * MINUTE)],
)
def test_how_long_a_connection_outlasts_the_start_of_its_pods_termination(
    backend: alibaba.Backend, policy: alibaba.TrafficPolicy, kept: timedelta | None
) -> None:
    assert alibaba.max_connection_time(backend, policy, 5 * MINUTE) == kept


@pytest.mark.parametrize("kind", [SLB, NLB], ids=lambda kind: kind["kind"])
@pytest.mark.parametrize("limit", [{"backend": "eni"}, {"externalTrafficPolicy": "Local"}], ids=str)
def test_a_drain_that_the_load_balancer_cannot_keep_is_rejected_with_both_alternatives(
    kind: dict[str, Any], limit: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as error:
        read(kind | limit)
    (problem,) = error.value.problems
    text = str(problem)
    assert text.startswith("srs:edge.drain.timeout: 12h is longer than srs:loadBalancer can keep: with ")
    assert "15m after the pod started to terminate" in text
    assert "backend: ecs and externalTrafficPolicy: Cluster" in text
    assert "set drain.timeout to at most 14m30s" in text
    # Both alternatives are accepted.
    read(kind)
    read(kind | limit, {"timeout": "14m30s"})
    with pytest.raises(ConfigError):
        read(kind | limit, {"timeout": "14m31s"})


@given(
    st.sampled_from(["ecs", "eni"]),
    st.sampled_from(["Cluster", "Local"]),
    st.integers(10, 900),
    st.integers(0, 120),
    st.integers(120, 2000),
)
def test_no_accepted_config_promises_more_than_the_load_balancer_keeps(
    backend: alibaba.Backend, policy: alibaba.TrafficPolicy, limit: int, deregister: int, timeout: int
) -> None:
    load_balancer = SLB | {"backend": backend, "externalTrafficPolicy": policy, "connectionDrain": f"{limit}s"}
    try:
        settings = read(load_balancer, {"deregister": f"{deregister}s", "timeout": f"{timeout}s"})
    except ConfigError:
        assert (backend, policy) == ("eni", "Local") or (
            (backend, policy) != ("ecs", "Cluster") and deregister + timeout > limit
        )
    else:
        drain = settings.edge.drain
        kept = alibaba.max_connection_time(backend, policy, timedelta(seconds=limit))
        assert kept is None or drain.deregister + drain.timeout <= kept


@given(st.none() | st.integers(1, 900), st.integers(0, 120), st.integers(120, 2000))
def test_no_accepted_config_promises_more_than_the_operator_states(
    ceiling: int | None, deregister: int, timeout: int
) -> None:
    load_balancer = SERVICE | {"drainCeiling": "none" if ceiling is None else f"{ceiling}s"}
    drain = {"deregister": f"{deregister}s", "timeout": f"{timeout}s"}
    if ceiling is None or deregister + timeout <= ceiling:
        read(load_balancer, drain)
    else:
        with pytest.raises(ConfigError, match=r"srs:loadBalancer can keep: by its drainCeiling it ends a connection"):
            read(load_balancer, drain)


def test_warnings_of_a_service_load_balancer() -> None:
    assert not list(config_warnings(read(SERVICE)))
    (line,) = config_warnings(read(SERVICE | {"externalTrafficPolicy": "Local"}))
    assert "the shares of r5, r6 will not match their weights" in line
    (line,) = config_warnings(read(SERVICE, publish={"loadBalancer": SERVICE}))
    assert line == "srs:publish.loadBalancer has no sourceRanges: everyone who can reach it can publish"
    assert not list(
        config_warnings(read(SERVICE, publish={"loadBalancer": SERVICE | {"sourceRanges": ["10.0.0.0/8"]}}))
    )


def test_the_drain_of_every_load_balancer_that_leads_to_edges_counts() -> None:
    short = SLB | {"backend": "eni", "service": "other"}
    for key, value in (("formerLoadBalancer", short), ("publish", {"loadBalancer": short})):
        with pytest.raises(
            ConfigError, match=r"is longer than srs:(formerLoadBalancer|publish\.loadBalancer) can keep"
        ):
            read(SLB, **{key: value})
    read(SLB, publish={"to": "origins", "loadBalancer": short})  # origins restart, they do not drain


def test_deregistering_takes_longer_behind_a_cloud_load_balancer() -> None:
    assert read({"kind": "none"}).edge.drain.deregister == timedelta(seconds=5)
    assert read(SLB).edge.drain.deregister == timedelta(seconds=30)
    assert read(NLB).edge.drain.deregister == timedelta(seconds=30)
    assert read(SERVICE).edge.drain.deregister == timedelta(seconds=30)
    assert read({"kind": "none"}, publish={"loadBalancer": SLB}).edge.drain.deregister == timedelta(seconds=30)
    to_origins = {"to": "origins", "loadBalancer": SLB}
    assert read({"kind": "none"}, publish=to_origins).edge.drain.deregister == timedelta(seconds=5)
    assert read(SLB, {"deregister": "7s", "timeout": "1h"}).edge.drain.deregister == timedelta(seconds=7)
    assert read(SLB).edge.drain.grace_seconds == 30 + 12 * 3600 + 30
    with pytest.raises(ConfigError, match=r"edge\.drain\.timeout: 20s must not be shorter than 30s, the default"):
        read(SLB, {"timeout": "20s"})


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({}, None),
        ({"scheduler": "rr"}, None),
        ({"scheduler": "tch"}, None),
        ({"scheduler": "wlc"}, "emptiest"),
        ({"scheduler": "sch"}, "client's address"),
        ({"persistenceTimeout": "60s"}, "returning viewers"),
    ],
    ids=str,
)
def test_what_distorts_a_canary(change: dict[str, Any], warning: str | None) -> None:
    pods = SLB | {"backend": "eni"} | change
    lines = list(config_warnings(read(pods, {"timeout": "10m"})))
    assert [warning in line for line in lines if warning] == ([True] if warning else [])
    assert bool(lines) == bool(warning)
    # Nodes select among all pods, so none of this matters; and a single release has all viewers.
    assert not list(config_warnings(read(SLB | change)))
    edge = {"replicas": 4, "drain": {"timeout": "10m"}, "releases": {"r5": {"image": "ossrs/srs:v4.0.6", "weight": 1}}}
    values = {f"srs:{key}": json.dumps(value) for key, value in (GOOD | {"edge": edge, "loadBalancer": pods}).items()}
    assert not list(config_warnings(read_settings(values | {"alicloud:region": "cn-beijing"})))


def test_risky_settings_are_warnings() -> None:
    local = SLB | {"externalTrafficPolicy": "Local", "connectionDrain": "0s"}
    with pytest.raises(ConfigError, match=r"raise srs:loadBalancer\.connectionDrain"):
        read(local, {"deregister": "0s", "timeout": "1s"})
    (line,) = config_warnings(read(local, {"deregister": "0s", "timeout": "0s"}))
    assert "without connectionDrain" in line
    open_to_all = {"kind": "slb", "addressType": "internet"}
    everyone = "everyone on the internet can publish, through"
    (line,) = config_warnings(read(SLB, publish={"loadBalancer": open_to_all}))
    assert line.startswith(f"edge release r5, edge release r6: {everyone} srs:publish.loadBalancer")
    (line,) = config_warnings(read(SLB, publish={"loadBalancer": open_to_all, "to": "origins"}))
    assert line.startswith(f"origins: {everyone}")
    (line,) = [line for line in config_warnings(read(SLB | {"eip": {"bandwidth": 5}})) if everyone in line]
    assert line.startswith(f"edge release r5, edge release r6: {everyone} srs:loadBalancer")


@pytest.mark.parametrize(
    ("change", "drain", "warned"),
    [
        ({"externalTrafficPolicy": "Local", "scheduler": "rr"}, "10m", True),
        ({"externalTrafficPolicy": "Local"}, "10m", False),
        ({"scheduler": "rr"}, "10m", False),
        ({"backend": "eni", "scheduler": "rr"}, "10m", False),
    ],
    ids=str,
)
def test_nodes_in_turn_distort_a_canary_where_they_have_weights(
    change: dict[str, Any], drain: str, warned: bool
) -> None:
    lines = [line for line in config_warnings(read(SLB | change, {"timeout": drain})) if "scheduler rr" in line]
    assert bool(lines) == warned


def test_a_bandwidth_for_far_fewer_viewers_than_the_edges_accept_is_a_warning() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"replicas": 8, "drain": {"timeout": "10m"}}

    def bandwidth(megabits: int) -> list[str]:
        settings = read(SLB | {"eip": {"bandwidth": megabits}}, edge=edge)
        return [line for line in config_warnings(settings) if "Mbit/s" in line]

    in_plan = SLB | {"eip": {"bandwidth": 150, "bandwidthPackage": "cbwp-2ze0001"}}
    assert not [line for line in config_warnings(read(in_plan, edge=edge)) if "Mbit/s" in line], "the plan's is unknown"
    (line,) = bandwidth(150)
    assert "150 Mbit/s suffice for about 75 viewers of a stream of 2 Mbit/s, while the edges accept 8000" in line
    few = copy.deepcopy(edge)
    for release in few["releases"].values():
        release["srs"] = {"maxConnections": 100}
    assert not [line for line in config_warnings(read(SLB | {"eip": {"bandwidth": 200}}, edge=few)) if "Mbit/s" in line]


def test_an_existing_clb_of_ipv6_is_named_as_such() -> None:
    ipv6 = {"annotations": {f"{P}ip-version": "ipv6"}}
    found = annotations(read({"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"} | ipv6).load_balancer)
    assert found[f"{P}ip-version"] == "ipv6"
    with pytest.raises(ConfigError, match="is decided by the CLB itself"):
        read(SLB | ipv6)


def test_access_control_off_needs_no_list() -> None:
    read(SLB | {"annotations": {f"{P}acl-status": "off"}})


def test_an_address_of_a_zone_without_an_edge_is_a_warning() -> None:
    (line,) = config_warnings(read(NLB | {"addressType": "intranet", "annotations": {f"{P}cross-zone-enabled": "off"}}))
    assert "the address of a zone has no backend" in line


def test_rules_by_address_behind_a_load_balancer_that_hides_addresses_are_a_warning() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}}
    edge["releases"]["r6"]["srs"] = {
        "vhostDirectives": "security { enabled on; allow play all; allow publish 10.0.0.1; }"
    }
    for balancer, hidden in ((SLB, True), (SLB | {"backend": "eni"}, False), (GOOD["loadBalancer"], True)):
        values = {
            f"srs:{key}": json.dumps(value) for key, value in (GOOD | {"edge": edge, "loadBalancer": balancer}).items()
        }
        lines = [
            line
            for line in config_warnings(read_settings(values | {"alicloud:region": "cn-beijing"}))
            if "security" in line
        ]
        assert bool(lines) == hidden
        assert not hidden or lines[0].startswith("edge release r6: security of srs.conf allows or denies by address")


def test_a_pod_is_ready_only_when_each_eni_load_balancer_has_registered_it() -> None:
    short = {"timeout": "10m"}
    eni = SLB | {"backend": "eni"}
    assert read(SLB).readiness_gates == []
    assert read(eni, short).readiness_gates == ["service.readiness.alibabacloud.com/srs-edge-service"]
    assert read(eni, short, publish={"loadBalancer": eni}).readiness_gates == [
        "service.readiness.alibabacloud.com/srs-edge-service",
        "service.readiness.alibabacloud.com/srs-publish-service",
    ]
    assert read(SLB, short, publish={"to": "origins", "loadBalancer": eni}).readiness_gates == []
    # A pod whose gate names a missing Service never becomes ready: the former Service is not a condition.
    assert read(SLB | {"service": "next"}, short, formerLoadBalancer=eni).readiness_gates == []


def test_new_pods_stay_beside_the_old_ones_until_health_checks_have_passed() -> None:
    short, slow = {"timeout": "10m"}, {"interval": "10s", "healthyThreshold": 4}
    eni = SLB | {"backend": "eni"}
    assert read(SLB | {"healthCheck": slow}).edge.min_ready == timedelta(seconds=5)
    assert read(eni, short).edge.min_ready == timedelta(seconds=6)
    assert read(eni | {"healthCheck": slow}, short).edge.min_ready == timedelta(seconds=40)
    to_origins = read(SLB, publish={"to": "origins", "loadBalancer": eni | {"healthCheck": slow}})
    assert (to_origins.edge.min_ready, to_origins.origin.min_ready) == (timedelta(seconds=5), timedelta(seconds=40))

    edge = copy.deepcopy(GOOD["edge"]) | {"minReady": "39s"}
    values = GOOD | {"edge": edge | {"drain": short}, "loadBalancer": eni | {"healthCheck": slow}}
    with pytest.raises(ConfigError) as error:
        read_settings({f"srs:{key}": json.dumps(value) for key, value in values.items()} | ALICLOUD)
    (problem,) = error.value.problems
    assert str(problem).startswith("srs:edge.minReady: 39s must be at least 40s: a new backend of a load balancer")
    assert problem.reason == "MinReadyShorterThanHealthCheck"
    edge = copy.deepcopy(GOOD["edge"]) | {"rolloutTimeout": "45s", "drain": short}
    with pytest.raises(
        ConfigError, match=r"edge\.rolloutTimeout: 45s must be longer than warmUp and minReady together"
    ):
        read_settings({f"srs:{key}": json.dumps(value) for key, value in (values | {"edge": edge}).items()} | ALICLOUD)


def test_annotations_of_a_clb() -> None:
    found = annotations(read(SLB | {"eip": {"bandwidth": 50}}).load_balancer)
    assert found == {
        "service.beta.kubernetes.io/backend-type": "ecs",
        f"{P}address-type": "intranet",
        f"{P}force-override-listeners": "true",
        f"{P}scheduler": "wrr",
        f"{P}established-timeout": "900",
        f"{P}persistence-timeout": "0",
        f"{P}connection-drain": "on",
        f"{P}connection-drain-timeout": "900",
        f"{P}health-check-switch": "on",
        f"{P}health-check-type": "tcp",
        f"{P}health-check-interval": "2",
        f"{P}health-check-connect-timeout": "5",
        f"{P}healthy-threshold": "3",
        f"{P}unhealthy-threshold": "3",
        f"{P}external-ip-type": "eip",
    }
    off = annotations(read(SLB | {"connectionDrain": "0s"}).load_balancer)
    assert off[f"{P}connection-drain"] == "off"
    assert f"{P}connection-drain-timeout" not in off
    # Nothing that would remove a node from the backends while it is being drained.
    assert not [key for key in found if "unscheduled" in key]


def test_health_checks_use_one_port_of_pods_and_every_port_of_nodes() -> None:
    key = f"{P}health-check-connect-port"
    assert annotations(read(SLB | {"backend": "eni"}, {"timeout": "10m"}).load_balancer)[key] == "8080"
    assert key not in annotations(read(SLB).load_balancer)


def test_annotations_of_an_nlb() -> None:
    found = annotations(read(NLB | {"tags": {"b": "2", "a": "1"}}).load_balancer)
    assert found[f"{P}zone-maps"] == "cn-beijing-g:vsw-2ze0002,cn-beijing-h:vsw-2ze0001"
    assert found[f"{P}additional-resource-tags"] == "a=1,b=2"
    assert found[f"{P}idle-timeout"] == "900"
    assert found[f"{P}health-check-flag"] == "on"
    assert f"{P}established-timeout" not in found
    assert f"{P}id" not in found


@pytest.mark.parametrize("kind", [SLB, NLB, GOOD["loadBalancer"], {"kind": "none"}], ids=lambda kind: kind["kind"])
def test_a_service_has_the_annotations_of_the_config_besides_the_stacks(kind: dict[str, Any]) -> None:
    more = {"external-dns.alpha.kubernetes.io/hostname": "live.example.com", f"{P}security-group-ids": "sg-2ze0001"}
    plain = annotations(read(kind).load_balancer)
    assert annotations(read(kind | {"annotations": more}).load_balancer) == plain | more


def test_the_controller_is_not_given_two_answers() -> None:
    """Every annotation that a key decides about is rejected where the operator sets it as well."""
    eip = SLB | {"eip": {"bandwidth": 50}}
    for kind in (eip, SLB | {"backend": "eni"}, NLB | {"tags": {"a": "1"}}):
        for key in annotations(read(kind, {"timeout": "10m"}).load_balancer):
            with pytest.raises(ConfigError, match="is decided by"):
                read(kind | {"annotations": {key: "other"}}, {"timeout": "10m"})
    # What only an NLB, or only a CLB, has a key for.
    read(NLB | {"annotations": {f"{P}name": "srs", f"{P}bandwidth-package-id": "cbwp-2ze0001"}})
    read(SLB | {"annotations": {f"{P}zone-maps": "ignored"}})


def test_the_annotations_depend_on_nothing_but_the_config() -> None:
    assert list(annotations(read(NLB).load_balancer).items()) == list(annotations(read(NLB).load_balancer).items())
    assert read(SLB).edge_service.identity == read(SLB | {"scheduler": "rr", "tags": {"x": "y"}}).edge_service.identity
    assert read(SLB).edge_service.identity != read(SLB | {"vswitchId": "vsw-2ze0009"}).edge_service.identity


@pytest.mark.parametrize(
    ("load_balancer", "more", "urls"),
    [
        (
            {"kind": "nodePort", "rtmpPort": 31000, "httpPort": 31001, "host": "node"},
            {},
            ["rtmp://node:31000/live/livestream", "rtmp://node:31000/live/livestream", "http://node:31001"],
        ),
        (
            SLB,
            {},
            ["rtmp://1.2.3.4:1935/live/livestream", "rtmp://1.2.3.4:1935/live/livestream", "http://1.2.3.4:8080"],
        ),
        (
            {"kind": "nodePort", "rtmpPort": 31000, "httpPort": 31001, "host": "node"},
            {"publish": {"loadBalancer": SLB}},
            ["rtmp://5.6.7.8:1935/live/livestream", "rtmp://node:31000/live/livestream", "http://node:31001"],
        ),
    ],
    ids=["node port", "CLB", "separate encoders"],
)
def test_the_urls_have_the_ports_of_their_load_balancers(
    load_balancer: dict[str, Any], more: dict[str, Any], urls: list[str]
) -> None:
    settings = read(load_balancer, {"timeout": "10m"}, **more)
    addresses = {"srs-edge-service": "1.2.3.4", "srs-publish-service": "5.6.7.8"}
    found = stack_urls(settings, addresses)
    assert found == {"publish": urls[0], "rtmp": urls[1], "flv": f"{urls[2]}/live/livestream.flv", "hls": found["hls"]}


@pytest.mark.parametrize(
    ("load_balancer", "tls", "hls", "flv", "playlist"),
    [
        (SLB, {}, {"port": 80, "httpsPort": 8443}, "1.2.3.4", "1.2.3.4:8443"),
        (SLB, {"port": 8443}, {"httpsPort": 443}, "1.2.3.4:8443", "1.2.3.4"),
        ({"kind": "nodePort", "host": "node"}, {}, {}, "node:30443", "nginx-origin-service"),
    ],
)
def test_the_urls_of_https(load_balancer: Any, tls: Any, hls: Any, flv: str, playlist: str) -> None:
    edge = {"replicas": 1, "releases": SIX, "drain": {"timeout": "10m"}}
    volume = {"enabled": True, "storageClass": "nas"}
    config = GOOD | {"loadBalancer": load_balancer, "edge": edge, "hls": volume | hls}
    config["tls"] = {"secretName": "live-tls"} | tls
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    settings = read_settings(values | {"alicloud:region": "cn-beijing"})
    found = stack_urls(settings, {"srs-edge-service": "1.2.3.4"})
    assert found["httpsFlv"] == f"https://{flv}/live/livestream.flv"
    assert found["httpsHls"] == f"https://{playlist}/live/livestream.m3u8"
    assert ("hls" in found) == ("port" in hls or "httpsPort" not in hls)


@pytest.mark.parametrize(
    ("port", "url"),
    [
        ({}, "http://nginx-origin-service/live/livestream.m3u8"),
        ({"port": 80}, "http://1.2.3.4/live/livestream.m3u8"),
        ({"port": 8000}, "http://1.2.3.4:8000/live/livestream.m3u8"),
    ],
)
def test_the_url_of_hls_has_its_port(port: dict[str, int], url: str) -> None:
    settings = read(SLB, {"timeout": "10m"}, hls={"enabled": True, "storageClass": "nas", **port})
    assert stack_urls(settings, {"srs-edge-service": "1.2.3.4"})["hls"] == url
    assert "hls" not in stack_urls(read(SLB, {"timeout": "10m"}, hls={}), {})
