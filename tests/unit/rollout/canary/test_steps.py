"""A step as an edit, and its inverse on a file that was changed meanwhile."""

from pathlib import Path

import pytest

from rollout.canary.steps import (
    edges_at_pause,
    last_file,
    new_record,
    preview_file,
    reverted,
    step_file,
    title,
    written,
)
from rollout.command import CommandRejectedError
from rollout.stack.stack_file import StackFile

BEFORE = """\
config:
  srs:edge:
    replicas: 40  # all
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100}  # stable
"""


def stack_file(text: str) -> StackFile:
    return StackFile(Path("Pulumi.dev.yaml"), text.encode())


def test_a_revert_keeps_what_others_have_changed() -> None:
    before = stack_file(BEFORE)
    record = new_record(before, "r6", "ossrs/srs:v4.0.6", None, (25, 100))
    edited = step_file(before, record, 0)
    record = record.model_copy(update=written(edited, record))
    evening = stack_file(edited.content.decode().replace("replicas: 40", "replicas: 60"))
    assert reverted(evening, record) == (stack_file(BEFORE.replace("40", "60")), [])
    assert reverted(edited, record)[0].content == before.content


def test_a_revert_in_a_checkout_without_the_canary_changes_nothing() -> None:
    before = stack_file(BEFORE)
    record = new_record(before, "r6", "ossrs/srs:v4.0.6", None, (25,))
    record = record.model_copy(update=written(step_file(before, record, 0), record))
    assert reverted(before, record) == (before, [])


def test_a_changed_weight_and_a_changed_canary_stay() -> None:
    before = stack_file(BEFORE)
    record = new_record(before, "r6", "ossrs/srs:v4.0.6", None, (25,))
    edited = step_file(before, record, 0)
    record = record.model_copy(update=written(edited, record))
    by_hand = edited.with_releases({"r5": {"weight": 60}, "r6": {"resources": {"cpu": 1}}})
    file, notes = reverted(by_hand, record)
    assert file.edges.weights == {"r5": 60, "r6": 0}, "the canary has no viewers in any case"
    assert file.releases["r6"]["resources"] == {"cpu": 1}
    assert len(notes) == 2


def test_a_release_that_existed_gets_back_what_the_run_has_changed() -> None:
    text = BEFORE + '      r6: {image: "ossrs/srs:v4.0.4", version: 4.0.4, weight: 0, srs: {conf: old.conf}}\n'
    before = stack_file(text)
    record = new_record(before, "r6", "ossrs/srs:v4.0.6", "new.conf", (25,))
    edited = step_file(before, record, 0)
    assert edited.releases["r6"]["srs"] == {"conf": "new.conf"}
    record = record.model_copy(update=written(edited, record))
    assert reverted(edited, record)[0].releases == before.releases
    conf = edited.with_releases({"r6": {"srs": {"conf": "theirs.conf"}}})
    assert reverted(conf, record)[0].releases["r6"] == {
        "image": "ossrs/srs:v4.0.4",
        "version": "4.0.4",
        "weight": 0,
        "srs": {"conf": "theirs.conf"},
    }


def test_a_step_needs_the_releases_that_the_run_began_with() -> None:
    record = new_record(stack_file(BEFORE), "r6", "ossrs/srs:v4.0.6", None, (25,))
    other = stack_file(BEFORE.replace("r5", "r4"))
    with pytest.raises(CommandRejectedError, match="has no release r5"):
        step_file(other, record, 0)


def test_the_only_release_is_updated_in_place() -> None:
    before = stack_file(BEFORE)
    record = new_record(before, "r5", "ossrs/srs:v4.0.6", None, (10, 25, 100))
    assert record.in_place
    assert not new_record(before, "r6", "ossrs/srs:v4.0.6", None, (10,)).in_place
    previewed = preview_file(before, record)
    assert previewed.releases["r5-preview"]["image"] == "ossrs/srs:v4.0.6"
    assert previewed.releases["r5"] == before.releases["r5"]
    edited = step_file(previewed, record, 0)
    assert edited.content.decode() == BEFORE.replace("v4.0.5", "v4.0.6")
    assert step_file(edited, record, 2) == last_file(edited, record) == edited
    assert [edges_at_pause(40, percent) for percent in record.steps] == [4, 10, 36]
    assert title(edited, record, 0) == (
        "step 1 of 3: 10 % of new viewers to r5 in place (paused at 4 or more new edges of 40)"
    )
    record = record.model_copy(update=written(edited, record))
    evening = stack_file(edited.content.decode().replace("replicas: 40", "replicas: 60"))
    assert reverted(evening, record) == (stack_file(BEFORE.replace("40", "60")), [])


def test_an_update_in_place_needs_a_change_and_an_edge_of_the_earlier_revision() -> None:
    before = stack_file(BEFORE)
    with pytest.raises(CommandRejectedError, match="r5 is the only release, and would stay as it is"):
        new_record(before, "r5", "ossrs/srs:v4.0.5", None, (10,))
    one = stack_file(BEFORE.replace("40", "1"))
    with pytest.raises(CommandRejectedError, match="the fleet has 1 edge: a canary needs one edge besides 1 edge"):
        step_file(one, new_record(one, "r5", "ossrs/srs:v4.0.6", None, (10,)), 0)
    record = new_record(before, "r5", "ossrs/srs:v4.0.6", None, (10,))
    with pytest.raises(CommandRejectedError, match="has no release r5, which the run began with"):
        step_file(before.with_releases({"r6": {"image": "x", "weight": 1}, "r5": None}), record, 0)
