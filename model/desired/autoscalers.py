"""The autoscalers of the fleet, one for each release with a weight, as data.

An autoscaler of Kubernetes scales one Deployment. So that the releases keep their shares at any size of the fleet, each
autoscaler sees the load of the whole fleet, and its target per edge is the fleet's target divided by the share of its
release: with the load L, the target t and the share s, it wants ceil(L / (t / s)) = ceil(s L / t) edges (Kubernetes
docs, "Horizontal Pod Autoscaling", "Algorithm details": a metric of type AverageValue). Two releases are then less than
one edge from their weights.

With `cpu` this is not possible, because metrics-server has the load of pods only: each release follows its own.
"""

import math
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from typing import Any

from model.config.autoscaling import MAX_STEP, AutoscalingSettings
from model.config.stack import StackSettings
from model.config.values import seconds
from model.desired.context import Context
from model.desired.objects import DesiredObject, Kind
from model.desired.replicas import apportion
from model.names import EDGE_APP, SHARE_ANNOTATION, edge_deployment, edge_run

STABILIZATION = timedelta(minutes=5)
"""How long an autoscaler of KEDA waits before it scales in, as by default in Kubernetes; the metric itself is slow."""

RESOLUTION = timedelta(minutes=1)
"""Between two points of the average of the fleet's load."""


SILENCE = timedelta(minutes=5)
"""How long the connections of an edge count after its last answer."""


def share(weights: Mapping[str, int], release: str) -> Fraction:
    """The share of a release in new viewers, as the weights have it."""
    return Fraction(weights[release], sum(weights.values()))


def bounds(scaling: AutoscalingSettings, weights: Mapping[str, int], replicas: Mapping[str, int]) -> dict[str, range]:
    """The allowed numbers of edges of each release with a weight: a range whose last number is allowed, too.

    The smallest numbers have the fleet's minimum as their sum, and the largest ones its maximum. More weight is more
    edges for two releases; for three, the division of a larger fleet may give one of them an edge less ("Alabama
    paradox"), so the number that it has now is always allowed.
    """
    smallest, largest = apportion(scaling.minimum, weights), apportion(scaling.maximum, weights)
    return {
        name: range(min(smallest[name], replicas[name]), max(largest[name], replicas[name]) + 1)
        for name, weight in weights.items()
        if weight
    }


def share_annotation(settings: StackSettings, release: str) -> dict[str, str]:
    """The annotation of the Deployment of a release from which the size of the fleet follows (`cluster/fleet.py`)."""
    if settings.edge.autoscaling is None:
        return {}
    return {SHARE_ANNOTATION: str(share(settings.edge.weights, release))}


def autoscaling(context: Context, release: str) -> tuple[DesiredObject, ...]:
    """Autoscaler and PodDisruptionBudget of a release; nothing without autoscaling.

    The Deployment needs the autoscaler: one of an earlier, smaller share would scale the Deployment down to its maximum
    at once. A release that has no weight has no autoscaler: KEDA would start an edge.
    """
    settings, run = context.settings, edge_run(release)
    scaling = settings.edge.autoscaling
    if scaling is None:
        return ()
    # It counts from the live replicas, which autoscalers change. One budget for all releases would block every drain of
    # a node while edges of a removed release drain; this one is deleted with its release.
    budget = context.disruption_budget(run, "run", maxUnavailable=1)
    replicas = {name: item.replicas for name, item in context.shares.items()}
    allowed = bounds(scaling, settings.edge.weights, replicas).get(release)
    if allowed is None:
        return (budget,)
    kind: Kind = "ScaledObject" if scaling.metric == "connections" else "HorizontalPodAutoscaler"
    make = _scaled_object if kind == "ScaledObject" else _autoscaler
    labels = {"app": EDGE_APP, "run": run}
    return (
        budget,
        context.object(
            kind,
            run,
            "autoscaler",
            labels,
            {"spec": make(settings, scaling, release, allowed)},
            resource=f"{run}-autoscaler",
        ),
    )


