"""The other tools deploy the objects that this program renders."""

from pathlib import Path

from bench.objects import EARLIER, NEW, is_edge_deployment, rendered, with_rollout


def test_a_weight_move_changes_only_replicas() -> None:
    canary, promoted = (rendered("live", Path("kubeconfig"), state) for state in ("canary", "promoted"))
    assert canary[0]["kind"] == "Namespace"
    changed = [(a, b) for a, b in zip(canary, promoted, strict=True) if a != b]
    replicas = [(a["metadata"]["name"], a["spec"].pop("replicas"), b["spec"].pop("replicas")) for a, b in changed]
    assert replicas == [("srs-edge-r5-deploy", 3, 0), ("srs-edge-r6-deploy", 1, 4)]
    assert canary == promoted


def test_a_rollout_has_all_edges_and_the_template_of_a_release() -> None:
    objects = rendered("live", Path("kubeconfig"), "canary")
    templates = {item["metadata"]["name"]: item["spec"]["template"] for item in objects if is_edge_deployment(item)}
    for release in (EARLIER, NEW):
        *others, rollout = with_rollout(objects, release)
        assert others == [item for item in objects if not is_edge_deployment(item)]
        assert rollout["spec"]["replicas"] == 4
        assert rollout["spec"]["template"] == templates[f"srs-edge-{release}-deploy"]
        assert rollout["spec"]["strategy"]["canary"]["maxUnavailable"] == 0
