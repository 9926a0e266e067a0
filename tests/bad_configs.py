"""Stack configs that must be refused. Each case changes a good one in one place."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]

GOOD: Config = {
    "kubernetes": {
        "kubeconfig": ".testbed/kubeconfig",
        "context": "testbed",
        "clusterId": "testbed",
        "namespace": "live",
    },
    "origin": {"image": "ossrs/srs:v4.0.6", "replicas": 3},
    "edge": {
        "replicas": 4,
        "drain": {"deregister": "5s", "timeout": "12h"},
        "releases": {
            "r5": {"image": "ossrs/srs:v4.0.5", "weight": 75},
            "r6": {"image": "ossrs/srs:v4.0.6", "weight": 25},
        },
    },
    "loadBalancer": {"kind": "nodePort", "rtmpPort": 31935, "httpPort": 30080},
    "hls": {"enabled": True, "storageClass": "testbed-rwx"},
    "demo": {"enabled": True},
}


@dataclass(frozen=True)
class BadCase:
    """path: where the message points (without `srs:`). value: what it shows. allowed: what it says is allowed."""

    path: str
    value: str
    allowed: str
    change: Callable[[Config], object]


def put(path: str, value: Any, shown: str, allowed: str, at: str | None = None) -> BadCase:
    """Set one value. at: where the message points, if it is not there."""

    def change(config: Config) -> None:
        *parents, last = path.split("/")
        for key in parents:
            config = config[key]
        config[last] = copy.deepcopy(value)

    return BadCase(at or path.replace("/", "."), shown, allowed, change)


def drop(path: str) -> BadCase:
    def change(config: Config) -> None:
        *parents, last = path.split("/")
        for key in parents:
            config = config[key]
        del config[last]

    return BadCase(path.replace("/", "."), "(absent)", "is required", change)


R6 = "edge/releases/r6"
NO_WEIGHT = {
    "r5": {"image": "ossrs/srs:v4.0.5", "weight": 0},
    "r6": {"image": "ossrs/srs:v4.0.6", "weight": 0},
}
SAME_NAME = {
    "r5": {"image": "ossrs/srs:v4.0.5", "weight": 1},
    "r05": {"image": "ossrs/srs:v4.0.6", "weight": 1},
}

BAD_CONFIGS = [
    # Unknown keys, with a guess at the typo.
    put("egde", {}, "'{}'", "did you mean 'edge'?"),
    put("loadbalancer", {}, "'{}'", "did you mean 'loadBalancer'?"),
    put("edge/replica", 4, "4", "did you mean 'replicas'?"),
    put(f"{R6}/wieght", 4, "4", "did you mean 'weight'?"),
    put("edge/drain/time", "1h", "'1h'", "did you mean 'timeout'?"),
    put("kubernetes/colour", "red", "'red'", "known are clusterDomain, clusterId, context"),
    put("loadBalancer/rtmpport", 31935, "31935", "did you mean 'rtmpPort'?"),
    put("edge/min_ready", "5s", "'5s'", "did you mean 'minReady'?"),
    # What is required.
    drop("kubernetes/kubeconfig"),
    drop("kubernetes/clusterId"),
    drop("origin/image"),
    drop("edge/replicas"),
    drop("edge/releases"),
    drop(f"{R6}/weight"),
    drop(f"{R6}/image"),
    put("loadBalancer", {}, "(absent)", "must be one of 'none', 'nodePort'", at="loadBalancer.kind"),
    # Wrong types.
    put("edge", ["r5", "r6"], "['r5', 'r6']", "must be a map of keys and values"),
    put("edge/releases", [{"name": "r5"}], "[{'name': 'r5'}]", "must be a map of keys and values"),
    put("hls", "on", "'on'", "must be a map of keys and values"),
    put("origin", "", "''", "must be a map of keys and values"),
    put("edge/replicas", "4", "'4'", "must be a valid integer"),
    put("edge/replicas", 2.5, "2.5", "must be a valid integer"),
    put(f"{R6}/weight", True, "True", "must be a valid integer"),
    put(f"{R6}/paused", "yes", "'yes'", "must be a valid boolean"),
    put("hls/enabled", 1, "1", "must be a valid boolean"),
    put(f"{R6}/podAnnotations", {"a": 1}, "1", "must be a valid string", at="edge.releases.r6.podAnnotations.a"),
    # Numbers out of range.
    put(f"{R6}/weight", -1, "-1", "must be greater than or equal to 0"),
    put("edge/replicas", 0, "0", "must be greater than or equal to 1"),
    put("edge/replicas", 1, "1", "must be at least 2: that many releases have a weight"),
    put("origin/replicas", -3, "-3", "must be greater than or equal to 1"),
    put("edge/releases", NO_WEIGHT, "{'r5': 0, 'r6': 0}", "at least one release must have a weight above 0"),
    put("edge/releases", {}, "{}", "at least 1 item"),
    put("loadBalancer/rtmpPort", 1935, "1935", "must be greater than or equal to 30000"),
    put("loadBalancer/httpPort", 32768, "32768", "must be less than or equal to 32767"),
    put("loadBalancer/httpPort", 31935, "31935", "must differ from rtmpPort"),
    put(f"{R6}/srs", {"maxConnections": 0}, "0", "must be greater than", at="edge.releases.r6.srs.maxConnections"),
    # Images and versions.
    put(f"{R6}/image", "ossrs/srs", "'ossrs/srs'", "must name a tag or a digest"),
    put(f"{R6}/image", "ossrs/srs:latest", "'ossrs/srs:latest'", "must not be `latest`"),
    put(f"{R6}/image", "OSSRS/srs:v4.0.6", "'OSSRS/srs:v4.0.6'", "must be an image reference such as"),
    put(f"{R6}/image", "ossrs/srs:v4.0.6 ", "'ossrs/srs:v4.0.6 '", "must be an image reference such as"),
    put(f"{R6}/image", "ossrs/srs:4", "'ossrs/srs:4'", "no tag that names one SRS version"),
    put(f"{R6}/image", "ossrs/srs@sha256:" + "0" * 64, "'ossrs/srs@sha256:" + "0" * 64 + "'", "or give `version`"),
    put(f"{R6}/image", "ossrs/srs:v5.0-r3", "'ossrs/srs:v5.0-r3'", "or set allowCuts: true"),
    put(f"{R6}/image", "ossrs/srs:v6.0.48", "'ossrs/srs:v6.0.48'", "is SRS 6.0.48, which cuts every connection"),
    put(f"{R6}/image", "ossrs/srs:v7.0.18", "'ossrs/srs:v7.0.18'", "supported are 4.0.5 up to 6.x"),
    put(f"{R6}/version", "four", "'four'", "must be an SRS version such as 4.0.6"),
    put("origin/image", "ossrs/srs:v3.0.160", "'ossrs/srs:v3.0.160'", "supported are 4.0.5 up to 6.x"),
    put("demo/image", "ossrs/srs:latest", "'ossrs/srs:latest'", "must not be `latest`"),
    # Durations.
    put("edge/drain/timeout", "12", "'12'", "must be a duration with a unit"),
    put("edge/drain/timeout", 43200, "43200", "must be a duration with a unit"),
    put("edge/drain/timeout", "half a day", "'half a day'", "must be a duration with a unit"),
    put("edge/drain/timeout", "-5s", "'-5s'", "must be a duration with a unit"),
    put("edge/drain/deregister", "500ms", "'500ms'", "must be whole seconds"),
    put("edge/drain/timeout", "4s", "4s", "must not be shorter than drain.deregister"),
    put("edge/rolloutTimeout", "15s", "15s", "must be longer than warmUp and minReady together (15s)"),
    put("origin/rolloutTimeout", "0s", "0s", "must be longer than minReady (15s)"),
    # Names.
    put("edge/releases/R7", {"image": "ossrs/srs:v4.0.6", "weight": 1}, "'R7'", "must be a release name"),
    put("edge/releases/a_b", {"image": "ossrs/srs:v4.0.6", "weight": 1}, "'a_b'", "must be a release name"),
    put(f"edge/releases/{'x' * 21}", {"image": "ossrs/srs:v4.0.6", "weight": 1}, f"'{'x' * 21}'", "1 to 20 of a-z"),
    put("edge/releases", SAME_NAME, "'r5'", "is the same name as 'r05'", at="edge.releases.r5"),
    put("kubernetes/namespace", "Live", "'Live'", "must be a DNS label"),
    put("kubernetes/kubeconfig", "", "''", "at least 1 character"),
    # The rest.
    put("loadBalancer/kind", "clb", "'clb'", "must be one of 'none', 'nodePort'"),
    put("hls/storageClass", None, "None", "must name a storage class with ReadWriteMany"),
    put("hls/size", "big", "'big'", "must be a Kubernetes quantity above 0"),
    put("origin/resources", {"cpu": "-1"}, "'-1'", "must be a Kubernetes quantity above 0", at="origin.resources.cpu"),
    put("demo/stream", "livestream", "'livestream'", "must match pattern"),
    put(
        f"{R6}/srs",
        {"directives": "listen 80;"},
        "'listen 80;'",
        "must not set 'listen'",
        at="edge.releases.r6.srs.directives",
    ),
    put(
        "origin/srs",
        {"vhostDirectives": "play {"},
        "'play {'",
        "has a '{' that is not closed",
        at="origin.srs.vhostDirectives",
    ),
]
