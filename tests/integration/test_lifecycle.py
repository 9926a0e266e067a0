"""The dev stack as it is committed: up, up again, refresh, destroy, and up again."""

import time

from kubernetes import client

from stack import DevStack, eventually

WORKLOADS = {
    "Deployment/nginx-origin-deploy": 1,
    "Deployment/srs-demo-deploy": 1,
    "Deployment/srs-edge-r5-deploy": 3,
    "StatefulSet/srs-origin": 3,
}


def ready(stack: DevStack) -> dict[str, int]:
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["status"].get("readyReplicas", 0)
        for item in stack.get("deployments,statefulsets")["items"]
    }


def test_up_again_refresh_destroy_and_up_again(stack: DevStack) -> None:
    stack.config = stack.dev_config()
    stack.config["kubernetes"]["namespaceTimeout"] = "2s"

    first = stack.must_up()
    assert ready(stack) == WORKLOADS
    assert set(first.changes.values()) == {"create"}

    second = stack.must_up()
    assert second.changes == {}, second.output
    drift = stack.refresh()
    assert drift.ok
    assert drift.changes == {}, drift.output

    begun = time.monotonic()
    assert stack.destroy().ok
    assert time.monotonic() - begun < 30, "a destroy does not wait for the pods, although they may drain for 12 h"
    draining = stack.pods(terminating=True)
    assert len(draining) == 3

    refused = stack.up()
    assert not refused.ok
    assert f"namespace {stack.namespace} is still terminating; it waits for" in refused.output
    for pod in draining:
        name, until = pod["metadata"]["name"], pod["metadata"]["deletionTimestamp"]
        assert f"{name} until {until} at the latest" in refused.output
    assert "Traceback" not in refused.output

    assert "To cut them now: python -m rollout cut" in refused.output
    # Simulated pods run nothing that could be cut.
    stack.kubectl("delete", "pod", "--all", "--grace-period=0", "--force")
    volumes = client.CoreV1Api(stack.api)
    eventually(lambda: "NotFound" in stack.kubectl("get", "namespace", stack.namespace, check=False))
    eventually(
        lambda: (
            not [
                volume.metadata.name
                for volume in volumes.list_persistent_volume().items
                if volume.spec.claim_ref and volume.spec.claim_ref.namespace == stack.namespace
            ]
        )
    )

    stack.must_up()
    assert ready(stack) == WORKLOADS
    assert stack.get("pvc", "srs-hls")["status"]["phase"] == "Bound"


def test_what_is_declared_is_the_article_and_what_the_promises_need(stack: DevStack) -> None:
    stack.config = stack.dev_config()
    stack.config["loadBalancer"] |= {"rtmpPort": 31936, "httpPort": 30081}  # the other test has the usual ones
    stack.must_up()

    deployment = stack.get("deployment", "srs-edge-r5-deploy")
    pod = deployment["spec"]["template"]["spec"]
    (srs,) = pod["containers"]
    assert deployment["spec"]["selector"] == {"matchLabels": {"run": "srs-edge-r5"}}
    assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": "srs-edge", "run": "srs-edge-r5"}
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert pod["terminationGracePeriodSeconds"] == 5 + 12 * 3600 + 30
    assert srs["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    assert srs["livenessProbe"]["terminationGracePeriodSeconds"] == 5
    assert srs["command"] == ["./objs/srs", "-c", "conf/srs.conf"]
    assert pod["automountServiceAccountToken"] is False

    service = stack.get("service", "srs-edge-service")["spec"]
    assert service["selector"] == {"app": "srs-edge"}
    assert {(port["port"], port["nodePort"]) for port in service["ports"]} == {(1935, 31936), (8080, 30081)}
    assert stack.get("service", "socs")["spec"]["clusterIP"] == "None"
    assert stack.get("statefulset", "srs-origin")["spec"]["podManagementPolicy"] == "Parallel"

    budget = stack.get("pdb", "srs-edge")["spec"]
    assert budget["minAvailable"] == 2
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert {item["metadata"]["name"] for item in stack.get("networkpolicies")["items"]} == {
        "srs-edge",
        "srs-origin",
        "nginx-origin",
        "srs-demo",
    }
    for config in stack.get("configmaps")["items"]:
        if config["metadata"]["name"].startswith("srs-"):
            assert config["immutable"] is True
            assert config["metadata"]["ownerReferences"][0]["kind"] == "ServiceAccount"


def test_another_address_of_the_same_cluster_changes_nothing(stack: DevStack) -> None:
    stack.must_up()
    other = stack.folder / "kubeconfig"
    text = stack.kubeconfig.read_text()
    assert "127.0.0.1" in text
    other.write_text(text.replace("127.0.0.1", "localhost"))
    stack.config["kubernetes"]["kubeconfig"] = str(other)
    again = stack.must_up()
    # The provider itself is told the new path; nothing in the cluster is touched.
    assert set(again.changes) <= {"kubernetes"}, again.changes


def test_a_removed_release_leaves_nothing_but_its_draining_pods(stack: DevStack) -> None:
    stack.releases(r5={"image": "ossrs/srs:v4.0.5", "weight": 1}, r6={"image": "ossrs/srs:v4.0.6", "weight": 1})
    stack.must_up()
    stack.releases(r6={"image": "ossrs/srs:v4.0.6", "weight": 1})
    stack.must_up()
    eventually(lambda: not [name for name in names(stack) if "r5" in name])
    assert len(stack.pods("run=srs-edge-r5", terminating=True)) == 2


def names(stack: DevStack) -> list[str]:
    kinds = "deployments,replicasets,configmaps,serviceaccounts"
    return [item["metadata"]["name"] for item in stack.get(kinds)["items"]]
