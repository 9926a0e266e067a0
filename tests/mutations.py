"""Stack configs and texts of srs.conf with mistakes in them, as strategies of hypothesis."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import strategies as st
from kubernetes.client import models

from bad_configs import GOOD, KEDA, NLB, SCALING, SIX, SLB, Config
from cluster.state import LiveState
from model.config.problems import Problem, field_key
from model.config.read import ConfigError, conf_files, read_settings
from model.config.stack_warnings import config_warnings
from model.desired.render import Desired, render
from model.srs.conf import _RESERVED, Additions
from model.srs.directives import _ALIASES, _KNOWN, NAMES, _too_new, _too_old
from model.srs.rules import _NEVER
from model.srs.values import TYPES, ValueName
from model.srs.versions import Version
from update.kept import read_kept

ROOT = Path(__file__).parents[1]
INPUTS = int(os.environ.get("INPUTS", "100"))
"""How many inputs each test tries."""


def sample(stack: str) -> dict[str, Any]:
    """The stack config of a committed stack, by keys without `srs:`."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {key.removeprefix("srs:"): value for key, value in config.items() if key.startswith("srs:")}


_ORIGIN: Config = GOOD["origin"] | {
    "image": "ossrs/srs:v6.0.191",
    "srs": {"directives": "utc_time on; # UTC", "vhostDirectives": "play { gop_cache off; }"}
    | {"conf": "inotify_auto_reload off;"},
    "podAnnotations": {"example.com/a": "b"},
    "nodeSelector": {"pool": "live"},
    "tolerations": [{"key": "pool", "value": "live", "effect": "NoSchedule"}],
    "priorityClass": "live",
}
_RELEASE: Config = SIX["r6"] | {
    "srs": {"vhostDirectives": "tcp_nodelay on; # now"},
    "podAnnotations": {"example.com/a": "b"},
    "podPatch": {
        "metadata": {"labels": {"team": "live"}},
        "spec": {
            "volumes": [
                {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "www", "configMap": {"name": "www", "items": [{"key": "a", "path": "b"}]}},
                {
                    "name": "info",
                    "projected": {
                        "sources": [
                            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                            {"secret": {"name": "login", "items": [{"key": "a", "path": "c", "mode": 256}]}},
                        ]
                    },
                },
            ],
            "initContainers": [
                {
                    "name": "agent",
                    "image": "agent:1",
                    "restartPolicy": "Always",
                    "envFrom": [{"prefix": "A_", "secretRef": {"name": "login"}}],
                    "ports": [{"containerPort": 9001, "name": "agent"}],
                    "securityContext": {"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}},
                    "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
                    "livenessProbe": {"tcpSocket": {"port": 9001}, "terminationGracePeriodSeconds": 5},
                }
            ],
            "containers": [
                {
                    "name": "srs",
                    "env": [
                        {"name": "A", "value": "b"},
                        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "login", "key": "a"}}},
                    ],
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        {"name": "www", "mountPath": "/www", "subPath": "b", "readOnly": True},
                        {"name": "info", "mountPath": "/info"},
                    ],
                },
                {
                    "name": "proxy",
                    "image": "proxy:1",
                    "command": ["proxy"],
                    "ports": [{"containerPort": 9000, "name": "proxy"}],
                    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": 9000}, "periodSeconds": 5},
                },
            ],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "zone",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"app": "srs-edge"}},
                }
            ],
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a.example.com"]}],
            "dnsConfig": {"nameservers": ["10.0.0.2"], "options": [{"name": "ndots", "value": "1"}]},
        },
    },
}
_SCALING: Config = {"minimum": 4, "maximum": 60, "metric": "connections", "target": 400} | {
    "prometheus": "http://prometheus:9090",
    "query": 'sum(srs_clients{role="edge"})',
    "authentication": "login",
}
_EDGE: Config = {
    "drain": {"deregister": "5s", "timeout": "12h", "keepServing": True},
    "releases": {"r6": _RELEASE},
    "autoscaling": _SCALING,
    "schedulerName": "mine",
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}}
            ]
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "srs-edge"}}}
            ]
        },
    },
}
FULL: Config = GOOD | {
    "origin": _ORIGIN,
    "edge": _EDGE,
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


SCALED = {"drain": {"timeout": "1h", "keepServing": True}, "releases": SIX}
CONFIGS: list[Config] = [
    GOOD,
    FULL,
    sample("dev"),
    sample("staging"),
    sample("prod"),
    GOOD | {"edge": SCALED | {"autoscaling": SCALING}, "tls": {"secretName": "live-tls"}, "loadBalancer": SLB},
    GOOD | {"edge": SCALED | {"autoscaling": SCALING | KEDA}, "monitoring": {"kind": "podMonitor"}},
    GOOD | {"loadBalancer": NLB, "publish": {"hook": "http://auth/"}},
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

NASTY = [
    *("'; touch /x; '", "$(touch /x)", "`touch /x`", '"; touch /x; "', "a && b", "| sh", "\\", "$((1))", "!!", "-x"),
    *("; enabled off; ", "} vhost x { enabled off; } #", "'", '"', "{", "# x", "a\nenabled off;", "\r\nenabled off;"),
    *("# x\u2028enabled off;", "# x\renabled off;", "# x\x0benabled off;", "# x\x85enabled off;", "include /x;"),
    *('"} or vector(1) #', ") or vector(1)", '{{ printf "%s" . }}', "$labels.pod", ",", '=~".+"', "=", ":", "/../.."),
    *("x: &a [*a]", "- x\n- y", "!!python/object:os.system", "---\n", "yes", "0x10", "{x: y}", "%{x}", "{0}", "{x!r}"),
    *("\x00", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "😀", "é", " ", "\t", "\u00a0", "a" * 5000, "１", "٣"),
    *("${HOME}", "$HOME", "${{ github.token }}", "$(POD_NAME)", "a\n::set-output name=x::y", "$(key)"),
]
"""Texts that a shell, YAML, srs.conf, nginx.conf, PromQL, Go templates, Kubernetes or GitHub would read as more."""


PLAIN = [
    *("a", "A-b", "x" * 63, "x" * 64, "a.b/c", "a/b", "1", "0", "true", "a_b", "-", "5s", "10%", "2.5", "1Gi", "r7"),
    *("80", "srs", "agent", "data", "info", "/data", "login", "cpu", "example.com/gpu", "Always", "Never", "UDP"),
    *("Exists", "Gt", "DoNotSchedule", "metadata.labels", "spec.nodeName"),
]
"""Texts that many keys take, and some of Kubernetes."""

POD_FIELDS = sorted(
    {
        field_key(name, field)
        for kind in ("Container", "Probe", "Lifecycle", "EnvVar", "EnvVarSource", "Volume", "VolumeProjection")
        for name, field in getattr(models, f"V1{kind}").model_fields.items()
    }
)
"""Fields that a part of a pod may have."""


def nested(depth: int) -> Any:
    """Maps and lists in each other."""
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
    | st.sampled_from(["12h", "1e9", "9" * 400, "NaN", "10Gi", "r5", "ossrs/srs:v4.0.6", "a; b {", "0", ""])
    | st.sampled_from([*NASTY, "１２h", "\U0001f600", "a" * 100_000])
    | st.sampled_from([10**400, -(10**18), 1e308, float("inf"), 0, 1, 2, -1, 100, 65535, -0.0, 2**63])
    | st.sampled_from([30, 60, 400]).map(nested),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values of a config."""
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        found += paths(inner, (*path, key))
    return found


def at(config: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for part in path:
        config = config[part]
    return config


MUTATIONS = ("remove", "replace", "retype", "extend", "rename", "copy", "merge", "number", "append", "insert")


def mutate(draw: st.DrawFn, random: Random, config: dict[str, Any]) -> None:
    """Change one place of a stack config."""
    *parents, last = random.choice(paths(config))
    where = at(config, tuple(parents))
    value = where[last]
    text = random.choice(PLAIN) if random.random() < 0.5 else draw(st.sampled_from(NASTY) | st.text(max_size=8))
    match random.choice(MUTATIONS):
        case "remove":
            del where[last]
        case "retype":
            where[last] = random.choice([str(value), [value], {"a": value}, {text: value}, None, not value])
        case "extend":
            where[last] = random.choice([f"{value}{text}", f"{text}{value}", f"{value} {text}", text])
        case "rename" if isinstance(where, dict):
            where[text] = value if random.random() < 0.5 else where.pop(last)
        case "copy":  # the value of another place
            where[last] = copy.deepcopy(at(config, random.choice(paths(config))))
        case "number" if isinstance(value, int):
            where[last] = random.choice([value + 1, value - 1, value * 2, 1, 80, -value, random.randint(0, 1000)])
        case "append" if isinstance(value, list):
            value.append(copy.deepcopy(at(config, random.choice(paths(config)))))
        case "insert" if isinstance(value, dict) and "podPatch" in (*parents, last):
            value[random.choice(POD_FIELDS)] = copy.deepcopy(at(config, random.choice(paths(config))))
        case "merge":  # a key of another stack
            other = random.choice(CONFIGS)
            key = random.choice(sorted(other))
            config[key] = copy.deepcopy(other[key])
        case _:
            where[last] = draw(VALUES)


@st.composite
def stack_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A valid stack config, by keys without `srs:`, with one to four mutations.

    Their places are random: hypothesis prefers the first ones, and would try a third of the configs twice.
    """
    random = draw(st.randoms(use_true_random=True))
    config = copy.deepcopy(random.choice([FULL, random.choice(CONFIGS)]))
    for _ in range(random.choice([1, 1, 1, 2, 3, 4])):
        mutate(draw, random, config)
    return config


def rendered(config: dict[str, Any]) -> Desired | list[Problem]:
    """What the program renders of a stack config, or why it is rejected."""
    texts = {f"srs:{key}": json.dumps(value) for key, value in config.items()} | {"alicloud:region": "cn-beijing"}
    conf_files(texts)
    try:
        settings = read_settings(texts, ["srs:secrets", "srs:images"])
    except ConfigError as error:
        return error.problems
    list(config_warnings(settings))
    return render(settings, read_kept(settings, LiveState(), "key"), "organization/srs/test")


YAML_VALUES = (
    *("&a x", "*a", "&b [*b]", "!!binary aGVsbG8=", "!!python/object/apply:os.system [x]", "!!set {a}", "!x y", "|"),
    *(
        "2026-01-01",
        "12:30:45",
        "~",
        "",
        "[",
        "{a: 1",
        '"',
        "'",
        ">-",
        "0x10",
        "0o17",
        "1_000",
        ".nan",
        ".inf",
        "1e400",
    ),
    *(
        "9" * 5000,
        "yes",
        "=",
        "\t",
        "@a",
        "`a`",
        "%a",
        "? a",
        "- a",
        "[a, b]",
        "{<<: *a}",
        '"\\ud800"',
        "\u2028",
        "# a",
    ),
)
YAML_LINES = (
    *(
        "---",
        "...",
        "%YAML 1.2",
        "config: []",
        "config: x",
        "config:",
        "  srs:edge: x",
        "  srs:edge: [1]",
        "  1: x",
        "\t",
    ),
    *("  srs:edge: {releases: []}", "  srs:edge: {releases: {r5: x}}", "  srs:kubernetes: x", "  <<: *a", "  - a", "a"),
    *(
        "  srs:edge: &c {releases: *c}",
        "  srs:origin: {srs: {conf: &d [*d]}}",
        "  ? [a]",
        "  srs:kubernetes: {a: &e [*e]}",
    ),
    "  l: " + "[" * 400,
    "".join(f"  l{i}: &l{i} [{f'*l{i - 1}, ' * 9 if i else 'x'}]\n" for i in range(12)),
)
"""Values and lines of YAML; the last ones are deep, or would be a billion values."""


@st.composite
def stack_files(draw: st.DrawFn) -> bytes:
    """A committed stack file with one to three mutations of its lines, in some encoding."""
    lines = (ROOT / f"Pulumi.{draw(st.sampled_from(['dev', 'staging', 'prod']))}.yaml").read_text().splitlines()
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        other = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[index].partition(":")
        value = draw(st.sampled_from(YAML_VALUES) | st.sampled_from(NASTY))
        lines[index : index + 1] = draw(
            st.sampled_from(
                [
                    [],
                    [lines[index]] * 2,
                    [f"{key}{colon} {value}"],
                    [lines[other]],
                    [f" {lines[index]}"],
                    [lines[index].lstrip()],
                    [lines[index], draw(st.sampled_from(YAML_LINES))],
                    [draw(st.sampled_from(YAML_LINES))],
                    [lines[index].replace(": ", ": &a ", 1)],
                ]
            )
        )
    text = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines)
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "cp500"]))
    return text.encode(
        encoding, errors=draw(st.sampled_from(["replace", "surrogatepass"] if encoding[:3] == "utf" else ["replace"]))
    )


