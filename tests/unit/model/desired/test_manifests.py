"""Every manifest of the stack as plain data: required fields, and objects that must never exist."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bad_configs import ALICLOUD, GOOD, NLB, SERVICE, SIX, SLB
from cluster.state import LiveState
from model.config.read import read_settings
from model.desired.render import render
from model.load_balancers.alibaba import PREFIX
from model.names import FIELD_MANAGER
from update.kept import read_kept


def declare(**change: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The manifests with the good config, changed by top-level keys, by kind and logical name."""
    config = copy.deepcopy(GOOD) | change
    values = ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    settings = read_settings(values, ["srs:images"])
    kept = replace(read_kept(settings, LiveState(), "key"), port_names={"socs": {1935: "socs-1935-1935"}})
    desired = render(settings, kept, "organization/srs/test")
    return {(item.kind, item.resource): item.manifest for item in desired.objects.values()}


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


ID = f"{PREFIX}id"
EDGE = copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}}


def test_every_object_has_one_field_manager_and_the_provider_does_not_wait(declared: Any) -> None:
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
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name


def test_the_api_is_on_no_service_for_viewers(declared: Any) -> None:
    for name in ("srs-edge-service", "nginx-origin-service"):
        assert 1985 not in [port["port"] for port in declared["Service", name]["spec"]["ports"]]
    rules = declared["NetworkPolicy", "srs-edge"]["spec"]["ingress"]
    (api,) = [rule for rule in rules if {"port": 1985, "protocol": "TCP"} in rule["ports"]]
    assert api["from"] == [{"podSelector": {}}]


def test_edges_that_are_out_of_rotation_keep_their_connections(declared: Any) -> None:
    both = [{"key": "app", "operator": "In", "values": ["srs-edge", "srs-edge-aborted"]}]
    assert declared["NetworkPolicy", "srs-edge"]["spec"]["podSelector"] == {"matchExpressions": both}
    pulls = declared["NetworkPolicy", "srs-origin"]["spec"]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": {"app": "srs-edge-aborted"}}} in pulls


