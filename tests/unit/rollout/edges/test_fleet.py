"""The size of a fleet that autoscalers set is the live one, in steps, titles and messages."""

from pathlib import Path
from typing import Any

import pytest

from model.names import EDGE_APP, SHARE_ANNOTATION, STACK_ANNOTATION
from rollout.canary.steps import new_record, step_file, title
from rollout.command import Context
from rollout.edges.fleet import live_edges

SCALED = """config:
  srs:edge:
    autoscaling: {minimum: 4, maximum: 60, metric: cpu, target: 600m}
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100}
"""
FIXED = SCALED.replace("autoscaling: {minimum: 4, maximum: 60, metric: cpu, target: 600m}", "replicas: 4")


class FakeLive:
    """Deployments by release: replicas, share and stack."""

    def __init__(self, **edges: tuple[int, str, str]) -> None:
        self.edges = edges

    def objects(self, kind: str) -> dict[str, Any]:
        assert kind == "Deployment"
        return {
            f"srs-edge-{name}-deploy": {
                "metadata": {"annotations": {SHARE_ANNOTATION: share, STACK_ANNOTATION: stack}},
                "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": EDGE_APP}}}},
            }
            for name, (replicas, share, stack) in self.edges.items()
        }


def context(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, live: FakeLive) -> Context:
    (folder / "Pulumi.yaml").write_text("name: srs\n")
    (folder / "Pulumi.dev.yaml").write_text(text)
    monkeypatch.setattr(Context, "live", live)
    return Context(folder, "dev")


def test_the_live_fleet_counts_and_not_the_edges_of_another_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = "organization/srs/dev", "organization/srs/prod"
    live = FakeLive(r5=(40, "1", own), r6=(20, "1/2", own), blue=(9, "1", other), article=(2, "1", ""))
    scaled = context(tmp_path, SCALED, monkeypatch, live)
    assert live_edges(scaled, scaled.read_file()) == 40
    fixed = context(tmp_path, FIXED, monkeypatch, live)
    assert live_edges(fixed, fixed.read_file()) is None
    empty = context(tmp_path, SCALED, monkeypatch, FakeLive())
    assert live_edges(empty, empty.read_file()) is None


@pytest.mark.parametrize(("live", "edges"), [(40, 40), (None, 4), (2, 4), (90, 60)])
def test_the_size_of_a_fleet_is_the_live_one_between_its_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: int | None, edges: int
) -> None:
    file = context(tmp_path, SCALED, monkeypatch, FakeLive()).read_file()
    assert file.edges.total(live) == edges


def test_the_last_step_of_a_live_fleet_of_40_keeps_4_edges_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = context(tmp_path, SCALED, monkeypatch, FakeLive()).read_file()
    run = new_record(file, "r6", "ossrs/srs:v4.0.6", None, (10, 100))
    assert title(file, run, 0, 40) == "step 1 of 2: 10 % of new viewers to r6 (4 of 40 edges, 10 %)"
    assert title(file, run, 1, 40) == (
        "step 2 of 2: 100 % of new viewers to r6 (36 of 40 edges, 90 % until its analysis has passed)"
    )
    assert step_file(file, run, 1, 40).edges.weights == {"r5": 4, "r6": 36}
    assert step_file(file, run, 1).edges.weights == {"r5": 1, "r6": 3}, "of the smallest fleet"
