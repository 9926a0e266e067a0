"""Alert rules for Prometheus, from the stack config.

They need kube-state-metrics, besides the exporters: an edge that drains has closed its listeners, so nothing can be
scraped from it. `kube_pod_deletion_timestamp` is the end of a pod's grace period (Kubernetes API, `deletionTimestamp`).
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from model.config.stack import StackSettings
from model.config.values import format_duration, seconds
from model.names import ORIGIN

NEARLY_FULL = 0.9
"""Share of `maxConnections`: connections of probes and scrapes count, too."""

LONG_DRAIN = timedelta(hours=4)
"""Age of a drain at which its alert fires."""

WARNING_TIME = timedelta(minutes=30)
"""How long before a drain timeout the alert fires; a tenth of the timeout if that is less."""

FEWEST_CLIENTS = 20
"""New connections of a release below which its errors say nothing."""


def alert_rules(settings: StackSettings) -> dict[str, Any]:
    """The content of a rule file, and the spec of a PrometheusRule."""
    rules = [*_edge_rules(settings), _origin_rule(settings), *_release_rules(settings), *_drain_rules(settings)]
    return {"groups": [{"name": f"srs-{settings.kubernetes.namespace}", "rules": rules}]}


def _rule(alert: str, severity: str, wait: str, summary: str, expression: str, **labels: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert, "expr": " ".join(expression.split())}
    if wait:
        rule["for"] = wait
    return rule | {"labels": {"severity": severity, **labels}, "annotations": {"summary": summary}}


def _edge_rules(settings: StackSettings) -> Iterator[dict[str, Any]]:
    namespace = settings.kubernetes.namespace
    yield _rule(
        "SrsNoReadyEdge",
        "critical",
        "1m",
        f"No edge in namespace {namespace} is ready: viewers and encoders cannot connect.",
        f"""sum by (namespace) (kube_deployment_status_replicas_ready{{
            namespace="{namespace}", deployment=~"srs-edge-.+-deploy"}}) == 0""",
    )
    for name, release in settings.edge.releases.items():
        if settings.exports(release.srs_version):
            limit = release.srs.max_connections
            yield _rule(
                "SrsEdgeNearlyFull",
                "warning",
                "2m",
                f"Edge {{{{ $labels.pod }}}} has {{{{ $value }}}} of {limit} connections (maxConnections).",
                f"""max by (namespace, release, pod) (srs_clients{{
                    namespace="{namespace}", role="edge", release="{name}"}}) >= {limit * NEARLY_FULL:g}""",
                release=name,
            )


def _origin_rule(settings: StackSettings) -> dict[str, Any]:
    origins = f'{{namespace="{settings.kubernetes.namespace}", statefulset="{ORIGIN}"}}'
    return _rule(
        "SrsOriginDown",
        "critical",
        "2m",
        f"{{{{ $value }}}} of {settings.origin.replicas} origins are ready.",
        f"kube_statefulset_status_replicas_ready{origins} < kube_statefulset_replicas{origins}",
    )


def _release_rules(settings: StackSettings) -> Iterator[dict[str, Any]]:
    """Errors of a release compared with the best one; releases without an exporter cannot be compared."""
    measured = [release for release in settings.edge.releases.values() if settings.exports(release.srs_version)]
    if not measured:
        return
    edges = f'{{namespace="{settings.kubernetes.namespace}", role="edge"}}[15m]'
    clients = f"sum by (namespace, release) (increase(srs_clients_total{edges}))"
    errors = f"sum by (namespace, release) (increase(srs_clients_errs_total{edges})) / {clients}"
    yield _rule(
        "SrsReleaseWorse",
        "warning",
        "",
        "Release {{ $labels.release }}: {{ $value | humanizePercentage }} of its connections end with an error, more "
        "than twice as many as of the best release.",
        f"""({errors}) > on (namespace) group_left 2 * min by (namespace) ({errors}) + 0.05
            and on (namespace, release) {clients} > {FEWEST_CLIENTS}""",
    )


def _drain_rules(settings: StackSettings) -> Iterator[dict[str, Any]]:
    drain = settings.edge.drain
    pods = f'namespace="{settings.kubernetes.namespace}", pod=~"srs-edge-.+-deploy-.+"'
    deadline = f"""label_replace(kube_pod_deletion_timestamp{{{pods}}},
        "release", "$1", "pod", "srs-edge-(.+)-deploy-.+")"""
    warning = min(WARNING_TIME, drain.timeout / 10)
    yield _rule(
        "SrsDrainEndsSoon",
        "warning",
        "",
        "Edge {{ $labels.pod }} drops its connections in {{ $value | humanizeDuration }}: its drain times out.",
        f"{deadline} - time() < {int(warning.total_seconds())}",
    )
    if drain.timeout > LONG_DRAIN:
        yield _rule(
            "SrsReleaseTerminatesForHours",
            "info",
            "",
            f"Release {{{{ $labels.release }}}} has been terminating for more than {format_duration(LONG_DRAIN)}: it "
            "still has connections. `rollout cut` drops them.",
            f"""max by (namespace, release) (time() - ({deadline} - {drain.grace_seconds}))
                > {seconds(LONG_DRAIN)}""",
        )
