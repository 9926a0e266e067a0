"""A bad config is rejected before any resource is declared: all problems at once, each with path and value."""

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bad_configs import ALICLOUD, BAD_CLOUD_CONFIGS, BAD_CONFIGS, BAD_POD_CONFIGS, GOOD, LOGIN, SLB, BadCase
from model.config.read import ConfigError, conf_files, read_kubernetes, read_settings
from model.config.stack import StackSettings
from model.config.stack_warnings import config_warnings
from model.desired.context import Kept
from model.desired.render import render
from model.load_balancers.kinds import credentials
from model.srs.versions import RECOMMENDED, parse_version

ROOT = Path(__file__).parents[4]


def read(config: dict[str, Any]) -> StackSettings:
    return read_settings(ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()})


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    config = copy.deepcopy(GOOD)
    change(config)
    return config


def test_a_good_config_is_accepted() -> None:
    settings = read(GOOD)
    assert settings.edge.replicas == 4
    assert list(settings.edge.releases) == ["r5", "r6"]
    assert settings.edge.drain.grace_seconds == 5 + 12 * 3600 + 30
    assert render(settings, Kept(), "a/b/c").release_outputs()["r6"] | {"configHash": "…"} == {
        "image": "ossrs/srs:v4.0.6",
        "deployment": "srs-edge-r6-deploy",
        "replicas": 1,
        "weight": 25,
        "desiredPercent": 25.0,
        "actualPercent": 25.0,
        "configHash": "…",
        "paused": False,
    }


@pytest.mark.parametrize("case", BAD_CONFIGS + BAD_POD_CONFIGS + BAD_CLOUD_CONFIGS, ids=lambda case: case.path)
def test_bad_config(case: BadCase) -> None:
    with pytest.raises(ConfigError) as error:
        read(changed(case.change))
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"  - srs:{case.path}: {case.value} "), lines[0]
    assert case.allowed in lines[0]


@pytest.mark.parametrize(
    ("tag", "directives", "hls", "warns"),
    [
        ("v6.0.129", "hls_dispose 60;", True, False),
        ("v6.0.157", "hls_dispose 60;", True, True),
        ("v6.0.157", "hls_window 30;", True, False),  # the cleaner deletes them
        ("v6.0.157", "hls_dispose 60;", False, False),
    ],
)
def test_origins_that_keep_the_files_of_hls_are_a_warning(tag: str, directives: str, hls: bool, warns: bool) -> None:
    config = copy.deepcopy(GOOD) | {"hls": {"enabled": hls, "storageClass": "nas"} if hls else {"enabled": False}}
    vhost = f"hls {{ {directives} }}" if hls else ""
    config["origin"] = GOOD["origin"] | {"image": f"ossrs/srs:{tag}", "srs": {"vhostDirectives": vhost}}
    found = [warning for warning in config_warnings(read(config)) if "#4161" in warning]
    assert bool(found) == warns
    assert not found or found[0].startswith(f"SRS {tag[1:]} (origins): it never deletes the HLS files")


def test_known_defects_of_the_edges_are_warnings() -> None:
    def release(image: str, weight: int = 1) -> dict[str, Any]:
        return {"image": image, "weight": weight}

    def warnings(**releases: dict[str, Any]) -> list[str]:
        return list(config_warnings(read(GOOD | {"edge": GOOD["edge"] | {"releases": releases}})))

    full, late = warnings(
        r5=release("ossrs/srs:v6.0-r0"), r6=release("ossrs/srs:v6.0-r0"), r7=release("ossrs/srs:v4.0.6")
    )
    assert "maxConnections accepts no new one until it restarts (ossrs/srs #4613)" in full
    assert late == (
        "SRS 6.0.184 (edge release r5, r6): only the first viewer of a stream on each edge sees it: the other viewers "
        "receive no codec configuration (ossrs/srs #4677); fixed in 6.0.186, use v6.0-r1 (SRS 6.0.191)"
    )
    assert warnings(r5=release("ossrs/srs:v6.0-r1"), r6=release("ossrs/srs:v6.0-r0", 0)) == [], "r6 has no viewers"


def test_origins_that_few_streams_fill_are_a_warning() -> None:
    def warnings(limit: int) -> list[str]:
        return list(
            config_warnings(read(GOOD | {"origin": GOOD["origin"] | {"replicas": 3, "srs": {"maxConnections": limit}}}))
        )

    assert warnings(60) == []  # 3 * 60 connections, 9 for each stream
    (warning,) = warnings(59)
    assert warning.startswith(
        "3 origins with maxConnections 59 can serve about 19 streams while 4 edges with all of them roll "
    )
    assert warning.endswith("raise srs:origin.srs.maxConnections")


