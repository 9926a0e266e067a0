"""Rules of Alibaba Cloud's load balancers, and of the controller that binds Services to them.

Pure functions on plain values, and what CLB and NLB have in common. "The controller" is the cloud controller manager of
ACK (kubernetes/cloud-provider-alibaba-cloud; paths below are in its repository). With backend `ecs` the load balancer
sends traffic to nodes, with `eni` to pods.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StrictBool, StrictStr, model_validator

from model.config.base import NonEmpty, Settings, matching
from model.config.pods import LabelKey, LabelValue
from model.config.problems import Problem, RuleError, UpdateWarning
from model.config.values import Duration, seconds
from model.load_balancers import alibaba_nodes
from model.load_balancers.interface import (
    DrainLimit,
    ExternalLoadBalancer,
    LiveObject,
    LiveService,
    between,
    live_annotations,
)
from model.names import EDGE_APP, HTTP_PORT

if TYPE_CHECKING:
    from model.load_balancers.exposed_service import ExposedService

Backend = Literal["ecs", "eni"]
TrafficPolicy = Literal["Cluster", "Local"]
Scheduler = Literal["wrr", "rr", "wlc", "sch", "tch"]

PREFIX = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
LEGACY_PREFIX = "service.beta.kubernetes.io/alicloud-loadbalancer-"
"""The prefix until September 2019, which the controller still reads, and the SRS project's article has."""

BACKEND_TYPE = "service.beta.kubernetes.io/backend-type"
"""The one annotation with another prefix (pkg/controller/helper/service_utils.go)."""

MAX_CONNECTION_TIMEOUT = timedelta(seconds=900)
"""Maximum of the connection drain and of the idle timeouts of CLB and NLB (ACK documentation,
`connection-drain-timeout` and `established-timeout`: 10 to 900 s)."""

MAX_TIMEOUT_TEXT = f"`{seconds(MAX_CONNECTION_TIMEOUT)}s`"

ConnectionTimeout = Annotated[Duration, between(timedelta(seconds=10), MAX_CONNECTION_TIMEOUT)]
ControllerVersion = Annotated[
    StrictStr, matching(r"v?\d+\.\d+(\.\d+)?", "a version of the cloud controller manager, such as '2.15'")
]
VswitchId = Annotated[StrictStr, matching(r"vsw-[a-z0-9]{4,}", "the id of a vswitch, such as vsw-2ze1x2y3z4")]


READINESS_GATES = (2, 10)
"""First version of the controller that opens readiness gates of Services (see `readiness_gate`)."""

GRACEFUL_SHUTDOWN = (2, 15)
"""First version of the controller with the annotation `graceful-shutdown` (its release notes; pull request 486)."""

WEIGHTED_SCHEDULERS: tuple[Scheduler, ...] = ("wrr", "wlc", "rr")
"""Schedulers that select no backend of weight 0; `rr` has no weights, but 0 is special (release notes of 2.15)."""


def max_connection_time(
    backend: Backend, traffic_policy: TrafficPolicy, connection_drain: timedelta, graceful_shutdown: bool = False
) -> timedelta | None:
    """How long an open connection may last once its pod is terminating; None: as long as the pod itself.

    connection_drain: of the load balancer; 0 when it is off.

    - `eni`: pods are the backends, and the controller removes terminating endpoints (clbv1/vgroups.go and
      nlbv2/server_groups.go, `setBackendsFromEndpointSlices`). The load balancer then ends the connection after its
      connection drain, or at once without one. With graceful_shutdown it keeps those that are `serving`, with weight 0.
    - `ecs` with `externalTrafficPolicy: Local`: a node is a backend while it has a ready pod (`buildLocalBackends`
      starts from the same list), so it is removed with its last one: the same limit.
    - `ecs` with `Cluster`: a node is a backend whatever pods it has (`buildClusterBackends`), and keeps forwarding a
      known connection to a terminating pod (conntrack; with IPVS, real servers of weight 0). See `backend_label`.
      Pods on virtual nodes are backends themselves, as with `eni` (`buildClusterBackends`, "add eci backends").
    """
    if graceful_shutdown or (backend == "ecs" and traffic_policy == "Cluster"):
        return None
    return connection_drain


