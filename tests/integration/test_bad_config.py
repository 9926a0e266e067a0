"""Bad config on the real engine: refused with every error at once, non-zero exit, the cluster unchanged.

Every bad config of the unit tests is here as well. Those that do not hide one another are put into one stack
config: an engine run takes seconds, and the promise is that all errors come at once.
"""

import copy
import json
from typing import Any

import pytest

from bad_configs import BAD_CLOUD_CONFIGS, BAD_CONFIGS, GOOD, BadCase
from model.config import BadConfig, read_settings
from stack import DevStack


def broken_by(config: dict[str, Any], cases: list[BadCase]) -> dict[str, Any] | None:
    """The config with these cases in it, None if one takes away what another one changes."""
    broken = copy.deepcopy(config)
    try:
        for case in cases:
            case.change(broken)
    except (KeyError, TypeError):
        return None
    return broken


def all_show(cases: list[BadCase]) -> bool:
    """Whether each of the cases is told of when all are in one config (a rule between keys needs right keys)."""
    config = broken_by(GOOD, cases)
    if config is None:
        return False
    try:
        read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})
    except BadConfig as refused:
        told = [str(problem) for problem in refused.problems]
        return len(told) == len(cases) and all(
            any(line.startswith(f"srs:{case.path}: {case.value} ") and case.allowed in line for line in told)
            for case in cases
        )
    return False


def batches(cases: list[BadCase]) -> list[list[BadCase]]:
    """The cases in few configs."""
    made: list[list[BadCase]] = []
    for case in cases:
        batch = next((batch for batch in made if all_show([*batch, case])), None)
        if batch is None:
            made.append([case])
        else:
            batch.append(case)
    return made


@pytest.mark.parametrize("cases", [BAD_CONFIGS, BAD_CLOUD_CONFIGS], ids=["program", "cloud"])
def test_bad_configs_are_refused_and_change_nothing(stack: DevStack, cases: list[BadCase]) -> None:
    stack.must_up()
    before = stack.snapshot()
    tried = 0
    for batch in batches(cases):
        # The good config of the unit tests, so that each case finds what it breaks; it is never brought about.
        broken = broken_by(GOOD, batch)
        assert broken is not None
        stack.config = broken
        refused = stack.up()
        assert not refused.ok, batch
        assert f"the stack config has {len(batch)} problem" in refused.output, refused.output
        for case in batch:
            told = [line for line in refused.output.splitlines() if f"srs:{case.path}: {case.value} " in line]
            assert told, refused.output
            assert any(case.allowed in line for line in told), refused.output
        assert "Traceback" not in refused.output
        assert not refused.changes
        assert stack.snapshot() == before
        tried += len(batch)
    assert tried == len(cases) >= 30
