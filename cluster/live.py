"""A client for one namespace of the live cluster. It reads and plays; it scales, pauses and corrects workloads, and
releases the address of a Service."""

import base64
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from kubernetes.client import Configuration
from urllib3.exceptions import HTTPError
from websocket import WebSocketBadStatusException, WebSocketException

from cluster.kubeconfig import client, login
from cluster.port_forward import PortForward
from model.config.kubernetes import KubernetesSettings
from model.desired.objects import Kind as DesiredKind
from model.names import FIELD_MANAGER, ROLLOUT_MANAGER

Object = dict[str, Any]
"""A Kubernetes object as the API server returns it (JSON, camelCase)."""

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds; a preview must not hang when the cluster is unreachable."""

TRANSIENT = frozenset({429, 500, 502, 503, 504})
"""Statuses of an API server that is overloaded, restarts or has lost etcd for a moment, or of a proxy before it."""

RETRY_PAUSES = (0.2, 0.5, 1.0)
"""Seconds before each further attempt of a read after such a status. An update reads some thirty times before it
changes anything: without them, one failed call in ten would fail every update. (urllib3 repeats a read itself whose
connection was closed.)"""

POLL_INTERVAL = 0.5
"""Seconds between two reads of an awaited object."""

CONNECTIONS = 8
"""Requests at the same time. Each needs a connection of its own, whose TLS handshake costs more than the round trips
that it saves: 30 reads take 0.06 s with 8 connections, and 0.10 s with 17 (a local API server, two cores).
"""

PARALLEL = 16
"""Pods that are read or changed at the same time."""


class UnreachableError(RuntimeError):
    """The API server did not answer, or rejected the request."""


class ConflictError(UnreachableError):
    """The object was changed, created or deleted since it was read."""


class ForbiddenError(UnreachableError):
    """The user of the kubeconfig lacks a permission; the message names it."""


class InvalidError(UnreachableError):
    """The API server rejects the request as it is; it would do so again."""


class DeniedError(UnreachableError):
    """An admission policy, a webhook or a quota denies the request; the message is its own."""


_DENIAL = re.compile(
    r"(?:(?:admission webhook|\w*policy)\b[^:]*denied (?:the )?request|exceeded quota: ).*", re.IGNORECASE | re.DOTALL
)
"""What the API server answers for an admission webhook, an admission policy and a ResourceQuota that deny a request
(k8s.io/apiserver, pkg/admission/plugin: webhook/errors/statuserror.go, policy/validating/dispatcher.go, policy/generic/
policy_dispatcher.go, resourcequota/controller.go). The status may be any error."""


PROMETHEUS = "monitoring.coreos.com/v1"
"""Group and version of the Prometheus Operator's kinds."""

KEDA = "keda.sh/v1alpha1"
"""Group and version of KEDA's kinds."""

Kind = DesiredKind | Literal["ReplicaSet", "ControllerRevision", "ResourceQuota", "LimitRange"]
"""The kinds that an update plan knows."""

