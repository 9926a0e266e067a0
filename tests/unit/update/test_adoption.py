"""Foreign objects: whom they belong to, and which of them a stack takes over."""

from typing import Any

import pytest

from bad_configs import GOOD, NLB, SLB
from cluster.live import Kind
from cluster.state import LiveState
from model.config.stack import StackSettings
from unit.update import live_objects
from unit.update.live_objects import STACK, metadata, nothing, settings, state_after
from update import plan_json, plan_text
from update.kept import read_kept
from update.ownership import ForeignObject, Owner, foreign_owner, object_list
from update.plan import UpdatePlan

ADOPT = {"kubeconfig": "k", "clusterId": "c1", "createNamespace": False, "adopt": True}
R7 = {"r7": {"image": "ossrs/srs:v4.0.6", "weight": 100}}
NODE_PORTS = {"kind": "nodePort", "rtmpPort": 31935, "httpPort": 30080}
APPLIED = {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {"f:spec": {}}}


def by_hand(name: str, spec: Any, status: Any = None, **annotations: str) -> dict[str, Any]:
    """An object as `kubectl apply` and the controllers leave it."""
    controller = {"manager": "kube-controller-manager", "subresource": "status", "fieldsV1": {"f:status": {}}}
    return {
        "metadata": {"name": name, "annotations": annotations, "managedFields": [APPLIED, controller]},
        "spec": spec,
        "status": status or {},
    }


def service(name: str, app: str, kind: str, *ports: int, **spec: Any) -> dict[str, Any]:
    listed = [{"name": f"{name}-{port}", "port": port, "targetPort": port, "protocol": "TCP"} for port in ports]
    return by_hand(name, {"type": kind, "selector": {"app": app}, "ports": listed, **spec})


def pods_of(owner: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 120}, "owner": owner}


def article() -> LiveState:
    """The article's cluster: origins, a canary of edges, and a Service with node ports."""
    edge = service("srs-edge-service", "srs-edge", "NodePort", 1935, 8080)
    for port, node_port in zip(edge["spec"]["ports"], (31935, 30080), strict=True):
        port["nodePort"] = node_port
    deployments: dict[str, Any] = {}
    for release, replicas in (("r5", 3), ("r6", 1)):
        name, run = f"srs-edge-{release}-deploy", f"srs-edge-{release}"
        spec = {"replicas": replicas, "template": pods_of(name, app="srs-edge", run=run)}
        deployments[name] = by_hand(name, spec, {"readyReplicas": replicas})
    objects: dict[Kind, dict[str, Any]] = {
        "Service": {
            "srs-edge-service": edge,
            "socs": service("socs", "srs-origin", "ClusterIP", 1935, clusterIP="None"),
            "srs-api-service": service("srs-api-service", "srs-origin", "LoadBalancer", 1985),
        },
        "StatefulSet": {"srs-origin": by_hand("srs-origin", {"template": pods_of("srs-origin", app="srs-origin")})},
        "Deployment": deployments,
    }
    return LiveState("uid", {"metadata": {"name": "live"}}, objects)


def desired(**change: Any) -> StackSettings:
    change = {"edge__replicas": 4, "edge__releases": R7, "loadBalancer": NODE_PORTS} | change
    return settings(**({"kubernetes": ADOPT, "hls": {"enabled": False}} | change))


def planned(state: LiveState, **change: Any) -> UpdatePlan:
    return live_objects.planned(desired(**change), state)


def rejections(state: LiveState, **change: Any) -> list[str]:
    return [str(problem) for problem in planned(state, **change).rejections]


def test_objects_of_others_are_one_problem_that_names_the_way() -> None:
    (message,) = rejections(article(), kubernetes=ADOPT | {"adopt": False})
    assert message == (
        "srs:kubernetes.namespace: 'live' already has 3 objects under the stack's names that would be overwritten: "
        "Service srs-edge-service, Service socs, StatefulSet srs-origin (created with kubectl). kubernetes.adopt: true "
        "takes over objects that were created with kubectl; read docs/migration.md first. Or choose another namespace"
    )


