"""Rules of Alibaba Cloud's load balancers, and of the controller that binds Services to them.

Pure functions on plain values. "The controller" is the cloud controller manager of ACK
(kubernetes/cloud-provider-alibaba-cloud; paths below are in its repository). With backend `ecs` the load balancer
sends traffic to nodes, with `eni` to pods.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from model.values import seconds

Backend = Literal["ecs", "eni"]
TrafficPolicy = Literal["Cluster", "Local"]
Scheduler = Literal["wrr", "rr", "wlc", "sch", "tch"]

PREFIX = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
LEGACY_PREFIX = "service.beta.kubernetes.io/alicloud-loadbalancer-"
"""The prefix until September 2019, which the controller still reads, and the SRS project's article has."""

BACKEND_TYPE = "service.beta.kubernetes.io/backend-type"
"""The one annotation with another prefix (pkg/controller/helper/service_utils.go)."""

NLB_CLASS = "alibabacloud.com/nlb"
"""`spec.loadBalancerClass` of a Service with an NLB (the same file); the field is immutable."""

MAX_CONNECTION_TIMEOUT = timedelta(seconds=900)
"""Maximum of the connection drain and of the idle timeouts of CLB and NLB (ACK documentation,
`connection-drain-timeout` and `established-timeout`: 10 to 900 s)."""

DEREGISTER = timedelta(seconds=30)
"""Default deregister time behind a cloud load balancer: the controller must see the change and call the API, and the
load balancer must apply it, where kube-proxy alone takes a second or two (ACK documentation, "Zero-downtime
application deployment": a preStop of 30 s)."""

REUSED_TAG = "kubernetes.reused.by.user"
"""The controller puts this tag, with the value `true`, on a CLB that a Service names by id (clbv1/loadbalancer.go,
`Update`). The stack sets it itself: otherwise each update would remove what the controller has added."""

OWN_TAGS = ("kubernetes.do.not.delete", "ack.aliyun.com")
"""Tags of a CLB that the controller created itself; it refuses to bind a Service by id to a CLB that has one
(clbv1/model_applier.go, `isLoadBalancerReusable`)."""

MAX_TAGS = 10
"""Tags on one CLB (Terraform provider, `alicloud_slb_load_balancer`; clbv1/loadbalancer.go, `MaxLBTagNum`)."""


def max_connection_time(
    backend: Backend, traffic_policy: TrafficPolicy, connection_drain: timedelta
) -> timedelta | None:
    """How long an open connection may last once its pod is terminating; None: as long as the pod itself.

    connection_drain: of the load balancer; 0 when it is off.

    - `eni`: pods are the backends, and the controller removes terminating endpoints (clbv1/vgroups.go and
      nlbv2/server_groups.go, `setBackendsFromEndpointSlices`). The load balancer then ends the connection after its
      connection drain, or at once without one.
    - `ecs` with `externalTrafficPolicy: Local`: a node is a backend while it has a ready pod (`buildLocalBackends`
      starts from the same list), so it is removed with its last one: the same limit.
    - `ecs` with `Cluster`: a node is a backend whatever pods it has (`buildClusterBackends`), and keeps forwarding a
      known connection to a terminating pod (conntrack; with IPVS, real servers of weight 0). See `backend_label`.
      Pods on virtual nodes are backends themselves, as with `eni` (`buildClusterBackends`, "add eci backends").
    """
    if backend == "ecs" and traffic_policy == "Cluster":
        return None
    return connection_drain


def canary_distortions(
    backend: Backend, traffic_policy: TrafficPolicy, scheduler: Scheduler, persistence: timedelta
) -> Iterator[str]:
    """What prevents a release from receiving new viewers in proportion to its pods, a line each.

    With `ecs` and `Cluster` the load balancer selects a node only; the node selects among all pods, randomly or in
    turn, and considers neither their connections nor the client. Otherwise:

    - `wlc` prefers the backend with the fewest connections (ACK documentation, `scheduler`): a new release starts
      empty and receives nearly all new viewers, whatever its share.
    - `sch` always maps a client's address to the same backend: viewers behind one address count as one.
    - `persistence-timeout` keeps a client's address on its backend; returning viewers stay with the old release.
    """
    if backend == "ecs" and traffic_policy == "Cluster":
        return
    if scheduler == "wlc":
        yield "scheduler wlc sends new viewers to the emptiest pods, so a new release receives far more than its share"
    if scheduler == "sch":
        yield "scheduler sch selects by the client's address, so all viewers behind one address reach the same release"
    if persistence:
        yield "persistenceTimeout keeps an address on its pod, so returning viewers stay with their former release"


