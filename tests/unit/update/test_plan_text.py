"""The plan as text and as JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cluster.state import LiveState
from model.config.stack import StackSettings
from unit.update.live_objects import nothing, planned, rendered, settings, state_after, workload
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


def foreign_edges(ready: int) -> dict[str, Any]:
    spec = {"replicas": 3, "template": {"metadata": {"labels": {"app": "srs-edge"}}, "spec": {}}}
    live = workload("srs-edge-blue-deploy", spec, ready)
    live["metadata"]["annotations"] = {}
    return live


def deleted_pods(name: str, *days: int) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"metadata": {"name": f"{name}-{day}", "deletionTimestamp": f"2026-01-0{day}T00:00:00Z"}} for day in days
    )


def busy() -> tuple[LiveState, StackSettings]:
    """A live state with everything that a plan reports, and the settings of an update that changes it."""
    r4 = {"image": "ossrs/srs:v5.0-r3", "allowDroppedConnections": True, "weight": 20}
    before = {"r4": r4, "r5": R5 | {"weight": 40}, "r6": R6 | {"weight": 40}}
    after = {"r5": R5 | {"weight": 25}, "r6": R6 | {"weight": 75, "srs": {"maxConnections": 5}}}
    fleet: dict[str, Any] = {"edge__replicas": 5, "hls": {}, "demo": {}}
    state = state_after(settings(**fleet, edge__releases=before))
    state.objects["Deployment"]["srs-edge-blue-deploy"] = foreign_edges(ready=2)
    state.objects["Service"]["socs"]["spec"]["selector"] = {"app": "x"}
    state = replace(state, terminating=deleted_pods("edge", 2, 1), draining_origins=deleted_pods("srs-origin", 9))
    return state, settings(**fleet, edge__releases=after)


def test_the_report_has_everything_that_happens_to_connections() -> None:
    state, after = busy()
    assert plan_text.text(planned(after, state), rendered(after, state), state).splitlines() == [
        "Update plan for namespace live:",
        "  The connections of 1 edge are dropped: their SRS version cannot drain.",
        "  Open connections stay open: 3 edges will drain, for up to 12h35s.",
        "  2 edges are already terminating, the last one until 2026-01-02T00:00:00Z at the latest.",
        "  Up to 13 edge pods will exist at the same time.",
        "  1 origin is already draining, the last one until 2026-01-09T00:00:00Z at the latest.",
        "  Up to 4 origins will exist at the same time.",
        "  foreign Deployment srs-edge-blue-deploy is not changed: 2 ready edges behind the same Service",
        "  edge release r5: scale, 2 -> 1 edge, 29 % -> 14 % of new viewers",
        "  edge release r6: rolling update, 2 -> 4 edges, 29 % -> 57 % of new viewers",
        "    srs.conf",
        "      -max_connections 1000;",
        "      +max_connections 5;",
        "  origins: unchanged, 3 replicas",
        "  edge release r4: delete, 1 edge, 14 % -> 0 % of new viewers",
        "  Service socs: update",
        "    selector.app: x -> srs-origin",
        "  ServiceAccount srs-edge-r4: delete",
        "  warning: edge release r4: the connections of 1 edge are dropped, because their SRS version cannot drain "
        "(ossrs/srs #3805)",
    ]


def test_edges_that_drain_are_counted_without_those_that_cannot() -> None:
    """A release may have pods of two revisions, after an interrupted update."""
    state, after = busy()
    update = planned(after, state)
    edges, *others = update.changes
    update = replace(update, changes=(replace(edges, terminated=3, dropped=1), *others))
    lines = plan_text.text(update, rendered(after, state), state).splitlines()
    assert "  The connections of 2 edges are dropped: their SRS version cannot drain." in lines
    assert "  Open connections stay open: 4 edges will drain, for up to 12h35s." in lines


def entry(
    name: str,
    action: str,
    before: int,
    after: int,
    terminated: int = 0,
    share: tuple[int, int] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A workload in the JSON, of which all desired pods are ready."""
    release = name.removeprefix("srs-edge-").removesuffix("-deploy") if share else None
    return {
        "kind": "Deployment" if share else "StatefulSet",
        "name": name,
        "release": release,
        "action": action,
        "replicas": {"before": before, "after": after, "ready": before},
        "terminatedPods": terminated,
        "droppedPods": 0,
        "gracePeriodSeconds": 12 * 3600 + 35 if share else 0,
        "reasons": [],
        "srsConfDiff": [],
        "fields": [],
        **({"sharePercent": {"before": share[0], "after": share[1]}} if share else {}),
        **more,
    }