WORDS: dict[ValueName, tuple[str, ...]] = {
    "switch": ("on", "off"), "word": ("a", "all", "cpu=1"), "words": ("a b", "all", "live/a"),
    "path": ("./objs/nginx/html",), "url": ("http://127.0.0.1:8085/a", "https://[::1]/x?a=b"),
    "urls": ("http://a/b http://c/d", "http://a:80/$(key)"), "endpoints": ("10.0.0.1:1935", "a.b:1936 c"),
    "rule": ("play all", "publish all", "play 10.0.0.0/8", "publish 1.2.3.4"), "count": ("0", "30"),
    "positive": ("1", "30"), "port": ("1", "9000"), "chunk": ("128", "60000"), "ack": ("0", "2500000"),
    "seconds": ("0", "30"), "seconds1": ("1", "30"), "fraction": ("0", "2.5"), "fraction1": ("0.1", "10"),
    "period": ("1", "9.3"), "network": ("0",), "queue": ("1", "30"), "ms": ("0", "350"), "latency": ("0", "350"),
    "interval": ("0", "10.0"), "timeout": ("1000", "7000"), "ratio": ("0.5", "2"), "release_rate": ("0", "0.8"),
    "percent": ("0", "90"), "kbps": ("0", "300"), "jitter": ("full", "zero"), "log_level": ("trace", "info"),
    "log_level_v2": ("trace", "info"), "ffmpeg_level": ("info",), "on_error": ("ignore", "continue"),
    "plan": ("session", "segment"), "protocol": ("rtmp", "flv"), "caster": ("flv", "mpegts_over_udp"),
}  # fmt: skip
"""Values of each kind that SRS takes."""

