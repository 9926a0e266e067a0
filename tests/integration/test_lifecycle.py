"""The life of a stack: update, update without changes, refresh, destroy, and update again."""

import json
import shutil

from cluster.live import LiveCluster
from cluster.terminating import terminating_namespace
from model.config.kubernetes import KubernetesSettings
from stack import DevStack, eventually, release

WORKLOADS = {
    "Deployment/nginx-origin-deploy": 1,
    "Deployment/srs-demo-deploy": 1,
    "Deployment/srs-edge-r5-deploy": 3,
    "Deployment/srs-edge-r6-deploy": 1,
    "StatefulSet/srs-origin": 3,
}


def ready(stack: DevStack) -> dict[str, int]:
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["status"].get("readyReplicas", 0)
        for item in stack.get("deployments,statefulsets")["items"]
    }


def volume_claims(stack: DevStack) -> list[dict[str, str]]:
    """References to the claims that volumes are bound to."""
    return [volume["spec"].get("claimRef", {}) for volume in stack.get("persistentvolumes")["items"]]


def test_update_refresh_destroy_and_update_again(stack: DevStack) -> None:
    stack.config = stack.committed_config()
    stack.config["kubernetes"]["namespaceTimeout"] = "2s"

    first = stack.must_update()
    assert ready(stack) == WORKLOADS
    assert set(first.changes.values()) == {"create"}
    # Simulated pods have no log; nothing waits for it, and one line says so.
    assert "not checked whether the new edges of r5, r6 reach an origin" in first.output

    second = stack.must_update()
    assert second.changes == {}, second.output
    drift = stack.refresh()
    assert drift.ok
    assert drift.changes == {}, drift.output

    destroyed = stack.destroy()
    assert destroyed.ok, destroyed.output
    assert destroyed.seconds < 180, "a destroy does not wait for pods that may drain for 12 h"
    draining = stack.pods(terminating=True)
    assert len(draining) == 4

    rejected = stack.update()
    assert not rejected.ok
    assert f"namespace {stack.namespace} is still terminating; it waits for" in rejected.output
    for pod in draining:
        name, until = pod["metadata"]["name"], pod["metadata"]["deletionTimestamp"]
        assert f"{name} until {until} at the latest" in rejected.output
    assert "Traceback" not in rejected.output

    assert "To drop them now: rollout cut" in rejected.output
    # `rollout cut` needs containers; simulated pods have none.
    stack.kubectl("delete", "pod", "--all", "--grace-period=0", "--force")
    eventually(lambda: "NotFound" in stack.kubectl("get", "namespace", stack.namespace, check=False))
    eventually(lambda: stack.namespace not in {claim.get("namespace") for claim in volume_claims(stack)})

    stack.must_update()
    assert ready(stack) == WORKLOADS
    assert stack.get("pvc", "srs-hls")["status"]["phase"] == "Bound"


def test_another_address_of_the_same_cluster_changes_nothing(stack: DevStack) -> None:
    stack.must_update()
    other = stack.folder / "kubeconfig"
    text = stack.kubeconfig.read_text()
    assert "127.0.0.1" in text
    other.write_text(text.replace("127.0.0.1", "localhost"))
    stack.config["kubernetes"]["kubeconfig"] = str(other)
    again = stack.must_update()
    # The provider has the new path; nothing in the cluster changes.
    assert set(again.changes) <= {"kubernetes"}, again.changes


def test_the_kubeconfig_may_be_at_another_path_on_each_machine(stack: DevStack) -> None:
    """CI, a colleague, another home folder: with KUBECONFIG, nothing of the machine is in the state."""
    here, there = stack.folder / "here", stack.folder / "there"
    shutil.copy(stack.kubeconfig, here)
    stack.config["kubernetes"]["kubeconfig"] = str(here)
    stack.must_update()

    # The state has the path; the engine and the provider need a file at it.
    here.rename(there)
    stack.config["kubernetes"]["kubeconfig"] = str(there)
    assert "cluster is unreachable: failed to parse kubeconfig" in stack.preview().output
    here.symlink_to(there)
    assert set(stack.must_update().changes) == {"kubernetes"}
    here.unlink()
    assert stack.preview().ok

    del stack.config["kubernetes"]["kubeconfig"]
    stack.variables["KUBECONFIG"] = str(there)
    assert set(stack.must_update().changes) == {"kubernetes"}
    there.rename(here)
    stack.variables["KUBECONFIG"] = str(here)
    stack.config["edge"]["replicas"] += 1
    for result in (stack.preview(), stack.update()):
        assert result.ok, result.output
        # `srs-edge` is the budget, which changes, and the component, which does not.
        assert set(result.changes) - {"srs-edge"} == {"srs-edge-r5-deploy"}, result.output
    state = json.dumps(stack.stack.export_stack().deployment)
    assert str(here) not in state
    assert str(there) not in state