@pytest.mark.parametrize(
    ("change", "owner"),
    [
        ({"annotations": {"srs/stack": "organization/srs/other"}}, "of stack organization/srs/other"),
        ({"annotations": {"meta.helm.sh/release-name": "x"}}, "of Helm release x"),
        ({"labels": {"app.kubernetes.io/managed-by": "argocd"}}, "managed by argocd"),
        ({"ownerReferences": [{"kind": "Rollout", "name": "x"}]}, "of Rollout x"),
        ({"managedFields": [APPLIED, APPLIED | {"manager": "operator"}]}, "managed by kubectl-client-side-apply, oper"),
        ({"managedFields": []}, "of another application"),
    ],
)
def test_objects_that_something_manages_are_never_taken_over(change: dict[str, Any], owner: str) -> None:
    state = article()
    state.objects["Service"]["socs"]["metadata"] |= change
    message, adopting = rejections(state)
    assert "cannot take over StatefulSet srs-origin" in adopting, "the others are examined all the same"
    assert "1 object under the stack's names that would be overwritten: Service socs" in message
    assert owner in message
    assert "Choose another namespace, or move their users and delete them first" in message
    (message,) = rejections(state, kubernetes=ADOPT | {"adopt": False})
    assert "adopt" not in message


def test_objects_are_listed_by_owner() -> None:
    kubectl, other = Owner("created with kubectl", by_hand=True), Owner("of stack x")
    assert foreign_owner(by_hand("a", {}), [STACK]) == kubectl
    found = [
        ForeignObject("Service", name, owner, adopted=False)
        for name, owner in zip("abc", (kubectl, other, kubectl), strict=True)
    ]
    assert object_list(found) == "Service a, Service c (created with kubectl); Service b (of stack x)"


def test_origins_are_taken_over_after_their_stateful_set_was_deleted_without_them() -> None:
    state = article()
    (message,) = rejections(state)
    assert "kubernetes.adopt: true cannot take over StatefulSet srs-origin: its podManagementPolicy" in message
    assert "kubectl -n live delete statefulset srs-origin --cascade=orphan" in message

    origins = state.objects["StatefulSet"].pop("srs-origin")
    for labels in ({"labels": {"app": "srs"}}, {}):
        other = {"metadata": labels, "spec": {"terminationGracePeriodSeconds": 30}}
        state.objects["StatefulSet"]["srs-origin"] = origins | {"spec": {"template": other}}
        (message,) = rejections(state)
        assert (
            "whose pods do not have the label app=srs-origin. Delete it, which drops its publishers: kubectl" in message
        )

    del state.objects["StatefulSet"]["srs-origin"]
    left = tuple(
        {"metadata": {"name": f"srs-origin-{index}", "labels": {"app": "srs-origin"}}, "spec": {}} for index in range(3)
    )
    state = LiveState("uid", state.namespace, state.objects, pods=left)
    update = planned(state)
    assert not update.rejections
    assert any("3 origins that this version of the program has not created" in line for line in update.warnings)
    assert plan_text.publishers_dropped(update)
    lines = plan_text.text(update, live_objects.rendered(desired(), state), state).splitlines()
    assert "  3 origins will drop publishers once; they reconnect." in lines
    index = lines.index("  origins: rolling update, 3 replicas")
    assert lines[index + 1] == "    3 pods of a deleted StatefulSet srs-origin, which will be replaced"


def taken_over() -> LiveState:
    state = article()
    del state.objects["StatefulSet"]["srs-origin"]
    return state


def test_hand_made_edges_run_beside_the_stack_and_are_not_its_own() -> None:
    update = planned(taken_over())
    assert not update.rejections
    assert [change.workload.name for change in update.changes if change.action == "delete"] == []
    assert update.early_scale_downs == {}
    lines = plan_text.text(update, live_objects.rendered(desired()), taken_over()).splitlines()
    assert "  foreign Deployment srs-edge-r5-deploy is not changed: 3 ready edges behind the same Service" in lines
    assert "  edge release r7: create, 4 edges, 0 % -> 50 % of new viewers" in lines
    assert plan_json.document(update, live_objects.rendered(desired()), taken_over())["foreignEdges"] == {
        "srs-edge-r5-deploy": 3,
        "srs-edge-r6-deploy": 1,
    }


