"""The CLB of the production stack is created once, and changed only when its settings or its live state change."""

from collections.abc import Iterator

import pytest

from integration.prod.prod_stack import CLB, ProdStack, production_stack
from stack import release
from testbed.cluster import EmbeddedCluster

SERVICE = "srs-edge-service"


@pytest.fixture(scope="module")
def prod(cloud_cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProdStack]:
    """A production stack after its first preview, which changes nothing, and its first update."""
    with production_stack(cloud_cluster, tmp_path_factory.mktemp("prod"), "clb") as created:
        preview = created.preview()
        assert preview.changes[CLB] == "create", preview.output
        assert changing_calls(created) == []
        created.must_update()
        yield created


def changing_calls(prod: ProdStack, before: int = 0) -> list[str]:
    """The actions that changed something in the cloud, after a number of calls."""
    return [call.action for call in prod.api.calls[before:] if call.changes]


def test_it_is_created_once_with_its_settings(prod: ProdStack) -> None:
    clb = prod.clb
    assert changing_calls(prod).count("CreateLoadBalancer") == 1
    assert (clb["AddressType"], clb["VSwitchId"], clb["VpcId"]) == ("intranet", "vsw-testbed0001", "vpc-testbed0001")
    assert (clb["PayType"], clb["LoadBalancerName"]) == ("PayOnDemand", f"{prod.namespace}-{SERVICE}")
    assert prod.api.tags[clb["LoadBalancerId"]] == {"app": "srs", "stack": "prod", "kubernetes.reused.by.user": "true"}


def test_the_service_has_its_id_from_the_start(prod: ProdStack) -> None:
    identifier = prod.clb["LoadBalancerId"]
    # For a Service without an id the controller creates a CLB of its own.
    assert {annotations["id"] for annotations in prod.controller.seen[SERVICE]} == {identifier}
    assert prod.controller.listeners == {(identifier, 1935): SERVICE, (identifier, 8080): SERVICE}
    assert prod.stack.outputs()["urls"].value["rtmp"] == "rtmp://live.example.com:1935/live/livestream"


def test_an_update_without_changes_leaves_it_alone(prod: ProdStack) -> None:
    before = len(prod.api.calls)
    unchanged = prod.must_update()
    assert unchanged.changes == {}, unchanged.output
    assert changing_calls(prod, before) == []


def test_a_canary_step_leaves_it_alone(prod: ProdStack) -> None:
    before, seen = len(prod.api.calls), len(prod.controller.seen[SERVICE])
    prod.releases(r5=release("v4.0.5", 75), r6=release("v4.0.6", 25))
    canary = prod.must_update()
    assert prod.replicas() == {"r5": 3, "r6": 1}
    assert changing_calls(prod, before) == []
    assert not [name for name in canary.changes if "service" in name or "clb" in name], canary.changes
    assert len(prod.controller.seen[SERVICE]) == seen, "the controller has nothing to do either"


def test_another_protection_and_scheduler_change_it_in_place(prod: ProdStack) -> None:
    before, identifier = len(prod.api.calls), prod.clb["LoadBalancerId"]
    assert prod.clb["InstanceChargeType"] == "PayByCLCU"
    assert prod.clb["ModificationProtectionStatus"] == "ConsoleProtection"
    prod.load_balancer.update({"modificationProtection": False, "scheduler": "wlc"})
    update = prod.must_update()
    assert update.changes == {CLB: "update", SERVICE: "update"}, update.output
    assert "DeleteLoadBalancer" not in changing_calls(prod, before)
    assert prod.clb["LoadBalancerId"] == identifier
    assert prod.clb["ModificationProtectionStatus"] == "NonProtection"
    assert prod.controller_annotations()["scheduler"] == "wlc"


def test_manual_changes_are_reverted(prod: ProdStack) -> None:
    tags = prod.api.tags[prod.clb["LoadBalancerId"]]
    prod.clb["LoadBalancerName"] = "changed"
    del tags["app"]
    drift = prod.preview()
    assert drift.changes == {CLB: "update"}, drift.output
    prod.must_update()
    assert prod.clb["LoadBalancerName"] == f"{prod.namespace}-{SERVICE}"
    assert tags["app"] == "srs"


def test_a_clb_that_was_deleted_by_hand_is_replaced_together_with_the_address(prod: ProdStack) -> None:
    lost = prod.clb
    del prod.api.clbs[lost["LoadBalancerId"]]
    prod.kubectl("delete", "events", "--all")
    message = f"CLB {lost['LoadBalancerId']} of Service {SERVICE} does not exist any more in this region and account"
    assert message in prod.preview().output
    update = prod.must_update()
    assert message in update.output
    assert f"with another address than {lost['Address']}" in update.output
    assert prod.clb["LoadBalancerId"] != lost["LoadBalancerId"]
    (ingress,) = prod.get("service", SERVICE)["status"]["loadBalancer"]["ingress"]
    assert ingress["ip"] == prod.clb["Address"] != lost["Address"]
    # The address is released before the Service has the other id, so the controller never rejects that one.
    assert "service has been associated with ip" not in prod.kubectl("get", "events", "-o", "json")
    unchanged = prod.must_update()
    assert unchanged.changes == {}, unchanged.output
