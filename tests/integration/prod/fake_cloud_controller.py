"""A fake cloud controller manager on the embedded cluster: it binds Services to load balancers of the fake API.

It has those rules of the real one (kubernetes/cloud-provider-alibaba-cloud) that a stack can violate:

- A Service with the id of a CLB gets the CLB's address, or its elastic one with `external-ip-type: eip`. It is
  rejected, with a warning event, if the CLB does not exist, has another address type, belongs to a controller by its
  tags, or if the Service already has the address of another CLB.
- Listeners are created on the Service's ports, and deleted on others, only with `force-override-listeners: "true"`.
- The CLB gets the tag that marks it as used.
- Backends are pods (`eni`: ready, not terminating), nodes with a ready pod (`Local`) or all nodes (`Cluster`). A pod
  with a readiness gate for the Service becomes a backend before it becomes ready.
- A node is left out when it is NotReady, tainted by the cluster autoscaler, excluded by a label, or without the labels
  of `backend-label` (reconcile/backend/backend.go, `needExcludeFromLB` and `filterOutByLabel`).
- A Service with the class of NLBs gets a host name, and needs zone maps.
- A finalizer keeps a terminating Service until its listeners are removed; a Service that has become one of another type
  loses listeners, address and finalizer.
- It handles a Service only when its spec or its annotations, endpoints or nodes have changed, and after a failure.
"""

import datetime
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from integration.prod.fake_alibaba_api import CloudApi

PREFIX = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
FINALIZER = "service.k8s.alibaba/resources"
GATE = "service.readiness.alibabacloud.com/"
POLL_SECONDS = 0.2

Object = dict[str, Any]


class BindError(Exception):
    """The controller cannot bind a Service; the message is that of the real one."""


def accepts(node: Object, labels: dict[str, str]) -> bool:
    """Whether a node may be a backend. labels: of the annotation `backend-label`."""
    found: dict[str, str] = node["metadata"].get("labels", {})
    taints = [taint["key"] for taint in node["spec"].get("taints", [])]
    conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions", [])}
    return (
        labels.items() <= found.items()
        and "ToBeDeletedByClusterAutoscaler" not in taints
        and bool(conditions)
        and conditions.get("Ready", "True") == "True"
        and "node.kubernetes.io/exclude-from-external-load-balancers" not in found
        and "node-role.kubernetes.io/master" not in found
    )


