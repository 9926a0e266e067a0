"""What the components declare, under Pulumi's mocks: required fields, and objects that must never exist."""

import asyncio
import base64
import copy
import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pulumi
import pytest
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key

from bad_configs import ALICLOUD, GOOD, LOGIN, NLB, SLB
from cluster.state import LiveState
from components.declare import Declarer
from components.demo_stream import DemoStream
from components.edge_fleet import EdgeFleet
from components.hls import Hls
from components.load_balancer import LoadBalancer
from components.monitoring import Monitoring
from components.origin_cluster import OriginCluster
from model.config.read import read_settings
from model.desired.render import render
from model.load_balancers.alibaba import PREFIX
from update.kept import read_kept


class Recorder(pulumi.runtime.Mocks):
    """Records what is declared: type, name, inputs."""

    def __init__(self) -> None:
        self.declared: dict[tuple[str, str], dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        kind = args.typ.split(":")[-1]
        assert (kind, args.name) not in self.declared, "two resources of one name"
        self.declared[kind, args.name] = copy.deepcopy(args.inputs)
        metadata = {"uid": f"uid of {args.name}", **args.inputs.get("metadata", {})}
        return args.name, {**args.inputs, "metadata": metadata}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        raise AssertionError(f"components must not call functions, and called {args.token}")


def declare(secret: Collection[str] = (), **change: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """All components with the good config, changed by top-level keys; what they declare. secret: keys."""
    config = copy.deepcopy(GOOD) | change
    values = ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    settings = read_settings(values, ["srs:images", *secret])
    kept = replace(read_kept(settings, LiveState(), "key"), port_names={"socs": {1935: "socs-1935-1935"}})
    desired = render(settings, kept, "organization/srs/test")
    recorder = Recorder()
    asyncio.set_event_loop(asyncio.new_event_loop())  # other tests have closed theirs
    pulumi.runtime.set_mocks(recorder, project="srs", stack="test")

    @pulumi.runtime.test
    def run() -> None:
        opts = pulumi.ResourceOptions()
        declarer = Declarer("live")
        if desired.registry_secret:
            declarer.declare(desired.registry_secret, opts)
        by_service = {
            service.name: LoadBalancer(service, desired, declarer, opts=opts) for service in settings.exposed_services
        }
        fleet = EdgeFleet("srs-edge", desired, declarer)
        for release in settings.edge.releases:
            fleet.release(release)
        if settings.hls.enabled:
            Hls("nginx-origin", desired, declarer, by_service).deploy()
        OriginCluster("srs-origin", desired, declarer).deploy()
        if settings.demo.enabled:
            DemoStream("srs-demo", desired, declarer)
        if settings.monitoring.kind == "podMonitor":
            Monitoring("srs", desired, declarer)

    run()
    return recorder.declared


@pytest.fixture(scope="module")
def declared() -> dict[tuple[str, str], dict[str, Any]]:
    return declare()


ID = f"{PREFIX}id"
EDGE = copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}}


