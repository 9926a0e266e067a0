"""Taking over objects that were created with kubectl (`kubernetes.adopt`), without dropping a connection.

Services and the claim of HLS are taken over in place: another Service would have another address, another claim no
recordings. An edge or an origin is not: the provider creates by server-side apply, which keeps the fields that kubectl
has set (pulumi-kubernetes 4.25, await.go, `Creation`), so its pods would be a mixture of both pod templates. The
stack's edges run beside them under another release name; origins are taken over by their labels, after their
StatefulSet has been deleted without them (docs/migration.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from cluster.live import Object
from cluster.state import LiveState, address
from model import workloads
from model.alibaba import LEGACY_PREFIX, PREFIX
from model.exposed_service import ExposedService
from model.names import API_PORT, HLS, HLS_CLAIM, ORIGIN, ORIGIN_HEADLESS_SERVICE, ORIGIN_SERVICE, RTMP_PORT
from model.problems import Problem
from model.settings.load_balancer import CloudLoadBalancer, SlbLoadBalancer, annotations
from model.settings.stack import StackSettings
from model.values import format_duration
from update.load_balancers import identity_problems
from update.ownership import ForeignObject, object_list
from update.workload_changes import grace_seconds

_PATH = ("kubernetes", "adopt")

_LEAVE = (
    "Or leave this Service as it is, and give the stack's one another name (key `service`): both lead to the same pods"
)


@dataclass(frozen=True)
class _Service:
    """What the stack wants of a Service. exposed: None for Services inside the cluster."""

    app: str
    ports: Sequence[int]
    headless: bool = False
    exposed: ExposedService | None = None


def _services(settings: StackSettings) -> dict[str, _Service]:
    services = {
        ORIGIN_HEADLESS_SERVICE: _Service(ORIGIN, (RTMP_PORT, API_PORT), headless=True),
        ORIGIN_SERVICE: _Service(ORIGIN, (RTMP_PORT,)),
        f"{HLS}-service": _Service(HLS, settings.hls.ports or (80,)),
    }
    services |= {name: _Service(HLS, settings.hls.ports) for name in settings.hls_services}
    for exposed in settings.exposed_services:
        services[exposed.name] = _Service(exposed.app, tuple(exposed.ports.values()), exposed=exposed)
    return services


def adoption_problems(settings: StackSettings, state: LiveState, found: Sequence[ForeignObject]) -> Iterator[Problem]:
    """What cannot be taken over without dropping connections, each with another way."""
    namespace = settings.kubernetes.namespace
    others: list[str] = []
    for item in found:
        live = state.get(item.kind, item.name)
        if not item.adopted or live is None:
            continue
        match item.kind:
            case "Service":
                yield from _service_problems(namespace, item.name, live, _services(settings)[item.name])
            case "PersistentVolumeClaim":
                yield from _claim_problems(live)
            case "Deployment" | "StatefulSet":
                yield Problem(_PATH, True, _workload_problem(settings, item, live))
            case _:
                others.append(f"{item.kind.lower()}/{item.name}")
    if others:
        yield Problem(
            _PATH,
            True,
            f"takes over Services and the claim of HLS only. No connection depends on these objects, so delete them "
            f"first: kubectl -n {namespace} delete {' '.join(others)}",
        )


def adoption_warnings(settings: StackSettings, state: LiveState, found: Sequence[ForeignObject]) -> Iterator[str]:
    """What taking over these objects means, and that there is nothing left to take over."""
    if not settings.kubernetes.adopt or not state.known:
        return
    adopted = [item for item in found if item.adopted]
    if not adopted:
        yield (
            "kubernetes.adopt has nothing left to take over; remove it, so that objects of others are rejected again"
        )
        return
    yield (f"takes over {object_list(adopted)}: from now on the stack decides about them, and a destroy deletes them")
    for item in adopted:
        live = state.get(item.kind, item.name)
        if item.kind == "Service" and live and (extra := _extra_annotations(settings, item.name, live)):
            yield (
                f"Service {item.name} has annotations that the stack does not set, and that are removed with its next "
                f"change: {', '.join(extra)}"
            )


def port_names(settings: StackSettings, state: LiveState) -> dict[str, dict[int, str]]:
    """The names of the ports of live Services, by Service and port; they are kept for good.

    Another name of a port leaves the Service without endpoints, until kube-proxy knows the endpoints of that name.
    """
    return {
        name: {port["port"]: port["name"] for port in live["spec"].get("ports", []) if port.get("name")}
        for name in _services(settings)
        if (live := state.services.get(name))
    }


def _service_problems(namespace: str, name: str, live: Object, desired: _Service) -> Iterator[Problem]:
    spec: dict[str, Any] = live["spec"]
    selector: dict[str, str] = spec.get("selector") or {}
    way = f". {_LEAVE}" if desired.exposed else ""
    if (spec.get("clusterIP") == "None") != desired.headless:
        word = "no" if desired.headless else "a"
        yield Problem(
            _PATH,
            True,
            f"cannot take over Service {name}: it must have {word} cluster IP, which is immutable. Move its users and "
            f"delete it{way}",
        )
    if selector != {"app": desired.app}:
        labels = ",".join(f"{key}={value}" for key, value in selector.items()) or "nothing"
        yield Problem(
            _PATH,
            True,
            f"cannot take over Service {name}, which selects {labels}: its pods would leave it at once. As soon as "
            f"ready pods have the label app={desired.app}: kubectl -n {namespace} set selector service {name} "
            f"app={desired.app}{way}",
        )
    for port in cast("list[dict[str, Any]]", spec.get("ports", [])):
        number, target = port["port"], port.get("targetPort")
        if number not in desired.ports:
            yield Problem(
                _PATH,
                True,
                f"cannot take over Service {name}, whose port {number} would be closed. Give this port a Service of "
                "its own, and remove it here",
            )
        elif isinstance(target, int) and target != number and desired.app != HLS:
            yield Problem(
                _PATH,
                True,
                f"cannot take over Service {name}, whose port {number} leads to port {target} of its pods: the stack's "
                f"pods listen on {number}{way}",
            )
    if desired.exposed:
        yield from _exposed_problems(live, desired.exposed)
    elif (live_type := spec.get("type", "ClusterIP")) != "ClusterIP":
        yield Problem(
            _PATH,
            True,
            f"cannot take over Service {name} of type {live_type}: the stack's one is reached from inside the cluster "
            f"only, so it would lose its address {address(live) or ''}. Move its users and delete it",
        )


def _exposed_problems(live: Object, exposed: ExposedService) -> Iterator[Problem]:
    """Another load balancer or address than the live Service has."""
    meta, spec = live["metadata"], live["spec"]
    by_id = any(f"{prefix}id" in (meta.get("annotations") or {}) for prefix in (PREFIX, LEGACY_PREFIX))
    if spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not by_id:
        yield Problem(
            (*exposed.key, "service"),
            exposed.name,
            f"has a load balancer that the cloud's controller has created for it (address {address(live)}) and will "
            "not give to another owner. Leave this Service as it is, and give the stack's one another name (this key): "
            "both lead to the same pods, and the address stays",
        )
        return
    yield from identity_problems(exposed, live, f"Use the live one. {_LEAVE}")
    node_ports: dict[int, int] = {port["port"]: port.get("nodePort", 0) for port in spec.get("ports", [])}
    for key, desired in exposed.node_ports.items():
        if (actual := node_ports.get(exposed.ports[key])) and actual != desired:
            yield Problem(
                (*exposed.key, f"{key}Port"), desired, f"must be {actual}, as on the live Service {exposed.name}"
            )


def _extra_annotations(settings: StackSettings, name: str, live: Object) -> list[str]:
    """Annotations for the cloud's controller that the stack does not set itself."""
    exposed = _services(settings)[name].exposed
    ours = set(annotations(exposed.load_balancer)) if exposed else set[str]()
    if exposed and isinstance(exposed.load_balancer, SlbLoadBalancer):
        ours.add(f"{PREFIX}id")
    if exposed and isinstance(exposed.load_balancer, CloudLoadBalancer):
        ours.add(f"{PREFIX}backend-label")  # it stays as it is
    live_annotations: Mapping[str, str] = live["metadata"].get("annotations") or {}
    return sorted(key for key in live_annotations if key.startswith("service.beta.kubernetes.io/") and key not in ours)