def test_what_is_taken_over_is_a_warning_and_afterwards_the_key_can_be_removed() -> None:
    first, *_ = planned(taken_over()).warnings
    assert first == (
        "takes over Service srs-edge-service, Service socs (created with kubectl): from now on the stack decides about "
        "them, and a destroy deletes them"
    )
    (warning,) = planned(state_after(desired())).warnings
    assert warning.startswith("kubernetes.adopt has nothing left to take over; remove it")
    assert not planned(nothing(), kubernetes=ADOPT | {"adopt": False, "createNamespace": True}).warnings


def test_ports_keep_their_names() -> None:
    names = read_kept(desired(), taken_over(), "").port_names
    assert names["srs-edge-service"] == {1935: "srs-edge-service-1935", 8080: "srs-edge-service-8080"}
    assert names["socs"] == {1935: "socs-1935"}


def test_a_release_cannot_take_over_a_deployment() -> None:
    (message,) = rejections(taken_over(), edge__releases={"r5": R7["r7"]})
    assert "cannot take over Deployment srs-edge-r5-deploy. Use another release name: both run side by side" in message
    assert "grace period of 2m: kubectl -n live delete deployment srs-edge-r5-deploy --cascade=orphan" in message

    state = taken_over()
    del state.objects["Deployment"]["srs-edge-r5-deploy"]
    pod = pods_of("", app="srs-edge", run="srs-edge-r5")
    pod["metadata"] |= {"name": "x", "ownerReferences": [{"name": "srs-edge-r5-deploy-5d8f"}]}
    update = planned(LiveState("uid", state.namespace, state.objects, pods=(pod,)), edge__releases={"r5": R7["r7"]})
    change = update.changes[0]
    assert (change.action, change.before, change.after, change.grace_seconds) == ("roll", 1, 4, 120)
    assert any("r5: connections that are open now keep the old limit of 2m" in w for w in update.warnings)


CANNOT = "srs:kubernetes.adopt: true cannot take over Service "
LEAVE = (
    "Or leave this Service as it is, and give the stack's one another name (key `service`): both lead to the same pods"
)
AS_SOON = (
    "As soon as ready pods have the label app=srs-edge: kubectl -n live set selector service srs-edge-service "
    f"app=srs-edge. {LEAVE}"
)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "srs-edge-service",
            {"selector": {"app": "srs", "tier": "edge"}},
            f"{CANNOT}srs-edge-service, which selects app=srs,tier=edge: its pods would leave it at once. {AS_SOON}",
        ),
        (
            "srs-edge-service",
            {"selector": None},
            f"{CANNOT}srs-edge-service, which selects nothing: its pods would leave it at once. {AS_SOON}",
        ),
        (
            "srs-edge-service",
            {"clusterIP": "None"},
            f"{CANNOT}srs-edge-service: it must have a cluster IP, which is immutable. Move its users and delete it. "
            f"{LEAVE}",
        ),
        (
            "socs",
            {"clusterIP": "10.0.0.1"},
            f"{CANNOT}socs: it must have no cluster IP, which is immutable. Move its users and delete it",
        ),
        (
            "socs",
            {"ports": [{"port": 1936}]},
            f"{CANNOT}socs, whose port 1936 would be closed. Give this port a Service of its own, and remove it here",
        ),
        (
            "socs",
            {"ports": [{"port": 1935, "targetPort": 1936}]},
            f"{CANNOT}socs, whose port 1935 leads to port 1936 of its pods: the stack's pods listen on 1935",
        ),
        (
            "srs-edge-service",
            {"ports": [{"port": 1935, "targetPort": 1936}]},
            f"{CANNOT}srs-edge-service, whose port 1935 leads to port 1936 of its pods: the stack's pods listen on "
            f"1935. {LEAVE}",
        ),
        ("srs-edge-service", {"ports": [{"port": 1935, "targetPort": "rtmp"}]}, None),  # its pods name the port
        (
            "socs",
            {"type": "NodePort"},
            f"{CANNOT}socs of type NodePort: the stack's one is reached from inside the cluster only, so it would lose "
            "its address. Move its users and delete it",
        ),
        ("socs", {"type": None}, None),
        ("socs", {"ports": None}, None),
        ("srs-edge-service", {"ports": None}, None),
        (
            "srs-edge-service",
            {"type": "LoadBalancer"},
            "srs:loadBalancer.service: 'srs-edge-service' has a load balancer that the cloud's controller has created "
            "for it (address pending) and will not give to another owner. Leave this Service as it is, and give the "
            "stack's one another name (this key): both lead to the same pods, and the address stays",
        ),
        (
            "srs-edge-service",
            {"ports": [{"port": 1935, "nodePort": 30000}, {"port": 8080, "nodePort": 30080}]},
            "srs:loadBalancer.rtmpPort: 31935 must be 30000, as on the live Service srs-edge-service",
        ),
        ("srs-edge-service", {"ports": [{"port": 1935}]}, None),  # it gets its node ports
    ],
)
def test_a_service_is_taken_over_only_if_its_connections_stay(name: str, change: Any, message: str | None) -> None:
    """change: of its spec; None where a field is absent."""
    state = taken_over()
    live = state.objects["Service"][name]
    live["spec"] = {key: value for key, value in (live["spec"] | change).items() if value is not None}
    assert rejections(state) == ([message] if message else [])


