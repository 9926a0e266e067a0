"""A fake cloud controller manager: what the real one does with a Service, on the embedded cluster and the fake API.

It follows kubernetes/cloud-provider-alibaba-cloud 2.14 (paths are in pkg/controller), and 2.15 where it says so:

- Events (service/clbv1/event_handler.go): it handles a Service when its spec or its annotations change or it is
  deleted, when its endpoints change, and with backends that are nodes when a node is added or removed or changes its
  labels, `unschedulable` or Ready. A taint is no event. After a failure it retries in 5 s, doubled up to 300 s.
- It reads and changes listeners only if ports, annotations or deletion differ from its last success, which it keeps in
  a label (helper/service_utils.go, `IsServiceHashChanged`); server groups always.
- The CLB of a Service is that of its annotation `id`, also when it cleans up (loadbalancer.go, `Find`). Without it, a
  Service that is not of type LoadBalancer any more leaves listeners and server groups behind.
- Attributes of the CLB, server groups and listeners are changed at the same time, whatever fails among them
  (model_applier.go, `Apply`): a wrong address type is an error after the listeners have been overwritten. Before, it
  checks only the tags of CLBs that it created itself, and the address in the Service's status.
- A listener with the same port and protocol is overwritten, whoever made it (listeners.go,
  `buildActionsForListeners`).
- Backends (vgroups.go): see `_backends`. A pod's readiness gate opens when the pod is in the server group, before any
  health check (service_controller.go, `updateReadinessCondition`). That containers have become ready is no event: with
  a closed gate it looks again after 10 s.
- A finalizer keeps a terminating Service until its listeners are removed.
"""

import datetime
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from kubernetes.client.exceptions import ApiException

from integration.prod.cloud_controller import CLUSTER, POLL_SECONDS, PREFIX, CloudController, Object
from integration.prod.fake_alibaba_api import CloudApi

FINALIZER = "service.k8s.alibaba/resources"
HASH = "service.beta.kubernetes.io/hash"
BACKEND_TYPE = "service.beta.kubernetes.io/backend-type"
GATE = "service.readiness.alibabacloud.com/"
NLB_CLASS = "alibabacloud.com/nlb"
VIRTUAL_NODE = "virtual-kubelet"

_EXCLUDED = (
    "service.beta.kubernetes.io/exclude-node",
    "service.alibabacloud.com/exclude-node",
)
_NO_BACKEND = (
    *_EXCLUDED,
    "node.kubernetes.io/exclude-from-external-load-balancers",
    "alpha.service-controller.kubernetes.io/exclude-balancer",
)
_MASTER = "node-role.kubernetes.io/master"

_RETRY_SECONDS, _MAX_RETRY_SECONDS = 5, 300
_REQUEUE_SECONDS = 10


class SyncError(Exception):
    """The controller cannot bind a Service; the message is that of the real one."""


@dataclass(frozen=True)
class Endpoint:
    """A pod that is a backend, or whose node is. terminating: and it still serves."""

    ip: str
    port: int
    node: str
    pod: str
    terminating: bool = False


@dataclass(frozen=True)
class View:
    """What the controller has read."""

    nodes: list[Object]
    slices: list[Object]
    pods: dict[str, Object]


def is_candidate(node: Object, labels: dict[str, str]) -> bool:
    """Whether a node counts at all (reconcile/backend/backend.go, `filterOutByLabel` and `needExcludeFromLB`), virtual
    ones included. labels: of the annotation `backend-label`."""
    found: dict[str, str] = node["metadata"].get("labels", {})
    if not labels.items() <= found.items() or _MASTER in found:
        return False
    if "ToBeDeletedByClusterAutoscaler" in [taint["key"] for taint in node["spec"].get("taints", [])]:
        return False
    conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions", [])}
    return _is_virtual(node) or (bool(conditions) and conditions.get("Ready", "True") == "True")


def is_backend(node: Object) -> bool:
    """Whether a candidate may be a backend itself (helper/node_utils.go, `IsNodeExcludeFromLoadBalancer`)."""
    return not set(_NO_BACKEND) & node["metadata"].get("labels", {}).keys()


def _is_virtual(node: Object) -> bool:
    return node["metadata"].get("labels", {}).get("type") == VIRTUAL_NODE