@dataclass
class CloudController:
    """Controls one namespace while its `with` block runs.

    seen: the annotations of each Service, after each change. listeners: the Service of each port of each load balancer.
    backends: those of each Service, after each change.
    """

    api: CloudApi
    kubeconfig: Path
    namespace: str
    seen: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    listeners: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    backends: dict[str, list[set[str]]] = field(default_factory=dict[str, list[set[str]]])
    errors: list[str] = field(default_factory=list[str])
    """Errors of the controller itself."""
    down: bool = False
    """Whether the controller does nothing."""

    def __post_init__(self) -> None:
        self._api = config.new_client_from_config(str(self.kubeconfig))
        self._core = client.CoreV1Api(self._api)
        self._failed: set[str] = set()
        self._handled: dict[str, Any] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            if self.down:
                continue
            for service in self._list("services"):
                try:
                    self._reconcile(service)
                except ApiException as error:
                    # 404 and 409: changed meanwhile, and read again. 403: the namespace is terminating.
                    if error.status not in (403, 404, 409):
                        self.errors.append(f"{service['metadata']['name']}: {error}")

    def _list(self, kind: str, namespaced: bool = True) -> list[Object]:
        scope = f"namespaces/{self.namespace}/" if namespaced else ""
        request = self._api.param_serialize("GET", f"/api/v1/{scope}{kind}", auth_settings=["BearerToken"])
        response = self._api.call_api(*request)
        body = cast("bytes", response.read())
        return cast("list[Object]", json.loads(body)["items"]) if response.status == 200 else []

    def _reconcile(self, service: Object) -> None:
        meta, spec = service["metadata"], service["spec"]
        name: str = meta["name"]
        finalizers: list[str] = meta.get("finalizers", [])
        if "deletionTimestamp" in meta or spec["type"] != "LoadBalancer":
            if FINALIZER in finalizers:
                self.listeners = {key: user for key, user in self.listeners.items() if user != name}
                self._core.patch_namespaced_service_status(
                    name, self.namespace, {"status": {"loadBalancer": {"ingress": None}}}
                )
                others = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
                self._patch(name, {"metadata": {"finalizers": others}})
            return
        if FINALIZER not in finalizers:
            self._patch(name, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
        annotations: dict[str, str] = meta.get("annotations", {})
        settings = {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}
        settings["backend-type"] = annotations.get("service.beta.kubernetes.io/backend-type", "")
        history = self.seen.setdefault(name, [])
        if not history or history[-1] != settings:
            history.append(settings)
        handled = (spec["ports"], annotations, self._update_backends(service, settings))
        if name not in self._failed and self._handled.get(name) == handled:
            return
        self._handled[name] = handled
        try:
            ingress = self._bind(service, settings)
        except BindError as error:
            self._failed.add(name)
            self._warn(service, f"Error syncing load balancer [{settings.get('id', '')}]: {error}")
            return
        self._failed.discard(name)
        if service.get("status", {}).get("loadBalancer", {}).get("ingress") != [ingress]:
            self._core.patch_namespaced_service_status(
                name, self.namespace, {"status": {"loadBalancer": {"ingress": [ingress]}}}
            )

    def _bind(self, service: Object, settings: dict[str, str]) -> dict[str, str]:
        name, spec = service["metadata"]["name"], service["spec"]
        if load_balancer_class := spec.get("loadBalancerClass"):
            assert load_balancer_class == "alibabacloud.com/nlb"
            if len(settings.get("zone-maps", "").split(",")) < 2:
                raise BindError("ParameterMissing, zone mappings are required")
            return {"hostname": f"nlb-{service['metadata']['uid'][:8]}.cn-beijing.nlb.example.com"}
        clb = self.api.clbs.get(settings.get("id", ""))
        if clb is None:
            raise BindError("DescribeLoadBalancerAttribute: The specified LoadBalancerId does not exist.")
        identifier: str = clb["LoadBalancerId"]
        if settings.get("address-type", "internet") != clb["AddressType"]:
            raise BindError("alicloud: can not change LoadBalancer AddressType once created. delete and retry")
        tags = self.api.tags.setdefault(identifier, {})
        if {"kubernetes.do.not.delete", "ack.aliyun.com"} & tags.keys():
            raise BindError("can not reuse loadbalancer created by kubernetes.")
        eip = self.api.eip_of(identifier) if settings.get("external-ip-type") == "eip" else None
        ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
        if ingress and settings.get("external-ip-type") != "eip" and ingress[0].get("ip") != clb["Address"]:
            raise BindError(f"service has been associated with ip [{ingress[0].get('ip')}], cannot be bound to ip")
        if settings.get("force-override-listeners") == "true":
            ports = {port["port"] for port in spec["ports"]}
            others = [key for key, user in self.listeners.items() if user == name and key[1] not in ports]
            for key in others:
                del self.listeners[key]
            for port in spec["ports"]:
                user = self.listeners.setdefault((identifier, port["port"]), name)
                if user != name:
                    raise BindError(f"port {port['port']} of loadbalancer {identifier} is used by service {user}")
        tags.setdefault("kubernetes.reused.by.user", "true")
        return {"ip": eip or clb["Address"], "ipMode": "VIP"}

    def _update_backends(self, service: Object, settings: dict[str, str]) -> set[str]:
        name, spec = service["metadata"]["name"], service["spec"]
        selector = spec["selector"].items()
        pods = [pod for pod in self._list("pods") if selector <= pod["metadata"].get("labels", {}).items()]
        ready: list[Object] = []
        for pod in pods:
            conditions = {item["type"]: item["status"] for item in pod.get("status", {}).get("conditions", [])}
            if "deletionTimestamp" in pod["metadata"]:
                continue
            gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]
            if conditions.get("Ready") == "True":
                ready.append(pod)
            elif f"{GATE}{name}" in gates and conditions.get("ContainersReady") == "True":
                ready.append(pod)
                if conditions.get(f"{GATE}{name}") != "True":
                    self._open_gate(pod, f"{GATE}{name}")
        if settings["backend-type"] == "eni":
            backends = {pod["metadata"]["name"] for pod in ready}
        elif spec.get("externalTrafficPolicy") == "Local":
            backends = {pod["spec"]["nodeName"] for pod in ready} & self._nodes(settings)
        else:
            backends = self._nodes(settings)
        history = self.backends.setdefault(name, [])
        if not history or history[-1] != backends:
            history.append(backends)
        return backends

    def _nodes(self, settings: dict[str, str]) -> set[str]:
        """The nodes that may be backends."""
        wanted = dict(pair.split("=") for pair in settings.get("backend-label", "").split(",") if pair)
        nodes = self._list("nodes", namespaced=False)
        return {node["metadata"]["name"] for node in nodes if accepts(node, wanted)}

    def _open_gate(self, pod: Object, gate: str) -> None:
        condition = {"type": gate, "status": "True", "reason": "BackendAdded"}
        self._core.patch_namespaced_pod_status(
            pod["metadata"]["name"], self.namespace, {"status": {"conditions": [condition]}}
        )

    def _patch(self, service: str, change: Object) -> None:
        # A merge patch: the default strategic patch cannot remove an element of a list of finalizers.
        self._core.patch_namespaced_service(
            service, self.namespace, change, _content_type="application/merge-patch+json"
        )

    def _warn(self, service: Object, message: str) -> None:
        """Create a warning event, unless there is one with this message."""
        meta = service["metadata"]
        events = self._list("events")
        if any(event["message"] == message and event["involvedObject"]["name"] == meta["name"] for event in events):
            return
        now = datetime.datetime.now(datetime.UTC).isoformat()
        body: Any = {
            "metadata": {"generateName": f"{meta['name']}.", "namespace": self.namespace},
            "involvedObject": {
                "kind": "Service",
                "namespace": self.namespace,
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "type": "Warning",
            "reason": "SyncLoadBalancerFailed",
            "message": message,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "service-controller"},
        }
        self._core.create_namespaced_event(self.namespace, body)

    def wait_for_finalizers(self, seconds: float = 10) -> None:
        """Wait until no Service has a finalizer (a terminating namespace waits for that, too)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if not any(service["metadata"].get("finalizers") for service in self._list("services")):
                    return
            except ApiException:
                return
            time.sleep(POLL_SECONDS)
