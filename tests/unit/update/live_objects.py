"""The live state that an update with given settings leaves behind, and manual changes to it."""

import copy
import json
from typing import Any

from bad_configs import GOOD
from cluster.live import Kind
from cluster.state import LiveState
from model import workloads
from model.alibaba import NLB_CLASS, backend_label
from model.config import read_settings
from model.exposed_service import IDENTITY, ExposedService
from model.names import FIELD_MANAGER, HLS, HLS_CLAIM, HTTPS_PORT, ORIGIN, STACK_ANNOTATION
from model.pods import to_manifest
from model.settings.load_balancer import ServiceLoadBalancer, annotations
from model.settings.stack import StackSettings
from model.workload_specs import change_cause, edge_spec, origin_spec
from update.load_balancers import backend_nodes

STACK = "organization/srs/dev"


def settings(**change: Any) -> StackSettings:
    """The good config, changed by top-level keys; `edge__x` changes a key of the edges, and so on."""
    config = copy.deepcopy(GOOD)
    for key, value in change.items():
        outer, _, inner = key.partition("__")
        if inner:
            config[outer][inner] = value
        else:
            config[outer] = value
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    return read_settings(values | {"alicloud:region": "cn-beijing"})


def metadata(name: str, **annotations: str) -> dict[str, Any]:
    return {"name": name, "annotations": {STACK_ANNOTATION: STACK} | annotations, "generation": 1}


def workload(name: str, spec: Any, ready: int | None = None, **annotations: str) -> dict[str, Any]:
    """A live workload as the API server returns it: with defaults that nobody has set."""
    manifest = to_manifest(spec)
    manifest["template"]["spec"] |= {"restartPolicy": "Always", "schedulerName": "default-scheduler"}
    if not manifest.get("paused"):
        manifest.pop("paused", None)
    replicas = manifest["replicas"]
    live = {"metadata": metadata(name, **annotations) | {"uid": name}, "spec": manifest}
    live["status"] = {"replicas": replicas, "readyReplicas": replicas if ready is None else ready}
    owned = {"f:metadata": {"f:annotations": {f"f:{STACK_ANNOTATION}": {}}}, "f:spec": {"f:replicas": {}}}
    live["metadata"]["managedFields"] = [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned}]
    return live


def replica_set(deployment: dict[str, Any]) -> dict[str, Any]:
    """The ReplicaSet of a Deployment whose rolling update is complete."""
    template = copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["labels"]["pod-template-hash"] = "1"
    owner = {"uid": deployment["metadata"]["uid"]}
    return {"metadata": {"ownerReferences": [owner]}, "spec": {"template": template}, "status": deployment["status"]}


def live_service(service: ExposedService, nodes: dict[str, str]) -> dict[str, Any]:
    """A live Service with a load balancer. nodes: labels that limit its backends."""
    load_balancer = service.load_balancer
    kinds = {"none": "ClusterIP", "nodePort": "NodePort"}
    spec: dict[str, Any] = {
        "type": kinds.get(load_balancer.kind, "LoadBalancer"),
        "selector": {"app": service.app},
        "ports": [
            {
                "name": name,
                "port": service.service_ports[name],
                "targetPort": HTTPS_PORT if name.startswith("https") else port,
            }
            for name, port in service.ports.items()
        ],
    }
    if load_balancer.kind == "nodePort":
        for port, key in zip(spec["ports"], ("rtmpPort", "httpPort", "httpsPort"), strict=False):
            port["nodePort"] = load_balancer.identity[key]
    if load_balancer.kind == "nlb":
        spec["loadBalancerClass"] = NLB_CLASS
    if isinstance(load_balancer, ServiceLoadBalancer):
        spec |= {
            "loadBalancerClass": load_balancer.load_balancer_class,
            "externalTrafficPolicy": load_balancer.external_traffic_policy,
        }
    bound = {IDENTITY: service.identity, **annotations(load_balancer), **backend_label(nodes)}
    return {"metadata": metadata(service.name, **bound), "spec": spec}


def _hls_ports(settings: StackSettings) -> dict[str, int]:
    hls = settings.hls
    return {f"http{port}": port for port in hls.http_ports} | {f"https{port}": port for port in hls.https_ports}


def state_after(settings: StackSettings, ready: dict[str, int] | None = None) -> LiveState:
    """The state after an update with these settings. ready: ready edges of some releases, by default all."""
    deployments: dict[str, Any] = {}
    confs = {ORIGIN: settings.origin_conf.shown}
    for release in settings.edge.releases:
        name = workloads.edges(settings, release).name
        cause = {"kubernetes.io/change-cause": change_cause(settings, release)}
        deployments[name] = workload(name, edge_spec(settings, release), (ready or {}).get(release), **cause)
        confs[name] = settings.edge_conf(release).shown
    nodes = backend_nodes(settings, LiveState())
    services = {
        service.name: live_service(service, nodes.get(service.name, {})) for service in settings.exposed_services
    }
    for name, service in settings.hls_services.items():
        hls = ExposedService((), name, service.load_balancer, HLS, _hls_ports(settings))
        services[name] = live_service(hls, nodes[name])
        del services[name]["metadata"]["annotations"][IDENTITY]
    objects: dict[Kind, dict[str, Any]] = {
        "Deployment": deployments,
        "ReplicaSet": {name: replica_set(deployment) for name, deployment in deployments.items()},
        "StatefulSet": {ORIGIN: workload(ORIGIN, origin_spec(settings))},
        "Service": services,
    }
    if settings.hls.enabled:
        spec = {
            "storageClassName": settings.hls.storage_class,
            "resources": {"requests": {"storage": settings.hls.size}},
        }
        claim = {"metadata": metadata(HLS_CLAIM), "spec": spec, "status": {"phase": "Bound"}}
        objects["PersistentVolumeClaim"] = {HLS_CLAIM: claim}
    namespace = {"metadata": metadata(settings.kubernetes.namespace)}
    return LiveState(cluster_uid="uid", namespace=namespace, objects=objects, confs=confs)


def nothing() -> LiveState:
    """A cluster in which the stack has not been deployed."""
    return LiveState(cluster_uid="uid")