def test_the_address_that_would_be_lost_is_named() -> None:
    state = taken_over()
    for name in ("socs", "srs-edge-service"):
        live = state.objects["Service"][name]
        live["spec"]["type"] = "LoadBalancer"
        live["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
    exposed, inner = rejections(state)
    assert "has created for it (address 203.0.113.7) and will not give" in exposed
    assert inner.startswith(f"{CANNOT}socs of type LoadBalancer:")
    assert inner.endswith("so it would lose its address 203.0.113.7. Move its users and delete it")


PREFIXES = (
    "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-",
    "service.beta.kubernetes.io/alicloud-loadbalancer-",
)
CLB = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001", "backend": "ecs"}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("load_balancer", "path"),
    [
        (CLB, ""),
        (
            CLB | {"id": "lb-2ze0002"},
            "id: 'lb-2ze0002' cannot be changed on Service srs-edge-service, where it is 'lb-2",
        ),
        (SLB | {"backend": "ecs"}, "id: (absent) cannot be changed"),
        (CLB | {"addressType": "internet"}, "addressType: 'internet' cannot be changed"),
        (CLB | {"externalTrafficPolicy": "Local"}, "externalTrafficPolicy: 'Local' cannot be changed"),
        (NLB | {"backend": "ecs"}, "kind: 'nlb' cannot be changed"),
        (GOOD["loadBalancer"], "kind: 'nodePort' cannot be changed"),
        ({"kind": "none"}, "kind: 'none' cannot be changed"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_load_balancer_is_taken_over_with_its_address(prefix: str, load_balancer: dict[str, Any], path: str) -> None:
    state = taken_over()
    live = state.objects["Service"]["srs-edge-service"]
    live["spec"]["type"] = "LoadBalancer"
    live["metadata"]["annotations"] = {f"{prefix}id": "lb-2ze0001", f"{prefix}address-type": "intranet"}
    found = rejections(state, loadBalancer=load_balancer, edge__drain={"timeout": "10m"})
    if not path:
        assert not found
    else:
        assert any(f"srs:loadBalancer.{path}" in message for message in found), found
        assert all("another name (key `service`)" in message for message in found)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("annotated", [False, True])
def test_the_backend_of_a_load_balancer_that_is_taken_over_is_stated(
    prefix: str, stated: bool, annotated: bool
) -> None:
    """Without the annotation the default of the cluster decides, and another backend drops all connections."""
    state = taken_over()
    live = state.objects["Service"]["srs-edge-service"]
    live["spec"]["type"] = "LoadBalancer"
    live["metadata"]["annotations"] = {f"{prefix}id": "lb-2ze0001", f"{prefix}address-type": "intranet"}
    if annotated:
        live["metadata"]["annotations"]["service.beta.kubernetes.io/backend-type"] = "ecs"
    load_balancer = {key: value for key, value in CLB.items() if stated or key != "backend"}
    found = rejections(state, loadBalancer=load_balancer, edge__drain={"timeout": "10m"})
    if stated or annotated:
        assert not found
    else:
        (problem,) = found
        assert problem.startswith("srs:loadBalancer.backend: (absent) must be stated, because Service srs-edge-service")
        assert "aliyun slb DescribeVServerGroupAttribute" in problem


def test_a_load_balancer_of_a_class_is_taken_over_by_its_class() -> None:
    state = taken_over()
    state.objects["Service"]["srs-edge-service"]["spec"] |= {"type": "LoadBalancer", "loadBalancerClass": "a.com/lb"}
    by_class = {"kind": "service", "loadBalancerClass": "a.com/lb", "drainCeiling": "none"}
    assert not rejections(state, loadBalancer=by_class)


def test_annotations_that_would_vanish_later_are_a_warning() -> None:
    prefix = PREFIXES[0]
    state = taken_over()
    live = state.objects["Service"]["srs-edge-service"]
    live["spec"]["type"] = "LoadBalancer"
    own = {f"{prefix}id": "lb-2ze0001", f"{prefix}address-type": "intranet"}
    live["metadata"]["annotations"] = own | {f"{prefix}weight": "1", f"{prefix}bandwidth": "5", "a": "b"}
    state.objects["Service"]["socs"]["metadata"]["annotations"] = {f"{prefix}id": "lb-2ze0001"}
    warnings = planned(state, loadBalancer=CLB, edge__drain={"timeout": "10m"}).warnings
    assert [warning for warning in warnings if "annotations" in warning] == [
        "Service srs-edge-service has annotations that the stack does not set, and that are removed with its next "
        f"change: {prefix}bandwidth, {prefix}weight",
        "Service socs has annotations that the stack does not set, and that are removed with its next change: "
        f"{prefix}id",
    ]


def test_objects_without_connections_are_to_be_deleted_first_and_a_claim_must_fit() -> None:
    state = taken_over()
    modes = ["ReadWriteOnce", "ReadOnlyMany"]
    claim = {"storageClassName": "nas", "accessModes": modes, "resources": {"requests": {"storage": "1Gi"}}}
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        state.objects[kind] = {"srs-edge": by_hand("srs-edge", {})}  # pyright: ignore[reportIndexIssue]
    state.objects["PersistentVolumeClaim"] = {"srs-hls": by_hand("srs-hls", claim)}  # pyright: ignore[reportIndexIssue]
    hls = {"enabled": True, "storageClass": "nas", "size": "1Gi"}
    access, delete = rejections(state, hls=hls)
    assert delete == (
        "srs:kubernetes.adopt: true takes over Services and the claim of HLS only. No connection depends on these "
        "objects, so delete them first: kubectl -n live delete poddisruptionbudget/srs-edge networkpolicy/srs-edge"
    )
    assert access == (
        "srs:kubernetes.adopt: true cannot take over claim srs-hls with access modes ReadWriteOnce, ReadOnlyMany: they "
        "are immutable, and must be ReadWriteMany"
    )
    claim["accessModes"] = ["ReadWriteMany"]
    assert rejections(state, hls=hls) == [delete]


def test_another_applications_services_are_not_announced_as_deleted() -> None:
    state = state_after(desired())
    foreign = {"metadata": metadata("other", **{"srs/load-balancer": "{}", "srs/stack": "x"}), "spec": {}}
    state.objects["Service"]["other"] = foreign
    assert not any("will be deleted" in warning for warning in planned(state).warnings)