def canary_distortions(
    backend: Backend, traffic_policy: TrafficPolicy, scheduler: Scheduler, persistence: timedelta
) -> Iterator[str]:
    """What prevents a release from receiving new viewers in proportion to its pods, a line each.

    With `ecs` and `Cluster` the load balancer selects a node only; the node selects among all pods, randomly or in
    turn, and considers neither their connections nor the client. Otherwise:

    - `rr` ignores weights. With `Local` the weight of a node is the number of its pods (clbv1/vgroups.go,
      `podNumberAlgorithm`), so that with `rr` a node with one pod receives as many viewers as a node with two.
      With `eni` all weights are equal.

    - `wlc` prefers the backend with the fewest connections (ACK documentation, `scheduler`): a new release starts
      empty and receives nearly all new viewers, whatever its share.
    - `sch` always maps a client's address to the same backend: viewers behind one address count as one.
    - `persistence-timeout` keeps a client's address on its backend; returning viewers stay with the old release.
    """
    if backend == "ecs" and traffic_policy == "Cluster":
        return
    if scheduler == "rr" and backend == "ecs":
        yield "scheduler rr sends each node as many viewers as any other, whatever number of edges it has; use wrr"
    if scheduler == "wlc":
        yield "scheduler wlc sends new viewers to the emptiest pods, so a new release receives far more than its share"
    if scheduler == "sch":
        yield "scheduler sch selects by the client's address, so all viewers behind one address reach the same release"
    if persistence:
        yield "persistenceTimeout keeps an address on its pod, so returning viewers stay with their former release"


def annotation_problem(key: str, value: str, keys: Mapping[str, str]) -> str | None:
    """Why an annotation must not be added to a Service with a load balancer; None if it may be.

    keys: the annotations that config keys of this kind of load balancer decide about, and these keys. The controller
    also reads the legacy prefix (annotation/annotations.go, `Get`).
    """
    if key == BACKEND_TYPE:
        return "is decided by the key backend"
    if key in _OTHER_CONTROLLER:
        return "must not be set: the controller would no longer manage the Service (service_utils.go, `NeedCLB`)"
    name = annotation_name(key)
    if name in _WEIGHTS and not re.fullmatch("[1-9][0-9]?|100", value):
        return "must be 1 to 100: with 0 no backend receives a connection (vgroups.go, `setWeightBackends`)"
    if config_key := keys.get(name):
        return f"is decided by {config_key}"
    return _HARMFUL.get(name)


def annotation_name(key: str) -> str:
    """The name of an annotation about load balancers, without its prefix; "" for other annotations."""
    prefix = next((prefix for prefix in (PREFIX, LEGACY_PREFIX) if key.startswith(prefix)), None)
    return "" if prefix is None else key.removeprefix(prefix)


_WEIGHTS = ("weight", "default-weight")
"""Weight of all backends together, and of each one (reconcile/annotation/annotations.go)."""

_OTHER_CONTROLLER = (
    "service.beta.kubernetes.io/class",
    f"{PREFIX}type",
    f"{PREFIX}tunnel-type",
)
"""With them the controller ignores a Service, or gives it another kind of load balancer (service_utils.go)."""

