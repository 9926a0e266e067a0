"""A bad config on the real engine is rejected with all problems at once, and changes nothing in the cluster.

Covers half of the bad configs of the unit tests: cases that do not hide one another share one stack config,
because a run of the engine takes seconds, and the cases that share theirs with few cases are left to the unit tests,
which read each of them with the same function.
"""

import copy
import json
from typing import Any

import pytest

from bad_configs import BAD_CLOUD_CONFIGS, BAD_CONFIGS, BAD_POD_CONFIGS, GOOD, BadCase
from model.config.read import ConfigError, read_settings
from stack import DevStack


def broken_by(config: dict[str, Any], cases: list[BadCase]) -> dict[str, Any] | None:
    """The config with these cases in it; None if one removes what another one changes."""
    broken = copy.deepcopy(config)
    try:
        for case in cases:
            case.change(broken)
    except (AttributeError, KeyError, TypeError):
        return None
    return broken


def all_show(cases: list[BadCase]) -> bool:
    """Whether each case has its message when all are in one config (a rule between keys needs valid keys)."""
    config = broken_by(GOOD, cases)
    if config is None:
        return False
    try:
        read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})
    except ConfigError as error:
        messages = [str(problem) for problem in error.problems]
        return len(messages) == len(cases) and all(
            any(line.startswith(f"srs:{case.path}: {case.value} ") and case.allowed in line for line in messages)
            for case in cases
        )
    return False


def batches(cases: list[BadCase]) -> list[list[BadCase]]:
    """The cases, grouped into few configs."""
    grouped: list[list[BadCase]] = []
    for case in cases:
        batch = next((batch for batch in grouped if all_show([*batch, case])), None)
        if batch is None:
            grouped.append([case])
        else:
            batch.append(case)
    return grouped


def most(grouped: list[list[BadCase]]) -> list[list[BadCase]]:
    """The largest groups, with half of the cases."""
    missing = sum(map(len, grouped)) // 2
    found = sorted(grouped, key=len)
    while found and (missing := missing - len(found[0])) >= 0:
        found.pop(0)
    return found


def reaches_the_program(case: BadCase) -> bool:
    """Whether the engine can start the program: the config is one variable of it (Linux, MAX_ARG_STRLEN: 128 KiB)."""
    return len(json.dumps(broken_by(GOOD, [case]))) < 100_000


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cases", [BAD_CONFIGS + BAD_POD_CONFIGS, BAD_CLOUD_CONFIGS], ids=["program", "cloud"])
def test_bad_configs_are_rejected_and_change_nothing(stack: DevStack, cases: list[BadCase]) -> None:
    stack.must_update()
    before = stack.snapshot()
    for batch in most(batches([case for case in cases if reaches_the_program(case)])):
        # The valid config of the unit tests, so that each case finds what it breaks; it is never deployed.
        broken = broken_by(GOOD, batch)
        assert broken is not None
        stack.config = broken
        rejected = stack.update()
        assert not rejected.ok, batch
        assert f"the stack config has {len(batch)} problem" in rejected.output, rejected.output
        for case in batch:
            messages = [line for line in rejected.output.splitlines() if f"srs:{case.path}: {case.value} " in line]
            assert any(case.allowed in line for line in messages), rejected.output
        assert "Traceback" not in rejected.output
        assert not rejected.changes
        assert stack.snapshot() == before


def test_a_config_that_is_too_long_for_the_engine_is_rejected_by_the_program(stack: DevStack) -> None:
    """The engine passes it in one environment variable; beyond 128 KiB it cannot start the program."""
    stack.config["edge"]["podAnnotations"] = {"a": "b" * 121_000}
    assert "srs:edge: (a long value) makes the whole config 12" in stack.preview().output