def _claim_problems(live: Object) -> Iterator[Problem]:
    modes: list[str] = live["spec"].get("accessModes", [])
    if modes != ["ReadWriteMany"]:
        yield Problem(
            _PATH,
            True,
            f"cannot take over claim {HLS_CLAIM} with access modes {', '.join(modes)}: they are immutable, and must be "
            "ReadWriteMany",
        )


def _workload_problem(settings: StackSettings, item: ForeignObject, live: Object) -> str:
    namespace, name = settings.kubernetes.namespace, item.name
    grace = format_duration(timedelta(seconds=grace_seconds(live)))
    delete = f"kubectl -n {namespace} delete {item.kind.lower()} {name}"
    labels: dict[str, str] = live["spec"]["template"]["metadata"].get("labels", {})
    if item.kind == "StatefulSet":
        if labels.get("app") != ORIGIN:
            return (
                f"cannot take over StatefulSet {name}, whose pods have not the label app={ORIGIN}. Delete it, which "
                f"drops its publishers: {delete}"
            )
        return (
            f"cannot take over StatefulSet {name}: its podManagementPolicy and its selector are immutable. Delete it "
            f"without its pods: {delete} --cascade=orphan. The stack's StatefulSet takes them over by their labels "
            "and restarts them one by one"
        )
    orphan = (
        f"delete it without its pods, which the stack then replaces; their connections are dropped after their own "
        f"grace period of {grace}: {delete} --cascade=orphan"
    )
    releases = {workloads.edges(settings, release).name for release in settings.edge.releases}
    if name in releases:
        return f"cannot take over Deployment {name}. Use another release name: both run side by side. Or {orphan}"
    return f"cannot take over Deployment {name}. Instead {orphan}"
