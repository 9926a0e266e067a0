"""A step as an edit, and its inverse on a file that was changed meanwhile."""

from pathlib import Path

import pytest

from rollout.canary.steps import new_record, reverted, step_file, written
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