def test_a_removed_release_leaves_nothing_but_its_draining_pods(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 1), r6=release("v4.0.6", 1))
    stack.must_update()
    stack.releases(r6=release("v4.0.6", 1))
    stack.must_update()
    kinds = "deployments,replicasets,configmaps,serviceaccounts"
    eventually(lambda: not [item for item in stack.get(kinds)["items"] if "r5" in item["metadata"]["name"]])
    assert len(stack.pods("run=srs-edge-r5", terminating=True)) == 2


def test_another_number_of_origins_changes_no_edge(stack: DevStack) -> None:
    stack.must_update()
    edges = stack.pod_names()
    for before, after in ((1, 2), (2, 1)):
        stack.config["origin"]["replicas"] = after
        assert f"origins: scale, {before} -> {after} replica" in stack.preview().output
        stack.must_update()
        assert len(stack.pod_names("app=srs-origin")) == after
        assert stack.pod_names() == edges


def test_a_namespace_that_a_finalizer_keeps_is_reported_with_it(stack: DevStack) -> None:
    stack.kubectl("create", "namespace", stack.namespace)
    held = stack.folder / "held.json"
    metadata = {"name": "held", "finalizers": ["example.com/hold"]}
    held.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    stack.kubectl("create", "-f", str(held))
    stack.kubectl("delete", "namespace", stack.namespace, "--wait=false")
    live = LiveCluster(KubernetesSettings.model_validate(stack.config["kubernetes"], by_alias=True))
    try:
        eventually(lambda: "example.com/hold in 1 resource instances" in str(terminating_namespace(live)))
    finally:
        stack.kubectl("patch", "configmap", "held", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    eventually(lambda: terminating_namespace(live) is None)


def test_origins_of_an_earlier_version_of_the_program_are_replaced_once(stack: DevStack) -> None:
    """They cannot drain, and do not know the names of new ones: the first update drops their publishers, at once."""
    stack.config["origin"] |= {"replicas": 2, "minReady": "1s"}
    stack.must_update()
    earlier = stack.get("statefulset", "srs-origin")
    template = earlier["spec"]["template"]
    del earlier["spec"]["updateStrategy"]  # the API server adds `rollingUpdate`, which it rejects beside OnDelete
    template["spec"]["terminationGracePeriodSeconds"] = 30
    del template["metadata"]["annotations"]["srs/revision"], template["spec"]["containers"][0]["lifecycle"]
    for field in ("resourceVersion", "uid", "creationTimestamp"):
        del earlier["metadata"][field]
    del earlier["status"]
    manifest = stack.folder / "earlier.json"
    manifest.write_text(json.dumps(earlier))
    stack.kubectl("delete", "statefulset", "srs-origin", "--cascade=orphan")
    stack.kubectl("delete", "pods", "--selector=app=srs-origin", "--grace-period=0", "--force")
    stack.kubectl("create", "-f", str(manifest))
    stack.kubectl("rollout", "status", "statefulset", "srs-origin", "--timeout=120s")
    warning = "2 origins that this version of the program has not created cannot drain: each drops its publishers once"
    preview = stack.preview()
    assert preview.ok, preview.output
    assert warning in preview.output

    with stack.watched_endpoints("srs-origin-service") as ready:
        assert warning in stack.must_update().output
    assert min(ready) >= 2
    assert stack.pod_names("app=srs-origin") == {"srs-origin-2", "srs-origin-3"}
    assert stack.must_update().changes == {}
    stack.config["origin"]["image"] = "ossrs/srs:v4.0.271"
    again = stack.preview().output
    assert "cannot drain" not in again
    assert "Publishers stay connected: 2 origins will drain" in again
