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

from bad_configs import ALICLOUD, BAD_CLOUD_CONFIGS, BAD_CONFIGS, GOOD, LOGIN, SLB, BadCase
from model.config import CREDENTIALS, BadConfig, open_credentials, read_settings
from model.settings import StackSettings

ROOT = Path(__file__).parents[3]


def read(config: dict[str, Any]) -> StackSettings:
    return read_settings(ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()})


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


@pytest.mark.parametrize("case", BAD_CONFIGS + BAD_CLOUD_CONFIGS, ids=lambda case: case.path)
def test_bad_config(case: BadCase) -> None:
    with pytest.raises(BadConfig) as refused:
        read(changed(case.change))
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"  - srs:{case.path}: {case.value} "), lines[0]
    assert case.allowed in lines[0]


def test_there_are_enough_bad_configs() -> None:
    assert len(BAD_CONFIGS) >= 40
    assert len(BAD_CLOUD_CONFIGS) >= 30
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
    settings = read_settings(
        {key: value if key.startswith("alicloud:") else json.dumps(value) for key, value in config.items()}
    )
    for share in settings.edge.shares.values():
        assert share.off <= 10


def test_config_of_other_projects_is_left_alone() -> None:
    read_settings({"kubernetes:context": "x"} | {f"srs:{key}": json.dumps(value) for key, value in GOOD.items()})


def values(**change: Any) -> dict[str, str]:
    return ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in (GOOD | change).items()}


@pytest.mark.parametrize("key", CREDENTIALS)
def test_credentials_in_plain_text_are_refused_and_not_shown(key: str) -> None:
    config = values() | {key: "LTAI-not-to-be-seen"}
    with pytest.raises(BadConfig) as refused:
        read_settings(config)
    (problem,) = refused.value.problems
    assert str(problem).startswith(f"{key}: [secret] must not stand in the stack file in plain text")
    assert f"pulumi config set --secret {key}" in str(problem)
    assert "LTAI" not in str(refused.value)
    read_settings(config, [key])


def test_a_registrys_password_in_plain_text_is_refused_and_not_shown() -> None:
    config = values(images={"registry": LOGIN})
    with pytest.raises(BadConfig, match=r"images\.registry\.password: \[secret\] must not stand in the stack file"):
        read_settings(config)
    settings = read_settings(config, ["srs:images"])
    assert LOGIN["password"] not in repr(settings)
    assert LOGIN["password"] not in settings.model_dump_json()
    assert settings.images.registry
    assert settings.images.registry.password.get_secret_value() == LOGIN["password"]


@pytest.mark.parametrize(
    "images",
    [
        {"registry": LOGIN | {"serverr": "x"}},
        {"regstry": LOGIN},
        {"registry": [LOGIN]},
        {"registry": LOGIN["password"]},
        {"registry": {"password": LOGIN["password"]}},
        {"registry": LOGIN | {"password": [LOGIN["password"]]}},
        LOGIN["password"],
    ],
    ids=str,
)
def test_no_message_shows_a_secret(images: Any) -> None:
    with pytest.raises(BadConfig) as refused:
        read_settings(values(images=images), ["srs:images"])
    assert LOGIN["password"] not in str(refused.value)
    # In plain text it is no secret any more, but it still need not be in a log.
    if isinstance(images, dict) and "registry" not in images:
        with pytest.raises(BadConfig) as refused:
            read_settings(values(images=images))
        assert LOGIN["password"] not in str(refused.value)


def test_credentials_of_the_environment_are_warned_of() -> None:
    config = values(loadBalancer=SLB)
    settings = read_settings(config)
    said = open_credentials(settings, config, {"ALIBABA_CLOUD_ACCESS_KEY_ID", "PATH"})
    assert said
    assert "comes from ALIBABA_CLOUD_ACCESS_KEY_ID" in said
    assert "pulumi config set --secret alicloud:accessKey" in said
    assert open_credentials(settings, config, {"PATH"}) is None
    assert open_credentials(settings, config | {CREDENTIALS[0]: "x"}, {"ALICLOUD_ACCESS_KEY"}) is None
    assert open_credentials(read_settings(values()), values(), {"ALICLOUD_ACCESS_KEY"}) is None


def test_the_region_is_part_of_the_config() -> None:
    config = {key: value for key, value in values(loadBalancer=SLB).items() if key not in ALICLOUD}
    with pytest.raises(BadConfig, match=r"alicloud:region: None must name the region.*loadBalancer makes a CLB"):
        read_settings(config)
    read_settings(config | ALICLOUD)
    existing = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}
    read_settings(config | {"srs:loadBalancer": json.dumps(existing)})


def test_hls_on_a_clb() -> None:
    hls = {"enabled": True, "storageClass": "nas", "port": 80}
    read(GOOD | {"loadBalancer": SLB, "hls": hls})
    for wrong, said in (
        (hls | {"port": 1935}, "must not be 1935, 8080 or 1985"),
        (hls | {"enabled": False}, "has no effect while hls.enabled is false"),
    ):
        with pytest.raises(BadConfig, match=said):
            read(GOOD | {"loadBalancer": SLB, "hls": wrong})


def test_one_clb_leads_to_one_service_a_port() -> None:
    existing = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}
    with pytest.raises(BadConfig, match=r"publish\.loadBalancer\.id: 'lb-2ze0001' is the CLB of loadBalancer already"):
        read(GOOD | {"loadBalancer": existing, "publish": {"loadBalancer": existing}})


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