def test_origins_that_drain_keep_their_names_and_get_no_new_streams(declared: Any) -> None:
    assert declared["Service", "socs"]["spec"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in declared["Service", "srs-origin-service"]["spec"]


def test_services_reach_pods_of_others_by_port_and_keep_live_port_names(declared: Any) -> None:
    ports = declared["Service", "socs"]["spec"]["ports"] + declared["Service", "srs-edge-service"]["spec"]["ports"]
    assert [(port["name"], port["port"], port["targetPort"]) for port in ports] == [
        ("socs-1935-1935", 1935, 1935),
        ("api", 1985, 1985),
        ("rtmp", 1935, 1935),
        ("http", 8080, 8080),
    ]


def test_each_release_has_its_own_selector_and_the_shared_label(declared: Any) -> None:
    for release, replicas in (("r5", 3), ("r6", 1)):
        deployment = declared["Deployment", f"srs-edge-{release}-deploy"]["spec"]
        assert deployment["replicas"] == replicas
        assert deployment["selector"]["matchLabels"] == {"run": f"srs-edge-{release}"}
        assert deployment["template"]["metadata"]["labels"] == {"app": "srs-edge", "run": f"srs-edge-{release}"}
    assert declared["Service", "srs-edge-service"]["spec"]["selector"] == {"app": "srs-edge"}


def test_another_srs_conf_is_another_config_map_and_changes_no_other_release(declared: Any) -> None:
    edge = copy.deepcopy(GOOD["edge"])
    edge["releases"]["r6"]["srs"] = {"maxConnections": 5000}
    changed = declare(edge=edge)
    different = {key for key in declared if key in changed and declared[key] != changed[key]}
    assert different == {("Deployment", "srs-edge-r6-deploy")}
    added_and_removed = set(declared) ^ set(changed)
    assert {(kind, name.rsplit("-", 1)[0]) for kind, name in added_and_removed} == {("ConfigMap", "srs-edge-r6")}
    assert len(added_and_removed) == 2


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


def test_the_backends_are_the_nodes_that_the_pods_run_on() -> None:
    def label(declared: Any, service: str = "srs-edge-service") -> str | None:
        return declared["Service", service]["metadata"]["annotations"].get(f"{PREFIX}backend-label")

    edge = copy.deepcopy(GOOD["edge"]) | {"nodeSelector": {"pool": "edge", "a": "b"}}
    origin = copy.deepcopy(GOOD["origin"]) | {"nodeSelector": {"pool": "origin"}}
    publish = {"to": "origins", "loadBalancer": SLB}
    hls = GOOD["hls"] | {"port": 80}
    declared = declare(loadBalancer=SLB, edge=edge, origin=origin, publish=publish, hls=hls)
    assert label(declared) == label(declared, "nginx-origin-service") == "a=b,pool=edge"
    assert label(declared, "srs-publish-service") == "pool=origin"
    assert label(declare(loadBalancer=SLB | {"backendNodes": {"stable": "yes"}}, edge=edge)) == "stable=yes"
    assert label(declare(loadBalancer=SLB | {"backendNodes": {}}, edge=edge)) is None
    # Their backends are the pods, or the nodes of pods.
    short = edge | {"drain": {"timeout": "10m"}}
    for other in ({"backend": "eni"}, {"externalTrafficPolicy": "Local"}):
        assert label(declare(loadBalancer=SLB | other, edge=short)) is None
    assert label(declare(edge=edge)) is None


def test_a_service_of_another_cloud_has_what_its_controller_needs() -> None:
    keys = {"loadBalancerClass": "service.k8s.aws/nlb", "rtmpPort": 1936, "httpPort": 80}
    ranges = {"sourceRanges": ["203.0.113.0/24"], "externalTrafficPolicy": "Local"}
    annotations = {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing"}
    declared = declare(loadBalancer=SERVICE | keys | ranges | {"annotations": annotations})
    service = declared["Service", "srs-edge-service"]
    assert service["metadata"]["annotations"].items() >= annotations.items()
    assert service["spec"] == {
        "type": "LoadBalancer",
        "selector": {"app": "srs-edge"},
        "ports": [
            {"name": "rtmp", "port": 1936, "targetPort": 1935, "protocol": "TCP"},
            {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        ],
        "externalTrafficPolicy": "Local",
        "loadBalancerClass": "service.k8s.aws/nlb",
        "loadBalancerSourceRanges": ["203.0.113.0/24"],
    }
    demo = declared["Deployment", "srs-demo-deploy"]["spec"]["template"]["spec"]["containers"][0]
    assert "rtmp://srs-edge-service:1936/live/livestream" in demo["args"][0]


def test_pods_have_a_readiness_gate_behind_an_eni_load_balancer() -> None:
    gate = [{"conditionType": "service.readiness.alibabacloud.com/srs-edge-service"}]
    for settings, wanted in ((SLB, None), (SLB | {"backend": "eni"}, gate), (NLB | {"backend": "eni"}, gate)):
        declared = declare(loadBalancer=settings, edge=EDGE)
        for release in ("r5", "r6"):
            pod = declared["Deployment", f"srs-edge-{release}-deploy"]["spec"]["template"]["spec"]
            assert pod.get("readinessGates") == wanted
        assert "readinessGates" not in declared["StatefulSet", "srs-origin"]["spec"]["template"]["spec"]


def test_load_balancers_of_encoders_reach_the_origins_and_check_them() -> None:
    def ports(**publish: Any) -> list[int]:
        ingress = declare(publish=publish, edge=EDGE)["NetworkPolicy", "srs-origin"]["spec"]["ingress"]
        return [port["port"] for rule in ingress if "from" not in rule for port in rule["ports"]]

    target = {"to": "origins", "loadBalancer": SLB | {"service": "srs-encoders"}}
    assert ports(loadBalancer=SLB) == []
    assert ports(**target) == [1935]
    # Pods that are backends are checked on the port of HTTP-FLV.
    assert ports(to="origins", loadBalancer=SLB | {"backend": "eni"}) == [1935, 8080]
    # Encoders of a load balancer that is being replaced still publish to the origins.
    assert ports(loadBalancer=SLB, former=target) == [1935]


def test_nginx_behind_an_eni_load_balancer_waits_for_it_and_deregisters_as_long_as_an_edge() -> None:
    hls = GOOD["hls"] | {"port": 80}

    def nginx(**load_balancer: Any) -> Any:
        declared = declare(loadBalancer=SLB | load_balancer, edge=EDGE, hls=hls)
        return declared["Deployment", "nginx-origin-deploy"]["spec"]

    nodes, pods = nginx(), nginx(backend="eni")
    for spec, deregister in ((nodes, 5), (pods, 30)):
        pod = spec["template"]["spec"]
        assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": deregister}}}
        assert pod["terminationGracePeriodSeconds"] == deregister + 5
    assert "readinessGates" not in nodes["template"]["spec"]
    assert "minReadySeconds" not in nodes
    gate = [{"conditionType": "service.readiness.alibabacloud.com/nginx-origin-service"}]
    assert pods["template"]["spec"]["readinessGates"] == gate
    assert pods["minReadySeconds"] == 6


def test_nginx_has_a_worker_for_each_core_and_survives_node_drains() -> None:
    hls = GOOD["hls"] | {"replicas": 2, "resources": {"cpu": "1500m", "memory": "1Gi"}}
    declared = declare(hls=hls)
    pod = declared["Deployment", "nginx-origin-deploy"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    config = pod["volumes"][0]["configMap"]["name"]
    assert declared["ConfigMap", config]["data"]["nginx.conf"].startswith("worker_processes 2;\n")
    assert declared["ConfigMap", config]["immutable"] is True
    budget = declared["PodDisruptionBudget", "nginx-origin"]["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, {"matchLabels": {"app": "nginx-origin"}})


def test_nginx_pods_delete_the_hls_files_that_origins_leave() -> None:
    def nginx(image: str) -> Any:
        declared = declare(origin=GOOD["origin"] | {"image": image})
        return declared["Deployment", "nginx-origin-deploy"]["spec"]["template"]["spec"]

    old, new = nginx("ossrs/srs:v4.0.6"), nginx("ossrs/srs:v6.0-r1")
    assert [container["name"] for container in old["containers"]] == ["nginx"]
    server, cleaner = new["containers"]
    assert cleaner["image"] == server["image"]
    assert cleaner["volumeMounts"] == [{"name": "hls", "mountPath": "/usr/share/nginx/html"}]
    assert {"name": "hls", "mountPath": "/usr/share/nginx/html", "readOnly": True} in server["volumeMounts"]
    for pod, read_only in ((old, {"readOnly": True}), (new, {})):
        (claim,) = (volume["persistentVolumeClaim"] for volume in pod["volumes"] if volume["name"] == "hls")
        assert claim == {"claimName": "srs-hls"} | read_only
    assert "fsGroupChangePolicy" not in old["securityContext"]
    assert new["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_edges_and_nginx_serve_https_with_the_certificate_of_a_secret() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"releases": SIX}
    declared = declare(edge=edge, tls={"secretName": "live-tls", "port": 8443})
    for name, folder in (("srs-edge-r6-deploy", "/usr/local/srs/tls"), ("nginx-origin-deploy", "/etc/nginx/tls")):
        pod = declared["Deployment", name]["spec"]["template"]["spec"]
        assert {"name": "tls", "secret": {"secretName": "live-tls", "defaultMode": 0o440}} in pod["volumes"], name
        mounts = pod["containers"][0]["volumeMounts"]
        assert {"name": "tls", "mountPath": folder, "readOnly": True} in mounts, "no subPath: it is never renewed"
    edges, nginx = (declared["Service", name]["spec"]["ports"] for name in ("srs-edge-service", "nginx-origin-service"))
    https = {"name": "https", "port": 8443, "targetPort": 8443, "protocol": "TCP", "nodePort": 30443}
    assert edges[-1] == https
    assert nginx[-1] == {"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"}
    moved = declare(edge=edge, tls={"secretName": "live-tls", "port": 444, "formerPort": 443})
    ports = {port["name"]: port for port in moved["Service", "srs-edge-service"]["spec"]["ports"]}
    assert {name: (port["port"], port["targetPort"]) for name, port in ports.items() if "https" in name} == {
        "https": (444, 8443),
        "https-443": (443, 8443),
    }
    assert "nodePort" not in ports["https-443"], "the cluster chooses one"
    for name in ("srs-edge", "nginx-origin"):
        rules = declared["NetworkPolicy", name]["spec"]["ingress"]
        assert {"port": 8443, "protocol": "TCP"} in rules[0]["ports"], name
    origin = declared["StatefulSet", "srs-origin"]["spec"]["template"]["spec"]
    assert not [volume for volume in origin["volumes"] if volume["name"] == "tls"]


def test_a_large_volume_does_not_delay_the_origins(declared: Any) -> None:
    def policy(objects: Any) -> str | None:
        pod = objects["StatefulSet", "srs-origin"]["spec"]["template"]["spec"]
        return pod["securityContext"].get("fsGroupChangePolicy")

    assert policy(declared) == "OnRootMismatch"
    assert policy(declare(hls={})) is None


def test_pods_have_the_placement_of_the_config() -> None:
    toleration = {"key": "pool", "operator": "Equal", "value": "edge", "effect": "NoSchedule"}
    placement = {"nodeSelector": {"pool": "edge"}, "tolerations": [toleration]}
    edge, origin, hls = (copy.deepcopy(GOOD[key]) | placement for key in ("edge", "origin", "hls"))
    placed = dict(pods(declare(edge=edge, origin=origin, hls=hls)))
    for name, pod in placed.items():
        if "demo" not in name:
            assert pod["nodeSelector"] == {"pool": "edge"}, name
            assert pod["tolerations"] == [toleration], name
    for name, pod in pods(declare()):
        assert not {"nodeSelector", "tolerations"} & pod.keys(), name


def test_pods_are_scheduled_as_the_config_says() -> None:
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}
    toleration = {"key": "lost", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "5m"}
    keys = {"affinity": affinity, "priorityClass": "serving", "schedulerName": "mine", "tolerations": [toleration]}
    edge, origin, hls = (copy.deepcopy(GOOD[key]) | keys for key in ("edge", "origin", "hls"))
    for name, pod in pods(declare(edge=edge, origin=origin, hls=hls)):
        if "demo" not in name:
            assert pod["affinity"] == affinity, name
            assert (pod["priorityClassName"], pod["schedulerName"]) == ("serving", "mine"), name
            assert pod["tolerations"] == [toleration | {"tolerationSeconds": 300}], name


def test_a_patch_adds_to_the_pods_of_srs_and_changes_nothing_else(declared: Any) -> None:
    mount = {"name": "logs", "mountPath": "/logs"}
    patch = {
        "metadata": {"labels": {"team_of": "video"}},
        "spec": {
            "volumes": [{"name": "logs", "emptyDir": {}}],
            "dnsConfig": {"options": [{"name": "attempts", "value": "3"}]},
            "containers": [
                {"name": "srs", "env": [{"name": "TZ", "value": "UTC"}], "volumeMounts": [mount]},
                {"name": "logger", "image": "example.com/logger:1", "volumeMounts": [mount]},
            ],
        },
    }
    edge, origin = copy.deepcopy(GOOD["edge"]), GOOD["origin"] | {"podPatch": patch}
    edge["releases"]["r6"]["podPatch"] = patch
    changed = declare(edge=edge, origin=origin)
    patched = {key for key in declared if declared[key] != changed[key]}
    assert patched == {("Deployment", "srs-edge-r6-deploy"), ("StatefulSet", "srs-origin")}
    for key in patched:
        before, after = (copy.deepcopy(objects[key]["spec"]["template"]) for objects in (declared, changed))
        assert after["metadata"]["labels"].pop("team_of") == "video"
        assert after["spec"]["volumes"].pop() == {"name": "logs", "emptyDir": {}}
        logger = after["spec"]["containers"].pop()
        assert logger["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        (srs,) = after["spec"]["containers"]
        assert (srs.pop("env"), srs["volumeMounts"].pop()) == ([{"name": "TZ", "value": "UTC"}], mount)
        assert after["spec"]["dnsConfig"]["options"].pop() == {"name": "attempts", "value": "3"}
        assert before["spec"]["dnsConfig"]["options"].pop() == {"name": "attempts", "value": "2"}
        for template in (before, after):
            template["metadata"]["annotations"].pop("srs/revision", None)
        assert after == before


def test_autoscalers_keep_the_nodes_of_pods_with_connections(declared: Any) -> None:
    for kind, name in (("Deployment", "srs-edge-r5-deploy"), ("StatefulSet", "srs-origin")):
        annotations = declared[kind, name]["spec"]["template"]["metadata"]["annotations"]
        assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_images_of_docker_hub_come_from_the_mirror() -> None:
    releases = {"r5": {"image": "registry.example.com/srs:v4.0.5", "weight": 1}}
    edge = copy.deepcopy(GOOD["edge"]) | {"releases": releases}
    declared = declare(images={"mirror": "mirror.example.com/hub"}, edge=edge)
    images = {name: pod["containers"][0]["image"] for name, pod in pods(declared)}
    assert images == {
        "Deployment/srs-edge-r5-deploy": "registry.example.com/srs:v4.0.5",
        "StatefulSet/srs-origin": f"mirror.example.com/hub/{GOOD['origin']['image']}",
        "Deployment/nginx-origin-deploy": "mirror.example.com/hub/nginxinc/nginx-unprivileged:1.28.0",
        "Deployment/srs-demo-deploy": "mirror.example.com/hub/ossrs/srs:encoder",
    }


def test_hls_and_demo_are_optional() -> None:
    small = declare(hls={}, demo={}, loadBalancer={"kind": "none"})
    assert not [name for _, name in small if "nginx" in name or "demo" in name or "hls" in name]
    assert small["Service", "srs-edge-service"]["spec"]["type"] == "ClusterIP"
    assert (
        "hls"
        not in small[next(key for key in small if key[0] == "ConfigMap" and "origin" in key[1])]["data"]["srs.conf"]
    )


def test_a_deregister_time_of_nothing_needs_no_hook() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"drain": {"deregister": "0s", "timeout": "1h"}}
    for name, pod in pods(declare(edge=edge)):
        if "edge" in name:
            assert "lifecycle" not in pod["containers"][0]
            assert pod["terminationGracePeriodSeconds"] == 3600 + 30


def test_an_edge_that_keeps_serving_gets_no_signal_while_it_has_clients() -> None:
    edge = copy.deepcopy(GOOD["edge"]) | {"drain": {"deregister": "7s", "timeout": "1h", "keepServing": True}}
    for name, pod in pods(declare(edge=edge)):
        lifecycle = pod["containers"][0].get("lifecycle", {})
        if "origin" in name:  # origins drain in their own way
            continue
        if "edge" not in name:
            assert "preStop" not in lifecycle or "exec" not in lifecycle["preStop"]
            continue
        assert lifecycle["postStart"] == {"exec": {"command": ["bash", "-c", "type sleep"]}}
        script = lifecycle["preStop"]["exec"]["command"][-1]
        assert script.startswith("sleep 7\nend=$((SECONDS + 3600))")
        assert pod["terminationGracePeriodSeconds"] == 7 + 3600 + 30


def test_prometheus_reaches_the_exporters_of_versions_that_have_one() -> None:
    releases = {
        name: release | {"image": f"ossrs/srs:{tag}"}
        for (name, release), tag in zip(GOOD["edge"]["releases"].items(), ("v4.0.6", "v6.0-r1"), strict=False)
    }
    monitoring = {"kind": "podMonitor", "namespace": "prometheus", "interval": "1m"}
    origin = GOOD["origin"] | {"image": "ossrs/srs:v6.0-r1"}
    declared = declare(edge=GOOD["edge"] | {"releases": releases}, origin=origin, monitoring=monitoring)
    old, new = (declared["Deployment", f"srs-edge-{name}-deploy"]["spec"]["template"] for name in list(releases)[:2])
    assert old["metadata"]["labels"].keys() == {"app", "run"}
    assert new["metadata"]["labels"] | {"role": "edge", "release": list(releases)[1]} == new["metadata"]["labels"]
    exporter = {"name": "exporter", "containerPort": 9972, "protocol": "TCP"}
    assert exporter not in old["spec"]["containers"][0]["ports"]
    assert exporter in new["spec"]["containers"][0]["ports"]
    origins = declared["StatefulSet", "srs-origin"]["spec"]["template"]
    assert origins["metadata"]["labels"]["role"] == "origin"
    assert exporter in origins["spec"]["containers"][0]["ports"]
    for app in ("srs-edge", "srs-origin"):
        *_, rule = declared["NetworkPolicy", app]["spec"]["ingress"]
        labels = {"kubernetes.io/metadata.name": "prometheus"}
        assert rule == {
            "from": [{"namespaceSelector": {"matchLabels": labels}}],
            "ports": [{"port": 9972, "protocol": "TCP"}],
        }
    endpoints = declared["PodMonitor", "srs-pods"]["spec"]["podMetricsEndpoints"]
    assert endpoints == [{"port": "exporter", "interval": "1m"}]


def test_annotations_lead_prometheus_to_the_exporters() -> None:
    declared = declare(origin=GOOD["origin"] | {"image": "ossrs/srs:v6.0-r1"}, monitoring={"kind": "annotations"})
    annotations = declared["StatefulSet", "srs-origin"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == "9972"
