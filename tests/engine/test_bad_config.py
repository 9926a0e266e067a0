"""Bad config on the real engine: refused with every error at once, non-zero exit, the cluster unchanged.

Every bad config of the unit tests is here as well. Those that do not hide one another are put into one stack
config, because an engine run takes seconds and the promise is that all errors come at once.
"""

import copy
from typing import Any

import pytest

from bad_configs import BAD_CONFIGS, BadCase
from stack import DevStack


def batches() -> list[list[BadCase]]:
    """The cases in as few configs as possible; no two of one config below the same release, or one below the other."""
    made: list[list[BadCase]] = []
    for case in BAD_CONFIGS:
        for batch in made:
            if not any(_hide(case.path, other.path) for other in batch):
                batch.append(case)
                break
        else:
            made.append([case])
    return made


def _hide(one: str, other: str) -> bool:
    """Rules between the keys of one map are checked when each key by itself is right: so one case a top-level key."""
    return one.split(".")[0] == other.split(".")[0]


def test_every_case_is_in_a_batch() -> None:
    assert sum(len(batch) for batch in batches()) == len(BAD_CONFIGS) >= 40


def test_bad_configs_are_refused_and_change_nothing(stack: DevStack) -> None:
    good: dict[str, Any] = copy.deepcopy(stack.config)
    stack.must_up()
    before = stack.snapshot()
    for batch in batches():
        stack.config = copy.deepcopy(good)
        for case in batch:
            case.change(stack.config)
        refused = stack.up()
        assert not refused.ok, batch
        for case in batch:
            line = f"srs:{case.path}: {case.value} "
            assert line in refused.output, refused.output
            assert case.allowed in refused.output.split(line, 1)[1].splitlines()[0], refused.output
        assert "Traceback" not in refused.output
        assert set(refused.changes) == set(), refused.changes
        assert stack.snapshot() == before
