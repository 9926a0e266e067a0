"""Texts of the stack config are rejected with path and reason, or end up as data: they never become a command of a
shell, a directive of srs.conf, or a part of a PromQL expression. `FUZZ_EXAMPLES=10000` tries more of them.
"""

import copy
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
from hypothesis import example, given
from hypothesis import strategies as st

from bad_configs import GOOD, SIX, Config
from cluster.state import LiveState
from model.config.read import ConfigError, read_settings
from model.desired.render import Desired, render
from model.srs.conf_file import resolve
from model.srs.grammar import parse
from model.srs.grammar import render as render_conf
from unit.model.srs.conf_tree import tree
from update.kept import read_kept

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "50"))

NASTY = [
    *("'; touch /x; '", "$(touch /x)", "`touch /x`", '"; touch /x; "', "a && b", "| sh", "\\", "$((1))", "!!", "-x"),
    *("; enabled off; ", "} vhost x { enabled off; } #", "'", '"', "{", "# x", "a\nenabled off;", "\r\nenabled off;"),
    *("# x\u2028enabled off;", "# x\renabled off;", "# x\x0benabled off;", "# x\x85enabled off;", "include /x;"),
    *('"} or vector(1) #', ") or vector(1)", '{{ printf "%s" . }}', "$labels.pod", ",", '=~".+"', "=", ":", "/../.."),
    *("x: &a [*a]", "- x\n- y", "!!python/object:os.system", "---\n", "yes", "0x10", "{x: y}", "%{x}", "{0}", "{x!r}"),
    *("\x00", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "😀", "é", " ", "\t", "\u00a0", "a" * 5000, "１", "٣"),
]

ORIGIN: Config = GOOD["origin"] | {
    "image": "ossrs/srs:v6.0.191",
    "srs": {"directives": "utc_time on; # UTC", "vhostDirectives": "play { gop_cache off; }"}
    | {"conf": "inotify_auto_reload off;"},
    "podAnnotations": {"example.com/a": "b"},
    "nodeSelector": {"pool": "live"},
    "tolerations": [{"key": "pool", "value": "live", "effect": "NoSchedule"}],
    "priorityClass": "live",
}
RELEASE: Config = SIX["r6"] | {
    "srs": {"vhostDirectives": "tcp_nodelay on; # now"},
    "podAnnotations": {"example.com/a": "b"},
    "podPatch": {"metadata": {"labels": {"team": "live"}}},
}
SCALING: Config = {"minimum": 4, "maximum": 60, "metric": "connections", "target": 400} | {
    "prometheus": "http://prometheus:9090",
    "query": 'sum(srs_clients{role="edge"})',
    "authentication": "login",
}
EDGE: Config = {
    "drain": {"deregister": "5s", "timeout": "12h", "keepServing": True},
    "releases": {"r6": RELEASE},
    "autoscaling": SCALING,
    "schedulerName": "mine",
}
FULL: Config = GOOD | {
    "origin": ORIGIN,
    "edge": EDGE,
    "tls": {"secretName": "live-tls"},
    "monitoring": {"kind": "podMonitor", "namespace": "monitoring", "labels": {"release": "prometheus"}},
    "publish": {"hook": "http://auth/publish?key=$(key)", "from": ["10.0.0.0/8"]},
    "secrets": {"key": "s3cret"},
    "images": {
        "mirror": "docker.m.daocloud.io",
        "pullSecrets": ["mine"],
        "registry": {"server": "registry.example.com", "username": "me", "password": "hidden"},
    },
    "hls": {"enabled": True, "storageClass": "rwx", "size": "10Gi", "resources": {"cpu": "2", "memory": "64Mi"}},
    "demo": {"enabled": True, "source": "./doc/source.flv", "stream": "live/demo"},
    "loadBalancer": {
        "kind": "service",
        "drainCeiling": "none",
        "externalTrafficPolicy": "Local",
        "annotations": {"example.com/a": "b"},
        "service": "srs-edge-service",
        "sourceRanges": ["10.0.0.0/8"],
    },
}
"""A config with most of the keys that take a text."""


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all texts; one that ends with None is of the key itself."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from texts(inner, (*path, key))
        if isinstance(key, str) and path:
            yield (*path, key, None)


