"""The Grafana dashboard of docs/."""

import json
import re
from pathlib import Path

from docgen.dashboard import build
from unit.model.desired.test_alerts import METRICS

EXPORTED = METRICS | {"srs_send_bytes_total", "ALERTS"}
"""What the dashboard may show; the first is also of SrsGoApiMetrics::serve_http."""


def test_the_committed_dashboard_is_up_to_date() -> None:
    committed = (Path(__file__).parents[3] / "docs/dashboard.json").read_text()
    assert committed == build() + "\n", "run `make docs`"


def test_each_panel_shows_metrics_that_exist() -> None:
    panels = json.loads(build())["panels"]
    assert len(panels) == 9
    assert len({panel["title"] for panel in panels}) == 8, "terminating edges: their number, and a table"
    for panel in panels:
        (target,) = panel["targets"]
        metrics = re.findall(r"\w+(?={)", target["expr"])
        assert metrics
        assert set(metrics) <= EXPORTED
