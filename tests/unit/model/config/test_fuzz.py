"""Mutated stack configs and srs.conf texts are accepted, or rejected with path and reason; never a traceback.

`FUZZ_EXAMPLES=10000` runs more of them.
"""

import copy
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import yaml
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from bad_configs import GOOD, KEDA, NLB, SCALING, SIX, SLB
from model.config.read import ConfigError, conf_files, read_settings
from model.config.stack_warnings import config_warnings
from model.srs.conf import Additions, SrsConf, render_edge, render_origin
from model.srs.directives import NAMES
from model.srs.grammar import parse
from unit.model.srs.conf_tree import tree

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
SLOW = 1.0
"""Seconds of CPU time, so that a busy machine does not count."""

ROOT = Path(__file__).parents[4]


def sample(stack: str) -> dict[str, Any]:
    """The stack config of a sample, by keys without `srs:`."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {key.removeprefix("srs:"): value for key, value in config.items() if key.startswith("srs:")}


SCALED = {"drain": {"timeout": "1h", "keepServing": True}, "releases": SIX}
CONFIGS: list[dict[str, Any]] = [
    GOOD,
    sample("staging"),
    sample("prod"),
    GOOD | {"edge": SCALED | {"autoscaling": SCALING}, "tls": {"secretName": "live-tls"}, "loadBalancer": SLB},
    GOOD | {"edge": SCALED | {"autoscaling": SCALING | KEDA}, "monitoring": {"kind": "podMonitor"}},
    GOOD | {"loadBalancer": NLB, "publish": {"hook": "http://auth/", "from": ["10.0.0.1"]}},
    GOOD
    | {
        "origin": GOOD["origin"]
        | {
            "srs": {"directives": "utc_time on;", "vhostDirectives": "play { gop_cache off; }"},
            "tolerations": [{"key": "pool", "value": "live"}],
            "affinity": {"nodeAffinity": {}},
            "podPatch": {"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}},
            "podAnnotations": {"example.com/a": "b"},
        }
    },
]

CONF = """\
chunk_size 60000; utc_time on; # UTC
http_server { dir ./objs/nginx/html; }
heartbeat { enabled on; interval 9.3; url http://127.0.0.1:8085/api/v1/servers; }
vhost live.example.com {
    play { gop_cache off; queue_length 10; }
    security { enabled on; allow play all; deny publish 10.0.0.1; }
    transcode live { enabled on; ffmpeg ./objs/ffmpeg/bin/ffmpeg; engine ff { enabled on; vparams { t 1; } output x; } }
    http_hooks { enabled on; on_play http://127.0.0.1:8085/api/v1/sessions "http://[::1]/x"; }
    refer { enabled on; all github.com github.io; }
}
"""

WORDS = (
    st.sampled_from(sorted(NAMES))
    | st.sampled_from(["on", "off", "all", "10", "9" * 400, "abc", "{", "}", ";", "'", '"', "#", "\n", "\r", "$(x)"])
    | st.sampled_from(["/", "\x00", "\u2028", "\ud800", "{ a " * 30])
)
TOKENS: Sequence[str] = CONF.split(" ")


@st.composite
def conf_texts(draw: st.DrawFn) -> str:
    """An srs.conf, of which words are replaced, removed, inserted, or moved; or any words."""
    if draw(st.booleans()):
        return " ".join(draw(st.lists(WORDS | st.text(max_size=3), max_size=30)))
    tokens: list[str] = [*TOKENS]
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(tokens) - 1))
        end = start + draw(st.integers(0, 3))
        new = draw(st.lists(WORDS | st.text(max_size=3) | st.sampled_from(TOKENS), max_size=3))
        tokens[start:end] = new
    return " ".join(tokens)


def nested(depth: int) -> Any:
    value: Any = {}
    for level in range(depth):
        value = [value] if level % 2 else {"spec": value}
    return value


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["12h", "1e9", "9" * 400, "NaN", "10Gi", "r5", "ossrs/srs:v4.0.6", "a; b {", "$(x)", "0", ""])
    | st.sampled_from(["\ud800", "\u2028", "\x00", "１２h", "٣", "é", "\U0001f600", "a" * 100_000])
    | st.sampled_from([10**400, -(10**18), 1e308, float("inf"), 0, -0.0, 2**63])
    | st.sampled_from([30, 60, 400]).map(nested),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

MISSING = object()
"""Instead of a value: the key is removed."""


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values of a config."""
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        found += paths(inner, (*path, key))
    return found


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A valid config with one to four mutations: another value, no value, another key, the value of another key."""
    config = copy.deepcopy(draw(st.sampled_from(CONFIGS)))
    for _ in range(draw(st.integers(1, 4))):
        places = paths(config)
        *parents, last = draw(st.sampled_from(places)) if places else ("edge",)
        where = config
        for part in parents:
            where = where[part]
        value = draw(st.just(MISSING) | VALUES | st.sampled_from(places or [("edge",)]))
        if value is MISSING:
            del where[last]
        elif isinstance(value, tuple):
            other: Any = config
            for part in value:
                other = other[part]
            where[last] = copy.deepcopy(other)
        elif isinstance(where, dict) and draw(st.booleans()):
            where[draw(st.text(max_size=8))] = value
        else:
            where[last] = value
    return config


@given(configs())
@hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_mutated_stack_config_is_accepted_or_rejected(config: dict[str, Any]) -> None:
    texts = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    start = time.process_time()
    conf_files(texts)
    try:
        settings = read_settings(texts | {"alicloud:region": "cn-beijing"})
    except ConfigError as error:
        problems = error.problems
    else:
        problems = []
        list(config_warnings(settings))
    assert time.process_time() - start < SLOW
    assert all(problem.path and problem.allowed and problem.reason for problem in problems)


@given(conf_texts(), conf_texts(), conf_texts(), st.sampled_from([(4, 0, 5), (4, 0, 271), (6, 0, 157), (6, 0, 191)]))
@hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_mutated_srs_conf_is_accepted_or_rejected(
    conf: str, directives: str, vhost: str, version: tuple[int, int, int]
) -> None:
    additions = Additions(conf, directives, vhost)
    start = time.process_time()
    confs: list[SrsConf] = [
        render_edge(version, "origin", additions=additions),
        render_origin(version, ["origin"], True, additions=additions),
    ]
    assert time.process_time() - start < SLOW
    for rendered in confs:
        assert all(finding.message and finding.reason for finding in rendered.findings)
        if not rendered.findings:
            read, findings = parse(rendered.text)
            assert not findings
            assert tree(read) == tree(rendered.directives), "SRS reads something else than what was checked"