_WORDS = {TYPES[name]: words for name, words in WORDS.items()}

HOSTILE = (
    st.sampled_from(sorted(NAMES))
    | st.sampled_from(["on", "off", "10", "-1", "abc", "{", "}", ";", "'", '"', '""', "#", "$(x)", "$HOME", "9" * 400])
    | st.sampled_from([*NASTY, "{ a " * 30, "a " * 5000])
    | st.text(max_size=3)
)
ENDS = ("\n", "\r\n", " ", "\t", "\n\n", " # a comment\n", "# '\"{;\r\n", "", "\r", "# a\r", "\ufeff")
"""What may follow `;` and braces; some versions cannot read the last ones."""

_TAKEN = {path for path in _RESERVED if path not in ("vhost.security", "vhost.http_hooks.on_publish")} | {*_NEVER}
"""Directives that are always rejected; a mutation may bring them back."""


def _directives(draw: st.DrawFn, version: Version, path: str = "") -> Iterator[str]:
    """The words of some directives of a block that a version knows."""
    known = _KNOWN.get(_ALIASES.get(path, path))
    names = ["a", "t"]
    if known is not None:
        inner = {name: f"{path}.{name}".removeprefix(".") for name in known}
        old_or_new = (_too_new, _too_old)
        names = [
            name
            for name, directive in known.items()
            if inner[name] not in _TAKEN and not any(check(name, directive, version, path) for check in old_or_new)
        ]
    for name in draw(st.lists(st.sampled_from(names), max_size=4, unique=True)) if names else ():
        value = known[name].value if known else TYPES["word"]
        yield name
        if value is not None:
            yield from draw(st.sampled_from(_WORDS[value])).split(" ")
            yield ";"
            continue
        if name in ("vhost", "ingest", "transcode", "engine"):
            yield draw(st.sampled_from(["a", "b", "__defaultVhost__"]))
        yield "{"
        yield from _directives(draw, version, f"{path}.{name}".removeprefix("."))
        yield "}"


@st.composite
def conf_texts(draw: st.DrawFn, version: Version, path: str = "") -> str:
    """An srs.conf, or directives of a vhost (`path` is vhost), with up to three mutations, in any layout."""
    words = [*_directives(draw, version, path)]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
        start = draw(st.integers(0, len(words)))
        end = start + draw(st.integers(0, 2))
        words[start:end] = draw(st.lists(HOSTILE | st.sampled_from(words or ["a"]), max_size=2))
    end = draw(st.sampled_from(ENDS[:7]) | st.sampled_from(ENDS))
    return "".join(word + (end if word in (";", "{", "}") else " ") for word in words)


@st.composite
def additions(draw: st.DrawFn, version: Version) -> Additions:
    """What a stack config adds to an srs.conf of a version: one text, or three."""
    texts = [draw(conf_texts(version)), draw(conf_texts(version)), draw(conf_texts(version, "vhost"))]
    only = draw(st.sampled_from([0, 1, 2, None]))
    return Additions(*(text if only in (None, index) else "" for index, text in enumerate(texts)))
