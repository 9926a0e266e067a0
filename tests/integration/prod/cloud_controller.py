"""What the fake and the real cloud controller have in common: how tests start them and see what they did."""

import json
import os
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

import integration.prod.controller_api  # noqa: F401  # pyright: ignore[reportUnusedImport]  # adds its actions
from integration.prod.fake_alibaba_api import CloudApi, Server

PREFIX = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
CLUSTER = "c-testbed"
"""Id of the cluster; names of listeners and server groups end with it."""

POLL_SECONDS = 0.2

Object = dict[str, Any]


class CloudController:
    """A controller that binds the Services of one namespace to load balancers of the fake API, in a `with` block.

    seen: the annotations of each Service of type LoadBalancer, after each change. backends: those of each Service,
    after each change: what all its listeners lead to. errors: of the controller itself.
    """

    def __init__(self, api: CloudApi, kubeconfig: Path, namespace: str, default_backend: str = "ecs") -> None:
        """default_backend: the backend of Services without an annotation, a setting of the cluster."""
        self.api, self.kubeconfig, self.namespace = api, kubeconfig, namespace
        self.default_backend = default_backend
        self.seen: dict[str, list[dict[str, str]]] = {}
        self.backends: dict[str, list[set[str]]] = defaultdict(list)
        self.errors: list[str] = []
        self._client = config.new_client_from_config(str(kubeconfig))
        self._core = client.CoreV1Api(self._client)
        self._names: dict[str, str] = {}
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    @property
    def has_graceful_shutdown(self) -> bool:
        """Whether it knows the annotation `graceful-shutdown` (from 2.15 on)."""
        raise NotImplementedError

    @property
    def down(self) -> bool:
        """Whether the controller does nothing."""
        raise NotImplementedError

    @down.setter
    def down(self, value: bool) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.name_instances()
        self.api.on_change = self._record
        self._watcher.start()
        self.down = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down = True
        self._done.set()
        self._watcher.join()

    def name_instances(self) -> None:
        """Give every simulated node the id of an instance, as the kubelet of a real one has.

        Not the node that another test has created without one.
        """
        for node in self.objects("nodes", namespaced=False):
            is_simulated = "kwok.x-k8s.io/node" in node["metadata"].get("annotations", {})
            if is_simulated and "providerID" not in node["spec"]:
                name = node["metadata"]["name"]
                self._core.patch_node(name, {"spec": {"providerID": f"cn-beijing.i-{name}"}})

    def objects(self, kind: str, *, namespaced: bool = True, group: str = "api/v1") -> list[Object]:
        """All objects of a kind (its plural name); none while its namespace does not exist."""
        scope = f"namespaces/{self.namespace}/" if namespaced else ""
        request = self._client.param_serialize("GET", f"/{group}/{scope}{kind}", auth_settings=["BearerToken"])
        response = self._client.call_api(*request)
        body = cast("bytes", response.read())
        return cast("list[Object]", json.loads(body)["items"]) if response.status == 200 else []

    def _watch(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            for service in self.objects("services"):
                if service["spec"].get("type") != "LoadBalancer":
                    continue
                annotations = service["metadata"].get("annotations", {})
                found = {
                    key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)
                }
                history = self.seen.setdefault(service["metadata"]["name"], [])
                if not history or history[-1] != found:
                    history.append(found)

    @property
    def listeners(self) -> dict[tuple[str, int], str]:
        """The Service of each port of each CLB."""
        listeners = list(self.api.listeners.items())
        return {key: service_of(listener.description) for key, listener in listeners if key[0] in self.api.clbs}

    def servers(self, service: str) -> list[dict[str, int]]:
        """The weights of the present backends of a Service by name, for each of its listeners."""
        found: list[dict[str, int]] = []
        for (load_balancer, _), listener in list(self.api.listeners.items()):
            group = self.api.groups.get(listener.group)
            mine = service_of(listener.description) == service and self.namespace in listener.description
            if group and mine and (load_balancer in self.api.clbs or load_balancer in self.api.nlbs):
                found.append({self._name(server): server.weight for server in group.servers})
        return found

    def _name(self, server: Server) -> str:
        """The name of the node or the pod that is a backend."""
        if server.id.startswith("i-"):
            return server.id.removeprefix("i-")
        if server.ip not in self._names:
            pods = self.objects("pods")
            self._names |= {
                pod["status"]["podIP"]: pod["metadata"]["name"] for pod in pods if pod["status"].get("podIP")
            }
        return self._names.get(server.ip, server.ip)

    def _record(self) -> None:
        services = {service_of(listener.description) for listener in list(self.api.listeners.values())}
        for service in services:
            groups = self.servers(service)
            backends = set.intersection(*(set(group) for group in groups)) if groups else set[str]()
            history = self.backends[service]
            if (history or backends) and (not history or history[-1] != backends):
                history.append(backends)

    def wait_for_finalizers(self, seconds: float = 60) -> None:
        """Wait until no Service has a finalizer (a terminating namespace waits for that, too)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if not any(service["metadata"].get("finalizers") for service in self.objects("services")):
                    return
            except ApiException:
                return
            time.sleep(POLL_SECONDS)


def service_of(description: str) -> str:
    """The Service in the description of a listener: `k8s/<port>/<service>/<namespace>/<cluster>`, with dots for an
    NLB's; another description is returned as it is."""
    parts = description.split("/") if "/" in description else description.split(".")
    return parts[-3] if len(parts) >= 5 else description


def cloud_controller(api: CloudApi, kubeconfig: Path, namespace: str, default_backend: str = "ecs") -> CloudController:
    """The fake controller, or the real one with SRS_CCM: the path of its program."""
    # Only the one that is used: each imports this module.
    if "SRS_CCM" in os.environ:
        from integration.prod.real_cloud_controller import RealCloudController

        return RealCloudController(api, kubeconfig, namespace, default_backend)
    from integration.prod.fake_cloud_controller import FakeCloudController

    return FakeCloudController(api, kubeconfig, namespace, default_backend)
