"""Real autoscalers follow players that come and go: KEDA with Prometheus, and Kubernetes' own with metrics-server.

On request only (`make test-autoscaling`): KEDA is a build of its own, and a fleet becomes smaller slowly.
"""

import math
import os
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from kubernetes.utils.quantity import parse_quantity

from e2e import metrics_apis
from e2e.expectations import assert_undisturbed
from e2e.fleet_course import Course, deviates, deviation, fullest, recorded, removals, sizes
from e2e.live_stack import TINY, LiveStack
from e2e.prometheus import ADDRESS as PROMETHEUS
from e2e.prometheus import prometheus
from e2e.recorder import write_course
from e2e.versions import can_drain, has_exporter
from e2e.viewers import Audience, Size, Viewers
from stack import eventually
from testbed.cluster import EmbeddedCluster
from testbed.containers.images import SrsImages

REQUEST = "SRS_AUTOSCALING"
pytestmark = pytest.mark.skipif(
    REQUEST not in os.environ, reason="takes ten minutes and builds KEDA: `make test-autoscaling`"
)

WEIGHTS = {"r5": 75, "r6": 25}
CANARY, SHARE = "r6", Fraction(1, 4)
MINIMUM, MAXIMUM = 4, 14

INTERVAL = "20s"
"""Between two scrapes of an edge: the shortest one that lets drains end (docs/monitoring.md)."""

SYNC = 15.0
"""Seconds between two decisions of an autoscaler (kube-controller-manager, --horizontal-pod-autoscaler-sync-period)."""

WINDOW, STEP = "30s", 15
"""Scaling in, quicker than in production (1 h and 2 m). STEP: seconds."""

COMING = 4.0
"""Players that come per second, one at each of the first edges."""


