"""What the components declare, under Pulumi's mocks: what no object may lack, and what must never be there."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest

from bad_configs import GOOD
from components.demo_stream import DemoStream
from components.edge_fleet import EdgeFleet
from components.hls import Hls
from components.load_balancer import LoadBalancer
from components.manifest import FIELD_MANAGER
from components.origin_cluster import OriginCluster
from components.pull_secret import registry_secret
from model.config import read_settings


class Recorder(pulumi.runtime.Mocks):
    """Keeps what is declared: type, name, inputs."""

    def __init__(self) -> None:
        self.declared: dict[tuple[str, str], dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        kind = args.typ.split(":")[-1]
        assert (kind, args.name) not in self.declared, "two resources of one name"
        self.declared[kind, args.name] = copy.deepcopy(args.inputs)
        metadata = {"uid": f"uid of {args.name}", **args.inputs.get("metadata", {})}
        return args.name, {**args.inputs, "metadata": metadata}

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[Any, Any]:
        raise AssertionError(f"the components call nothing, and called {args.token}")


def declare(**change: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """All components with the good config, changed by top-level keys; what they declare."""
    config = copy.deepcopy(GOOD) | change
    settings = read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="srs", stack="test")

    @pulumi.runtime.test
    def run() -> None:
        opts = pulumi.ResourceOptions()
        if settings.images.registry:
            registry_secret(settings.images.registry, "live", opts)
        fronts = [LoadBalancer(front.service, front, "live", f"live-{front.service}") for front in settings.fronts]
        fleet = EdgeFleet("srs-edge", settings, "live")
        for release in settings.edge.releases:
            assert fleet.release(release) is fleet.release(release)
        pull = settings.images.secret_names
        hls = Hls("nginx-origin", settings.hls, "live", fronts[0], pull) if settings.hls.enabled else None
        OriginCluster("srs-origin", settings, "live", hls.claim if hls else None)
        if settings.demo.enabled:
            DemoStream("srs-demo", settings.demo, "live", pull)

    run()
    return recorder.declared


@pytest.fixture(scope="module")
def declared() -> dict[tuple[str, str], dict[str, Any]]:
    return declare()


def objects(declared: dict[tuple[str, str], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for (kind, name), inputs in declared.items():
        if "metadata" in inputs:
            yield f"{kind}/{name}", inputs


def pods(declared: dict[tuple[str, str], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inputs in objects(declared):
        if "template" in inputs.get("spec", {}):
            yield name, inputs["spec"]["template"]["spec"]


def test_every_object_has_one_field_manager_and_waits_for_nobody(declared: Any) -> None:
    for name, inputs in objects(declared):
        annotations = inputs["metadata"]["annotations"]
        assert annotations["pulumi.com/patchFieldManager"] == FIELD_MANAGER, name
        assert annotations["pulumi.com/patchForce"] == "true", name
        assert annotations["pulumi.com/skipAwait"] == "true", name
        assert annotations["pulumi.com/deletionPropagationPolicy"] == "background", name
        assert inputs["metadata"]["namespace"] == "live", name


def test_every_pod_is_locked_down(declared: Any) -> None:
    names = [name for name, _ in pods(declared)]
    assert len(names) == 5
    for name, pod in pods(declared):
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert "cpu" not in container["resources"]["limits"], name


def test_the_api_is_on_no_service_for_viewers(declared: Any) -> None:
    for name in ("srs-edge-service", "nginx-origin-service"):
        assert 1985 not in [port["port"] for port in declared["Service", name]["spec"]["ports"]]
    rules = declared["NetworkPolicy", "srs-edge"]["spec"]["ingress"]
    (api,) = [rule for rule in rules if {"port": 1985, "protocol": "TCP"} in rule["ports"]]
    assert api["from"] == [{"podSelector": {}}]


def test_each_release_has_its_own_selector_and_the_shared_label(declared: Any) -> None:
    for release, replicas in (("r5", 3), ("r6", 1)):
        deployment = declared["Deployment", f"srs-edge-{release}-deploy"]["spec"]
        assert deployment["replicas"] == replicas
        assert deployment["selector"]["matchLabels"] == {"run": f"srs-edge-{release}"}
        assert deployment["template"]["metadata"]["labels"] == {"app": "srs-edge", "run": f"srs-edge-{release}"}
    assert declared["Service", "srs-edge-service"]["spec"]["selector"] == {"app": "srs-edge"}


def test_configs_are_immutable_named_by_content_and_owned_by_their_release(declared: Any) -> None:
    configs = {name: inputs for (kind, name), inputs in declared.items() if kind == "ConfigMap"}
    assert len(configs) == 3
    for name, inputs in configs.items():
        (owner,) = inputs["metadata"]["ownerReferences"]
        assert inputs["immutable"] is True
        assert name.startswith(f"{owner['name']}-")
        assert owner["uid"] == f"uid of {owner['name']}"
    volumes = declared["Deployment", "srs-edge-r5-deploy"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"]["name"] in configs


def test_another_srs_conf_is_another_config_and_touches_no_other_release(declared: Any) -> None:
    edge = copy.deepcopy(GOOD["edge"])
    edge["releases"]["r6"]["srs"] = {"maxConnections": 5000}
    changed = declare(edge=edge)
    different = {key for key in declared if key in changed and declared[key] != changed[key]}
    assert different == {("Deployment", "srs-edge-r6-deploy")}
    added_and_gone = set(declared) ^ set(changed)
    assert {(kind, name.rsplit("-", 1)[0]) for kind, name in added_and_gone} == {("ConfigMap", "srs-edge-r6")}
    assert len(added_and_gone) == 2


def test_a_change_of_weights_changes_replicas_only(declared: Any) -> None:
    edge = copy.deepcopy(GOOD["edge"])
    edge["releases"]["r5"]["weight"], edge["releases"]["r6"]["weight"] = 25, 75
    changed = declare(edge=edge)
    assert set(changed) == set(declared)
    for key in declared:
        if declared[key] != changed[key]:
            assert key[0] == "Deployment"
            assert {**declared[key]["spec"], "replicas": 0} == {**changed[key]["spec"], "replicas": 0}
            assert declared[key]["metadata"] == changed[key]["metadata"]


def test_hls_and_demo_can_be_left_out() -> None:
    small = declare(hls={}, demo={}, loadBalancer={"kind": "none"})
    assert not [name for _, name in small if "nginx" in name or "demo" in name or "hls" in name]
    assert small["Service", "srs-edge-service"]["spec"]["type"] == "ClusterIP"
    assert "hls" not in small[next(key for key in small if key[1].startswith("srs-origin-"))]["data"]["srs.conf"]


def test_a_deregister_time_of_nothing_needs_no_hook() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"drain": {"deregister": "0s", "timeout": "1h"}}
    for name, pod in pods(declare(edge=edge)):
        if "edge" in name:
            assert "lifecycle" not in pod["containers"][0]
            assert pod["terminationGracePeriodSeconds"] == 3600 + 30