def tag_problems(tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Tags that the CLB API (`TagResources`) or the controller (OWN_TAGS) rejects, with the reason."""
    for key in tags:
        if key in OWN_TAGS:
            yield key, "must not be set: the controller rejects a CLB with this tag, which marks those that it created"
        elif key == REUSED_TAG:
            yield key, "must not be set: the stack sets it"
        elif not key or len(key) > 64 or re.match(r"aliyun|acs:|.*https?://", key):
            yield key, "must have a key of 1 to 64 characters without `http://`, beginning with neither aliyun nor acs:"


def annotation_problem(key: str, keys: Mapping[str, str]) -> str | None:
    """Why an annotation must not be added to a Service with a load balancer; None if it may be.

    keys: the annotations that config keys of this kind of load balancer decide about, and these keys. The controller
    also reads the legacy prefix (annotation/annotations.go, `Get`).
    """
    if key == BACKEND_TYPE:
        return "is decided by the key backend"
    if key in _OTHER_CONTROLLER:
        return "must not be set: the controller would no longer manage the Service (service_utils.go, `NeedCLB`)"
    prefix = next((prefix for prefix in (PREFIX, LEGACY_PREFIX) if key.startswith(prefix)), None)
    if prefix is None:
        return None
    name = key.removeprefix(prefix)
    if config_key := keys.get(name):
        return f"is decided by {config_key}"
    return _HARMFUL.get(name)


_OTHER_CONTROLLER = (
    "service.beta.kubernetes.io/class",
    f"{PREFIX}type",
    f"{PREFIX}tunnel-type",
)
"""With them the controller ignores a Service, or gives it another kind of load balancer (service_utils.go)."""

_SHARED_KEYS = {
    "address-type": "the key addressType",
    "backend-label": "the key backendNodes",
    "scheduler": "the key scheduler",
    "connection-drain": "the key connectionDrain",
    "connection-drain-timeout": "the key connectionDrain",
    **dict.fromkeys(
        (
            "health-check-switch",
            "health-check-flag",
            "health-check-type",
            "health-check-interval",
            "health-check-connect-timeout",
            "health-check-connect-port",
            "healthy-threshold",
            "unhealthy-threshold",
        ),
        "the key healthCheck",
    ),
}

CLB_KEYS: Mapping[str, str] = {
    **_SHARED_KEYS,
    "id": "the stack, or the key id",
    "force-override-listeners": "the stack",
    "name": "the key name",
    "vswitch-id": "the key vswitchId",
    "instance-charge-type": "the key instanceChargeType",
    "spec": "the key spec",
    "charge-type": "the key internetChargeType",
    "bandwidth": "the key bandwidth",
    "external-ip-type": "the key eip",
    "delete-protection": "the key deleteProtection",
    "modification-protection": "the key modificationProtection",
    "established-timeout": "the key establishedTimeout",
    "persistence-timeout": "the key persistenceTimeout",
    "additional-resource-tags": "the key tags",
    "resource-group-id": "the key resourceGroupId",
    # What the controller only compares on a CLB that it did not create (clbv1/loadbalancer.go, `Update`).
    **dict.fromkeys(("master-zoneid", "slave-zoneid", "ip-version", "network-type", "ip"), "the CLB itself"),
}
"""Annotations about a CLB, without their prefix, and who decides about them."""

NLB_KEYS: Mapping[str, str] = {
    **_SHARED_KEYS,
    "id": "the controller, which creates the NLB",
    "zone-maps": "the key zoneMaps",
    "idle-timeout": "the key idleTimeout",
    "additional-resource-tags": "the key tags",
}
"""The same about an NLB."""

_HARMFUL = {
    "remove-unscheduled-backend": "must not be set: cordoning a node would drop all connections through it "
    "(backend.go, `needExcludeFromLB`)",
    "proxy-protocol": "must not be set: SRS does not understand the PROXY protocol",
    "protocol-port": "must not be set: listeners are TCP, RTMP needs it",
    "forward-port": "must not be set: listeners are TCP, RTMP needs it",
    "vgroup-port": "must not be set: backends of other server groups would receive the viewers' connections",
    "listener-port-range": "must not be set: it opens more ports than those of the Service",
}
"""Annotations that break a promise, with the reason (clbv1/listeners.go, vgroups.go, nlbv2/listeners.go)."""

SAFE_ANNOTATIONS = ("acl-status", "acl-type", "acl-id")
"""Annotations without their prefix that may change on a Service in use: they drop those whom they are to exclude."""


def is_safe_annotation(key: str) -> bool:
    """Whether an annotation may change on a Service in use. The controller reads no annotation of another prefix."""
    return not key.startswith("service.beta.kubernetes.io/") or key.removeprefix(PREFIX) in SAFE_ANNOTATIONS


def limits_backends(backend: Backend, traffic_policy: TrafficPolicy) -> bool:
    """Whether the backends are nodes that need no pod of the Service, so that `backend_label` should limit them."""
    return backend == "ecs" and traffic_policy == "Cluster"


def backend_label(nodes: Mapping[str, str]) -> dict[str, str]:
    """The annotation that limits the backends to nodes with these labels; none for all nodes.

    Without it every node of the cluster carries connections, of whatever pool. The controller removes a node that is
    NotReady, tainted by the cluster autoscaler (`ToBeDeletedByClusterAutoscaler`), or without these labels
    (reconcile/backend/backend.go, `needExcludeFromLB` and `filterOutByLabel`), and the load balancer then drops the
    connections through it within its connection drain.
    """
    if not nodes:
        return {}
    return {_BACKEND_LABEL: ",".join(f"{key}={value}" for key, value in sorted(nodes.items()))}


def backend_nodes(annotations: Mapping[str, str]) -> dict[str, str]:
    """The labels in the annotation of `backend_label`; empty without it."""
    text = annotations.get(_BACKEND_LABEL) or annotations.get(f"{LEGACY_PREFIX}backend-label") or ""
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {key: value for key, _, value in pairs}


_BACKEND_LABEL = f"{PREFIX}backend-label"


def readiness_gate(service: str) -> str:
    """The pod condition that the controller sets once the pod is a backend of the Service's load balancer.

    (pkg/controller/helper/pod_utils.go, `TargetHealthPodConditionServiceTypePrefix`.) With `eni` a rollout would
    otherwise delete the old pods before the new ones receive connections. A pod whose gate names a Service that does
    not exist never becomes ready.
    """
    return f"service.readiness.alibabacloud.com/{service}"


@dataclass(frozen=True)
class HealthCheck:
    """A TCP health check. interval, timeout: seconds. port: None for the backend's port."""

    interval: int
    timeout: int
    healthy: int
    unhealthy: int
    port: int | None = None


def clb_annotations(
    *,
    address_type: str,
    backend: Backend,
    scheduler: Scheduler,
    connection_drain: timedelta,
    established_timeout: timedelta,
    persistence: timedelta,
    check: HealthCheck,
    eip: bool,
) -> dict[str, str]:
    """Annotations of a Service on a CLB, except the CLB's id (clbv1/listeners.go, `buildListenerFromServicePort`).

    Without `force-override-listeners` the controller would not touch the listeners of a CLB that it did not create.
    `remove-unscheduled-backend` is left out: it would remove a node that is being drained from the backends, and
    drop the connections to other nodes' pods through it.
    """
    annotations = {
        "address-type": address_type,
        "force-override-listeners": "true",
        "scheduler": scheduler,
        "established-timeout": str(seconds(established_timeout)),
        "persistence-timeout": str(seconds(persistence)),
        "health-check-switch": "on",
        **_drain(connection_drain),
        **_check(check),
    }
    if eip:
        # The Service's address is then the EIP, not the CLB's.
        annotations["external-ip-type"] = "eip"
    return _prefixed(annotations, backend)


def nlb_annotations(
    *,
    address_type: str,
    zone_maps: Mapping[str, str],
    backend: Backend,
    scheduler: Scheduler,
    connection_drain: timedelta,
    idle_timeout: timedelta,
    check: HealthCheck,
    tags: Mapping[str, str],
) -> dict[str, str]:
    """Annotations of a Service with an NLB (nlbv2/loadbalancer.go, listeners.go, server_groups.go).

    The health check's annotations count only with `health-check-flag`; an NLB's idle timeout has another name than
    a CLB's.
    """
    annotations = {
        "address-type": address_type,
        "zone-maps": ",".join(f"{zone}:{vswitch}" for zone, vswitch in sorted(zone_maps.items())),
        "scheduler": scheduler,
        "idle-timeout": str(seconds(idle_timeout)),
        "health-check-flag": "on",
        **_drain(connection_drain),
        **_check(check),
    }
    if tags:
        annotations["additional-resource-tags"] = ",".join(f"{key}={value}" for key, value in sorted(tags.items()))
    return _prefixed(annotations, backend)


def _drain(connection_drain: timedelta) -> dict[str, str]:
    if not connection_drain:
        return {"connection-drain": "off"}
    return {"connection-drain": "on", "connection-drain-timeout": str(seconds(connection_drain))}


def _check(check: HealthCheck) -> dict[str, str]:
    annotations = {
        "health-check-type": "tcp",
        "health-check-interval": str(check.interval),
        "health-check-connect-timeout": str(check.timeout),
        "healthy-threshold": str(check.healthy),
        "unhealthy-threshold": str(check.unhealthy),
    }
    if check.port is not None:
        annotations["health-check-connect-port"] = str(check.port)
    return annotations


def _prefixed(annotations: Mapping[str, str], backend: Backend) -> dict[str, str]:
    return {BACKEND_TYPE: backend, **{f"{PREFIX}{name}": value for name, value in annotations.items()}}