@pytest.fixture
def keda(cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[None]:
    """KEDA, until the stack is deleted."""
    with metrics_apis.keda(cluster, tmp_path / "keda"):
        yield


@pytest.fixture
def metrics_server(cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[None]:
    """metrics-server, until the stack is deleted."""
    with metrics_apis.metrics_server(cluster, tmp_path / "metrics-server"):
        yield


def exporting(images: SrsImages) -> list[str]:
    """The images with an exporter whose SRS can drain."""
    return [name for name in images.names if has_exporter(name) and can_drain(name)]


def autoscaled(stack: LiveStack, minimum: int, maximum: int, **settings: str) -> None:
    """Configure autoscalers in place of a fixed number of edges."""
    del stack.config["edge"]["replicas"]
    scale_in = {"window": WINDOW, "step": f"{STEP}s"}
    bounds = {"minimum": minimum, "maximum": maximum}
    stack.config["edge"]["autoscaling"] = {**bounds, **settings, "scaleIn": scale_in}


def autoscaler(stack: LiveStack, release: str) -> dict[str, Any]:
    """The HorizontalPodAutoscaler of a release; KEDA's has a name of its own."""
    items = stack.get("horizontalpodautoscalers")["items"]
    (found,) = [item for item in items if item["spec"]["scaleTargetRef"]["name"] == f"srs-edge-{release}-deploy"]
    return found


def works(stack: LiveStack, release: str) -> bool:
    """Whether the autoscaler of a release has a metric."""
    conditions = autoscaler(stack, release).get("status", {}).get("conditions", [])
    return any(item["type"] == "ScalingActive" and item["status"] == "True" for item in conditions)


@pytest.mark.usefixtures("keda")  # before the stack
def test_a_fleet_with_a_canary_follows_its_connections(
    stack: LiveStack, audience: Audience, size: Size, images: SrsImages, tmp_path: Path
) -> None:
    """Autoscaling on connections, with a canary of 25 %: the players become ten times as many, and leave again"""
    found = exporting(images)
    if not found:
        pytest.skip("SRS_IMAGES has no version with an exporter that can drain")
    target, limit, many = size.players, 3 * size.players, 9 * size.players
    stack.config["monitoring"] = {"kind": "annotations"}
    stack.config["origin"]["image"] = found[0]
    autoscaled(stack, MINIMUM, MAXIMUM, metric="connections", target=str(target), prometheus=f"http://{PROMETHEUS}")
    images_of = dict(zip(WEIGHTS, (found[0], found[-1]), strict=True))
    edge = {"resources": TINY, "srs": {"maxConnections": limit}}
    stack.releases(**{name: {"image": images_of[name], "weight": WEIGHTS[name], **edge} for name in WEIGHTS})
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with prometheus(stack, folder, {}, INTERVAL) as query:
        stack.must_update()
        assert stack.replicas() == {"r5": 3, "r6": 1}
        edges = f'srs_clients{{namespace="{stack.namespace}", role="edge"}}'
        with audience() as viewers, recorded(stack, list(WEIGHTS)) as course:
            eventually(lambda: all(works(stack, release) for release in WEIGHTS), 120)
            viewers.step(f"{size.players} players")
            viewers.count(2 * SYNC)
            viewers.step(f"{size.players + many} players")
            with Viewers(stack.cluster, Size(many, 0), publish=False, settle=False, start_rate=COMING) as crowd:
                crowd.wait(lambda: bool(crowd.record.of("ready")), many / COMING + 60, "all players have media")
                eventually(lambda: stack.replicas() == {"r5": 8, "r6": 3}, 120)
                viewers.count(3 * SYNC)
                assert stack.replicas() == {"r5": 8, "r6": 3}, "the fleet keeps this size"
                load = sum(float(item["value"][1]) for item in query(edges))
                viewers.step(f"{size.players} players")
            eventually(lambda: course[-1].size == MINIMUM, 600)
            viewers.count(2 * SYNC)
            assert viewers.open(), "the players of the edges that drain are still there"
            draining = course[-1].draining
            viewers.step("all leave")
        stack.wait_until_drained()
    write_course("connections", course, crowd.record, viewers.record)
    assert_undisturbed(viewers.record)
    assert_undisturbed(crowd.record, samples=False)
    assert viewers.minimum_ready >= MINIMUM
    assert load == pytest.approx(size.players + many, abs=5), "Prometheus sees all connections"
    assert fullest(course) < limit
    assert sum(draining.values()) > 0, "the edges that were removed keep their players"
    assert_shares(course)
    assert_one_edge_at_a_time(course)


@pytest.mark.usefixtures("metrics_server")  # before the stack
def test_a_fleet_follows_its_cpu(stack: LiveStack, audience: Audience, size: Size) -> None:
    """Autoscaling on CPU: the players become ten times as many, and leave again"""
    few, many = 2, 5
    autoscaled(stack, few, many, metric="cpu", target="900m")
    stack.must_update()
    with audience() as viewers, recorded(stack, ["r5"]) as course:
        eventually(lambda: works(stack, "r5"), 180)
        viewers.count(2 * SYNC)
        usage = cpu(stack)
        assert 0 < usage < Decimal("0.9"), "cores of one edge"
        assert stack.replicas() == {"r5": few}
        viewers.step("a target of twice the usage")
        stack.config["edge"]["autoscaling"]["target"] = f"{math.ceil(2000 * usage)}m"
        stack.must_update()
        viewers.count(2 * SYNC)
        assert stack.replicas() == {"r5": few}
        viewers.step(f"{10 * size.players} players")
        with Viewers(stack.cluster, Size(9 * size.players, 0), publish=False) as crowd:
            eventually(lambda: stack.replicas()["r5"] > few, 180)
            assert cpu(stack) > usage
        viewers.step(f"{size.players} players")
        eventually(lambda: course[-1].size == few, 300)
    stack.wait_until_drained()
    write_course("cpu", course, crowd.record, viewers.record)
    assert_undisturbed(viewers.record)
    assert_undisturbed(crowd.record, samples=False)
    assert all(removal.edges == 1 for removal in removals(course))


def cpu(stack: LiveStack) -> Decimal:
    """The cores that an edge of r5 uses on average, as its autoscaler knows."""
    (metric,) = autoscaler(stack, "r5")["status"]["currentMetrics"]
    return parse_quantity(metric["containerResource"]["current"]["averageValue"])


def assert_shares(course: Course) -> None:
    """The canary is within one edge of its share at every size, and after two decisions in between."""
    found = sizes(course, 2 * SYNC)
    assert len(found) >= 3, found
    for seen in course:
        assert seen.wanted in found or deviation(seen, SHARE, CANARY) <= 2, seen
    assert deviates(course, SHARE, CANARY) <= 2 * SYNC


def assert_one_edge_at_a_time(course: Course) -> None:
    """A release loses one edge in the time of its share of the steps."""
    lost = list(removals(course))
    assert sum(removal.edges for removal in lost) == 7
    for removal in lost:
        share = SHARE if removal.release == CANARY else 1 - SHARE
        assert removal.edges == 1, removal
        assert removal.since is None or removal.since >= STEP / share - 2, removal
