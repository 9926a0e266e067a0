"""The state of the live cluster that an update plan is based on."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from cluster.admission import Admission
from cluster.live import CONNECTIONS, KINDS, ForbiddenError, Kind, LiveCluster, Object, owned_by
from cluster.run_record import read_run
from cluster.terminating import is_terminating, lost_node
from model.names import ABORTED_APP, EDGE_APP, HLS_CLAIM, ORIGIN
from model.run_record import RunRecord

Objects = dict[str, Object]
"""Objects by name."""


@dataclass(frozen=True)
class LiveState:
    """What exists in the namespace; empty where nothing does.

    cluster_uid: identity of the cluster, None if it is unknown. namespace: None if it does not exist.
    objects: by kind and name, without the kinds that must not be read; of ConfigMaps and Secrets the metadata.
    confs: the srs.conf of each live workload, by name. terminating: terminating edge pods.
    pods: pods of edges and origins that are not terminating. lost: names of terminating ones by their node, which does
    not answer.
    claim_expandable: whether the storage class of the HLS claim allows expansion, None if it is unknown.
    version, ip_family, priority_classes, prometheus_kinds, api_groups: of the cluster, see `LiveCluster`.
    certificate: of the Secret for TLS as PEM, "" if there is none, None if it is unknown. Never its key.
    other_services: the Services of other namespaces, None if they must not be read.
    nodes: the nodes of the cluster if they were to be read, None if they must not be.
    admission: what the API server makes of the changes of an update, if it was asked.
    run: the open `rollout run`, None if there is none. run_unknown: why it must not be read, "" if it was.
    unreachable: why the state could not be read, "" if it was; the other fields say nothing then.
    """

    cluster_uid: str | None = None
    namespace: Object | None = None
    objects: Mapping[Kind, Objects] = field(default_factory=dict[Kind, Objects])
    confs: Mapping[str, str] = field(default_factory=dict[str, str])
    terminating: tuple[Object, ...] = ()
    draining_origins: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    claim_expandable: bool | None = None
    certificate: str | None = None
    version: tuple[int, int] | None = None
    ip_family: str | None = None
    priority_classes: frozenset[str] | None = None
    prometheus_kinds: frozenset[str] | None = None
    api_groups: frozenset[str] | None = None
    other_services: tuple[Object, ...] | None = ()
    nodes: tuple[Object, ...] | None = ()
    admission: Admission = field(default_factory=Admission)
    run: RunRecord | None = None
    run_unknown: str = ""
    unreachable: str = ""

    @property
    def known(self) -> bool:
        """Whether the state was read."""
        return not self.unreachable

    def get(self, kind: Kind, name: str) -> Object | None:
        """An object, None if it does not exist."""
        return self.objects.get(kind, {}).get(name)

    @property
    def services(self) -> Objects:
        """The Services."""
        return self.objects.get("Service", {})

    @property
    def edges(self) -> Objects:
        """The edges' Deployments, of all releases, in rotation or not."""
        return {
            name: deployment
            for name, deployment in self.objects.get("Deployment", {}).items()
            if deployment["spec"]["template"]["metadata"].get("labels", {}).get("app") in (EDGE_APP, ABORTED_APP)
        }

    def replica_sets(self, deployment: Object) -> list[Object]:
        """The ReplicaSets of a Deployment."""
        return owned_by(deployment, self.objects.get("ReplicaSet", {}).values())

    @property
    def origins(self) -> Object | None:
        """The origins' StatefulSet."""
        return self.get("StatefulSet", ORIGIN)


