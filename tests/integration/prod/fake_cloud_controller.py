"""What plays the cloud controller manager on the embedded cluster: it binds Services to the stand-in of the cloud.

A few rules of the real one (kubernetes/cloud-provider-alibaba-cloud), those that a stack can get wrong:

- A Service with a CLB's id gets that CLB's address, or its elastic one with `external-ip-type: eip`. It is refused,
  with a warning event, when the CLB is not there, has another address type, belongs to a controller by its tags, or
  when the Service has another CLB's address already.
- Listeners are made on the Service's ports only with `force-override-listeners: "true"`.
- The CLB gets the tag that marks it as used.
- Backends are pods (`eni`: ready, not terminating), nodes with a ready pod (`Local`) or all nodes (`Cluster`). A pod
  with a readiness gate for the Service becomes a backend first and ready then.
- A Service with the class of NLBs gets a host name, and needs zone maps.
- A finalizer holds a Service that goes until its listeners are gone.
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
POLL = 0.2
"""Seconds between two looks."""

Object = dict[str, Any]


class Refused(Exception):
    """The controller cannot bind a Service; the message is that of the real one."""


@dataclass
class CloudController:
    """Works on one namespace while its `with` block runs.

    seen: the annotations that each Service had whenever they changed. listeners: which Service each port of each load
    balancer leads to. backends: of each Service, each time they changed.
    """

    api: CloudApi
    kubeconfig: Path
    namespace: str
    seen: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    listeners: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    backends: dict[str, list[set[str]]] = field(default_factory=dict[str, list[set[str]]])
    trouble: list[str] = field(default_factory=list[str])
    """What went wrong in the controller itself."""
    away: bool = False
    """Whether it is down."""

    def __post_init__(self) -> None:
        self._api = config.new_client_from_config(str(self.kubeconfig))
        self._core = client.CoreV1Api(self._api)
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
        while not self._done.wait(POLL):
            if self.away:
                continue
            for service in self._list("services"):
                try:
                    self._reconcile(service)
                except ApiException as problem:
                    # 404 and 409: changed meanwhile, seen again at the next look. 403: its namespace goes.
                    if problem.status not in (403, 404, 409):
                        self.trouble.append(f"{service['metadata']['name']}: {problem}")

    def _list(self, kind: str, namespaced: bool = True) -> list[Object]:
        scope = f"namespaces/{self.namespace}/" if namespaced else ""
        request = self._api.param_serialize("GET", f"/api/v1/{scope}{kind}", auth_settings=["BearerToken"])
        response = self._api.call_api(*request)
        body = cast("bytes", response.read())
        return cast("list[Object]", json.loads(body)["items"]) if response.status == 200 else []

    def _reconcile(self, service: Object) -> None:
        meta, spec = service["metadata"], service["spec"]
        name: str = meta["name"]
        if spec["type"] != "LoadBalancer":
            return
        finalizers: list[str] = meta.get("finalizers", [])
        if "deletionTimestamp" in meta:
            if FINALIZER in finalizers:
                self.listeners = {key: user for key, user in self.listeners.items() if user != name}
                self._patch(name, {"metadata": {"finalizers": [each for each in finalizers if each != FINALIZER]}})
            return
        if FINALIZER not in finalizers:
            self._patch(name, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
        annotations: dict[str, str] = meta.get("annotations", {})
        told = {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}
        told["backend-type"] = annotations.get("service.beta.kubernetes.io/backend-type", "")
        history = self.seen.setdefault(name, [])
        if not history or history[-1] != told:
            history.append(told)
        try:
            ingress = self._bind(service, told)
        except Refused as refused:
            self._warn(service, f"Error syncing load balancer [{told.get('id', '')}]: {refused}")
            return
        if service.get("status", {}).get("loadBalancer", {}).get("ingress") != [ingress]:
            self._core.patch_namespaced_service_status(
                name, self.namespace, {"status": {"loadBalancer": {"ingress": [ingress]}}}
            )
        self._back(service, told)

    def _bind(self, service: Object, told: dict[str, str]) -> dict[str, str]:
        name, spec = service["metadata"]["name"], service["spec"]
        if load_balancer_class := spec.get("loadBalancerClass"):
            assert load_balancer_class == "alibabacloud.com/nlb"
            if len(told.get("zone-maps", "").split(",")) < 2:
                raise Refused("ParameterMissing, zone mappings are required")
            return {"hostname": f"nlb-{service['metadata']['uid'][:8]}.cn-beijing.nlb.example.com"}
        clb = self.api.clbs.get(told.get("id", ""))
        if clb is None:
            raise Refused("find no loadbalancer by the id that the service has")
        identifier: str = clb["LoadBalancerId"]
        if told.get("address-type", "internet") != clb["AddressType"]:
            raise Refused("alicloud: can not change LoadBalancer AddressType once created. delete and retry")
        tags = self.api.tags.setdefault(identifier, {})
        if {"kubernetes.do.not.delete", "ack.aliyun.com"} & tags.keys():
            raise Refused("can not reuse loadbalancer created by kubernetes.")
        eip = self.api.eip_of(identifier) if told.get("external-ip-type") == "eip" else None
        now = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
        if now and told.get("external-ip-type") != "eip" and now[0].get("ip") != clb["Address"]:
            raise Refused(f"service has been associated with ip [{now[0].get('ip')}], cannot be bound to ip")
        if told.get("force-override-listeners") == "true":
            for port in spec["ports"]:
                user = self.listeners.setdefault((identifier, port["port"]), name)
                if user != name:
                    raise Refused(f"port {port['port']} of loadbalancer {identifier} is used by service {user}")
        tags.setdefault("kubernetes.reused.by.user", "true")
        return {"ip": eip or clb["Address"], "ipMode": "VIP"}

    def _back(self, service: Object, told: dict[str, str]) -> None:
        name, spec = service["metadata"]["name"], service["spec"]
        wanted = spec["selector"].items()
        pods = [pod for pod in self._list("pods") if wanted <= pod["metadata"].get("labels", {}).items()]
        ready: list[Object] = []
        for pod in pods:
            conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", [])}
            if "deletionTimestamp" in pod["metadata"]:
                continue
            gates = [each["conditionType"] for each in pod["spec"].get("readinessGates", [])]
            if conditions.get("Ready") == "True":
                ready.append(pod)
            elif f"{GATE}{name}" in gates and conditions.get("ContainersReady") == "True":
                ready.append(pod)
                if conditions.get(f"{GATE}{name}") != "True":
                    self._open(pod, f"{GATE}{name}")
        if told["backend-type"] == "eni":
            backends = {pod["metadata"]["name"] for pod in ready}
        elif spec.get("externalTrafficPolicy") == "Local":
            backends = {pod["spec"]["nodeName"] for pod in ready}
        else:
            backends = {node["metadata"]["name"] for node in self._list("nodes", namespaced=False)}
        history = self.backends.setdefault(name, [])
        if not history or history[-1] != backends:
            history.append(backends)

    def _open(self, pod: Object, gate: str) -> None:
        condition = {"type": gate, "status": "True", "reason": "BackendAdded"}
        self._core.patch_namespaced_pod_status(
            pod["metadata"]["name"], self.namespace, {"status": {"conditions": [condition]}}
        )

    def _patch(self, service: str, change: Object) -> None:
        # A merge patch: by the default kind of patch, nothing can be taken out of a list of finalizers.
        self._core.patch_namespaced_service(
            service, self.namespace, change, _content_type="application/merge-patch+json"
        )

    def _warn(self, service: Object, message: str) -> None:
        """An event, the first time."""
        meta = service["metadata"]
        events = self._list("events")
        if any(each["message"] == message and each["involvedObject"]["name"] == meta["name"] for each in events):
            return
        now = datetime.datetime.now(datetime.UTC).isoformat()
        event: Any = {
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
        self._core.create_namespaced_event(self.namespace, event)

    def release(self, seconds: float = 10) -> None:
        """Wait until no Service is left that goes (a namespace that is deleted waits for them, too)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if not [each for each in self._list("services") if each["metadata"].get("finalizers")]:
                    return
            except ApiException:
                return
            time.sleep(POLL)
