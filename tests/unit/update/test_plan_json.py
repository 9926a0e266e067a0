"""The JSON of a plan has the committed schema."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from cluster.state import LiveState
from model.config.problems import Problem
from model.config.read import ConfigError
from unit.update.live_objects import nothing, planned, rendered, settings, state_after
from update import plan_json
from update.plan_json import PlanDocument, RejectedPlan

ROOT = Path(__file__).parents[3]


def test_the_schema_is_that_of_the_docs() -> None:
    assert (ROOT / "docs/plan.schema.json").read_text() == json.dumps(plan_json.schema(), indent=1) + "\n", (
        "run `make docs`"
    )


@pytest.mark.parametrize("state", [nothing(), state_after(settings(origin__replicas=3))])
def test_a_plan_has_the_schema(state: LiveState) -> None:
    desired = settings()
    document = plan_json.document(planned(desired, state), rendered(desired, state), state)
    adapter = TypeAdapter(PlanDocument)
    assert adapter.validate_json(json.dumps(document), strict=True) == document
    with pytest.raises(ValidationError):
        adapter.validate_python(document | {"unknown": 1})


def test_a_rejection_has_the_schema() -> None:
    text, document = plan_json.failure(ConfigError([Problem(("edge",), 1, "must be a map", reason="NoMap")]))
    assert TypeAdapter(RejectedPlan).validate_python(document) == document
    assert document["rejections"][0]["reason"] == "NoMap"
    assert document["rejections"][0]["message"] in text
    assert plan_json.failure(OSError("down"))[1]["rejections"] == [{"reason": "OSError", "message": "down"}]
