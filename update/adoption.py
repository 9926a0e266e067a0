"""Taking over objects that were created with kubectl (`kubernetes.adopt`), without dropping a connection.

Services and the claim of HLS are taken over in place: another Service would have another address, another claim no
recordings. An edge or an origin is not: the provider creates by server-side apply, which keeps the fields that kubectl
has set (pulumi-kubernetes 4.25, await.go, `Creation`), so its pods would be a mixture of both pod templates. The
stack's edges run beside them under another release name; origins are taken over by their labels, after their
StatefulSet has been deleted without them (docs/migration.md).
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, cast

from cluster.live import Object
from cluster.state import LiveState, address
from model.config.problems import Problem, UpdateWarning
from model.config.values import format_duration
from model.desired.render import Desired
from model.load_balancers.exposed_service import ExposedService
from model.load_balancers.interface import live_annotations
from model.load_balancers.kinds import live_kind
from model.names import HLS_CLAIM, ORIGIN, edge_deployment
from update.load_balancers import identity_problems
from update.ownership import ForeignObject, object_list
from update.workload_changes import grace_seconds

_PATH = ("kubernetes", "adopt")

_LEAVE = (
    "Or leave this Service as it is, and give the stack's one another name (key `service`): both lead to the same pods"
)


def _exposed(desired: Desired, service: str) -> ExposedService | None:
    """How a Service is reached from outside the cluster; None if it is not, or if it is one of HLS."""
    return next((exposed for exposed in desired.settings.exposed_services if exposed.name == service), None)


def adoption_problems(desired: Desired, state: LiveState, found: Sequence[ForeignObject]) -> Iterator[Problem]:
    """The foreign objects that cannot be taken over without dropping connections, each with an alternative."""
    namespace = desired.settings.kubernetes.namespace
    others: list[str] = []
    for item in found:
        live = state.get(item.kind, item.name)
        if not item.adopted or live is None:
            continue
        match item.kind:
            case "Service":
                yield from _service_problems(desired, item.name, live)
            case "PersistentVolumeClaim":
                yield from _claim_problems(live)
            case "Deployment" | "StatefulSet":
                yield Problem(
                    _PATH,
                    True,
                    _workload_problem(desired, item, live),
                    reason="CannotAdoptWorkload",
                )
            case _:
                others.append(f"{item.kind.lower()}/{item.name}")
    if others:
        yield Problem(
            _PATH,
            True,
            f"takes over Services and the claim of HLS only. No connection depends on these objects, so delete them "
            f"first: kubectl -n {namespace} delete {' '.join(others)}",
            reason="CannotAdoptKind",
        )


def adoption_warnings(desired: Desired, state: LiveState, found: Sequence[ForeignObject]) -> Iterator[str]:
    """What taking over these objects means, and that there is nothing left to take over."""
    if not desired.settings.kubernetes.adopt or not state.known:
        return
    adopted = [item for item in found if item.adopted]
    if not adopted:
        yield UpdateWarning(
            "kubernetes.adopt has nothing left to take over; remove it, so that foreign objects are rejected again",
            "NothingToAdopt",
        )
        return
    yield UpdateWarning(
        f"takes over {object_list(adopted)}: from now on the stack decides about them, and a destroy deletes them",
        "Adopts",
    )
    for item in adopted:
        live = state.get(item.kind, item.name)
        if item.kind == "Service" and live and (extra := _extra_annotations(desired, item.name, live)):
            yield UpdateWarning(
                f"Service {item.name} has annotations that the stack does not set, and that are removed with its next "
                f"change: {', '.join(extra)}",
                "AnnotationsWillBeRemoved",
            )


def _service_problems(desired: Desired, name: str, live: Object) -> Iterator[Problem]:
    namespace = desired.settings.kubernetes.namespace
    spec: dict[str, Any] = live["spec"]
    ours: dict[str, Any] = desired.objects["Service", name].manifest["spec"]
    exposed = _exposed(desired, name)
    selector: dict[str, str] = spec.get("selector") or {}
    way = f". {_LEAVE}" if exposed else ""
    headless = ours.get("clusterIP") == "None"
    if (spec.get("clusterIP") == "None") != headless:
        word = "no" if headless else "a"
        yield Problem(
            _PATH,
            True,
            f"cannot take over Service {name}: it must have {word} cluster IP, which is immutable. Move its users and "
            f"delete it{way}",
            reason="CannotAdoptClusterIP",
        )
    if selector != ours["selector"]:
        app = ours["selector"]["app"]
        labels = ",".join(f"{key}={value}" for key, value in selector.items()) or "nothing"
        yield Problem(
            _PATH,
            True,
            f"cannot take over Service {name}, which selects {labels}: its pods would leave it at once. As soon as "
            f"ready pods have the label app={app}: kubectl -n {namespace} set selector service {name} "
            f"app={app}{way}",
            reason="CannotAdoptSelector",
        )
    for port in cast("list[dict[str, Any]]", spec.get("ports", [])):
        number, target = port["port"], port.get("targetPort")
        targets = {our["port"]: our["targetPort"] for our in ours["ports"]}
        if number not in targets:
            yield Problem(
                _PATH,
                True,
                f"cannot take over Service {name}, whose port {number} would be closed. Give this port a Service of "
                "its own, and remove it here",
                reason="CannotAdoptPort",
            )
        elif isinstance(target, int) and target != targets[number] and isinstance(targets[number], int):
            yield Problem(
                _PATH,
                True,
                f"cannot take over Service {name}, whose port {number} leads to port {target} of its pods: the stack's "
                f"pods listen on {targets[number]}{way}",
                reason="CannotAdoptTargetPort",
            )
    if exposed:
        yield from _exposed_problems(live, exposed)
    elif (live_type := spec.get("type", "ClusterIP")) != "ClusterIP":
        lost = f" {found}" if (found := address(live)) else ""
        yield Problem(
            _PATH,
            True,
            f"cannot take over Service {name} of type {live_type}: the stack's one is reached from inside the cluster "
            f"only, so it would lose its address{lost}. Move its users and delete it",
            reason="CannotAdoptServiceType",
        )


def _exposed_problems(live: Object, exposed: ExposedService) -> Iterator[Problem]:
    """Another load balancer or address than the live Service has."""
    spec = live["spec"]
    by_id = live_kind(live).live_instance_id(live) is not None
    if spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not by_id:
        yield Problem(
            (*exposed.key, "service"),
            exposed.name,
            "has a load balancer that the cloud's controller has created for it (address "
            f"{address(live) or 'pending'}) and will not give to another owner. Leave this Service as it is, and give "
            "the stack's one another name (this key): both lead to the same pods, and the address stays",
            reason="LoadBalancerOfController",
        )
        return
    if spec.get("type") == "LoadBalancer":
        yield from exposed.load_balancer.adoption_problems(exposed, live)
    yield from identity_problems(exposed, live, f"Use the live one. {_LEAVE}")
    node_ports: dict[int, int | None] = {port["port"]: port.get("nodePort") for port in spec.get("ports", [])}
    for key, desired in exposed.node_ports.items():
        if (actual := node_ports.get(exposed.ports[key])) and actual != desired:
            yield Problem(
                (*exposed.key, f"{key}Port"),
                desired,
                f"must be {actual}, as on the live Service {exposed.name}",
                reason="NodePortDiffers",
            )


def _extra_annotations(desired: Desired, name: str, live: Object) -> list[str]:
    """Annotations for the cloud's controller that the stack does not set itself."""
    exposed = _exposed(desired, name)
    found = (key for key in live_annotations(live) if key.startswith("service.beta.kubernetes.io/"))
    return sorted(key for key in found if exposed is None or not exposed.load_balancer.is_own_annotation(key))


def _claim_problems(live: Object) -> Iterator[Problem]:
    modes: list[str] = live["spec"]["accessModes"]
    if modes != ["ReadWriteMany"]:
        yield Problem(
            _PATH,
            True,
            f"cannot take over claim {HLS_CLAIM} with access modes {', '.join(modes)}: they are immutable, and must be "
            "ReadWriteMany",
            reason="CannotAdoptAccessModes",
        )


def _workload_problem(desired: Desired, item: ForeignObject, live: Object) -> str:
    namespace, name = desired.settings.kubernetes.namespace, item.name
    grace = format_duration(timedelta(seconds=grace_seconds(live)))
    delete = f"kubectl -n {namespace} delete {item.kind.lower()} {name}"
    labels: dict[str, str] = live["spec"]["template"]["metadata"].get("labels", {})
    if item.kind == "StatefulSet":
        if labels.get("app") != ORIGIN:
            return (
                f"cannot take over StatefulSet {name}, whose pods do not have the label app={ORIGIN}. Delete it, which "
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
    if name in {edge_deployment(release) for release in desired.releases}:
        return f"cannot take over Deployment {name}. Use another release name: both run side by side. Or {orphan}"
    return f"cannot take over Deployment {name}. Instead {orphan}"