def test_the_json_has_everything_that_the_text_has() -> None:
    state, after = busy()
    update = planned(after, state)
    data = plan_json.document(update, rendered(after, state), state)
    (warning,) = update.warnings
    without_reason = plan_json.document(replace(update, warnings=("a text",)), rendered(after, state), state)
    assert without_reason["warnings"] == [{"reason": "", "message": "a text"}]
    volume = "spec.template.spec.volumes.config.configMap.name: srs-edge-r6-5cc742b08f -> srs-edge-r6-d9a645dd05"
    assert volume in data["workloads"][1]["fields"]
    data["workloads"][1]["fields"] = []
    data["objects"] = [item for item in data["objects"] if item["action"] in ("update", "delete")]
    assert data == {
        "unreachable": "",
        "rejections": [],
        "warnings": [{"reason": "CannotDrain", "message": warning}],
        "namespace": "live",
        "objects": [
            {"kind": "Service", "name": "socs", "action": "update", "changes": ["selector.app: x -> srs-origin"]},
            {"kind": "ServiceAccount", "name": "srs-edge-r4", "action": "delete", "changes": []},
        ],
        "workloads": [
            entry("srs-edge-r5-deploy", "scale", 2, 1, 1, (29, 14), fields=["spec.replicas: 2 -> 1"]),
            entry(
                "srs-edge-r6-deploy",
                "roll",
                2,
                4,
                2,
                (29, 57),
                reasons=["srs.conf"],
                srsConfDiff=["-max_connections 1000;", "+max_connections 5;"],
            ),
            entry("srs-origin", "none", 3, 3),
            entry("srs-edge-r4-deploy", "delete", 1, 0, 1, (14, 0), droppedPods=1),
        ],
        "foreignEdges": {"srs-edge-blue-deploy": 2},
        "terminatingPods": 2,
        "peakEdgePods": 13,
        "drainingOrigins": 1,
        "peakOriginPods": 4,
        "publishersDropped": False,
    }


@pytest.mark.parametrize(
    ("state", "change", "lines"),
    [
        (nothing(), {}, ["  edge release r5: create, 3 edges, 0 % -> 75 % of new viewers"]),
        (
            state_after(settings(hls={}, demo={})),
            {"hls": {}, "demo": {}},
            [
                "  Nothing changes for connections.",
                "  edge release r5: unchanged, 3 edges, 75 % of new viewers",
                "  edge release r6: unchanged, 1 edge, 25 % of new viewers",
                "  origins: unchanged, 3 replicas",
            ],
        ),
        (
            replace(state_after(settings()), terminating=deleted_pods("edge", 3)),
            {},
            [
                "  1 edge is already terminating, the last one until 2026-01-03T00:00:00Z at the latest.",
                "  Up to 5 edge pods will exist at the same time.",
            ],
        ),
        (
            state_after(settings(hls={}, demo={})),
            {"hls": {}, "demo": {}, "edge__minReady": "7s"},
            ["  edge release r6: update without a restart of its pods, 1 edge, 25 % of new viewers"],
        ),
    ],
)
def test_the_report_says_what_stays_and_what_is_new(state: LiveState, change: dict[str, Any], lines: list[str]) -> None:
    desired = settings(**change)
    text = plan_text.text(planned(desired, state), rendered(desired, state), state).splitlines()
    assert [line for line in lines if line not in text] == []
    assert ("  Nothing changes for connections." in text) is (lines[0] == "  Nothing changes for connections.")
    assert any("will exist" in line for line in text) is bool(state.terminating), "nothing else drains"


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
    kubernetes = {"kubeconfig": "k", "clusterId": "c1", "createNamespace": False}
    assert not planned(settings(kubernetes=kubernetes), state).rejections, "nor is it known what does not exist"
    deviating = settings(edge__replicas=2)
    lines = plan_text.text(planned(deviating, state), rendered(deviating), state).splitlines()
    assert lines[2:] == [f"  warning: {warning}" for warning in planned(deviating, state).warnings]
    assert "release r6 gets 1 of 2 edges" in lines[-1]