SHARED_KEYS = {
    "address-type": "the key addressType",
    "backend-label": "the key backendNodes",
    "scheduler": "the key scheduler",
    "connection-drain": "the key connectionDrain",
    "connection-drain-timeout": "the key connectionDrain",
    "graceful-shutdown": "the key gracefulShutdown",
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
"""Annotations about both kinds, without their prefix, and the keys that decide about them."""

_HARMFUL = {
    "remove-unscheduled-backend": "must not be set: cordoning a node would drop all connections through it "
    "(backend.go, `needExcludeFromLB`)",
    "proxy-protocol": "must not be set: SRS does not understand the PROXY protocol",
    "protocol-port": "must not be set: listeners are TCP, RTMP needs it",
    "forward-port": "must not be set: listeners are TCP, RTMP needs it",
    "vgroup-port": "must not be set: backends of other server groups would receive the viewers' connections",
    "backend-ip-version": "must not be set: backends would be IPv6 addresses only, and SRS listens on IPv4 "
    "(backend.go, `setAddressIpVersion`)",
    "listener-port-range": "must not be set: it opens more ports than those of the Service",
    "ignore-weight-update": "must not be set: backends would keep weights that do not fit their pods, and "
    "gracefulShutdown would have no effect (backend.go, `IsGracefulShutdownEnabled`)",
}
"""Annotations that break a promise, with the reason (clbv1/listeners.go, vgroups.go, nlbv2/listeners.go)."""

SAFE_ANNOTATIONS = ("acl-status", "acl-type", "acl-id")
"""Annotations without their prefix that may change on a Service in use: they drop those whom they are to exclude."""


def is_safe_annotation(key: str) -> bool:
    """Whether an annotation may change on a Service in use. The controller reads no annotation of another prefix."""
    return not key.startswith("service.beta.kubernetes.io/") or key.removeprefix(PREFIX) in SAFE_ANNOTATIONS


def backend_label(nodes: Mapping[str, str]) -> dict[str, str]:
    """The annotation that limits the backends to nodes with these labels; none for all nodes.

    Without it every node of the cluster carries connections, of whatever pool. The controller removes a node that is
    NotReady or without these labels (reconcile/backend/backend.go, `needExcludeFromLB` and `filterOutByLabel`), and
    the load balancer then drops the connections through it within its connection drain. The taint of the cluster
    autoscaler (`ToBeDeletedByClusterAutoscaler`) removes it, too, but only at the next event: labels, `unschedulable`
    and Ready are watched, taints are not (clbv1/event_handler.go, `nodeSpecChanged`).
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


def _version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(map(int, text.removeprefix("v").split(".")[:2]))


def readiness_gate(service: str) -> str:
    """The pod condition that the controller sets once the pod is a backend of the Service's load balancer.

    (pkg/controller/helper/pod_utils.go, `TargetHealthPodConditionServiceTypePrefix`.) With `eni` a rollout would
    otherwise delete the old pods before the new ones receive connections. The gate opens when the pod is *added*,
    before its first health check (service_controller.go, `updateReadinessCondition`). A pod whose gate names a Service
    that does not exist never becomes ready. Controllers of 2.10 and later open gates of Services, and read
    EndpointSlices.
    """
    return f"{GATE_PREFIX}{service}"


GATE_PREFIX = "service.readiness.alibabacloud.com/"

REGISTRATION_TIME = timedelta(seconds=10)
"""The controller looks for pods whose containers have become ready only this often (service_controller.go,
`ContainsPotentialReadyEndpoints`: the reconciliation is repeated), so that each batch of a rollout waits for it."""


def prefixed(annotations: Mapping[str, str]) -> dict[str, str]:
    """Annotations with their prefix."""
    return {f"{PREFIX}{name}": value for name, value in annotations.items()}


def live_annotation(live: LiveService, suffix: str) -> str | None:
    """The value of an annotation of a live Service, with either prefix."""
    annotations = live_annotations(live)
    return annotations.get(f"{PREFIX}{suffix}") or annotations.get(f"{LEGACY_PREFIX}{suffix}")


class HealthCheckSettings(Settings):
    """How the load balancer checks its backends, by TCP connections."""

    interval: Annotated[Duration, between(timedelta(seconds=1), timedelta(seconds=50))] = Field(
        default=timedelta(seconds=2), description="Time between two checks, `1s` to `50s`."
    )
    timeout: Annotated[Duration, between(timedelta(seconds=1), timedelta(seconds=300))] = Field(
        default=timedelta(seconds=5), description="Time after which a check has failed, `1s` to `300s`."
    )
    healthy_threshold: Annotated[int, Field(strict=True, ge=2, le=10)] = Field(
        default=3, description="Successful checks in a row that make a backend healthy."
    )
    unhealthy_threshold: Annotated[int, Field(strict=True, ge=2, le=10)] = Field(
        default=3, description="Failed checks in a row that make a backend unhealthy."
    )

    def annotations(self, backend: Backend) -> dict[str, str]:
        """The check as annotations, without their prefix.

        The HTTP port of a pod is checked for both listeners: SRS logs a warning for every bare connection to its
        RTMP port, which also delays the end of a drain, and it opens and closes both ports together. A node has
        one port per listener.
        """
        annotations = {
            "health-check-type": "tcp",
            "health-check-interval": str(seconds(self.interval)),
            "health-check-connect-timeout": str(seconds(self.timeout)),
            "healthy-threshold": str(self.healthy_threshold),
            "unhealthy-threshold": str(self.unhealthy_threshold),
        }
        if backend == "eni":
            annotations["health-check-connect-port"] = str(HTTP_PORT)
        return annotations


class AlibabaLoadBalancer(ExternalLoadBalancer):
    """What both kinds of load balancer of Alibaba Cloud have."""

    address_type: Literal["internet", "intranet"] = Field(
        description="Whether it has an address on the internet or in the VPC. It cannot be changed later."
    )
    backend: Backend = Field(
        default="ecs",
        description="Where it sends connections: to nodes (`ecs`, which forward them), or to pods (`eni`, Terway "
        "only, with cloud controller manager 2.10 or later). With `eni` no connection outlasts the start of its pod's "
        "termination by more than `connectionDrain`. It must be stated where a Service is taken over.",
    )
    external_traffic_policy: TrafficPolicy = Field(
        default="Cluster",
        description="With `ecs`: whether all nodes accept connections (`Cluster`; pods see a node's address as the "
        "client's), or only nodes with a ready edge (`Local`; connections through a node that loses its last ready "
        "edge are dropped after `connectionDrain`).",
    )
    backend_nodes: dict[LabelKey, LabelValue] | None = Field(
        default=None,
        description="With `ecs` and `Cluster`: labels of the nodes that accept connections, `{}` for all nodes. They "
        "should be stable: a node that becomes NotReady or is removed drops the connections through it. Default: the "
        "`nodeSelector` of the edges (of the origins, where it leads to them). A Service in use keeps its nodes; more "
        "can be added, with fewer labels.",
    )
    scheduler: Scheduler = Field(default="wrr", description="How it selects a backend.")
    connection_drain: Annotated[Duration, between(timedelta(seconds=10), MAX_CONNECTION_TIMEOUT, zero_allowed=True)] = (
        Field(
            default=MAX_CONNECTION_TIMEOUT,
            description=f"How long connections to a removed backend may last, `10s` to {MAX_TIMEOUT_TEXT}; `0s` drops "
            "them at once.",
        )
    )
    graceful_shutdown: StrictBool = Field(
        default=False,
        description="With `eni`: whether terminating pods that still serve stay backends with weight 0, so that their "
        "connections last as long as they do. It needs `drain.keepServing` of the edges and a `controllerVersion` of "
        "2.15 or later.",
    )
    controller_version: ControllerVersion | None = Field(
        default=None,
        description="Version of the cluster's cloud controller manager, such as `2.15`, which a managed cluster shows "
        "in ACK's console only. What needs a version that is not stated is rejected.",
    )
    health_check: HealthCheckSettings = Field(default_factory=HealthCheckSettings, description="Health check.")
    tags: dict[NonEmpty, StrictStr] = Field(default_factory=dict, description="Tags of the load balancer.")

    GATE_PREFIX = GATE_PREFIX
    GATE_HINT = (
        "the cloud controller manager opens it when the pod is a backend; it must be 2.10 or later and read "
        "EndpointSlices, and its events of the Service say what fails"
    )
    CREDENTIALS = ("alicloud:accessKey", "alicloud:secretKey", "alicloud:securityToken")
    KEYS: ClassVar[Mapping[str, str]] = {}
    """Annotations about this kind, without their prefix, and who decides about them."""
    SAFE_IN_PLACE: ClassVar[Mapping[str, Any]] = {
        **ExternalLoadBalancer.SAFE_IN_PLACE,
        # The controller sets these attributes of a listener or of its server group, which stay (clbv1/listeners.go,
        # `tcp.Update`: SetLoadBalancerTCPListenerAttribute; nlbv2/listeners.go, server_groups.go).
        **dict.fromkeys(("scheduler", "connection_drain", "health_check"), True),
        "controller_version": True,  # a statement of the operator
        # Compared with the live Service: more nodes are safe, fewer are not (update/load_balancers.py).
        "backend_nodes": True,
        # The provider or the controller sets them without replacing the load balancer.
        "tags": True,
    }

    @property
    def max_connection_time(self) -> timedelta | None:
        """See the function `max_connection_time`."""
        return max_connection_time(
            self.backend, self.external_traffic_policy, self.connection_drain, self.graceful_shutdown
        )

    @property
    def needs_serving(self) -> bool:
        """With `gracefulShutdown`."""
        return self.graceful_shutdown

    def drain_limit(self, key: str) -> DrainLimit:
        """By its backends."""
        reason = "backend eni" if self.backend == "eni" else "externalTrafficPolicy Local"
        keep = f"set {key}.backend: ecs and externalTrafficPolicy: Cluster, which keep connections as long as the pod"
        longer = f"raise {key}.connectionDrain (at most {seconds(MAX_CONNECTION_TIMEOUT)}s)"
        return DrainLimit(f"with {reason}", keep, longer)

    @property
    def is_on_internet(self) -> bool:
        """Whether everyone on the internet can connect to it."""
        return self.address_type == "internet"

    @property
    def hides_addresses(self) -> bool:
        """Whether pods see the address of a node as the client's."""
        return self.backend == "ecs" and self.external_traffic_policy == "Cluster"

    @property
    def limits_backends(self) -> bool:
        """With `ecs` and `Cluster`."""
        return self.backend == "ecs" and self.external_traffic_policy == "Cluster"

    @property
    def limits_shared_backends(self) -> bool:
        """With `ecs`."""
        return self.backend == "ecs"

    @property
    def pods_are_backends(self) -> bool:
        """With `eni`."""
        return self.backend == "eni"

    @property
    def check_port(self) -> int | None:
        """See `HealthCheckSettings.annotations`."""
        return HTTP_PORT if self.pods_are_backends else None

    @property
    def registration_time(self) -> timedelta:
        """See REGISTRATION_TIME."""
        return REGISTRATION_TIME if self.pods_are_backends else timedelta(0)

    @property
    def health_time(self) -> timedelta:
        """With `eni`, the time of the health checks that make a backend healthy."""
        return self.health_check.interval * self.health_check.healthy_threshold * self.pods_are_backends

    def adoption_problems(self, service: "ExposedService", live: LiveService) -> Iterator[Problem]:
        """The backend of a Service without an annotation, which the default of its cluster decides about.

        (service_utils.go, `IsENIBackendType`: an environment variable and the configuration of the controller, which
        on ACK cannot be read; `eni` with Terway.) Another backend moves the listeners to other server groups, and the
        former ones are deleted with all connections.
        """
        if "backend" in self.model_fields_set or live_annotations(live).get(BACKEND_TYPE):
            return
        yield Problem(
            (*service.key, "backend"),
            None,
            f"must be stated, because Service {service.name} has no annotation {BACKEND_TYPE} and the default of its "
            "cluster decides (eni with Terway). Another backend would drop all its connections. Its backend servers "
            "show which one it is, in the console or with `aliyun slb DescribeVServerGroupAttribute`: Type eni, with "
            "addresses of pods, or ecs, with nodes",
            reason="BackendIsUnknown",
        )

    @property
    def stated_nodes(self) -> dict[str, str] | None:
        """The key `backendNodes`."""
        return self.backend_nodes

    @property
    def persistence(self) -> timedelta:
        """How long a client's address is kept on its backend; 0: not at all."""
        return timedelta(0)

    @property
    def service_fields(self) -> dict[str, Any]:
        """The traffic policy."""
        return {"externalTrafficPolicy": self.external_traffic_policy}

    def controller_annotations(self) -> dict[str, str]:
        """What both kinds have (clbv1/listeners.go, nlbv2/listeners.go and server_groups.go).

        `remove-unscheduled-backend` is left out: it would remove a node that is being drained from the backends, and
        drop the connections to other nodes' pods through it.
        """
        drain = {"connection-drain": "off"}
        if self.connection_drain:
            drain = {"connection-drain": "on", "connection-drain-timeout": str(seconds(self.connection_drain))}
        annotations = {
            "address-type": self.address_type,
            "scheduler": self.scheduler,
            **drain,
            **({"graceful-shutdown": "true"} if self.graceful_shutdown else {}),
            **self.health_check.annotations(self.backend),
        }
        return {BACKEND_TYPE: self.backend, **prefixed(annotations)}

    def backend_annotations(self, nodes: Mapping[str, str]) -> dict[str, str]:
        """See `backend_label`."""
        return backend_label(nodes)

    def is_own_annotation(self, key: str) -> bool:
        """That of `backend_label` stays as it is."""
        return super().is_own_annotation(key) or key == _BACKEND_LABEL

    def readiness_gate(self, service: str) -> str | None:
        """With `eni`, see the function `readiness_gate`."""
        return readiness_gate(service) if self.backend == "eni" else None

    def warnings(self, service: "ExposedService", weighted: Sequence[str]) -> Iterator[str]:
        """Distortions of a canary, and updates that drop connections at once."""
        key = service.config_key
        if service.app == EDGE_APP and len(weighted) > 1:
            for distortion in canary_distortions(
                self.backend, self.external_traffic_policy, self.scheduler, self.persistence
            ):
                shares = f"the shares of {', '.join(weighted)} will not match their weights"
                yield UpdateWarning(f"{key}: {distortion}; {shares}", "SharesAreDistorted")
        if service.limits_drain and not self.connection_drain:
            yield UpdateWarning(
                f"{key}: without connectionDrain, every update of an edge drops its connections at once",
                "NoConnectionDrain",
            )

    def node_warnings(
        self,
        service: "ExposedService",
        labels: Mapping[str, str],
        nodes: Sequence[LiveObject],
        pods: Sequence[LiveObject],
    ) -> Iterator[str]:
        """See `alibaba_nodes`."""
        return alibaba_nodes.node_warnings(service.config_key, labels, nodes, pods, self.connection_drain)

    def is_safe_change(self, key: str, live: Any, desired: Any) -> bool:
        """`gracefulShutdown` may be switched on; pods that drain meanwhile would lose their connections without it."""
        return super().is_safe_change(key, live, desired) or (key == "gracefulShutdown" and not live)

    def annotation_problem(self, key: str, value: str) -> str | None:
        """See the function `annotation_problem`."""
        return annotation_problem(key, value, self.KEYS)

    def is_safe_annotation(self, key: str) -> bool:
        """See the function `is_safe_annotation`."""
        return is_safe_annotation(key)

    @classmethod
    def live_instance_id(cls, live: LiveService) -> str | None:
        """The annotation `id`."""
        return live_annotation(live, "id")

    @classmethod
    def live_nodes(cls, live: LiveService) -> dict[str, str]:
        """See `backend_nodes`."""
        return backend_nodes(live_annotations(live))

    @classmethod
    def read_identity(cls, live: LiveService) -> dict[str, Any]:
        """What both kinds have."""
        found = {
            "addressType": live_annotation(live, "address-type") or "internet",
            "externalTrafficPolicy": str(live["spec"].get("externalTrafficPolicy", "Cluster")),
        }
        if backend := live_annotations(live).get(BACKEND_TYPE):  # the default depends on the cluster
            found["backend"] = backend
        return found

    @model_validator(mode="after")
    def _gates_are_opened(self) -> Self:
        version = self.controller_version if not self.graceful_shutdown else None  # it needs a later one
        if self.pods_are_backends and version is not None and _version(version) < READINESS_GATES:
            allowed = (
                f"must be {'.'.join(map(str, READINESS_GATES))} or later with backend eni: an earlier cloud controller "
                "manager opens no readiness gate, so that no edge would become ready"
            )
            raise RuleError([Problem(("controllerVersion",), version, allowed, reason="ControllerTooOld")])
        return self

    @model_validator(mode="after")
    def _graceful_shutdown_works(self) -> Self:
        if not self.graceful_shutdown:
            return self
        problems: list[Problem] = []
        version = self.controller_version
        if self.backend != "eni":
            problems.append(
                Problem(("gracefulShutdown",), True, "has an effect only with backend eni", reason="KeyWithoutEffect")
            )
        if version is None or _version(version) < GRACEFUL_SHUTDOWN:
            needed = ".".join(map(str, GRACEFUL_SHUTDOWN))
            problems.append(
                Problem(
                    ("controllerVersion",),
                    version,
                    f"must be {needed} or later with gracefulShutdown: an earlier cloud controller manager ignores it, "
                    "and connections would end after connectionDrain (docs/alibaba.md says where to find the version)",
                    reason="ControllerTooOld",
                )
            )
        if self.scheduler not in WEIGHTED_SCHEDULERS:
            problems.append(
                Problem(
                    ("scheduler",),
                    self.scheduler,
                    f"must be {', '.join(WEIGHTED_SCHEDULERS)} with gracefulShutdown: it selects by a hash, also pods "
                    "of weight 0",
                    reason="SchedulerIgnoresWeights",
                )
            )
        if problems:
            raise RuleError(problems)
        return self

    @model_validator(mode="after")
    def _policy_fits_backend(self) -> Self:
        if self.backend == "eni" and self.external_traffic_policy == "Local":
            raise RuleError(
                [
                    Problem(
                        ("externalTrafficPolicy",),
                        self.external_traffic_policy,
                        "has no effect with backend eni, where no node forwards; leave it out, or use backend ecs",
                        reason="KeyWithoutEffect",
                    )
                ]
            )
        if self.backend_nodes is not None and not self.limits_backends:
            raise RuleError(
                [
                    Problem(
                        ("backendNodes",),
                        self.backend_nodes,
                        "can only be set with backend ecs and externalTrafficPolicy Cluster; otherwise the backends "
                        "are the pods, or their nodes",
                        reason="KeyWithoutEffect",
                    )
                ]
            )
        return self