def read_state(
    live: LiveCluster, tls_secret: str | None = None, other_services: bool = False, nodes: bool = False
) -> LiveState:
    """Read the state. Raises UnreachableError.

    tls_secret: the Secret whose certificate is read. other_services: whether to read the Services of other namespaces.
    nodes: whether to read the nodes.
    """
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        lists: dict[Kind, Future[Objects | None]] = {kind: pool.submit(live.readable_objects, kind) for kind in KINDS}
        others = pool.submit(live.other_services) if other_services else None
        all_nodes = pool.submit(live.nodes) if nodes else None
        pods = pool.submit(live.pods, f"app in ({EDGE_APP},{ABORTED_APP},{ORIGIN})")
        uid, namespace = pool.submit(live.cluster_uid), pool.submit(live.live_namespace)
        version, ip_family = pool.submit(live.version), pool.submit(live.ip_family)
        priority_classes = pool.submit(live.priority_classes)
        prometheus_kinds, api_groups = pool.submit(live.prometheus_kinds), pool.submit(live.api_groups)
        run = pool.submit(_open_run, live)
        certificate = pool.submit(live.certificate, tls_secret) if tls_secret else None
        objects: dict[Kind, Objects] = {}
        for kind, listed in lists.items():
            if (found := listed.result()) is not None:
                objects[kind] = found
        mounted = dict(_mounted_configs({**objects["Deployment"], **objects["StatefulSet"]}))
        configs = dict(zip(mounted, pool.map(live.config_map, mounted.values()), strict=True))
        claim = objects["PersistentVolumeClaim"].get(HLS_CLAIM)
        return LiveState(
            claim_expandable=live.is_expandable(claim["spec"].get("storageClassName") or "") if claim else None,
            cluster_uid=uid.result(),
            version=version.result(),
            ip_family=ip_family.result(),
            priority_classes=priority_classes.result(),
            prometheus_kinds=prometheus_kinds.result(),
            api_groups=api_groups.result(),
            certificate=certificate.result() if certificate else None,
            namespace=namespace.result(),
            run=run.result()[0],
            run_unknown=run.result()[1],
            other_services=() if others is None else _tuple(others.result()),
            nodes=() if all_nodes is None else _tuple(all_nodes.result()),
            objects=objects,
            confs={name: text for name, config in configs.items() if (text := _srs_conf(config)) is not None},
            terminating=tuple(
                pod for pod in pods.result() if is_terminating(pod) and pod["metadata"]["labels"]["app"] != ORIGIN
            ),
            draining_origins=tuple(
                pod for pod in pods.result() if is_terminating(pod) and pod["metadata"]["labels"]["app"] == ORIGIN
            ),
            pods=tuple(pod for pod in pods.result() if not is_terminating(pod)),
            lost=_by_lost_node(pods.result()),
        )


def _open_run(live: LiveCluster) -> tuple[RunRecord | None, str]:
    try:
        stored = read_run(live)
    except ForbiddenError as error:
        return None, str(error)
    return (stored.record if stored else None), ""


def _by_lost_node(pods: Sequence[Object]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for pod in pods:
        if node := lost_node(pod):
            found[node] = (*found.get(node, ()), pod["metadata"]["name"])
    return found


def _tuple(services: list[Object] | None) -> tuple[Object, ...] | None:
    return None if services is None else tuple(services)


def _mounted_configs(workloads: Objects) -> Iterator[tuple[str, str]]:
    """The name of each SRS workload, and of the ConfigMap that has, or shows, its srs.conf."""
    for name, workload in workloads.items():
        pod: dict[str, Any] = workload["spec"]["template"]["spec"]
        for volume in pod.get("volumes", []):
            source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
            if volume["name"] == "config" and source:
                yield name, source


def _srs_conf(config: Object | None) -> str | None:
    """The srs.conf in a ConfigMap; None if it has none, as that of a foreign workload."""
    return ((config or {}).get("data") or {}).get("srs.conf")


def address(service: Object | None) -> str | None:
    """The address or host name of a Service's load balancer, None if it has none yet."""
    status = service.get("status", {}) if service else {}
    ingress = cast("list[dict[str, str]]", status.get("loadBalancer", {}).get("ingress") or [])
    return next((entry.get("ip") or entry.get("hostname") for entry in ingress), None)


def is_bound(claim: Object | None) -> bool:
    """Whether a claim has its volume."""
    return claim is not None and claim.get("status", {}).get("phase") == "Bound"