def test_configs_are_immutable_named_by_content_and_owned_by_their_release(declared: Any) -> None:
    configs = {
        name: inputs
        for (kind, name), inputs in declared.items()
        if kind == "ConfigMap" and not name.startswith("nginx-origin")
    }
    assert len(configs) == 3
    for name, inputs in configs.items():
        (owner,) = inputs["metadata"]["ownerReferences"]
        assert inputs["immutable"] is True
        assert name.startswith(f"{owner['name']}-")
        assert owner["uid"] == f"uid of {owner['name']}"
    volumes = declared["Deployment", "srs-edge-r5-deploy"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"]["name"] in configs


def test_an_srs_conf_with_secrets_is_mounted_from_a_secret() -> None:
    declared = declare(publish={"hook": "http://auth.example.com/publish?key=hunter2"})
    mounted = [name for kind, name in declared if kind == "Secret"]
    assert len(mounted) == 2
    for name in mounted:
        release = name.rsplit("-", 1)[0]
        volumes = declared["Deployment", f"{release}-deploy"]["spec"]["template"]["spec"]["volumes"]
        assert volumes[0] == {"name": "config", "secret": {"secretName": name}}
        secret = declared["Secret", name]
        assert secret["immutable"] is True
        assert secret["stringData"][_special_sig_key] == _special_secret_sig
        assert "on_publish http://auth.example.com/publish?key=hunter2;" in secret["stringData"]["value"]["srs.conf"]
        assert "on_publish $(publish.hook);" in declared["ConfigMap", name]["data"]["srs.conf"]
    assert "hunter2" not in str({key: value for key, value in declared.items() if key[0] != "Secret"})


def test_a_service_is_created_with_the_id_of_its_clb() -> None:
    declared = declare(loadBalancer=SLB)
    clb = declared["ApplicationLoadBalancer", "srs-edge-service-clb"]
    assert clb["addressType"] == "intranet"
    assert clb["vswitchId"] == "vsw-2ze0001"
    assert clb["instanceChargeType"] == "PayByCLCU"
    assert clb["deleteProtection"] == "on"
    assert clb["modificationProtectionStatus"] == "ConsoleProtection"
    assert clb["loadBalancerName"] == "live-srs-edge-service"
    # The controller adds this tag; without it every update would find drift.
    assert clb["tags"] == {"kubernetes.reused.by.user": "true"}
    # Settings without effect on such a CLB are not sent.
    assert not {"loadBalancerSpec", "bandwidth", "internetChargeType"} & clb.keys()
    service = declared["Service", "srs-edge-service"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"][ID] == "srs-edge-service-clb"  # the id from the mocks
    assert [port["port"] for port in service["spec"]["ports"]] == [1935, 8080]
    assert "loadBalancerClass" not in service["spec"]


def test_an_existing_clb_is_not_declared() -> None:
    declared = declare(loadBalancer={"kind": "slb", "addressType": "internet", "id": "lb-2ze0001"})
    assert not [kind for kind, _ in declared if kind == "ApplicationLoadBalancer"]
    assert declared["Service", "srs-edge-service"]["metadata"]["annotations"][ID] == "lb-2ze0001"


def test_a_clb_with_an_elastic_address() -> None:
    declared = declare(loadBalancer=SLB | {"eip": {"bandwidth": 100}, "deleteProtection": False})
    address = declared["EipAddress", "srs-edge-service-clb-eip"]
    assert (address["bandwidth"], address["internetChargeType"]) == ("100", "PayByTraffic")
    assert address["deletionProtection"] is False
    association = declared["EipAssociation", "srs-edge-service-clb-eip"]
    assert association == {
        "allocationId": "srs-edge-service-clb-eip",
        "instanceId": "srs-edge-service-clb",
        "instanceType": "SlbInstance",
    }
    service = declared["Service", "srs-edge-service"]["metadata"]["annotations"]
    assert service[f"{PREFIX}external-ip-type"] == "eip"


def test_an_elastic_address_in_a_bandwidth_plan() -> None:
    eip = {"bandwidth": 100, "bandwidthPackage": "cbwp-2ze0001"}
    declared = declare(loadBalancer=SLB | {"eip": eip})
    attachment = declared["CommonBandwithPackageAttachment", "srs-edge-service-clb-eip"]
    assert attachment == {"bandwidthPackageId": "cbwp-2ze0001", "instanceId": "srs-edge-service-clb-eip"}
    assert "CommonBandwithPackageAttachment" not in {kind for kind, _ in declare(loadBalancer=SLB)}


def test_a_clb_on_the_internet_by_spec_and_bandwidth() -> None:
    settings = {"kind": "slb", "addressType": "internet", "instanceChargeType": "PayBySpec", "spec": "slb.s2.small"}
    more = {"internetChargeType": "PayByBandwidth", "bandwidth": 200, "resourceGroupId": "rg-acfm0001"}
    clb = declare(loadBalancer=settings | more)["ApplicationLoadBalancer", "srs-edge-service-clb"]
    assert (clb["loadBalancerSpec"], clb["internetChargeType"], clb["bandwidth"]) == (
        "slb.s2.small",
        "PayByBandwidth",
        200,
    )
    assert clb["resourceGroupId"] == "rg-acfm0001"
    assert "vswitchId" not in clb


def test_an_nlb_is_created_by_the_controller() -> None:
    declared = declare(loadBalancer=NLB)
    assert not [kind for kind, _ in declared if kind in ("ApplicationLoadBalancer", "Clb")]
    service = declared["Service", "srs-edge-service"]
    assert service["spec"]["loadBalancerClass"] == "alibabacloud.com/nlb"
    assert ID not in service["metadata"]["annotations"]


def test_a_canary_step_changes_no_load_balancer() -> None:
    before = declare(loadBalancer=SLB | {"eip": {"bandwidth": 100}})
    edge = copy.deepcopy(GOOD["edge"])
    edge["releases"]["r5"]["weight"], edge["releases"]["r6"]["weight"] = 25, 75
    after = declare(loadBalancer=SLB | {"eip": {"bandwidth": 100}}, edge=edge)
    assert {kind for (kind, name) in before if before[kind, name] != after[kind, name]} == {"Deployment"}


def test_encoders_have_a_separate_load_balancer() -> None:
    to_edges = declare(publish={"loadBalancer": SLB})
    service = to_edges["Service", "srs-publish-service"]["spec"]
    assert service["selector"] == {"app": "srs-edge"}
    assert [port["port"] for port in service["ports"]] == [1935]
    assert ("ApplicationLoadBalancer", "srs-publish-service-clb") in to_edges
    assert len(to_edges["NetworkPolicy", "srs-origin"]["spec"]["ingress"]) == 1

    to_origins = declare(publish={"to": "origins", "loadBalancer": SLB})
    assert to_origins["Service", "srs-publish-service"]["spec"]["selector"] == {"app": "srs-origin"}
    everybody = {"ports": [{"port": 1935, "protocol": "TCP"}]}
    assert everybody in to_origins["NetworkPolicy", "srs-origin"]["spec"]["ingress"]


def test_hls_on_a_port_of_the_clb() -> None:
    hls = GOOD["hls"] | {"port": 80}
    declared = declare(loadBalancer=SLB, hls=hls)
    edge, nginx = declared["Service", "srs-edge-service"], declared["Service", "nginx-origin-service"]
    assert nginx["spec"]["type"] == "LoadBalancer"
    assert [port["port"] for port in nginx["spec"]["ports"]] == [80]
    assert nginx["metadata"]["annotations"][ID] == edge["metadata"]["annotations"][ID]
    assert [port["port"] for port in edge["spec"]["ports"]] == [1935, 8080]
    # Another CLB has a Service of its own.
    moved = declare(loadBalancer=SLB | {"service": "next"}, formerLoadBalancer=SLB, hls=hls | {"formerPort": 81})
    for service, clb in (("nginx-origin-service", "srs-edge-service-clb"), ("next-hls", "next-clb")):
        assert moved["Service", service]["metadata"]["annotations"][ID] == clb
        ports = moved["Service", service]["spec"]["ports"]
        assert [(port["name"], port["port"]) for port in ports] == [("http", 80), ("http-81", 81)]
    after = declare(loadBalancer=SLB | {"service": "next"}, hls=hls)
    assert after["Service", "nginx-origin-service"]["spec"]["type"] == "ClusterIP"
    assert after["Service", "next-hls"]["spec"]["type"] == "LoadBalancer"
    inside = declare(loadBalancer=SLB)["Service", "nginx-origin-service"]
    assert inside["spec"]["type"] == "ClusterIP"
    assert ID not in inside["metadata"]["annotations"]


def test_pull_secrets_reach_every_pod_and_roll_no_edge() -> None:
    declared = declare(images={"pullSecrets": ["acr", "acr"], "registry": LOGIN})
    wanted = [{"name": "acr"}, {"name": "srs-registry"}]
    for account in ("srs-origin", "srs-edge-r5", "srs-edge-r6"):
        assert declared["ServiceAccount", account]["imagePullSecrets"] == wanted
    for deployment in ("nginx-origin-deploy", "srs-demo-deploy"):
        assert declared["Deployment", deployment]["spec"]["template"]["spec"]["imagePullSecrets"] == wanted
    without = declare()
    for key in (("Deployment", "srs-edge-r5-deploy"), ("StatefulSet", "srs-origin")):
        assert declared[key] == without[key]
    secret = declared["Secret", "srs-registry"]
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    content = secret["stringData"]
    assert content[_special_sig_key] == _special_secret_sig  # the engine encrypts it
    login = json.loads(content["value"][".dockerconfigjson"])["auths"]["registry.example.com"]
    assert base64.b64decode(login["auth"]).decode() == f"{login['username']}:{login['password']}"


def test_the_old_address_is_released_before_a_service_gets_the_id_of_another_clb() -> None:
    """In the other order the controller rejects the CLB, and retries up to five minutes later."""
    values = ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in (GOOD | {"loadBalancer": SLB}).items()}
    settings = read_settings(values, ["srs:images"])
    desired = render(settings, read_kept(settings, LiveState(), "key"), "organization/srs/test")
    recorder = Recorder()
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(recorder, project="srs", stack="test")
    released: list[bool] = []

    async def before_binding(clb: str) -> str:
        released.append(("Service", "srs-edge-service") in recorder.declared)
        return clb

    @pulumi.runtime.test
    def run() -> None:
        LoadBalancer(settings.edge_service, desired, Declarer("live"), before_binding)

    run()
    assert released == [False], "nothing is declared with the id yet"
    assert ("Service", "srs-edge-service") in recorder.declared


def test_values_that_were_set_with_secret_are_encrypted_in_the_state() -> None:
    edge = copy.deepcopy(GOOD["edge"])
    edge["releases"]["r6"]["podAnnotations"] = {"example.com/key": "hunter2"}
    declared = declare(["srs:edge"], edge=edge)
    assert declared["Deployment", "srs-edge-r6-deploy"]["spec"][_special_sig_key] == _special_secret_sig
    assert declared["Deployment", "srs-edge-r5-deploy"]["spec"]["replicas"] == 3
