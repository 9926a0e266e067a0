"""The life of a stack: update, update without changes, refresh, destroy, and update again."""

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

    second = stack.must_update()
    assert second.changes == {}, second.output
    # Simulated pods have no log; nothing waits for it.
    for release_name in ("r5", "r6"):
        assert f"edge release {release_name}: not checked whether its edges reach an origin" in second.output
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
        assert f"their number changes from {before} to {after}" in stack.preview().output
        stack.must_update()
        assert stack.get("statefulset", "srs-origin")["status"]["readyReplicas"] == after
        assert stack.pod_names() == edges