KINDS: dict[Kind, tuple[str, str]] = {
    "Deployment": ("apis/apps/v1", "deployments"),
    "ReplicaSet": ("apis/apps/v1", "replicasets"),
    "ControllerRevision": ("apis/apps/v1", "controllerrevisions"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Secret": ("api/v1", "secrets"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "ScaledObject": (f"apis/{KEDA}", "scaledobjects"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "LimitRange": ("api/v1", "limitranges"),
    "PodMonitor": (f"apis/{PROMETHEUS}", "podmonitors"),
    "PrometheusRule": (f"apis/{PROMETHEUS}", "prometheusrules"),
}
"""Group and version, and plural name, of each kind that an update plan reads."""

METADATA_ONLY: tuple[Kind, ...] = ("ConfigMap", "Secret")
"""Kinds of which a plan needs to know only whose they are. It never reads the content of a Secret."""

_OPTIONAL: tuple[Kind, ...] = ("Secret", "ControllerRevision", "PodMonitor", "PrometheusRule", "ScaledObject")
"""Kinds that not every user may read: most of them are not in the role `view`."""


class LiveCluster:
    """Reads the objects of one namespace.

    settings: location of the cluster. Raises ValueError if the kubeconfig cannot be used: that is a problem of
    the config, unlike an unreachable cluster.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        api = client(settings.kubeconfig, settings.context)
        self._login = login(settings.kubeconfig, settings.context)
        api.configuration.retries = 0
        self.namespace = settings.namespace
        self._api = api

    @property
    def configuration(self) -> Configuration:
        """Connection settings, for requests that are not reads."""
        return self._api.configuration

    def live_namespace(self) -> Object | None:
        """The namespace, None if it does not exist."""
        return self._get(f"/api/v1/namespaces/{self.namespace}")

    def deployment(self, name: str) -> Object | None:
        """A Deployment, None if it does not exist."""
        return self._get(f"{self._apps}/deployments/{name}")

    def is_expandable(self, storage_class: str) -> bool | None:
        """Whether a storage class allows volume expansion; None if it does not exist or must not be read."""
        found = self._get_if_allowed(f"/apis/storage.k8s.io/v1/storageclasses/{storage_class}")
        return bool(found.get("allowVolumeExpansion", False)) if found else None

    def certificate(self, secret: str) -> str | None:
        """The public part of a Secret of type kubernetes.io/tls as PEM; "" if the Secret or one of its parts does not
        exist, None if it must not be read."""
        try:
            found = self._get(f"{self._core}/secrets/{secret}")
        except ForbiddenError:
            return None
        data: dict[str, str] = found.get("data", {}) if found else {}
        if "tls.crt" not in data or "tls.key" not in data:
            return ""
        return base64.b64decode(data["tls.crt"]).decode(errors="replace")

    def stateful_set(self, name: str) -> Object | None:
        """A StatefulSet, None if it does not exist."""
        return self._get(f"{self._apps}/statefulsets/{name}")

    def objects(self, kind: Kind) -> dict[str, Object]:
        """All objects of a kind in the namespace, by name."""
        return by_name(self._list(self._path(kind), metadata_only=kind in METADATA_ONLY))

    def readable_objects(self, kind: Kind) -> dict[str, Object] | None:
        """All objects of a kind in the namespace, by name; None of a kind that not every user may read."""
        try:
            return self.objects(kind)
        except ForbiddenError:
            if kind in _OPTIONAL:
                return None
            raise

    def object(self, kind: Kind, name: str) -> Object | None:
        """An object, None if it does not exist. Raises UnreachableError."""
        return self._get(f"{self._path(kind)}/{name}")

    def correct(self, kind: Kind, name: str, patch: Object) -> None:
        """Change an object of the stack by a JSON merge patch. Raises UnreachableError."""
        self._request("PATCH", f"{self._path(kind)}/{name}", {"fieldManager": FIELD_MANAGER}, patch)

    def dry_run(self, kind: Kind, content: Object) -> Object | None:
        """What the API server would store of a new object, or of a live one (with its UID) that is replaced.

        Admission policies and webhooks take part in it (those of `admissionregistration.k8s.io/v1` support dry runs);
        nothing is changed. None if the API server does not say, because the request is invalid. Raises DeniedError if a
        policy or webhook denies it, ForbiddenError without the permission, and UnreachableError.
        """
        metadata = {key: value for key, value in content["metadata"].items() if key != "managedFields"}
        is_new = "uid" not in metadata
        if kind in ("Deployment", "StatefulSet"):  # whose status changes all the time
            metadata.pop("resourceVersion", None)
        version = KINDS[kind][0].removeprefix("apis/").removeprefix("api/")
        path = self._path(kind) if is_new else f"{self._path(kind)}/{metadata['name']}"
        query = {"dryRun": "All", "fieldManager": FIELD_MANAGER}
        sent = {**content, "apiVersion": version, "kind": kind, "metadata": metadata}
        try:
            body = self._request("POST" if is_new else "PUT", path, query, sent, pauses=RETRY_PAUSES)
        except UnreachableError as error:
            if denial := _DENIAL.search(str(error)):
                raise DeniedError(" ".join(denial[0].split())) from None
            if isinstance(error, (ConflictError, InvalidError)):
                return None
            raise
        return cast("Object", json.loads(body)) if body is not None else None

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object, without waiting for its pods; nothing happens if it does not exist. Raises
        UnreachableError."""
        self._request("DELETE", f"{self._path(kind)}/{name}", {"propagationPolicy": "Background"})

    def _path(self, kind: Kind) -> str:
        group, plural = KINDS[kind]
        return f"/{group}/namespaces/{self.namespace}/{plural}"

    def config_map(self, name: str) -> Object | None:
        """A ConfigMap, None if it does not exist."""
        return self._get(f"{self._core}/configmaps/{name}")

    def cluster_uid(self) -> str | None:
        """The identity of the cluster, the UID of its namespace kube-system; None if it must not be read."""
        namespace = self._get_if_allowed("/api/v1/namespaces/kube-system")
        return str(namespace["metadata"]["uid"]) if namespace else None

    def version(self) -> tuple[int, int] | None:
        """The minor version of the API server; None if it must not be read."""
        version = self._get_if_allowed("/version")
        numbers = re.match(r"v(\d+)\.(\d+)", version["gitVersion"]) if version else None
        return (int(numbers[1]), int(numbers[2])) if numbers else None

    def ip_family(self) -> str | None:
        """The first IP family of the cluster; None if it must not be read."""
        service = self._get_if_allowed("/api/v1/namespaces/default/services/kubernetes")
        return str(service["spec"]["ipFamilies"][0]) if service and service["spec"].get("ipFamilies") else None

    def priority_classes(self) -> frozenset[str] | None:
        """The names of all priority classes; None if they must not be read."""
        classes = self._get_if_allowed("/apis/scheduling.k8s.io/v1/priorityclasses")
        return frozenset(by_name(classes["items"])) if classes else None

    def api_groups(self) -> frozenset[str] | None:
        """The API groups that the cluster has; None if they must not be read."""
        found = self._get_if_allowed("/apis")
        return frozenset(group["name"] for group in found["groups"]) if found else None

    def prometheus_kinds(self) -> frozenset[str] | None:
        """The kinds of the Prometheus Operator that the cluster has; None if they must not be read."""
        try:
            found = self._get(f"/apis/{PROMETHEUS}")
        except ForbiddenError:
            return None
        return frozenset(resource["kind"] for resource in found["resources"]) if found else frozenset()

    def service(self, name: str) -> Object | None:
        """A Service, None if it does not exist."""
        return self._get(f"{self._core}/services/{name}")

    def claim(self, name: str) -> Object | None:
        """A PersistentVolumeClaim, None if it does not exist."""
        return self._get(f"{self._core}/persistentvolumeclaims/{name}")

    def scale(self, deployment: str, replicas: int) -> None:
        """Set the replicas of a Deployment. Raises UnreachableError."""
        path = f"{self._apps}/deployments/{deployment}/scale"
        self._request("PATCH", path, {}, {"spec": {"replicas": replicas}})

    def pause(self, deployment: str, paused: bool, version: str) -> None:
        """Pause or resume the version of a Deployment that was read (`kubectl rollout pause`).

        Raises ConflictError if it was changed meanwhile, for example by `rollout abort`, and UnreachableError.
        """
        content = {"metadata": {"resourceVersion": version}, "spec": {"paused": paused}}
        self._request("PATCH", f"{self._apps}/deployments/{deployment}", {}, content)

    def patch(self, kind: Literal["Deployment", "ReplicaSet", "Pod"], name: str, content: Object) -> None:
        """Change an object by a JSON merge patch; nothing happens if it does not exist. Raises UnreachableError."""
        path = {"Deployment": f"{self._apps}/deployments", "ReplicaSet": f"{self._apps}/replicasets"}
        self._request(
            "PATCH", f"{path.get(kind, f'{self._core}/pods')}/{name}", {"fieldManager": ROLLOUT_MANAGER}, content
        )

    def replace(self, workload: Object) -> None:
        """Replace the version of a Deployment or StatefulSet that was read.

        Raises ConflictError if it was changed meanwhile, for example by `rollout abort`, and UnreachableError.
        """
        path = f"{self._apps}/{workload['kind'].lower()}s/{workload['metadata']['name']}"
        self._request("PUT", path, {"fieldManager": FIELD_MANAGER}, workload)

    def lease(self, name: str) -> Object | None:
        """A Lease, None if it does not exist."""
        return self._get(f"{self._leases}/{name}")

    def write_lease(self, lease: Object) -> Object:
        """Create a Lease, or replace the version of it that was read; returns it as it is stored.

        Raises ConflictError if it exists, or if its version is not that one; UnreachableError.
        """
        metadata = lease["metadata"]
        replaced = "resourceVersion" in metadata
        path = f"{self._leases}/{metadata['name']}" if replaced else self._leases
        body = self._request("PUT" if replaced else "POST", path, {"fieldManager": ROLLOUT_MANAGER}, lease)
        if body is None:
            if replaced:
                raise ConflictError(f"Lease {metadata['name']} was deleted")
            raise UnreachableError(f"namespace {self.namespace} does not exist")
        return cast("Object", json.loads(body))

    def delete_lease(self, name: str, version: str) -> None:
        """Delete this version of a Lease; nothing happens if it does not exist.

        Raises ConflictError if it was changed, and UnreachableError.
        """
        self._request("DELETE", f"{self._leases}/{name}", {}, {"preconditions": {"resourceVersion": version}})

    def apply(self, manifest: Object) -> None:
        """Apply a StatefulSet as the provider does, by server-side apply. Raises UnreachableError."""
        path = f"{self._apps}/statefulsets/{manifest['metadata']['name']}"
        self._request(
            "PATCH", path, {"fieldManager": FIELD_MANAGER, "force": "true"}, manifest, patch="apply-patch+yaml"
        )

    def delete_pod(self, name: str, uid: str) -> None:
        """Delete a pod, with its grace period, if it is still this one. Raises UnreachableError."""
        self._request("DELETE", f"{self._core}/pods/{name}", {}, {"preconditions": {"uid": uid}})

    def release_address(self, service: str) -> None:
        """Remove the address from the status of a Service, so that its controller can write another one.

        The controller of Alibaba Cloud binds a Service with an address to no other CLB (clbv1/model_applier.go,
        `isLoadBalancerReusable`), even if the first one does not exist any more. Raises UnreachableError.
        """
        status = {"loadBalancer": {"ingress": None}}
        self._request("PATCH", f"{self._core}/services/{service}/status", {}, {"status": status})

    def other_services(self) -> list[Object] | None:
        """The Services of all other namespaces; None if they must not be read."""
        try:
            services = self._list("/api/v1/services")
        except ForbiddenError:
            return None
        return [service for service in services if service["metadata"]["namespace"] != self.namespace]

    def nodes(self) -> list[Object] | None:
        """All nodes, from the cache of the API server; None if they must not be read."""
        try:
            answer = self._get("/api/v1/nodes", resourceVersion="0")
        except ForbiddenError:
            return None
        return cast("list[Object]", answer["items"]) if answer else []

    def replica_sets(self, selector: str) -> list[Object]:
        """The ReplicaSets with these labels."""
        return self._list(f"{self._apps}/replicasets", selector)

    def pods(self, selector: str = "") -> list[Object]:
        """The pods with these labels, including terminating ones."""
        return self._list(f"{self._core}/pods", selector)

    def log(self, pod: str, lines: int) -> str | None:
        """The last lines of the log of a pod's SRS with the kubelet's timestamps; None if it cannot be read."""
        try:
            body = self._read(f"{self._core}/pods/{pod}/log", container="srs", tailLines=str(lines), timestamps="true")
        except UnreachableError:
            return None
        return None if body is None else body.decode(errors="replace")

    def port_forward(self, pod: str, port: int) -> PortForward:
        """Connect to a port of a pod, through its kubelet. Raises UnreachableError."""
        path = f"{self._core}/pods/{pod}/portforward"
        query = [("ports", str(port))]
        _, url, headers, *_ = self._api.param_serialize("GET", path, query_params=query, auth_settings=["BearerToken"])
        try:
            return PortForward(self.configuration, url, headers, CONNECT_TIMEOUT)
        except WebSocketBadStatusException as error:
            if error.status_code == 403:
                raise ForbiddenError(f"the user of the kubeconfig must be allowed to get and create {path}") from error
            raise UnreachableError(f"the API server answered {error.status_code} to GET {path}") from error
        except (WebSocketException, OSError) as error:
            raise UnreachableError(f"no connection to port {port} of pod {pod}: {error}") from error

    def warnings(self, name: str) -> list[str]:
        """The messages of the warning events of a pod or a Service, oldest first."""
        return [event["message"] for event in self._events(name) if event.get("type") == "Warning"]

    def last_warning(self, name: str) -> str | None:
        """The message of the last event of an object, if it is a warning."""
        last = next(iter(self._events(name)[-1:]), None)
        return last["message"] if last and last.get("type") == "Warning" else None

    def _events(self, name: str) -> list[Object]:
        """The events of an object, oldest first."""
        events = self._list(f"{self._core}/events", fields=f"involvedObject.name={name}")
        events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return [event for event in events if event.get("message")]

    @property
    def _core(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def _apps(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}"

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    def _list(self, path: str, labels: str = "", fields: str = "", metadata_only: bool = False) -> list[Object]:
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" if metadata_only else None
        query = {"labelSelector": labels, "fieldSelector": fields}
        body = self._request("GET", path, query, accept=accept, pauses=RETRY_PAUSES)
        answer = None if body is None else cast("Object", json.loads(body))
        return cast("list[Object]", answer["items"] or []) if answer else []  # null in an empty list of metadata

    def _get(self, path: str, **query: str) -> Object | None:
        """Read a path as JSON, None if it does not exist."""
        body = self._request("GET", path, query, pauses=RETRY_PAUSES)
        try:
            return None if body is None else cast("Object", json.loads(body))
        except ValueError:
            host = self._api.configuration.host
            raise UnreachableError(f"{host} does not answer as an API server does to GET {path}: no JSON") from None

    def _rejected(self, method: str, path: str, status: int, reason: str) -> UnreachableError:
        if status == 401 or "system:anonymous" in reason:
            host = self._api.configuration.host
            return UnreachableError(f"the API server {host} rejects the login{self._login} of the kubeconfig: {reason}")
        return ForbiddenError(f"the user of the kubeconfig must be allowed to {_VERBS[method]} {path}: {reason}")

    def _get_if_allowed(self, path: str) -> Object | None:
        """Read a path as JSON, None if it does not exist or must not be read."""
        try:
            return self._get(path)
        except ForbiddenError:
            return None

    def _read(self, path: str, **query: str) -> bytes | None:
        """Read a path, None if it does not exist."""
        return self._request("GET", path, query)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        content: Object | None = None,
        accept: str | None = None,
        patch: str = "merge-patch+json",
        pauses: Sequence[float] = (),
    ) -> bytes | None:
        """Send a request; None if the object does not exist. content: a whole object, or of PATCH what `patch` names.
        pauses: seconds before each further attempt after a failure that may be over by then; none for a log, whose
        node may have failed instead of the API server, and for what changes something.

        Not by the client's typed API: its import takes most of a second in every run.
        """
        request = self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={
                "Content-Type": f"application/{patch if method == 'PATCH' else 'json'}",
                **({"Accept": accept} if accept else {}),
            },
            body=content,
            auth_settings=["BearerToken"],
        )
        attempts = iter(pauses)
        while True:
            try:
                response = self._api.call_api(*request, _request_timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
                body = cast("bytes", response.read())
            except HTTPError as error:
                reason = getattr(error, "reason", error)  # urllib3 wraps it into a message about retries
                raise UnreachableError(
                    f"the API server {self._api.configuration.host} does not answer: {reason}"
                ) from error
            if response.status not in TRANSIENT or (pause := next(attempts, None)) is None:
                break
            time.sleep(pause)
        if response.status == 404:
            return None
        if response.status in (401, 403):
            raise self._rejected(method, path, response.status, _message(body) or f"{response.status}")
        if response.status == 409:
            raise ConflictError(f"{method} {path}: {_message(body) or response.reason}")
        if response.status not in (200, 201, 202):
            reason = f": {message}" if (message := _message(body)) else ""
            kind = UnreachableError if response.status in TRANSIENT else InvalidError
            raise kind(f"the API server answered {response.status} {response.reason} to {method} {path}{reason}")
        return body


_VERBS = {"GET": "read", "PATCH": "change", "PUT": "replace", "POST": "create", "DELETE": "delete"}


def _message(body: bytes) -> str:
    """The message of an error of the API server; "" if another server has answered, such as a proxy."""
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return ""
    return str(cast("Object", answer).get("message", "")) if isinstance(answer, dict) else ""


def ready_replicas(workload: Object) -> int:
    """The ready pods of a workload, by its status."""
    return int(workload.get("status", {}).get("readyReplicas", 0))


def owned_by(owner: Object, objects: Iterable[Object]) -> list[Object]:
    """The objects that have this owner."""
    uid = owner["metadata"].get("uid")
    return [item for item in objects if any(own["uid"] == uid for own in item["metadata"].get("ownerReferences", []))]


def by_name(objects: list[Object]) -> dict[str, Object]:
    """Objects by their names."""
    return {item["metadata"]["name"]: item for item in objects}