def test_pods_that_end_before_the_nodes_know_are_a_warning() -> None:
    def warnings(role: str, deregister: str, timeout: str) -> list[str]:
        drain = {"deregister": deregister, "timeout": timeout}
        return list(config_warnings(read(GOOD | {role: GOOD[role] | {"drain": drain}})))

    for role, effect in {"edge": "refused", "origin": "without an answer: "}.items():
        assert warnings(role, "3s", "1h") == []
        (warning,) = warnings(role, "2s", "1h")
        assert warning.startswith(f"srs:{role}.drain.deregister: 2s may be too short: ")
        assert f"for up to 3s after its deletion, and they would be {effect}" in warning
    assert warnings("origin", "0s", "0s") == [], "no drain"


@pytest.mark.parametrize("stack", ["staging", "prod"])
def test_the_samples_use_the_recommended_version(stack: str) -> None:
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    for settings in (config["srs:origin"], *config["srs:edge"]["releases"].values()):
        assert parse_version(settings["image"].rpartition(":")[2]) == RECOMMENDED


def test_bad_configs_are_different() -> None:
    assert len({(case.path, case.value, case.allowed) for case in BAD_CONFIGS}) == len(BAD_CONFIGS)


def test_all_problems_are_reported_at_once() -> None:
    def change(config: dict[str, Any]) -> None:
        config["edge"]["releases"]["r6"]["weight"] = -1
        config["edge"]["replicas"] = "many"
        config["origin"]["image"] = "ossrs/srs:latest"
        config["hsl"] = {}

    with pytest.raises(ConfigError, match="has 4 problems; nothing was changed") as error:
        read(changed(change))
    assert [problem.path[0] for problem in error.value.problems] == ["edge", "edge", "hsl", "origin"]


def committed_stacks() -> list[Path]:
    """The stack files that Git knows: an operator may have more of them in the checkout."""
    listed = subprocess.run(["git", "ls-files", "Pulumi.*.yaml"], cwd=ROOT, capture_output=True, text=True, check=False)
    return sorted(ROOT / name for name in listed.stdout.split()) or sorted(ROOT.glob("Pulumi.*.yaml"))


@pytest.mark.parametrize("file", committed_stacks(), ids=lambda file: file.name)
def test_the_committed_stacks_are_good(file: Path) -> None:
    config = yaml.safe_load(file.read_text())["config"]
    settings = read_settings(
        {key: value if key.startswith("alicloud:") else json.dumps(value) for key, value in config.items()}
    )
    for share in settings.edge.shares.values():
        assert share.deviation <= 10


def test_config_of_other_projects_is_ignored() -> None:
    read_settings({"kubernetes:context": "x"} | {f"srs:{key}": json.dumps(value) for key, value in GOOD.items()})


def values(**change: Any) -> dict[str, str]:
    return ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in (GOOD | change).items()}


@pytest.mark.parametrize("key", credentials())
def test_credentials_in_plain_text_are_rejected_and_redacted(key: str) -> None:
    config = values() | {key: "LTAI-secret"}
    with pytest.raises(ConfigError) as error:
        read_settings(config)
    (problem,) = error.value.problems
    assert str(problem).startswith(f"{key}: [secret] must not be in the stack file in plain text")
    assert "set the environment variable ALICLOUD_" in str(problem)
    assert "LTAI" not in str(error.value)
    read_settings(config, [key])


def test_a_registrys_password_in_plain_text_is_rejected_and_redacted() -> None:
    config = values(images={"registry": LOGIN})
    with pytest.raises(ConfigError, match=r"images\.registry\.password: \[secret\] must not be in the stack file"):
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
def test_no_message_contains_a_secret(images: Any) -> None:
    with pytest.raises(ConfigError) as error:
        read_settings(values(images=images), ["srs:images"])
    assert LOGIN["password"] not in str(error.value)
    # In plain text it is not a secret any more, but must not be in a log either.
    if isinstance(images, dict) and "registry" not in images:
        with pytest.raises(ConfigError) as error:
            read_settings(values(images=images))
        assert LOGIN["password"] not in str(error.value)


def test_the_region_is_part_of_the_config() -> None:
    config = {key: value for key, value in values(loadBalancer=SLB).items() if key not in ALICLOUD}
    with pytest.raises(ConfigError, match=r"region: .absent. must name the region.*loadBalancer creates a CLB"):
        read_settings(config)
    read_settings(config | ALICLOUD)
    existing = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}
    read_settings(config | {"srs:loadBalancer": json.dumps(existing)})


