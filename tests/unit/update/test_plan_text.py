"""The plan as text and as JSON."""

import json

from cluster.state import LiveState
from model.config.stack import StackSettings
from unit.update.live_objects import planned, rendered, settings, state_after
from update import plan_json, plan_text

R5 = {"image": "ossrs/srs:v4.0.6", "weight": 75}
R6 = {"image": "ossrs/srs:v4.0.6", "weight": 25}


def test_the_report_starts_with_connections_and_names_the_reasons() -> None:
    before = settings(edge__releases={"r5": R5, "r6": R6})
    conf = {"maxConnections": 5}
    after = settings(edge__releases={"r5": R5 | {"weight": 25}, "r6": R6 | {"weight": 75, "srs": conf}})
    state = state_after(before)
    update = planned(after, state)
    assert plan_text.text(update, rendered(after, state), state).splitlines() == [
        "Update plan for namespace live:",
        "  Open connections stay open: 3 edges will drain, for up to 12h35s.",
        "  Up to 9 edge pods will exist at the same time.",
        "  edge release r5: scale, 3 -> 1 edge, 75 % -> 25 % of new viewers",
        "  edge release r6: rolling update, 1 -> 3 edges, 25 % -> 75 % of new viewers",
        "    srs.conf",
        "      -max_connections 1000;",
        "      +max_connections 5;",
        "  origins: unchanged, 3 replicas",
        "  nginx-origin: create, 1 replica",
        "  srs-demo: create, 1 replica",
    ]
    data = plan_json.document(update, rendered(after, state), state)
    assert data["peakEdgePods"] == 9
    assert data["publishersDropped"] is False
    assert [item["action"] for item in data["workloads"][:3]] == ["scale", "roll", "none"]


def test_the_report_shows_no_secret_of_srs_conf() -> None:
    def hook(key: str) -> StackSettings:
        return settings(publish={"hook": f"http://auth.example.com/?key={key}"})

    def text(before: StackSettings, after: StackSettings) -> str:
        state = state_after(before)
        update = planned(after, state)
        lines = plan_text.text(update, rendered(after, state), state)
        assert "hunter" not in lines + json.dumps(plan_json.document(update, rendered(after, state), state))
        return lines

    added = text(settings(), hook("hunter2"))
    assert "    srs.conf\n      +    http_hooks {\n      +        enabled on;\n      +        on_publish $(pub" in added
    assert "    a secret of srs.conf\n" in text(hook("hunter2"), hook("hunter3"))
    assert "rolling update" not in text(hook("hunter2"), hook("hunter2"))
    removed = text(hook("hunter2"), settings())
    assert "      -        on_publish $(publish.hook);\n" in removed


def test_the_report_of_an_unreachable_cluster_says_so() -> None:
    state = LiveState(unreachable="the API server https://127.0.0.1:1 does not answer")
    lines = plan_text.text(planned(settings(), state), rendered(settings()), state).splitlines()
    assert lines[0] == "The cluster cannot be reached: the API server https://127.0.0.1:1 does not answer."
    assert "connections is unknown" in lines[1]
