"""The live state that an update with given settings leaves behind, and manual changes to it."""

import copy
import json
from typing import Any, cast

from bad_configs import GOOD
from cluster.live import KINDS, Kind
from cluster.state import LiveState
from model.config.read import read_settings
from model.config.stack import StackSettings
from model.desired.render import Desired, render
from model.names import FIELD_MANAGER, ORIGIN, STACK_ANNOTATION, config_hash
from update.kept import read_kept
from update.ownership import Binding
from update.plan import UpdatePlan, plan

STACK = "organization/srs/dev"


def settings(**change: Any) -> StackSettings:
    """The good config, changed by top-level keys; `edge__x` changes a key of the edges, and so on."""
    config = copy.deepcopy(GOOD)
    for key, value in change.items():
        outer, _, inner = key.partition("__")
        if inner:
            config[outer][inner] = value
        else:
            config[outer] = value
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    secret = [key for key in ("srs:images", "srs:secrets") if key in values]
    return read_settings(values | {"alicloud:region": "cn-beijing"}, secret)


def metadata(name: str, **annotations: str) -> dict[str, Any]:
    return {"name": name, "annotations": {STACK_ANNOTATION: STACK} | annotations, "generation": 1}


def workload(name: str, spec: Any, ready: int | None = None, **annotations: str) -> dict[str, Any]:
    """A live workload as the API server returns it: with the defaults of the API server."""
    manifest = copy.deepcopy(spec)
    manifest["template"]["spec"] |= {"restartPolicy": "Always", "schedulerName": "default-scheduler"}
    if not manifest.get("paused"):
        manifest.pop("paused", None)
    replicas = manifest["replicas"]
    live = {"metadata": metadata(name, **annotations) | {"uid": name}, "spec": manifest}
    live["status"] = {"replicas": replicas, "readyReplicas": replicas if ready is None else ready}
    live["status"]["updateRevision"] = config_hash(json.dumps(manifest["template"], sort_keys=True))
    owned = {"f:metadata": {"f:annotations": {f"f:{STACK_ANNOTATION}": {}}}, "f:spec": {"f:replicas": {}}}
    live["metadata"]["managedFields"] = [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned}]
    return live


def replica_set(deployment: dict[str, Any]) -> dict[str, Any]:
    """The ReplicaSet of a Deployment whose rolling update is complete."""
    template = copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["labels"]["pod-template-hash"] = "1"
    owner = {"uid": deployment["metadata"]["uid"]}
    return {"metadata": {"ownerReferences": [owner]}, "spec": {"template": template}, "status": deployment["status"]}


def rendered(settings: StackSettings, state: LiveState | None = None, key: str = "key") -> Desired:
    """The desired state. state: what is kept of it. key: of the hashes of srs.conf."""
    return render(settings, read_kept(settings, state or LiveState(), key, [STACK]), STACK)


def planned(settings: StackSettings, state: LiveState, bound: Binding | None = None) -> UpdatePlan:
    """The plan of an update with these settings."""
    return plan(rendered(settings, state), state, bound)


def state_after(settings: StackSettings, ready: dict[str, int] | None = None) -> LiveState:
    """The state after an update with these settings. ready: ready edges of some releases, by default all."""
    desired = rendered(settings)
    objects: dict[Kind, dict[str, Any]] = {kind: {} for kind in KINDS}
    confs: dict[str, str] = {}
    for item in desired.objects.values():
        spec, meta = copy.deepcopy(item.manifest.get("spec")), copy.deepcopy(item.compared["metadata"])
        live: dict[str, Any] = copy.deepcopy(item.compared) | {"metadata": metadata(item.name) | meta}
        if item.workload:
            if not (conf := desired.conf(item.workload)):
                continue  # HLS and demo are new
            live = workload(item.name, spec, (ready or {}).get(item.workload.release or ""), **meta["annotations"])
            live["metadata"]["labels"] = meta["labels"]
            confs[item.name] = conf.shown
        elif item.role == "claim":
            live["status"] = {"phase": "Bound"}
        elif item.kind in ("ConfigMap", "Secret"):
            live = {"metadata": live["metadata"]}  # an update reads no more of them
        objects[cast("Kind", item.kind)][item.name] = live
    objects["ReplicaSet"] = {name: replica_set(live) for name, live in objects["Deployment"].items()}
    namespace = {"metadata": metadata(settings.kubernetes.namespace)}
    pods = tuple(origin(objects["StatefulSet"][ORIGIN], number) for number in range(settings.origin.replicas))
    return LiveState(cluster_uid="uid", namespace=namespace, objects=objects, confs=confs, pods=pods)


def origin(stateful_set: Any, ordinal: int, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    """A pod of the newest revision of the origins."""
    template = stateful_set["spec"]["template"]
    revision = stateful_set["status"]["updateRevision"]
    labels = {**template["metadata"]["labels"], "controller-revision-hash": revision}
    state = {"running": {}} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
    return {
        "metadata": {**template["metadata"], "name": f"{ORIGIN}-{ordinal}", "labels": labels, **metadata},
        "spec": template["spec"],
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"state": state}],
        },
    }


def nothing() -> LiveState:
    """A cluster in which the stack has not been deployed."""
    return LiveState(cluster_uid="uid")