def test_an_srs_conf_from_a_file() -> None:
    edge = copy.deepcopy(GOOD["edge"])
    edge["releases"]["r5"]["srs"] = {"conf": "conf/edge.conf"}
    edge["releases"]["r6"]["srs"] = {"conf": "utc_time on;"}
    config = values(edge=edge, origin=GOOD["origin"] | {"srs": {"conf": "../origin.conf"}})
    assert conf_files(config) == {"conf/edge.conf", "../origin.conf"}
    files = {"conf/edge.conf": "# edges\nutc_time off;\n", "../origin.conf": "utc_time on;\nlisten 1;"}
    with pytest.raises(ConfigError) as error:
        read_settings(config, files=files)
    assert str(error.value).splitlines()[1:] == [
        "  - srs:origin.srs.conf: 'listen 1;' must not set 'listen': edges and origins listen on 1935 "
        "(../origin.conf, line 2)"
    ]
    settings = read_settings(config, files=files | {"../origin.conf": "utc_time on;"})
    assert "utc_time off;" in settings.srs_confs.edges["r5"].text
    assert "utc_time on;" in settings.srs_confs.edges["r6"].text
    assert conf_files({"srs:edge": "[]", "srs:origin": json.dumps({"srs": {"conf": 1}})}) == set()


def test_hls_on_a_clb() -> None:
    hls = {"enabled": True, "storageClass": "nas", "port": 80}
    read(GOOD | {"loadBalancer": SLB, "hls": hls})
    for wrong, message in (
        (hls | {"port": 1935}, "must not be 1935, 8080 or 1985"),
        (hls | {"enabled": False}, "has no effect while hls.enabled is false"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(GOOD | {"loadBalancer": SLB, "hls": wrong})


def test_a_listener_of_a_clb_leads_to_one_service() -> None:
    existing = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}
    with pytest.raises(ConfigError, match=r"publish\.loadBalancer\.id: 'lb-2ze0001' is already the CLB"):
        read(GOOD | {"loadBalancer": existing, "publish": {"loadBalancer": existing}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    nested = (
        [child for key, inner in value.items() for child in paths(inner, (*path, key))] if type(value) is dict else []
    )
    return [path, *nested] if path else nested


@given(path=st.sampled_from(paths(GOOD)), value=json_values)
def test_any_value_anywhere_is_accepted_or_rejected_with_its_path(path: tuple[str, ...], value: Any) -> None:
    config = copy.deepcopy(GOOD)
    where = config
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    try:
        read(config)
    except ConfigError as error:
        named = {problem.path[0] for problem in error.problems}
    else:
        return
    # A rule between keys may name a key next to the changed one, never one in another map.
    assert named == {path[0]}


def test_the_cluster_of_a_stack_is_found_whatever_else_is_in_its_config() -> None:
    config = {"srs:kubernetes": json.dumps(GOOD["kubernetes"]), "srs:edge": "[secret]", "srs:nonsense": "x"}
    assert read_kubernetes(config).namespace == read(GOOD).kubernetes.namespace
    with pytest.raises(ConfigError, match=r"srs:kubernetes\.clusterId: \(absent\) is required"):
        read_kubernetes({"srs:kubernetes": "{}"})


def test_a_stack_without_a_kubeconfig_names_the_context() -> None:
    assert read_kubernetes({"srs:kubernetes": '{"context": "a", "clusterId": "c"}'}).kubeconfig is None
    with pytest.raises(ConfigError, match=r"srs:kubernetes\.kubeconfig: \(absent\) is required, or context"):
        read_kubernetes({"srs:kubernetes": '{"clusterId": "c"}'})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ' * 5000 + "1" + "}" * 5000, 'srs:edge: \'{"a": '),
        (
            '{"a": ' * 100 + "1" + "}" * 100,
            "srs:edge: (a deep value) must have at most 40 maps and lists in each other",
        ),
        ('{"a": ["\\ud800"]}', "srs:edge: (a text) must be Unicode"),
        (json.dumps({"a": "<" * 20_000}), "srs:edge: (a long value) makes the whole config 120"),
        (f'{{"replicas": {"9" * 5000}}}', 'srs:edge: \'{"replicas": 9'),
    ],
)
def test_a_value_that_is_too_deep_or_too_long_is_a_problem(text: str, message: str) -> None:
    """Python's JSON and every walk of a value would otherwise end in a RecursionError."""
    config = {f"srs:{key}": json.dumps(value) for key, value in GOOD.items()} | {"srs:edge": text}
    conf_files(config)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_settings(config)


def test_a_deep_pod_patch_is_a_problem() -> None:
    """Within the limit, the schema of Kubernetes rejects it."""
    patch: dict[str, Any] = {}
    for _ in range(30):
        patch = {"spec": patch}
    config = copy.deepcopy(GOOD)
    config["edge"]["releases"]["r6"]["podPatch"] = patch
    with pytest.raises(ConfigError, match="podPatch"):
        read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})


def test_a_message_lists_at_most_a_hundred_problems() -> None:
    config = {f"srs:{key}": json.dumps(value) for key, value in GOOD.items()}
    with pytest.raises(ConfigError, match="has 251 problems") as error:
        read_settings(config | {f"srs:key{index}": "1" for index in range(251)})
    assert str(error.value).endswith("\n  and 151 more")
