"""Each release has its autoscaler, and all of them together keep the shares."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.config.autoscaling import AutoscalingSettings
from model.config.stack import StackSettings
from model.desired.autoscalers import bounds, fleet_load
from model.desired.objects import DesiredObject
from model.desired.replicas import apportion
from unit.update.live_objects import rendered, settings

IMAGE = {"image": "ossrs/srs:v6.0.158"}
CONNECTIONS: dict[str, Any] = {
    "minimum": 4,
    "maximum": 60,
    "metric": "connections",
    "target": 400,
    "prometheus": "http://prometheus.monitoring:9090",
}
CPU = {"minimum": 4, "maximum": 60, "metric": "cpu", "target": "600m"}
EXTERNAL = {"minimum": 4, "maximum": 60, "metric": "external", "target": 400, "externalMetric": "srs_connections"}


def fleet(scaling: dict[str, Any], **weights: int) -> StackSettings:
    releases = {name: IMAGE | {"weight": weight} for name, weight in weights.items()}
    edge = {"drain": {"deregister": "5s", "timeout": "12h"}, "autoscaling": scaling, "releases": releases}
    return settings(edge=edge, monitoring={"kind": "annotations"})


def autoscalers(configured: StackSettings) -> dict[str, DesiredObject]:
    """The autoscalers by release."""
    releases = rendered(configured).releases
    return {name: item for name, items in releases.items() for item in items if item.role == "autoscaler"}


def test_minima_and_maxima_follow_from_the_weights() -> None:
    found = autoscalers(fleet(CPU, r5=75, r6=25))
    specs = {name: item.manifest["spec"] for name, item in found.items()}
    limits = {name: (spec["minReplicas"], spec["maxReplicas"]) for name, spec in specs.items()}
    assert limits == {"r5": (3, 45), "r6": (1, 15)}
    assert {item.name for item in found.values()} == {"srs-edge-r5", "srs-edge-r6"}
    assert found["r5"].manifest["spec"]["scaleTargetRef"]["name"] == "srs-edge-r5-deploy"


def test_a_release_without_a_weight_has_no_autoscaler_which_could_start_an_edge() -> None:
    assert list(autoscalers(fleet(CONNECTIONS, r5=0, r6=100))) == ["r6"]
    assert autoscalers(settings()) == {}


def test_keda_scales_on_the_connections_of_the_whole_fleet() -> None:
    found = autoscalers(fleet(CONNECTIONS, r5=75, r6=25))
    thresholds: dict[str, float] = {}
    for name, item in found.items():
        (trigger,) = item.manifest["spec"]["triggers"]
        assert item.kind == "ScaledObject"
        assert 'srs_clients{namespace="live", role="edge"}' in trigger["metadata"]["query"]
        assert trigger["metadata"]["ignoreNullValues"] == "false", "no answer is not a load of 0"
        thresholds[name] = float(trigger["metadata"]["threshold"])
    assert thresholds == {"r5": pytest.approx(400 / 0.75, abs=1e-3), "r6": 1600}
    assert "authenticationRef" not in found["r5"].manifest["spec"]["triggers"][0]
    login = autoscalers(fleet(CONNECTIONS | {"authentication": "prometheus"}, r5=1))
    assert login["r5"].manifest["spec"]["triggers"][0]["authenticationRef"] == {"name": "prometheus"}


def test_an_autoscaler_of_kubernetes_scales_on_cpu_or_an_external_metric() -> None:
    (cpu,) = autoscalers(fleet(CPU, r5=75, r6=25))["r6"].manifest["spec"]["metrics"]
    assert cpu["containerResource"] == {
        "name": "cpu",
        "container": "srs",
        "target": {"type": "AverageValue", "averageValue": "600m"},
    }
    labels = EXTERNAL | {"externalLabels": {"fleet": "live"}}
    (external,) = autoscalers(fleet(labels, r5=75, r6=25))["r6"].manifest["spec"]["metrics"]
    assert external["external"] == {
        "metric": {"name": "srs_connections", "selector": {"matchLabels": {"fleet": "live"}}},
        "target": {"type": "AverageValue", "averageValue": "1600000m"},
    }


def test_the_fleet_loses_one_edge_at_a_time() -> None:
    found = autoscalers(fleet(EXTERNAL, r5=75, r6=25))
    downs = {name: item.manifest["spec"]["behavior"]["scaleDown"] for name, item in found.items()}
    assert downs["r5"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 160}], "120 s / 0.75"
    assert downs["r6"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 480}]
    assert {down["stabilizationWindowSeconds"] for down in downs.values()} == {3600}
    rare = autoscalers(fleet(EXTERNAL, r5=99, r6=1))["r6"].manifest["spec"]["behavior"]["scaleDown"]
    assert rare["policies"][0]["periodSeconds"] == 1800, "Kubernetes allows no more"


def test_the_load_falls_slowly_and_rises_at_once() -> None:
    configured = fleet(CONNECTIONS | {"query": "sum(x)"}, r5=1)
    assert configured.edge.autoscaling is not None
    query = fleet_load(configured, configured.edge.autoscaling)
    assert query == (
        'max(label_replace(sum(x), "of", "now", "", "") or '
        'label_replace(avg_over_time((sum(x))[3600s:60s]), "of", "window", "", ""))'
    )
    at_once = fleet(CONNECTIONS | {"query": "sum(x)", "scaleIn": {"window": "0s"}}, r5=1)
    assert at_once.edge.autoscaling is not None
    assert fleet_load(at_once, at_once.edge.autoscaling) == "sum(x)"


# The property of the whole: an autoscaler of Kubernetes as its documentation has it.

TOLERANCE = Fraction(1, 10)


def wanted(load: Fraction, target: Fraction, edges: int, allowed: range) -> int:
    """What an autoscaler wants for a metric of type AverageValue (kubernetes, replica_calculator.go)."""
    if abs(load / (target * edges) - 1) > TOLERANCE:
        edges = math.ceil(load / target)
    return min(max(edges, allowed.start), allowed.stop - 1)


scalings = st.tuples(st.integers(2, 10), st.integers(0, 200)).map(
    lambda size: AutoscalingSettings.model_validate(EXTERNAL | {"minimum": size[0], "maximum": size[0] + size[1]})
)


@given(scaling=scalings, canary=st.integers(1, 99), data=st.data())
def test_two_releases_keep_their_shares_at_any_size(
    scaling: AutoscalingSettings, canary: int, data: st.DataObject
) -> None:
    """Within one edge, besides the tolerance of 10 % within which Kubernetes does not scale at all."""
    weights = {"canary": canary, "stable": 100 - canary}
    total = data.draw(st.integers(scaling.minimum, scaling.maximum))
    edges = apportion(total, weights)
    allowed = bounds(scaling, weights, edges)
    assert sum(item.start for item in allowed.values()) == scaling.minimum
    assert sum(item.stop - 1 for item in allowed.values()) == scaling.maximum
    for load in data.draw(st.lists(st.integers(0, 400 * scaling.maximum), min_size=1, max_size=5)):
        edges = {
            name: wanted(Fraction(load), scaling.target_load / Fraction(weights[name], 100), edges[name], allowed[name])
            for name in weights
        }
        total = sum(edges.values())
        assert scaling.minimum <= total <= scaling.maximum
        deviation = edges["canary"] - Fraction(canary * total, 100)
        at_least_one = Fraction(scaling.minimum - 1) if min(edges.values()) == 1 else Fraction(0)
        assert abs(deviation) < 1 + 2 * TOLERANCE * total * Fraction(canary * (100 - canary), 10000) + at_least_one


@given(scaling=scalings, canary=st.integers(1, 99), data=st.data())
def test_without_the_tolerance_the_canary_is_within_one_edge(
    scaling: AutoscalingSettings, canary: int, data: st.DataObject
) -> None:
    weights = {"canary": canary, "stable": 100 - canary}
    load = data.draw(st.integers(0, 400 * scaling.maximum))
    need = Fraction(load, 400)
    if not all(need * weight / 100 >= 1 for weight in weights.values()) or need < scaling.minimum:
        return
    allowed = bounds(scaling, weights, apportion(scaling.minimum, weights))
    edges = {
        name: min(max(math.ceil(need * weight / 100), allowed[name].start), allowed[name].stop - 1)
        for name, weight in weights.items()
    }
    assert abs(edges["canary"] - Fraction(canary * sum(edges.values()), 100)) <= 1
    assert sum(edges.values()) >= min(need, scaling.maximum)


@given(
    minimum=st.integers(3, 12),
    more=st.integers(0, 40),
    weights=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 20), min_size=1, max_size=3).filter(
        lambda weights: any(weights.values())
    ),
    data=st.data(),
)
@example(minimum=3, more=1, weights={"a": 6, "b": 6, "c": 2}, data=None)
def test_every_division_is_within_the_bounds(minimum: int, more: int, weights: dict[str, int], data: Any) -> None:
    scaling = AutoscalingSettings(minimum=minimum, maximum=minimum + more, metric="cpu", target="600m")
    sizes = range(minimum, minimum + more + 1)
    for total in sizes if data is None else [data.draw(st.sampled_from(sizes))]:
        replicas = apportion(total, weights)
        for name, allowed in bounds(scaling, weights, replicas).items():
            assert replicas[name] in allowed
            assert allowed.start >= 1


@pytest.mark.parametrize(
    ("query", "is_valid"),
    [
        ("sum(x)", True),
        ('sum by (a, b) (rate(x{y=~"(,#]"}[5m])) / on () group_left z', True),
        ("x{y='\\'#'} or\nvector(0)", True),
        ("x # all", False),
        ("x), vector(0", False),
        ("x, y", False),
        ('x{y="', False),
        ("x]", False),
        ("(x", False),
        (" ", False),
        ('""(', False),
    ],
)
def test_a_query_is_one_expression_so_that_it_can_be_a_part_of_another_one(query: str, is_valid: bool) -> None:
    scaling = CONNECTIONS | {"query": query}
    if is_valid:
        assert AutoscalingSettings.model_validate(scaling).query == query
    else:
        with pytest.raises(ValidationError, match="must be one PromQL expression"):
            AutoscalingSettings.model_validate(scaling)
