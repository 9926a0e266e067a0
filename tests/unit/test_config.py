"""A bad config is refused before any resource is declared: all errors at once, each with its path and value."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bad_configs import BAD_CONFIGS, GOOD, BadCase
from model.config import BadConfig, read_settings
from model.settings import StackSettings

ROOT = Path(__file__).parents[2]


def read(config: dict[str, Any]) -> StackSettings:
    return read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    config = copy.deepcopy(GOOD)
    change(config)
    return config


def test_a_good_config_is_read() -> None:
    settings = read(GOOD)
    assert settings.edge.replicas == 4
    assert list(settings.edge.releases) == ["r5", "r6"]
    assert settings.edge.drain.grace_seconds == 5 + 12 * 3600 + 30
    assert settings.outputs()["r6"] | {"configHash": "…"} == {
        "image": "ossrs/srs:v4.0.6",
        "deployment": "srs-edge-r6-deploy",
        "replicas": 1,
        "weight": 25,
        "wishedPercent": 25.0,
        "realPercent": 25.0,
        "configHash": "…",
        "paused": False,
    }


@pytest.mark.parametrize("case", BAD_CONFIGS, ids=lambda case: case.path)
def test_bad_config(case: BadCase) -> None:
    with pytest.raises(BadConfig) as refused:
        read(changed(case.change))
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"  - srs:{case.path}: {case.value} "), lines[0]
    assert case.allowed in lines[0]


def test_there_are_enough_bad_configs() -> None:
    assert len(BAD_CONFIGS) >= 40
    assert len({(case.path, case.value) for case in BAD_CONFIGS}) == len(BAD_CONFIGS)


def test_all_errors_come_at_once() -> None:
    def change(config: dict[str, Any]) -> None:
        config["edge"]["releases"]["r6"]["weight"] = -1
        config["edge"]["replicas"] = "many"
        config["origin"]["image"] = "ossrs/srs:latest"
        config["hsl"] = {}

    with pytest.raises(BadConfig, match="has 4 problems; nothing was changed") as refused:
        read(changed(change))
    assert [problem.path[0] for problem in refused.value.problems] == ["edge", "edge", "hsl", "origin"]


@pytest.mark.parametrize("file", sorted(ROOT.glob("Pulumi.*.yaml")), ids=lambda file: file.name)
def test_the_committed_stacks_are_good(file: Path) -> None:
    config = yaml.safe_load(file.read_text())["config"]
    settings = read_settings({key: json.dumps(value) for key, value in config.items()})
    for share in settings.edge.shares.values():
        assert share.off <= 10


def test_config_of_other_projects_is_left_alone() -> None:
    read_settings({"kubernetes:context": "x"} | {f"srs:{key}": json.dumps(value) for key, value in GOOD.items()})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = [each for key, inner in value.items() for each in paths(inner, (*path, key))] if type(value) is dict else []
    return [path, *below] if path else below


@given(path=st.sampled_from(paths(GOOD)), value=json_values)
def test_any_value_anywhere_is_read_or_refused_with_its_path(path: tuple[str, ...], value: Any) -> None:
    config = copy.deepcopy(GOOD)
    where = config
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    try:
        read(config)
    except BadConfig as refused:
        blamed = {problem.path[0] for problem in refused.problems}
    else:
        return
    # A rule between keys may point at a key beside the one that was changed, never at another map.
    assert blamed == {path[0]}