def _autoscaler(settings: StackSettings, scaling: AutoscalingSettings, release: str, allowed: range) -> dict[str, Any]:
    metric: dict[str, Any]
    if scaling.metric == "cpu":
        # The CPU of the container of SRS: other containers of the pod say nothing about viewers.
        target = {"type": "AverageValue", "averageValue": scaling.target}
        resource = {"name": "cpu", "container": "srs", "target": target}
        metric = {"type": "ContainerResource", "containerResource": resource}
    else:
        target = _target(settings, scaling, release)
        selector = {"selector": {"matchLabels": scaling.external_labels}} if scaling.external_labels else {}
        metric = {
            "type": "External",
            "external": {
                "metric": {"name": scaling.external_metric, **selector},
                "target": {"type": "AverageValue", "averageValue": f"{math.ceil(1000 * target)}m"},
            },
        }
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": edge_deployment(release)},
        "minReplicas": allowed.start,
        "maxReplicas": allowed.stop - 1,
        "metrics": [metric],
        "behavior": {"scaleDown": _scale_down(settings, scaling, release, scaling.scale_in.window)},
    }


def _scaled_object(
    settings: StackSettings, scaling: AutoscalingSettings, release: str, allowed: range
) -> dict[str, Any]:
    trigger: dict[str, Any] = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": scaling.prometheus,
            "query": fleet_load(settings, scaling),
            "threshold": f"{float(_target(settings, scaling, release)):.3f}",
            # By default no answer is a load of 0, and the fleet would go to its minimum.
            "ignoreNullValues": "false",
        },
    }
    if scaling.authentication:
        trigger["authenticationRef"] = {"name": scaling.authentication}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": edge_deployment(release)},
        "minReplicaCount": allowed.start,
        "maxReplicaCount": allowed.stop - 1,
        "advanced": {
            "restoreToOriginalReplicaCount": False,
            "horizontalPodAutoscalerConfig": {
                "behavior": {
                    "scaleDown": _scale_down(settings, scaling, release, min(STABILIZATION, scaling.scale_in.window))
                }
            },
        },
        "triggers": [trigger],
    }


def fleet_load(settings: StackSettings, scaling: AutoscalingSettings) -> str:
    """The PromQL expression of the load that the fleet is sized for: of now, or the window's average if that is more.

    So the load falls slowly, and at the same time for all releases. A limit of each autoscaler would not be the same
    for a release of 36 edges and one of 4.

    A full edge closes every new connection, that of Prometheus too. Without its last answer, the load would be less the
    more edges are full. Its next answer comes when a viewer has left: while it is full, it is out of rotation. An edge
    that drains has closed its exporter: its connections count until then, and those of a deleted one (no `up`) do not.
    """
    edges = f'{{namespace="{settings.kubernetes.namespace}", role="edge"}}'
    clients = f"last_over_time(srs_clients{edges}[{seconds(SILENCE)}s]) and on (namespace, pod) up{edges}"
    now = scaling.query or f"sum({clients})"
    window = f"avg_over_time(({now})[{seconds(scaling.scale_in.window)}s:{_resolution(scaling)}s])"
    if not scaling.scale_in.window:
        return now
    return f'max(label_replace({now}, "of", "now", "", "") or label_replace({window}, "of", "window", "", ""))'


def _resolution(scaling: AutoscalingSettings) -> int:
    return max(1, min(seconds(RESOLUTION), seconds(scaling.scale_in.window) // 10))


def _target(settings: StackSettings, scaling: AutoscalingSettings, release: str) -> Fraction:
    """The target per edge of a release for the load of the whole fleet."""
    return scaling.target_load / share(settings.edge.weights, release)


def _scale_down(
    settings: StackSettings, scaling: AutoscalingSettings, release: str, window: timedelta
) -> dict[str, Any]:
    """One edge of the fleet at a time, so one of a release with half of the weight in twice the time."""
    step = min(
        MAX_STEP, timedelta(seconds=math.ceil(seconds(scaling.scale_in.step) / share(settings.edge.weights, release)))
    )
    return {
        "stabilizationWindowSeconds": seconds(window),
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": seconds(step)}],
    }