def changed(path: tuple[Any, ...], form: str, text: str) -> dict[str, Any]:
    """FULL with a text in one place. form: `{old}` and `{new}` in their order."""
    config = copy.deepcopy(FULL)
    *parents, last = path[:-1] if path[-1] is None else path
    where = config
    for part in parents:
        where = where[part]
    value = where.pop(last) if path[-1] is None else where[last]
    old = last if path[-1] is None else value
    new = form.replace("{old}", old).replace("{new}", text)
    where[new if path[-1] is None else last] = value if path[-1] is None else new
    return config


def rendered(config: dict[str, Any]) -> Desired:
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    settings = read_settings(values, ["srs:secrets", "srs:images"])
    return render(settings, read_kept(settings, LiveState(), "key"), "organization/srs/test")


BASE = rendered(FULL)


def scripts(desired: Desired) -> Iterator[str]:
    """All that a shell runs, with N for numbers."""

    def visit(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            command = [*value.get("command", ()), *value.get("args", ())]
            if command and command[0].rpartition("/")[2] in ("sh", "bash"):
                yield re.sub(r"\d+", "N", command[-1])
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from visit(inner)

    for item in desired.objects.values():
        yield from visit(item.manifest)


def specs(desired: Desired) -> list[dict[str, Any]]:
    return [item.manifest.get("spec", {}) for item in desired.objects.values()]


def rules(desired: Desired) -> list[str]:
    """The expressions of the alert rules, with N for numbers and "" for quoted texts."""
    found = [rule["expr"] for spec in specs(desired) for group in spec.get("groups", ()) for rule in group["rules"]]
    return sorted(re.sub(r"\d+", "N", re.sub(r'"(\\.|[^"\\])*"', '""', expression)) for expression in found)


def queries(desired: Desired) -> list[str]:
    """The queries of the autoscalers."""
    return [trigger["metadata"]["query"] for spec in specs(desired) for trigger in spec.get("triggers", ())]


def query_of(desired: Desired) -> str:
    scaling = desired.settings.edge.autoscaling
    assert scaling is not None
    assert scaling.query is not None
    return scaling.query


def check(desired: Desired) -> None:
    """Whether everything but data is as without the text."""
    kinds = [sorted(item.kind for item in state.objects.values()) for state in (desired, BASE)]
    assert kinds[0] == kinds[1]

    for command in set(scripts(desired)) - set(scripts(BASE)):  # of the demo, the only one with a text of the config
        assert re.fullmatch(
            r"while true; do ffmpeg -re -i '[^']+' -c copy -f flv rtmp://[a-zN.-]+:N/[\w/-]+; sleep N; done", command
        )

    assert rules(desired) == rules(BASE)
    assert queries(desired) == [query.replace(query_of(BASE), query_of(desired)) for query in queries(BASE)]

    settings = desired.settings
    confs = [settings.srs_confs.origin, *settings.srs_confs.edges.values()]
    for conf, file in zip(confs, (desired.confs.origin, *desired.confs.edges.values()), strict=True):
        directives, findings = parse(file.text)
        assert not findings
        checked = resolve(render_conf(conf.directives), settings.secret_values())
        assert tree(directives) == tree(parse(checked)[0]), "SRS reads something else than what was checked"

    nginx = {item.manifest["data"]["nginx.conf"] for item in (*desired.hls, *BASE.hls) if item.kind == "ConfigMap"}
    assert len({re.sub(r"\d+", "N", text) for text in nginx}) == 1
    json.dumps([item.manifest for item in desired.objects.values()], ensure_ascii=False, allow_nan=False).encode()


FORMS = ["{new}", "{old}{new}", "{new}{old}", "{old} {new}"]


@example(("origin", "podAnnotations", "example.com/a"), "{new}", "\ud800")
@example(("origin", "srs", "directives"), "{old}{new}", "\u2028daemon on;")
@example(("edge", "autoscaling", "query"), "{old} {new}", "# x")
@given(st.sampled_from([*texts(FULL)]), st.sampled_from(FORMS), st.sampled_from(NASTY) | st.text(max_size=10))
@hypothesis.settings(max_examples=EXAMPLES)
def test_a_text_is_rejected_or_data(path: tuple[Any, ...], form: str, text: str) -> None:
    try:
        desired = rendered(changed(path, form, text))
    except ConfigError as error:
        problems = error.problems
    else:
        problems = []
        check(desired)
    assert all(problem.path and problem.allowed and problem.reason for problem in problems)
