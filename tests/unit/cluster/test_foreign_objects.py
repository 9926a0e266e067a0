"""Nothing foreign in the namespace breaks the reading of the state, or the plan."""

import copy
from typing import Any, cast

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from cluster.live import KINDS, Kind, LiveCluster
from cluster.state import read_state
from model.names import EDGE_APP, ORIGIN
from unit.update.live_objects import planned, settings, state_after

SETTINGS = settings()
STATE = state_after(SETTINGS)

NAMES = st.sampled_from(["a", "srs-x", "zz"])
LABELS = st.none() | st.dictionaries(
    st.sampled_from(["app", "run", "tier"]), st.sampled_from([EDGE_APP, ORIGIN, "web", "srs-edge-r5"]), max_size=3
)
VOLUMES = st.lists(
    st.sampled_from(
        [
            {"name": "config", "configMap": {"name": "foreign"}},
            {"name": "config", "configMap": {"name": "empty"}},
            {"name": "config", "configMap": {}},
            {"name": "config", "configMap": {"name": "absent", "optional": True}},
            {"name": "config", "secret": {}},
            {"name": "config", "secret": {"secretName": "foreign"}},
            {"name": "config", "projected": {"sources": []}},
            {"name": "data", "emptyDir": {}},
        ]
    ),
    max_size=2,
)
CONFIG_MAPS = {"foreign": {"data": {"app.yaml": "a"}}, "empty": {"metadata": {"name": "empty"}}}


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


def metadata() -> st.SearchStrategy[dict[str, Any]]:
    """Metadata as the API server sets it, with and without what other managers may set."""
    return st.builds(
        lambda name, labels, owners, managers, deleted: _without_none(
            {
                "name": name,
                "namespace": "live",
                "uid": f"foreign-{name}",
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": labels,
                "ownerReferences": owners,
                "managedFields": managers,
                "deletionTimestamp": deleted,
            }
        ),
        NAMES,
        LABELS,
        st.none() | st.just([{"apiVersion": "apps/v1", "kind": "Foo", "name": "x", "uid": "1"}]),
        st.none() | st.just([{"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
        st.none() | st.just("2026-01-01T00:00:00Z"),
    )


POD_SPECS = st.builds(
    lambda volumes, node: _without_none(
        {"containers": [{"name": "a", "image": "b"}], "volumes": volumes, "nodeName": node}
    ),
    st.none() | VOLUMES,
    st.none() | st.just("n1"),
)
TEMPLATES = st.builds(
    lambda labels, spec: {"metadata": {"labels": labels or {"a": "b"}}, "spec": spec}, LABELS, POD_SPECS
)
WORKLOADS = st.builds(
    lambda template, replicas: {"selector": {}, "template": template, "replicas": replicas},
    TEMPLATES,
    st.integers(0, 3),
)
SELECTORS = st.none() | st.dictionaries(st.sampled_from(["app", "run"]), st.sampled_from([EDGE_APP, ORIGIN, "x"]))
SPECS: dict[Kind, st.SearchStrategy[dict[str, Any]]] = {
    "Deployment": WORKLOADS,
    "ReplicaSet": WORKLOADS,
    "StatefulSet": WORKLOADS,
    "Service": st.builds(
        lambda selector, kind, ports: _without_none({"selector": selector, "type": kind, "ports": ports}),
        SELECTORS,
        st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
        st.none() | st.just([{"port": 80, "protocol": "TCP", "targetPort": "web"}]),
    ),
    "PodDisruptionBudget": st.sampled_from([{}, {"minAvailable": "50%"}, {"selector": {}}]),
    "NetworkPolicy": st.sampled_from([{"podSelector": {}}, {"podSelector": {}, "policyTypes": ["Ingress"]}]),
    "PersistentVolumeClaim": st.sampled_from([{"accessModes": ["ReadWriteOnce"], "resources": {}}, {}]),
    "HorizontalPodAutoscaler": st.sampled_from(
        [
            {"scaleTargetRef": {"kind": "Deployment", "name": "a"}, "maxReplicas": 3},
            {"scaleTargetRef": {"kind": "StatefulSet", "name": "srs-x", "apiVersion": "apps/v1"}, "maxReplicas": 1},
        ]
    ),
    "ResourceQuota": st.sampled_from([{}, {"hard": {"pods": "100"}}, {"hard": {"count/foo.example.com": "1"}}]),
    "LimitRange": st.sampled_from([{"limits": [{"type": "Container"}]}, {"limits": []}]),
    "PodMonitor": st.just({}),
    "PrometheusRule": st.just({}),
}


def foreign(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    specs = SPECS.get(kind)
    statuses = st.sampled_from([None, {}])
    if specs is None:
        return st.builds(lambda meta: {"metadata": meta}, metadata())
    return st.builds(
        lambda meta, spec, status: _without_none({"metadata": meta, "spec": spec, "status": status}),
        metadata(),
        specs,
        statuses,
    )


OBJECTS = st.fixed_dictionaries({kind: st.lists(foreign(kind), max_size=2) for kind in KINDS})
PODS = st.lists(
    st.builds(
        lambda meta, app, spec, status: {
            "metadata": meta | {"labels": (meta.get("labels") or {}) | {"app": app}},
            "spec": spec,
            "status": status,
        },
        metadata(),
        st.sampled_from([EDGE_APP, ORIGIN]),
        POD_SPECS,
        st.sampled_from([{}, {"conditions": [{"type": "DisruptionTarget", "reason": "DeletionByTaintManager"}]}]),
    ),
    max_size=2,
)


def deployment(source: dict[str, Any]) -> dict[str, Any]:
    """One with a volume that has the name of the volume with srs.conf."""
    pod = {"containers": [{"name": "a", "image": "b"}], "volumes": [{"name": "config", **source}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
    return {"metadata": {"name": "a", "uid": "a"}, "spec": {"selector": {}, "template": template, "replicas": 1}}


class Cluster:
    """A namespace with the objects of the stack, and foreign ones. Everything else is as where nothing may be read."""

    namespace = "live"

    def __init__(self, objects: dict[Kind, list[dict[str, Any]]], pods: list[dict[str, Any]]) -> None:
        self._objects = objects
        self._pods = pods

    def readable_objects(self, kind: Kind) -> dict[str, Any]:
        mine = copy.deepcopy(dict(STATE.objects.get(kind, {})))
        return {item["metadata"]["name"]: item for item in self._objects[kind]} | mine

    def config_map(self, name: str) -> dict[str, Any] | None:
        assert name, "the list of all ConfigMaps would be read"
        return CONFIG_MAPS.get(name)

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        del selector
        return self._pods

    def cluster_uid(self) -> str:
        return "uid"

    def live_namespace(self) -> dict[str, Any]:
        return dict(STATE.namespace or {})

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@given(OBJECTS, PODS)
@hypothesis.example({kind: [] for kind in KINDS} | {"Deployment": [deployment({"configMap": {"name": "foreign"}})]}, [])
@hypothesis.example({kind: [] for kind in KINDS} | {"Deployment": [deployment({"secret": {}})]}, [])
@hypothesis.settings(max_examples=40)
def test_foreign_objects_of_every_kind_do_not_break_a_plan(
    objects: dict[Kind, list[dict[str, Any]]], pods: list[dict[str, Any]]
) -> None:
    state = read_state(cast("LiveCluster", Cluster(objects, pods)))
    update = planned(SETTINGS, state)
    assert update.rejections or update.changes
