"""Alert rules: which there are, and that they know the releases of the config. promtool tests what they fire on."""

import copy
import re
from typing import Any

from bad_configs import GOOD
from model.desired.alerts import alert_rules
from unit.update.live_objects import settings

METRICS = {
    # ossrs/srs, SrsGoApiMetrics::serve_http
    "srs_clients",
    "srs_clients_total",
    "srs_clients_errs_total",
    # kube-state-metrics, docs/metrics/workload
    "kube_deployment_status_replicas_ready",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas_ready",
    "kube_pod_deletion_timestamp",
}


def rules(image: str = "ossrs/srs:v6.0.157", **changes: Any) -> dict[str, list[str]]:
    """The expressions by alert. image: of every release."""
    releases = {name: release | {"image": image} for name, release in copy.deepcopy(GOOD["edge"]["releases"]).items()}
    desired = settings(edge__releases=releases, monitoring={"kind": "annotations"}, **changes)
    (group,) = alert_rules(desired)["groups"]
    found: dict[str, list[str]] = {}
    for rule in group["rules"]:
        found.setdefault(rule["alert"], []).append(rule["expr"])
    return found


def test_rules_use_metrics_that_exist() -> None:
    names = {name for expressions in rules().values() for text in expressions for name in re.findall(r"\w+(?={)", text)}
    assert names == METRICS


def test_rules_have_the_limits_of_the_config() -> None:
    found = rules(edge__drain={"timeout": "5h"})
    assert len(found["SrsEdgeNearlyFull"]) == len(GOOD["edge"]["releases"])
    assert found["SrsEdgeNearlyFull"][0].endswith('release="r5"}) >= 900')
    assert found["SrsDrainEndsSoon"][0].endswith(" < 1800")
    assert f"- {5 * 3600 + 30 + 5}))" in found["SrsReleaseTerminatesForHours"][0]
    assert "SrsReleaseTerminatesForHours" not in rules(edge__drain={"timeout": "1h"})


def test_releases_without_an_exporter_have_no_rules_on_their_metrics() -> None:
    assert set(rules("ossrs/srs:v4.0.6")) == {
        "SrsNoReadyEdge",
        "SrsOriginDown",
        "SrsDrainEndsSoon",
        "SrsReleaseTerminatesForHours",
    }