def _instance(node: Object) -> str:
    provider = node["spec"].get("providerID", "").removeprefix("alicloud://")
    region, _, identifier = provider.partition(".")
    if not region or not identifier:
        raise SyncError(f"normal parse providerid: {provider}. expected: ${{regionid}}.${{nodeid}}")
    return identifier


def node_events(nodes: list[Object]) -> dict[str, Any]:
    """What the controller watches of nodes: another value is an event (event_handler.go, `nodeSpecChanged`)."""
    found: dict[str, Any] = {}
    for node in nodes:
        labels: dict[str, str] = node["metadata"].get("labels", {})
        if set(_EXCLUDED) & labels.keys() or _MASTER in labels:
            continue
        conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", "False")
        found[node["metadata"]["name"]] = (labels, node["spec"].get("unschedulable", False), ready)
    return found


class FakeCloudController(CloudController):
    """Controls one namespace while its `with` block runs."""

    def __init__(self, api: CloudApi, kubeconfig: Path, namespace: str, default_backend: str = "ecs") -> None:
        super().__init__(api, kubeconfig, namespace, default_backend)
        self._is_down = True
        self._handled: dict[str, Any] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._nlbs: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def has_graceful_shutdown(self) -> bool:
        """It does, as 2.15."""
        return True

    @property
    def down(self) -> bool:
        """Whether it does nothing."""
        return self._is_down

    @down.setter
    def down(self, value: bool) -> None:
        self._is_down = value
        if value:
            self._handled.clear()  # a controller that starts handles every Service
            self._failures.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            if self.down:
                continue
            view = View(
                self.objects("nodes", namespaced=False),
                self.objects("endpointslices", group="apis/discovery.k8s.io/v1"),
                {pod["metadata"]["name"]: pod for pod in self.objects("pods")},
            )
            for service in self.objects("services"):
                try:
                    self._handle(service, view)
                except ApiException as error:
                    # 404 and 409: changed meanwhile, and read again. 403: the namespace is terminating.
                    if error.status not in (403, 404, 409):
                        self.errors.append(f"{service['metadata']['name']}: {error}")

    def _handle(self, service: Object, view: View) -> None:
        """Reconcile a Service if there is an event for it, or a retry is due."""
        name, spec = service["metadata"]["name"], service["spec"]
        wanted = spec["type"] == "LoadBalancer"
        if not wanted and FINALIZER not in service["metadata"].get("finalizers", []):
            return
        events: list[Any] = [spec, _annotations(service), "deletionTimestamp" in service["metadata"]]
        if wanted:
            events += [(item["endpoints"], item["ports"]) for item in _slices(name, view)]
            if self._backend(service) == "ecs":
                events.append(node_events(view.nodes))
        if self._handled.get(name) == events and time.monotonic() < self._due.get(name, float("inf")):
            return
        self._due.pop(name, None)
        try:
            requeue = self._reconcile(service, view)
        except SyncError as error:
            failures = self._failures[name] = self._failures.get(name, -1) + 1
            self._due[name] = time.monotonic() + min(_RETRY_SECONDS * 2**failures, _MAX_RETRY_SECONDS)
            self._warn(service, f"Error syncing load balancer [{_setting(service, 'id')}]: {error}")
        else:
            self._failures.pop(name, None)
            if requeue:
                self._due[name] = time.monotonic() + _REQUEUE_SECONDS
        self._handled[name] = events

    def _reconcile(self, service: Object, view: View) -> bool:
        """Return whether a pod with a closed gate was not ready yet."""
        meta, spec = service["metadata"], service["spec"]
        finalizers: list[str] = meta.get("finalizers", [])
        if "deletionTimestamp" in meta or spec["type"] != "LoadBalancer":
            if FINALIZER in finalizers:
                self._clean_up(service)
            return False
        if FINALIZER not in finalizers:
            self._patch(service, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
        if spec.get("loadBalancerClass") == NLB_CLASS:
            ingress, added, requeue = self._bind_nlb(service, view)
        else:
            ingress, added, requeue = self._bind_clb(service, view)
        for pod in added:
            self._open_gate(view.pods.get(pod), f"{GATE}{meta['name']}")
        self._patch(service, {"metadata": {"labels": {HASH: _hash(service)}}})
        if service.get("status", {}).get("loadBalancer", {}).get("ingress") != [ingress]:
            self._set_status(service, [ingress])
        return requeue

    # CLBs.

    def _bind_clb(self, service: Object, view: View) -> tuple[Object, set[str], bool]:
        """Return the address, the pods that are in server groups, and whether other pods may follow soon."""
        identifier = _setting(service, "id")
        if not identifier:
            raise SyncError("the fake controller does not create CLBs; the stack names them")
        clb = self._call("DescribeLoadBalancerAttribute", LoadBalancerId=identifier)
        changed = service["metadata"].get("labels", {}).get(HASH) != _hash(service)
        if changed:
            self._check_reusable(service, clb)
        problems = list(self._attribute_problems(service, clb)) if changed else []
        servers: dict[int, list[Object]] = {}
        added, requeue = set[str](), False
        for port in service["spec"]["ports"]:
            try:
                servers[port["port"]], endpoints, potential = self._backends(service, port, view)
            except SyncError as error:
                if changed:
                    raise SyncError(f"find vservergroup error: {error}") from None
                continue  # the real one forgets this error, and leaves the server group as it is
            added |= {endpoint.pod for endpoint in endpoints}
            requeue = requeue or potential
        groups = {
            port["port"]: self._sync_group(identifier, self._group_name(service, port), servers[port["port"]])
            for port in service["spec"]["ports"]
            if port["port"] in servers
        }
        if changed and _setting(service, "force-override-listeners") == "true":
            problems += self._sync_listeners(service, identifier, groups)
        if problems:
            raise SyncError("; ".join(problems))
        if changed:
            self._delete_groups(service, identifier, set(groups.values()))
        eip = self.api.eip_of(identifier) if _setting(service, "external-ip-type") == "eip" else None
        return {"ip": eip or clb["Address"], "ipMode": "VIP"}, added, requeue

    def _check_reusable(self, service: Object, clb: Object) -> None:
        """(model_applier.go, `isLoadBalancerReusable`.)"""
        if {"kubernetes.do.not.delete", "ack.aliyun.com"} & self.api.tags.get(clb["LoadBalancerId"], {}).keys():
            raise SyncError("can not reuse loadbalancer created by kubernetes.")
        ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
        ip, address = ingress[0].get("ip"), clb["Address"]
        if ip and _setting(service, "external-ip-type") != "eip" and ip != address:
            raise SyncError(f"service has been associated with ip [{ip}], cannot be bound to ip [{address}]")

    def _attribute_problems(self, service: Object, clb: Object) -> Iterator[str]:
        """(loadbalancer.go, `Update`.)"""
        identifier = clb["LoadBalancerId"]
        if "kubernetes.reused.by.user" not in self.api.tags.get(identifier, {}):
            tag = {"Tag.1.Key": "kubernetes.reused.by.user", "Tag.1.Value": "true", "ResourceId.1": identifier}
            self._call("TagResources", **tag)
        if (_setting(service, "address-type") or "internet") != clb["AddressType"]:
            yield "alicloud: can not change LoadBalancer AddressType once created. delete and retry"
        if (_setting(service, "ip-version") or "ipv4") != clb["AddressIPVersion"]:
            yield "alicloud: can not change LoadBalancer AddressIPVersion once created"

    def _sync_group(self, clb: str, name: str, servers: list[Object]) -> str:
        groups = self._call("DescribeVServerGroups", LoadBalancerId=clb)["VServerGroups"]["VServerGroup"]
        group = next((item["VServerGroupId"] for item in groups if item["VServerGroupName"] == name), None)
        if group is None:
            created = self._call("CreateVServerGroup", LoadBalancerId=clb, VServerGroupName=name)
            group = str(created["VServerGroupId"])
        described = self._call("DescribeVServerGroupAttribute", VServerGroupId=group)
        current = {_key(item): item for item in map(_lower, described["BackendServers"]["BackendServer"])}
        desired = {_key(item): item for item in servers}
        weights = [item for key, item in desired.items() if key in current and current[key]["weight"] != item["weight"]]
        # In this order.
        for action, items in (
            ("AddVServerGroupBackendServers", [item for key, item in desired.items() if key not in current]),
            ("RemoveVServerGroupBackendServers", [item for key, item in current.items() if key not in desired]),
            ("SetVServerGroupAttribute", weights),
        ):
            if items:
                self._call(action, VServerGroupId=group, BackendServers=json.dumps(items))
        return group

    def _delete_groups(self, service: Object, clb: str, used: set[str]) -> None:
        suffix = self._suffix(service)
        for group in self._call("DescribeVServerGroups", LoadBalancerId=clb)["VServerGroups"]["VServerGroup"]:
            if group["VServerGroupName"].endswith(suffix) and group["VServerGroupId"] not in used:
                self._call("DeleteVServerGroup", VServerGroupId=group["VServerGroupId"])

    def _sync_listeners(self, service: Object, clb: str, groups: dict[int, str]) -> list[str]:
        """Make listeners those of the ports, and return what failed. groups: of each port that is to have one."""
        problems: list[str] = []
        known = {item["ListenerPort"]: item for item in self._listeners(clb)}
        for port, listener in known.items():
            if listener["Description"].endswith(self._suffix(service)) and port not in groups:
                self._call("DeleteLoadBalancerListener", LoadBalancerId=clb, ListenerPort=str(port))
        for port, group in groups.items():
            exists = port in known and known[port]["ListenerProtocol"] == "tcp"
            parameters = {
                "LoadBalancerId": clb,
                "ListenerPort": str(port),
                "VServerGroupId": group,
                "Description": f"k8s/{port}{self._suffix(service)}",
                "Scheduler": _setting(service, "scheduler") or "wrr",
            }
            # An absent annotation changes nothing: `acl-status` stays on when it is removed.
            acl = {"AclStatus": "acl-status", "AclType": "acl-type", "AclId": "acl-id"}
            parameters |= {name: value for name, key in acl.items() if (value := _setting(service, key))}
            try:
                if exists:
                    self._call("SetLoadBalancerTCPListenerAttribute", **parameters)
                else:
                    self._call("CreateLoadBalancerTCPListener", **parameters)
                    self._call("StartLoadBalancerListener", LoadBalancerId=clb, ListenerPort=str(port))
            except SyncError as error:
                problems.append(str(error))
        return problems

    def _listeners(self, clb: str) -> list[Object]:
        found = self._call("DescribeLoadBalancerListeners", **{"LoadBalancerId.1": clb})
        return list[Object](found["Listeners"])

    def _clean_up(self, service: Object) -> None:
        """(service_controller.go, `cleanupLoadBalancerResources`.)"""
        nlb, clb = self._nlbs.pop(service["metadata"]["uid"], None), _setting(service, "id")
        if nlb:
            self._call("nlb:DeleteLoadBalancer", LoadBalancerId=nlb)
        elif clb and clb in self.api.clbs:
            if _setting(service, "force-override-listeners") == "true":
                self._sync_listeners(service, clb, {})
            self._delete_groups(service, clb, set())
        self._set_status(service, None)
        others = [finalizer for finalizer in service["metadata"]["finalizers"] if finalizer != FINALIZER]
        self._patch(service, {"metadata": {"finalizers": others, "labels": {HASH: None}}})

    # NLBs (service/nlbv2).

    def _bind_nlb(self, service: Object, view: View) -> tuple[Object, set[str], bool]:
        zones = [zone.split(":") for zone in _setting(service, "zone-maps").split(",")]
        uid: str = service["metadata"]["uid"]
        tags = dict(tag.split("=") for tag in _setting(service, "additional-resource-tags").split(",") if tag)
        numbered = {f"Tag.{n}.{name}": text for n, tag in enumerate(tags.items(), 1) for name, text in _named(tag)}
        if uid not in self._nlbs:
            parameters = {"LoadBalancerName": uid, "AddressType": _setting(service, "address-type"), "VpcId": "vpc"}
            for number, zone in enumerate(zones, 1):
                parameters |= {f"ZoneMappings.{number}.ZoneId": zone[0], f"ZoneMappings.{number}.VSwitchId": zone[-1]}
            self._nlbs[uid] = str(self._call("nlb:CreateLoadBalancer", **parameters)["LoadbalancerId"])
        nlb = self._nlbs[uid]
        if tags:  # none: those of the NLB stay (loadbalancer.go, `Update`)
            for key in self.api.tags[nlb].keys() - tags.keys():
                self._call("nlb:UntagResources", **{"ResourceId.1": nlb, "TagKey.1": key})
            self._call("nlb:TagResources", **{"ResourceId.1": nlb, **numbered})
        added, requeue = set[str](), False
        for port in service["spec"]["ports"]:
            servers, endpoints, potential = self._backends(service, port, view)
            added |= {endpoint.pod for endpoint in endpoints}
            requeue = requeue or potential
            self._sync_nlb_port(service, nlb, port, servers)
        return {"hostname": self.api.nlbs[nlb]["DNSName"]}, added, requeue

    def _sync_nlb_port(self, service: Object, nlb: str, port: Object, servers: list[Object]) -> None:
        listener = self.api.listeners.get((nlb, port["port"]))
        name = self._group_name(service, port).replace("/", ".")
        if listener is None:
            group = str(self._call("nlb:CreateServerGroup", ServerGroupName=name, Protocol="TCP")["ServerGroupId"])
            self._call(
                "nlb:CreateListener",
                LoadBalancerId=nlb,
                ListenerPort=str(port["port"]),
                ListenerProtocol="TCP",
                ListenerDescription=f"k8s.{port['port']}.TCP{self._suffix(service)}".replace("/", "."),
                ServerGroupId=group,
            )
        else:
            group = listener.group
        current = {server.key: server.weight for server in self.api.groups[group].servers}
        desired = {_key(item): item for item in servers}
        added = [item for key, item in desired.items() if key not in current]
        removed = [
            {"serverId": i, "serverIp": ip, "port": p, "type": ""} for i, ip, p in current.keys() - desired.keys()
        ]
        changed = [item for key, item in desired.items() if key in current and current[key] != item["weight"]]
        for action, items in (
            ("nlb:AddServersToServerGroup", added),
            ("nlb:RemoveServersFromServerGroup", removed),
            ("nlb:UpdateServerGroupServersAttribute", changed),
        ):
            if items:
                names = {"serverId": "ServerId", "serverIp": "ServerIp", "port": "Port", "weight": "Weight"}
                names |= {"type": "ServerType"}
                parameters = {
                    f"Servers.{number}.{names[key]}": str(value)
                    for number, item in enumerate(items, 1)
                    for key, value in item.items()
                    if key in names
                }
                self._call(action, ServerGroupId=group, **parameters)

    # Backends.

    def _backend(self, service: Object) -> str:
        return _annotations(service).get(BACKEND_TYPE) or self.default_backend

    def _backends(self, service: Object, port: Object, view: View) -> tuple[list[Object], list[Endpoint], bool]:
        """The backends of a port with their weights, the endpoints behind it, and whether more of them may follow.

        `eni`: the endpoints, equal. `Local`: the nodes of the endpoints, by their number. `Cluster`: all nodes, equal.
        Endpoints on virtual nodes are backends themselves.
        """
        endpoints, potential = self._endpoints(service, port, view)
        labels = dict(pair.split("=") for pair in _setting(service, "backend-label").split(",") if pair)
        candidates = {node["metadata"]["name"]: node for node in view.nodes if is_candidate(node, labels)}
        if self._backend(service) == "eni":
            return [self._pod_server(service, port, endpoint, 100) for endpoint in endpoints], endpoints, potential
        servers: list[Object] = []
        local = service["spec"].get("externalTrafficPolicy") == "Local"
        numbers = [endpoint.node for endpoint in endpoints]
        for name, node in candidates.items():
            if not is_backend(node) or (local and (_is_virtual(node) or name not in numbers)):
                continue
            weight = numbers.count(name) if local else 100
            server = {"serverId": _instance(node), "serverIp": "", "port": port["nodePort"], "type": "ecs"}
            servers.append({**server, "weight": weight, "description": self._group_name(service, port)})
        servers += [
            self._pod_server(service, port, endpoint, 1 if local else 100)
            for endpoint in endpoints
            if endpoint.node in candidates and _is_virtual(candidates[endpoint.node])
        ]
        return servers, endpoints, potential

    def _pod_server(self, service: Object, port: Object, endpoint: Endpoint, weight: int) -> Object:
        return {
            "serverId": f"eni-{endpoint.ip.replace('.', '-')}",
            "serverIp": endpoint.ip,
            "port": endpoint.port,
            "type": "eni",
            "weight": 0 if endpoint.terminating else weight,
            "description": self._group_name(service, port),
        }

    def _endpoints(self, service: Object, port: Object, view: View) -> tuple[list[Endpoint], bool]:
        """The ready endpoints of a port, and those that wait only for their gate (`setBackendsFromEndpointSlices`).

        Terminating ones are left out. Since 2.15, `graceful-shutdown` with `eni` keeps those that still serve, unless
        `ignore-weight-update` is on.
        """
        name = service["metadata"]["name"]
        graceful = (
            self._backend(service) == "eni"
            and _setting(service, "graceful-shutdown") == "true"
            and _setting(service, "ignore-weight-update").lower() != "on"
        )
        found: dict[str, Endpoint] = {}
        potential = False
        for item in _slices(name, view):
            target = port.get("targetPort")
            number = target if isinstance(target, int) else _port_number(item, port.get("name", ""))
            for endpoint in item["endpoints"] or []:
                conditions = endpoint["conditions"]
                terminating = conditions.get("terminating", False)
                if number is None or (terminating and not (graceful and conditions.get("serving"))):
                    continue
                pod_name: str = endpoint["targetRef"]["name"]
                if not terminating and not conditions.get("ready"):
                    waiting = _waits_for(view.pods.get(pod_name), f"{GATE}{name}")
                    potential = potential or waiting is False
                    if not waiting:
                        continue
                for ip in endpoint["addresses"]:
                    found[ip] = Endpoint(ip, number, endpoint.get("nodeName", ""), pod_name, terminating)
        return list(found.values()), potential

    def _group_name(self, service: Object, port: Object) -> str:
        target = port["targetPort"] if self._backend(service) == "eni" else port["nodePort"]
        return f"k8s/{target}{self._suffix(service)}"

    def _suffix(self, service: Object) -> str:
        return f"/{service['metadata']['name']}/{self.namespace}/{CLUSTER}"

    # The cluster and the API.

    def _call(self, action: str, **parameters: str) -> Object:
        status, content = self.api.answer({"Action": action, **parameters}, by_controller=True)
        if status != 200:
            raise SyncError(f"{action}: {content['Message']}")
        return content

    def _open_gate(self, pod: Object | None, gate: str) -> None:
        if pod is None or gate not in _gates(pod) or _conditions(pod).get(gate) == "True":
            return
        condition = {"type": gate, "status": "True", "reason": "ServerRegistered"}
        self._core.patch_namespaced_pod_status(
            pod["metadata"]["name"], self.namespace, {"status": {"conditions": [condition]}}
        )

    def _set_status(self, service: Object, ingress: list[Object] | None) -> None:
        name = service["metadata"]["name"]
        self._core.patch_namespaced_service_status(
            name, self.namespace, {"status": {"loadBalancer": {"ingress": ingress}}}
        )

    def _patch(self, service: Object, change: Object) -> None:
        # A merge patch: the default strategic patch cannot remove an element of a list of finalizers.
        self._core.patch_namespaced_service(
            service["metadata"]["name"], self.namespace, change, _content_type="application/merge-patch+json"
        )

    def _warn(self, service: Object, message: str) -> None:
        """Create a warning event, unless there is one with this message."""
        meta = service["metadata"]
        events = self.objects("events")
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


def _annotations(service: Object) -> dict[str, str]:
    return service["metadata"].get("annotations", {})


def _setting(service: Object, name: str) -> str:
    return _annotations(service).get(f"{PREFIX}{name}", "")


def _hash(service: Object) -> str:
    spec = service["spec"]
    content = [spec["ports"], spec["type"], spec.get("externalTrafficPolicy"), spec.get("loadBalancerClass")]
    content += [_annotations(service), service["metadata"].get("deletionTimestamp")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def _slices(service: str, view: View) -> list[Object]:
    label = "kubernetes.io/service-name"
    return [item for item in view.slices if item["metadata"].get("labels", {}).get(label) == service]


def _port_number(item: Object, name: str) -> int | None:
    return next((port["port"] for port in item["ports"] or [] if port.get("name") == name), None)


def _gates(pod: Object) -> list[str]:
    return [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]


def _conditions(pod: Object) -> dict[str, str]:
    return {item["type"]: item["status"] for item in pod.get("status", {}).get("conditions", [])}


def _waits_for(pod: Object | None, gate: str) -> bool | None:
    """Whether a pod that is not ready waits only for this gate; None if it does not have it."""
    if pod is None:
        return False
    return _conditions(pod).get("ContainersReady") == "True" if gate in _gates(pod) else None


def _lower(item: Object) -> Object:
    return {key[:1].lower() + key[1:]: value for key, value in item.items()}


def _key(item: Object) -> tuple[str, str, int]:
    return item["serverId"], item["serverIp"], int(item["port"])


def _named(tag: tuple[str, str]) -> Iterator[tuple[str, str]]:
    return zip(("Key", "Value"), tag, strict=True)
