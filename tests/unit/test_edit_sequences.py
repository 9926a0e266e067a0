"""The generated sequences of edits cover every key of the stack config, and are legal where they must be."""

import re

from hypothesis import given, settings

from docgen.config_reference import config_reference
from edit_sequences import (
    COVERED,
    LEFT_OUT,
    VALUES,
    Edit,
    Interrupted,
    Model,
    Rejected,
    Revert,
    Step,
    changed,
    is_legal,
    sequences,
)


def documented_keys() -> set[str]:
    """The keys of docs/config.md, such as `loadBalancer(nodePort).host`; items of a list with their list.

    A map of any names is a key, such as `secrets`.
    """
    keys: set[str] = set()
    section = kind = ""
    for line in config_reference().splitlines():
        if match := re.match(r"## `srs:(\w+)`", line):
            section, kind = match[1], ""
            keys.add(section)
        elif match := re.match(r"### `kind: (\w+)`", line):
            kind = f"({match[1]})"
        elif match := re.match(r"\| `([^`]+)` \|", line):
            keys.discard(section)
            keys.add(f"{section}{kind}.{match[1]}")
    return {key for key in keys if "[]" not in key}


def test_every_key_of_the_config_is_edited_or_left_out_for_a_reason() -> None:
    left_out = {key for key in documented_keys() if key.startswith(tuple(LEFT_OUT))}
    edited = set(VALUES) | set(COVERED)
    assert edited | left_out == documented_keys()
    assert not edited & left_out
    assert not set(VALUES) & set(COVERED)
    assert all(any(key.startswith(prefix) for key in left_out) for prefix in LEFT_OUT)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(sequence=sequences(6))
def test_every_generated_config_is_legal(sequence: list[Step]) -> None:
    model = Model()
    assert is_legal(model.config)
    for step in sequence:
        before = model.config
        model.apply(step)
        assert is_legal(model.config)
        if isinstance(step, Edit | Interrupted | Revert):
            assert model.config != before
        if isinstance(step, Rejected):
            assert changed(before, step.changes) != before
