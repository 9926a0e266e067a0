"""`make docs`: the Grafana dashboard of a stack, as JSON to import.

The metrics are those of SRS's exporter and of kube-state-metrics (docs/monitoring.md). An edge that drains cannot be
scraped, so terminating edges are those that kube-state-metrics sees.
"""

import json
from typing import Any, cast

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

EDGES = 'namespace="$namespace", role="edge"'
EDGE_PODS = 'namespace="$namespace", pod=~"srs-edge-.+-deploy-.+"'
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")


def _query(expression: str, legend: str = "{{release}}") -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id("A").expr(expression).legend_format(legend)


def _chart(title: str, expression: str, unit: str, description: str = "") -> timeseries.Panel:
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(10)
        .span(12)
        .height(8)
        .with_target(_query(expression))
    )


def _number(title: str, expression: str, description: str = "") -> stat.Panel:
    query = _query(expression, "").instant()
    panel = stat.Panel().title(title).description(description).datasource(SOURCE).span(6).height(4)
    return panel.no_value("0").with_target(query)


def _by_release(metric: str) -> str:
    return f"sum by (release) (rate({metric}{{{EDGES}}}[$__rate_interval]))"


def _terminating() -> table.Panel:
    """Each terminating edge with the seconds until its connections are dropped."""
    query = _query(f"sort(kube_pod_deletion_timestamp{{{EDGE_PODS}}} - time())", "").instant()
    return (
        table.Panel()
        .title("Terminating edges")
        .description("They drain: each ends with its last connection, at the latest at the end of its grace period.")
        .datasource(SOURCE)
        .unit("s")
        .span(24)
        .height(8)
        .with_target(query.format(PromQueryFormat.TABLE))
        .override_by_name("Value", [DynamicConfigValue(id_val="displayName", value="ends within")])
        .override_by_regexp("^(?!pod$|node$|Value$).*$", [DynamicConfigValue(id_val="custom.hidden", value=True)])
    )


def build() -> str:
    """The dashboard as JSON."""
    ready = 'sum(kube_deployment_status_replicas_ready{namespace="$namespace", deployment=~"srs-edge-.+-deploy"})'
    board = (
        dashboard.Dashboard("SRS")
        .uid("srs")
        .tags(["srs"])
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("namespace")
            .datasource(SOURCE)
            .query('label_values(kube_statefulset_replicas{statefulset="srs-origin"}, namespace)')
        )
        .with_panel(_number("Ready edges", ready))
        .with_panel(
            _number(
                "Nearly full edges",
                'count(ALERTS{alertname="SrsEdgeNearlyFull", alertstate="firing", namespace="$namespace"})',
                "At 90 % of maxConnections. A full edge closes new connections, also those of Prometheus.",
            )
        )
        .with_panel(_number("Terminating edges", f"count(kube_pod_deletion_timestamp{{{EDGE_PODS}}})"))
        .with_panel(
            _number(
                "Ready origins",
                'kube_statefulset_status_replicas_ready{namespace="$namespace", statefulset="srs-origin"}',
            )
        )
        .with_panel(_chart("Connections", f"sum by (release) (srs_clients{{{EDGES}}})", "short"))
        .with_panel(_chart("New connections", _by_release("srs_clients_total"), "cps"))
        .with_panel(_chart("Sent", _by_release("srs_send_bytes_total"), "Bps"))
        .with_panel(
            _chart(
                "Connections that ended with an error",
                _by_release("srs_clients_errs_total"),
                "cps",
                "Before SRS 6.0.191 viewers that leave count, too: compare releases of one version.",
            )
        )
        .with_panel(_terminating())
    )
    return json.dumps(_without_nulls(json.loads(JSONEncoder().encode(board.build()))), indent=1, sort_keys=True)


def _without_nulls(value: Any) -> Any:
    """Grafana has defaults for fields that are absent, not for null."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: _without_nulls(field) for name, field in fields.items() if field is not None}
    return [_without_nulls(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


if __name__ == "__main__":
    print(build())
