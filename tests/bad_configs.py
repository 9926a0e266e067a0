"""Stack configs that must be rejected. Each case changes a good one in one place."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model.config.problems import config_path
from model.config.values import yaml_text
from model.load_balancers.alibaba import PREFIX

Config = dict[str, Any]

ABSENT = "(absent)"

SLB: Config = {"kind": "slb", "addressType": "intranet", "vswitchId": "vsw-2ze0001"}
ZONES = {"cn-beijing-h": "vsw-2ze0001", "cn-beijing-g": "vsw-2ze0002"}
NLB: Config = {"kind": "nlb", "addressType": "internet", "zoneMaps": ZONES}
SERVICE: Config = {"kind": "service", "drainCeiling": "none"}
"""Valid load balancers of Alibaba Cloud, and of other clouds."""

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
    """path, value, allowed: what the message contains: the key without `srs:`, its value, and the rule."""

    path: str
    value: str
    allowed: str
    change: Callable[[Config], object]


def put(path: str, value: Any, allowed: str, shown: str = "", at: str = "") -> BadCase:
    """Set one value. shown, at: the value and the path in the message, if they differ."""

    def change(config: Config) -> None:
        *parents, last = path.split("/")
        for key in parents:
            config = config.setdefault(key, {})
        config[last] = copy.deepcopy(value)

    return BadCase(at or path.replace("/", "."), shown or yaml_text(value), allowed, change)


def drop(*paths: str, allowed: str = "is required") -> BadCase:
    def change(config: Config) -> None:
        for path in paths:
            *parents, last = path.split("/")
            where = config
            for key in parents:
                where = where[key]
            del where[last]

    return BadCase(paths[0].replace("/", "."), "(absent)", allowed, change)


R6 = "edge/releases/r6"
NO_WEIGHT = {
    "r5": {"image": "ossrs/srs:v4.0.5", "weight": 0},
    "r6": {"image": "ossrs/srs:v4.0.6", "weight": 0},
}
SAME_NAME = {
    "r5": {"image": "ossrs/srs:v4.0.5", "weight": 1},
    "r05": {"image": "ossrs/srs:v4.0.6", "weight": 1},
}


def conf(key: str, line: str, allowed: str, owner: str = R6, shown: str = "") -> BadCase:
    """Add a line to a text of `srs`, so that many cases fit into one config."""

    def change(config: Config) -> None:
        where = config
        for part in (*owner.split("/"), "srs"):
            where = where.setdefault(part, {})
        where[key] = f"{where[key]}\n{line}" if key in where else line

    return BadCase(f"{owner}/srs/{key}".replace("/", "."), shown or yaml_text(line), allowed, change)


ORIGINS = "origin"

KINDS = "'none', 'nodePort', 'slb', 'nlb', 'service'"

SIX = {"r6": {"image": "ossrs/srs:v6.0.191", "weight": 1}}
"""Releases of a version that can serve HTTPS."""


def https(path: str, value: Any, allowed: str, load_balancer: Config | None = None) -> BadCase:
    """Set one value of a config with TLS. load_balancer: another one."""
    case = put(path, value, allowed)

    def change(config: Config) -> None:
        config["edge"]["releases"] = copy.deepcopy(SIX)
        config["tls"] = {"secretName": "live-tls"}
        config["loadBalancer"] = copy.deepcopy(load_balancer or config["loadBalancer"])
        case.change(config)

    return BadCase(case.path, case.value, allowed, change)


DEEP = "vhost deep { transcode { engine a { vparams { " + "a { " * 18 + "}" * 22

SCALING: Config = {"minimum": 4, "maximum": 60, "metric": "cpu", "target": "600m"}
"""Valid autoscaling."""


def scaling(path: str, value: Any, allowed: str, shown: str = "", **more: Any) -> BadCase:
    """Set one value of a fleet with autoscaling, below `autoscaling`. more: other values of it."""
    case = put(f"edge/autoscaling/{path}", value, allowed, shown)

    def change(config: Config) -> None:
        config["edge"].pop("replicas", None)
        config["edge"].setdefault("autoscaling", copy.deepcopy(SCALING)).update(more)
        case.change(config)

    return BadCase(case.path, case.value, allowed, change)


KEDA: Config = {"metric": "connections", "target": 400, "prometheus": "http://prometheus:9090"}

BAD_CONFIGS = [
    # Unknown keys, with a suggestion for a typo.
    put("egde", {}, "did you mean 'edge'?", shown="'{}'"),
    put("loadbalancer", {}, "did you mean 'loadBalancer'?", shown="'{}'"),
    put("edge/replica", 4, "did you mean 'replicas'?"),
    put(f"{R6}/wieght", 4, "did you mean 'weight'?"),
    put("edge/drain/time", "1h", "did you mean 'timeout'?"),
    put("kubernetes/colour", "red", "known are adopt, clusterDomain, clusterId, context"),
    put("loadBalancer/rtmpport", 31935, "did you mean 'rtmpPort'?"),
    put("edge/min_ready", "5s", "did you mean 'minReady'?"),
    # Autoscaling.
    put("edge/autoscaling", SCALING, "the autoscalers decide", shown="4", at="edge.replicas"),
    put(f"{R6}/autoscaled", True, "does not exist any more: set edge.autoscaling"),
    scaling("minimum", 61, "must not be above maximum (60)"),
    scaling("minimum", 1, "must be at least 2: that many releases have a weight"),
    scaling("minimum", 0, "must be greater than or equal to 1"),
    scaling("maximum", "many", "must be a valid integer"),
    scaling("metric", "memory", "must be 'cpu', 'connections' or 'external'"),
    scaling("target", "1", "must be less than one core"),
    scaling("target", 1000, "must be less than 1000, the maxConnections of release r5, r6", shown="'1000'", **KEDA),
    scaling("prometheus", "http://prometheus:9090", "needs metric connections (it is cpu)"),
    scaling("prometheus", "prometheus:9090", "must be the URL of Prometheus", **KEDA),
    scaling("prometheus", "http://u:p@prometheus", "must not have a password", shown="[secret]", **KEDA),
    scaling("query", "sum(x) # all", "must be one PromQL expression", **KEDA),
    scaling("metric", "connections", "needs srs:monitoring, because SRS counts its connections", **KEDA),
    scaling("externalLabels", {"a": "b"}, "needs metric external (it is cpu)"),
    scaling("scaleIn/window", "2h", "must be at most 1h", shown="2h"),
    scaling("scaleIn/step", "0s", "must be from 1s to 30m", shown="0s"),
    # Missing keys.
    drop("kubernetes/kubeconfig", "kubernetes/context", allowed="is required, or context, which"),
    drop("kubernetes/clusterId"),
    drop("origin/image"),
    put("edge/replicas", None, "is required, or autoscaling", shown="(absent)"),
    drop("edge/releases"),
    drop(f"{R6}/weight"),
    drop(f"{R6}/image"),
    put(
        "loadBalancer",
        {},
        "must be one of 'none', 'nodePort', 'slb', 'nlb', 'service'",
        shown=ABSENT,
        at="loadBalancer.kind",
    ),
    # Wrong types.
    put("edge", ["r5", "r6"], "must be a map of keys and values"),
    put("edge/releases", [{"name": "r5"}], "must be a map of keys and values"),
    put("hls", "on", "must be a map of keys and values"),
    put("origin", "", "must be a map of keys and values"),
    put("edge/replicas", "4", "must be a valid integer"),
    put("edge/replicas", 2.5, "must be a valid integer"),
    put(f"{R6}/weight", True, "must be a valid integer"),
    put(f"{R6}/outOfRotation", True, "must be false on a release with a weight"),
    put(f"{R6}/paused", "yes", "must be a valid boolean"),
    put("hls/enabled", 1, "must be a valid boolean"),
    put(f"{R6}/podAnnotations/a", 1, "must be a valid string"),
    # Numbers out of range.
    put(f"{R6}/weight", -1, "must be greater than or equal to 0"),
    put("edge/replicas", 0, "must be greater than or equal to 1"),
    put("edge/replicas", 1, "must be at least 2: that many releases have a weight"),
    put("edge/replicas", 5001, "must be less than or equal to 5000"),
    put("origin/replicas", 3000000, "must be less than or equal to 100"),
    put("hls/replicas", 101, "must be less than or equal to 100"),
    put(f"{R6}/weight", 10**7, "must be less than or equal to 1000000"),
    put("edge/drain/timeout", "8761h", "must be at most 8760h (a year)"),
    put("edge/drain/timeout", "999999999999h", "must be at most 8760h (a year)"),
    put("origin/resources/cpu", "NaN", "must be a Kubernetes quantity above 0"),
    put("origin/resources/cpu", "1500u", "from 1m to 1k in steps of 0.001"),
    put("origin/resources/memory", "256m", "must be a quantity from 8Mi to 100Ti"),
    put("hls/size", "1E400000000", "must be a Kubernetes quantity above 0"),
    put("kubernetes/context", "a\nb", "must be one line without control characters"),
    put("kubernetes/clusterDomain", "cluster.local;", "must be a DNS subdomain"),
    put(f"{R6}/podAnnotations/é", "a", "must be the key of an annotation", shown="'é'"),
    put(f"{R6}/podAnnotations", {"a": "b" * 100_000}, "must have at most 100000 bytes", shown=f"{{a: '{'b' * 112}…"),
    put(f"{R6}/srs/directives", "#" * 100_001, "must have at most 100000 bytes", shown=f"'{'#' * 116}…"),
    put("origin/replicas", -3, "must be greater than or equal to 1"),
    put("edge/releases", NO_WEIGHT, "at least one release must have a weight above 0", shown="{r5: 0, r6: 0}"),
    put("edge/releases", {}, "at least 1 item"),
    put("loadBalancer/rtmpPort", 1935, "must be greater than or equal to 30000"),
    put("loadBalancer/httpPort", 32768, "must be less than or equal to 32767"),
    put("loadBalancer/httpPort", 31935, "must differ from rtmpPort"),
    put(f"{R6}/srs/maxConnections", 0, "must be greater than"),
    # Images and versions.
    put(f"{R6}/image", "ossrs/srs", "must have a tag or a digest"),
    put(f"{R6}/image", "ossrs/srs:latest", "must not be `latest`"),
    put(f"{R6}/image", "OSSRS/srs:v4.0.6", "must be an image reference such as"),
    put(f"{R6}/image", "ossrs/srs:v4.0.6 ", "must be an image reference such as"),
    put(f"{R6}/image", "ossrs/srs:4", "no tag that names one SRS version"),
    put(f"{R6}/image", "ossrs/srs@sha256:" + "0" * 64, "or set `version`"),
    put(f"{R6}/image", "ossrs/srs:v5.0-r3", "or set allowDroppedConnections: true"),
    put(f"{R6}/image", "ossrs/srs:v6.0.48", "is SRS 6.0.48, which drops every connection"),
    put(f"{R6}/image", "ossrs/srs:v7.0.18", "is SRS 7.0.18, a development version that is not supported yet"),
    put(f"{R6}/version", "four", "must be an SRS version such as 4.0.6"),
    put("origin/image", "ossrs/srs:v3.0.160", "is SRS 3.0.160, which has no graceful quit"),
    put("demo/image", "ossrs/srs:latest", "must not be `latest`"),
    # Durations.
    put("edge/drain/timeout", "12", "must be a duration with a unit"),
    put("edge/drain/timeout", 43200, "must be a duration with a unit"),
    put("edge/drain/timeout", "half a day", "must be a duration with a unit"),
    put("edge/drain/timeout", "-5s", "must be a duration with a unit"),
    put("edge/drain/deregister", "500ms", "must be whole seconds"),
    put("edge/drain/timeout", "4s", "must not be shorter than drain.deregister", shown="4s"),
    put("edge/rolloutTimeout", "15s", "must be longer than warmUp and minReady together (15s)", shown="15s"),
    put("origin/rolloutTimeout", "0s", "must be longer than minReady (15s)", shown="0s"),
    # Names.
    put("edge/releases/R7", {"image": "ossrs/srs:v4.0.6", "weight": 1}, "must be a release name", shown="'R7'"),
    put("edge/releases/a_b", {"image": "ossrs/srs:v4.0.6", "weight": 1}, "must be a release name", shown="'a_b'"),
    put(
        f"edge/releases/{'x' * 21}", {"image": "ossrs/srs:v4.0.6", "weight": 1}, "1 to 20 of a-z", shown=f"'{'x' * 21}'"
    ),
    put("edge/releases", SAME_NAME, "is the same name as 'r05'", shown="'r5'", at="edge.releases.r5"),
    put("kubernetes/namespace", "Live", "must be a DNS label"),
    put("kubernetes/kubeconfig", "", "at least 1 character"),
    # The rest.
    put("loadBalancer/kind", "clb", f"must be one of {KINDS}"),
    put("hls/storageClass", None, "must name a storage class with ReadWriteMany"),
    # HTTPS.
    put("tls", "live-tls", "must be a map of keys and values"),
    put("tls", {"secret": "live-tls"}, "did you mean 'secretName'?", shown="'live-tls'", at="tls.secret"),
    https("tls/secretName", "Live_TLS", "must"),
    https("tls/secretName", "", "must"),
    https("edge/releases/r6/image", "ossrs/srs:v4.0.271", "tls.secretName needs 6.0.132 or later"),
    https("edge/releases/r6/image", "ossrs/srs:v4.0.6", "tls.secretName needs 6.0.132 or later"),
    put("tls/port", 8443, "has no effect without tls.secretName"),
    https("tls/port", 0, "must be greater than or equal to 1"),
    https("tls/port", "443", "must be a valid integer"),
    https("tls/port", 444, "is another port of srs:loadBalancer already", SERVICE | {"rtmpPort": 444}),
    https("tls/port", 1985, "must not be 1935, 8080 or 1985"),
    https("loadBalancer/httpsPort", 31935, "is already a node port of srs:loadBalancer"),
    https("loadBalancer/httpsPort", 443, "must be greater than or equal to 30000"),
    https("hls/httpsPort", 8443, "needs a CLB (loadBalancer.kind: slb; it is nodePort)"),
    https("hls/httpsPort", 443, "must differ from tls.port", SLB),
    https("hls/formerPort", 81, "needs hls.port, the port that replaces it", SLB),
    https("hls/formerHttpsPort", 444, "needs hls.httpsPort, the port that replaces it", SLB),
    https("tls/formerPort", 443, "must differ from tls.port: one load balancer has both"),
    https("tls/formerPort", 8080, "must not be 1935, 8080 or 1985"),
    put("tls/formerPort", 444, "has no effect without tls.secretName"),
    https("hls/port", 443, "must differ from tls.port", SLB),
    put("hls/bindTimeout", 300, "must be a duration with a unit"),
    put("hls/bindTimeout", "1500ms", "must be whole seconds"),
    put("hls/resources/cpu", "one", "must be a Kubernetes quantity above 0"),
    put("hls/resources/memory", "0", "must be a Kubernetes quantity above 0"),
    put("hls/resources/cpus", "1", "did you mean 'cpu'?"),
    put("hls/size", "big", "must be a Kubernetes quantity above 0"),
    put("origin/resources/cpu", "-1", "must be a Kubernetes quantity above 0"),
    put("demo/stream", "livestream", "must match pattern"),
    # srs.conf: what the program writes itself.
    conf("directives", "listen 80;", "must not set 'listen': edges and origins listen on 1935"),
    conf("directives", "max_connections 2000;", "must not set 'max_connections': set maxConnections"),
    conf("conf", "daemon on;", "must not set 'daemon': a container ends"),
    conf("conf", "pid ./objs/srs.pid;", "must not set 'pid': it must be writable without root"),
    conf("conf", "srs_log_tank file;", "must not set 'srs_log_tank': logs go to the console"),
    conf("conf", "grace_final_wait 3200;", "must not set 'grace_final_wait': it is part of the drain"),
    conf("conf", "http_api { listen 1986; }", "must not set 'listen': origins find each other's streams by it on 1985"),
    conf("conf", "http_stream { listen 80; }", "must not set 'listen': viewers use it on 8080"),
    conf("directives", "force_grace_quit on;", "origins restart quickly", ORIGINS),
    conf("vhostDirectives", "cluster { coworkers 10.0.0.1:1985; }", "it lists the origins", ORIGINS),
    conf("vhostDirectives", "cluster { origin 10.0.0.1; }", "edges reach the origins through one Service"),
    conf("vhostDirectives", "mode local;", "must not set 'mode': it makes the edge an edge"),
    conf("vhostDirectives", "http_remux { enabled off; }", "HTTP-FLV is always on"),
    # What breaks a release while its pods are ready.
    conf("vhostDirectives", "enabled off;", "SRS would reject every client"),
    conf("conf", "vhost closed { enabled off; }", "SRS would reject every client"),
    conf("vhostDirectives", "bandcheck { enabled on; }", "a test of its bandwidth instead of the stream"),
    conf("vhostDirectives", "dvr { enabled on; }", "record on the origins"),
    conf("vhostDirectives", "dash { enabled on; }", "write it on the origins"),
    conf("vhostDirectives", "transcode { enabled on; }", "transcode on the origins"),
    conf("vhostDirectives", "exec { enabled on; publish ls; }", "run it on the origins"),
    conf("vhostDirectives", "ingest a { enabled on; }", "accept only one publisher"),
    conf("vhostDirectives", "forward { enabled on; destination 10.0.0.1; }", "forward on the origins"),
    conf("vhostDirectives", "security { enabled on; deny play all; }", "it rejects every viewer"),
    conf("vhostDirectives", "security { enabled on; deny play all; }", "the pulls of the edges", ORIGINS),
    conf(
        "conf", "ff_log_dir ./objs; vhost t { transcode { enabled on; } }", "leave it out (no log of FFmpeg)", ORIGINS
    ),
    # What exposes the pod.
    conf("conf", "http_server { dir /usr/local/srs; }", "every viewer could read the files of the pod"),
    conf("vhostDirectives", "http_static { enabled on; dir /; }", "every viewer could read the files of the pod"),
    conf("conf", "http_api { raw_api { enabled on; allow_update on; } }", "change the config of one pod", ORIGINS),
    conf("conf", "heartbeat { enabled on; device_id a; }", "their receiver sees one device"),
    conf("vhostDirectives", "hls { enabled on; }", "edges write no HLS"),
    conf("conf", "work_dir /tmp;", "SRS would not find its files"),
    conf("conf", "include extra.conf;", "put its content here"),
    conf("vhostDirectives", "hls { hls_path /data; }", "must be in ./objs/nginx/html", ORIGINS),
    # What SRS does not know, or discards.
    conf("directives", "exporter { enabled on; }", "which SRS knows from 5.0.67 on, not 4.0.6"),
    conf("vhostDirectives", "http_remux { has_audio off; }", "which SRS knows from 5.0.110 on, not 4.0.6"),
    conf("directives", "chunksize 60000;", "which SRS does not know; did you mean 'chunk_size'?"),
    conf("directives", "hls { hls_fragment 5; }", "which SRS does not know; it belongs to vhost"),
    conf("vhostDirectives", "play { gopcache off; }", "does not know in 'vhost.play'; did you mean 'gop_cache'?"),
    conf("vhostDirectives", "vhost second { tcp_nodelay on; }", "vhosts belong to the top level (srs.conf)"),
    conf("conf", "vhost { tcp_nodelay on; }", "must be a vhost with one name and a block"),
    conf(
        "conf",
        "vhost a { chunk_size 128; chunk_size 256; }",
        "sets 'chunk_size' again, and SRS uses the first one only",
    ),
    conf("vhostDirectives", "gop_cahce off;", "does not know in 'vhost'; did you mean 'gop_cache'?"),
    # Values that SRS reads as 0, or as the default.
    conf("directives", "chunk_size abc;", "must have in 'chunk_size' a whole number of bytes from 128 to 65536"),
    conf("vhostDirectives", "play { queue_length ten; }", "a whole number of seconds from 1 to 3600"),
    conf("vhostDirectives", "tcp_nodelay yes;", "must have in 'tcp_nodelay' on or off"),
    conf("vhostDirectives", "publish { normal_timeout 7; }", "a whole number of milliseconds from 1000"),
    conf("vhostDirectives", "http_hooks { enabled on; on_play auth; }", "URLs that begin with http:// or https://"),
    conf("vhostDirectives", "play on;", "must have a block after 'play'", ORIGINS),
    conf("vhostDirectives", "min_latency { }", "has a block after 'min_latency', which takes a value", ORIGINS),
    # The syntax.
    conf("conf", DEEP, "has more than 20 blocks in blocks", ORIGINS, shown=f"'{DEEP[:116]}…"),
    conf("directives", "utc_time on", "has no ';' at the end of 'utc_time'"),
    conf("vhostDirectives", "play { gop_cache off }", "has no ';' at the end of 'gop_cache'", ORIGINS),
    conf("vhostDirectives", "play {", "has a '{' that is not closed"),
    conf("conf", "} vhost b { }", "has a '}' without a '{'"),
    conf("conf", "chunk_size 60000\n;", "read no directive over two lines", shown="'chunk_size 60000'"),
    conf("conf", 'srs_log_file "x;', "has a quote that is not closed", ORIGINS),
    conf("conf", "stats { disk 'x'y; }", "has a quote that is not followed by a space"),
    put(
        f"{R6}/srs/conf",
        "conf/absent.conf",
        "is not the path of a file that can be read",
        at="edge.releases.r6.srs.conf",
    ),
    *(
        put(
            f"{owner}/srs/conf",
            path,
            "is not the path of a file that can be read",
            at=f"{owner}/srs/conf".replace("/", "."),
        )
        for owner, path in ((R6, "~no-such-user/srs.conf"), (ORIGINS, "a\0b"))
    ),
    put(
        "edge/nodeSelector/a\n::error::b",
        "c",
        "must be the key of a label",
        "'a\\n::error::b'",
        r"edge.nodeSelector.a\n::error::b",
    ),
    put("origin/podAnnotations/a", "\x7f", "must be Unicode that YAML can have", "(a text)", "origin"),
    conf("directives", "stats { disk $(disk); }", "has $(disk), but srs:secrets has no such name"),
    # Who may publish, and secrets.
    put("publish/exclusive", True, "needs a load balancer of the encoders with to: origins"),
    put("publish/from", "10.0.0.1", "must be a valid list"),
    put("publish/from", ["203.0.113.7"], "cannot be checked behind srs:loadBalancer: SRS sees the address of a node"),
    put("publish/from", ["10.0.0.1/8"], "the first address of the range", "'10.0.0.1/8'", "publish.from[0]"),
    put("publish/from", ["2001:db8::/32"], "must be an IPv4 address or range", "'2001:db8::/32'", "publish.from[0]"),
    put("publish/from", ["office"], "must be an IPv4 address or range", "'office'", "publish.from[0]"),
    put("publish/hook", "auth.example.com", "must be a URL that begins with http:// or https://", "[secret]"),
    put("publish/hook", "http://auth/a b", "must be ASCII without spaces, quotes", "[secret]"),
    put("publish/hook", "https://auth/", "SRS asks by HTTPS from 4.0.45 on; edge release r5: 4.0.5, edge", "[secret]"),
    put("publish/hook", "http://auth/?key=$(key)", "has key, not a name in srs:secrets", "[secret]"),
    put("secrets/key", "hunter2-hunter2", "must not be in the stack file in plain text", "[secret]"),
    put("secrets/key", "hunter2;", "must be ASCII without spaces, quotes", "[secret]"),
    put("secrets/a-b", "hunter2", "must match pattern", "[secret]"),
    put("origin/srs/conf", ["listen 1935;"], "must be a text in SRS's syntax, or the path of a file"),
]


def cloud(
    change: Config, allowed: str, base: Config = SLB, key: str = "loadBalancer", at: str = "", shown: str = ""
) -> BadCase:
    """A changed load balancer of Alibaba Cloud. at, shown: the path below `key` and the value in the message, if they
    are not those of the change.

    Several cases can change the same load balancer, so that many cases fit into one config.
    """
    path: list[str] = []
    value: Any = change
    while isinstance(value, dict) and len(value) == 1:
        ((name, value),) = value.items()
        path.append(name)

    def apply(config: Config) -> None:
        current: Config = config.get(key) or {}
        config[key] = copy.deepcopy((current if base.items() <= current.items() else base) | change)

    return BadCase(f"{key}.{at or '.'.join(path)}", shown or yaml_text(value), allowed, apply)


def without(key: str, of: Config) -> Config:
    return {name: value for name, value in of.items() if name != key}


def annotated(name: str, allowed: str, base: Config = SLB, key: str = "loadBalancer") -> BadCase:
    """A load balancer of Alibaba Cloud with one annotation more."""

    def apply(config: Config) -> None:
        current: Config = config.get(key) or {}
        config[key] = copy.deepcopy(current if base.items() <= current.items() else base)
        config[key].setdefault("annotations", {})[name] = "on"

    shown = name if " " in name else "on"  # the key itself is wrong
    return BadCase(config_path((key, "annotations", name)).removeprefix("srs:"), f"'{shown}'", allowed, apply)


FORMER = "formerLoadBalancer"
DRAIN = "edge.drain.timeout"
NOT_OURS = "kubernetes.do.not.delete"
REUSED = "kubernetes.reused.by.user"
INTERNET: Config = {"kind": "slb", "addressType": "internet"}
EXISTING: Config = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}
EIP = "{bandwidth: 5, chargeType: 'PayByTraffic'}"
TAGS = {f"tag{i}": "x" for i in range(10)}
POOL = {"key": "pool", "value": "edge"}
LOGIN = {"server": "registry.example.com", "username": "puller", "password": "hunter2-hunter2"}

PATCH = f"{R6}/podPatch/spec"
AT = "edge.releases.r6.podPatch.spec"


def container(change: Config, at: str, allowed: str, shown: str = "", name: str = "srs") -> BadCase:
    """A patch of SRS's container, or of one beside it. at: the path below the container."""
    path = f"edge.releases.r6.podPatch.spec.containers[0].{at}"
    image = {} if name == "srs" else {"image": "proxy:1"}
    return put(f"{PATCH}/containers", [{"name": name} | image | change], allowed, shown, path)


HOOK = {"exec": {"command": ["true"]}}
BAD_POD_CONFIGS = [
    # Placement and resources.
    put(
        "edge/tolerations",
        [{"key": "a", "value": "b", "effect": "NoSchedule", "tolerationSeconds": "5m"}],
        "needs effect NoExecute",
        shown="5m",
        at="edge.tolerations[0].tolerationSeconds",
    ),
    put("hls/priorityClass", "High", "must be a DNS subdomain"),
    put("origin/affinity/nodeAfinity", {}, "did you mean 'nodeAffinity'?"),
    put("origin/affinity/podAntiAffinity", [], "must be a map of keys and values"),
    put(f"{R6}/resources/cpuLimit", "50m", "must be at least cpu (100m)"),
    put("edge/maxSurge", 0, "must be a number from 1 to 5000, or a percentage such as 25%"),
    put("edge/maxSurge", "150%", "must be a number from 1 to 5000, or a percentage such as 25%"),
    # Patches that Kubernetes does not understand.
    put(f"{R6}/podPatch/labels", {"a": "b"}, "is at an unknown key; known are metadata, spec", shown="{a: 'b'}"),
    put(f"{PATCH}/volums", [], "did you mean 'volumes'?", shown="[]"),
    container({"env": [{"value": "A"}]}, "env[0].name", "is required", ABSENT),
    container({"env": "A=b"}, "env", "must be a valid list", "'A=b'"),
    # Values that only the API server checks.
    *(
        container(change, at, allowed, shown)
        for change, at, allowed, shown in (
            ({"env": [{"name": "A=B", "value": "c"}]}, "env[0].name", "must be printable ASCII without '='", "'A=B'"),
            (
                {"volumeMounts": [{"name": "a", "mountPath": "/a:b"}]},
                "volumeMounts[0].mountPath",
                "without ':'",
                "'/a:b'",
            ),
            ({"envFrom": [{"prefix": "A"}]}, "envFrom[0]", "must have one of configMapRef, secretRef", "['prefix']"),
        )
    ),
    container({"name": "My proxy"}, "name", "must be a DNS label", "'My proxy'"),
    container({"ports": [{"containerPort": 0}]}, "ports[0].containerPort", "must be from 1 to 65535", "0", "proxy"),
    container(
        {"resources": {"limits": {"memory": "64 MB"}}},
        "resources.limits",
        "must have Kubernetes quantities",
        "{memory: '64 MB'}",
        "proxy",
    ),
    put(f"{PATCH}/volumes", [{"name": "a b", "emptyDir": {}}], "must be a DNS label", "'a b'", f"{AT}.volumes[0].name"),
    put(
        f"{PATCH}/dnsConfig",
        {"options": [{"value": "1"}]},
        "is required",
        ABSENT,
        f"{AT}.dnsConfig.options[0].name",
    ),
    put(f"{PATCH}/hostAliases", [{"ip": "a"}], "must be an IP address", "'a'", f"{AT}.hostAliases[0].ip"),
    put(
        "edge/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution",
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]},
        "must be set with In and NotIn",
        ABSENT,
        "edge.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
        ".matchExpressions[0].values",
    ),
    put(
        "origin/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
        [{"topologyKey": "a b"}],
        "must be the key of a label",
        "'a b'",
        "origin.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
    ),
    put(
        f"{PATCH}/containers",
        [{"name": "srs", "envFrom": [{"secretRef": {}}]}],
        "is required",
        ABSENT,
        f"{AT}.containers[0].envFrom[0].secretRef.name",
    ),
    container({"env": [{"name": "A"}, {"name": "A"}]}, "env[1].name", "must not be repeated", "'A'"),
    container(
        {"ports": [{"containerPort": 9000}, {"containerPort": 9000, "protocol": "TCP"}]},
        "ports[1].containerPort",
        "must not be repeated",
        "9000",
        "proxy",
    ),
    container({"resources": {"limits": {"gpu": "1"}}}, "resources.limits", "by the name of a resource", "{gpu: '1'}"),
    container(
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}},
        "resources.requests.cpu",
        "must be at most its limit (1500m)",
        "'2'",
        "proxy",
    ),
    container(
        {"resources": {"requests": {"example.com/gpu": "1"}}},
        'resources.requests["example.com/gpu"]',
        "must be equal to its limit",
        "'1'",
    ),
    container(
        {"restartPolicy": "Always"}, "restartPolicy", "and of a container of initContainers", "'Always'", "proxy"
    ),
    container(
        {"startupProbe": HOOK | {"successThreshold": 2, "terminationGracePeriodSeconds": 5}},
        "startupProbe.successThreshold",
        "must be 1",
        "2",
        "proxy",
    ),
    container(
        {"readinessProbe": HOOK | {"terminationGracePeriodSeconds": 5}},
        "readinessProbe.terminationGracePeriodSeconds",
        "a readiness probe ends no container",
        "5",
        "proxy",
    ),
    container(
        {"lifecycle": {"preStop": {"exec": {}}}}, "lifecycle.preStop.exec.command", "is required", ABSENT, "proxy"
    ),
    put(
        f"{PATCH}/initContainers",
        [{"name": "a", "image": "a:1", "lifecycle": {"preStop": HOOK}}],
        "needs restartPolicy: Always",
        yaml_text({"preStop": HOOK}),
        f"{AT}.initContainers[0].lifecycle",
    ),
    put(
        "origin/podPatch/spec",
        {"initContainers": [{"name": "a", "image": "a:1"}], "containers": [{"name": "a", "image": "a:1"}]},
        "must not be the name of another container",
        "'a'",
        "origin.podPatch.spec.initContainers[0].name",
    ),
    put(
        f"{PATCH}/volumes",
        [
            {
                "name": "info",
                "projected": {
                    "sources": [
                        {"configMap": {"name": "a", "items": [{"key": "a", "path": "a"}]}},
                        {"secret": {"name": "a", "items": [{"key": "a", "path": "b"}]}},
                        {"serviceAccountToken": {"path": "c"}},
                        {"downwardAPI": {"items": [{"path": "b", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                    ]
                },
            }
        ],
        "must not be repeated",
        "'b'",
        f"{AT}.volumes[0].projected.sources[3].downwardAPI",
    ),
    # Patches that would end connections, or pods that nothing selects.
    put(f"{PATCH}/terminationGracePeriodSeconds", 30, "it is the sum of drain.deregister and drain.timeout"),
    put(f"{PATCH}/activeDeadlineSeconds", 60, "it would end running pods"),
    put(f"{PATCH}/hostNetwork", True, "pods keep to pod security `restricted`"),
    put(f"{PATCH}/priorityClassName", "high", "set the key priorityClass instead"),
    put(f"{PATCH}/nodeName", "node-1", "a patch may set containers, dnsConfig"),
    put(f"{R6}/podPatch/metadata/labels/app", "x", "pods are selected by it"),
    put(f"{R6}/podPatch/metadata/labels/team", "a b", "must be the value of a label"),
    put(
        "origin/podPatch/metadata/labels/a b",
        "c",
        "must be the key of a label",
        shown="'c'",
        at="origin.podPatch.metadata.labels.a b",
    ),
    put("origin/podPatch/metadata/annotations", {"a": "b"}, "set the key podAnnotations instead", shown="{a: 'b'}"),
    container({"command": ["sh"]}, "command", "SRS must be the process that receives SIGTERM", "['sh']"),
    container({"lifecycle": {"preStop": HOOK}}, "lifecycle", "the drain depends on it", yaml_text({"preStop": HOOK})),
    container({"readinessProbe": HOOK}, "readinessProbe", "would lose its viewers", yaml_text(HOOK)),
    container({"image": "a:b"}, "image", "set the key image instead", "'a:b'"),
    container({"resources": {"limits": {"cpu": "1"}}}, "resources.limits.cpu", "set the key resources", "'1'"),
    container(
        {"volumeMounts": [{"name": "a", "mountPath": "/usr/local/srs"}]},
        "volumeMounts[0].mountPath",
        "must not cover files of SRS",
        "'/usr/local/srs'",
    ),
    # Pods that could not be created, or not start.
    put(f"{PATCH}/volumes", [{"name": "tmp", "emptyDir": {}}], "is already a volume", "'tmp'", f"{AT}.volumes[0].name"),
    put(
        f"{PATCH}/volumes",
        [{"name": "logs", "hostPath": {"path": "/var/log"}}],
        "pod security `restricted`",
        "{path: '/var/log'}",
        f"{AT}.volumes[0].hostPath",
    ),
    put(
        f"{PATCH}/containers",
        [{"name": "srs", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "is no volume of the pod, which has config, tmp",
        "'data'",
        f"{AT}.containers[0].volumeMounts[0].name",
    ),
    put(
        "origin/podPatch/spec",
        {
            "volumes": [{"name": "logs", "emptyDir": {}}],
            "initContainers": [
                {"name": "a", "image": "a:1", "volumeDevices": [{"name": "tls", "devicePath": "/dev/a"}]}
            ],
        },
        "is no volume of the pod, which has config, hls, logs, tmp",
        "'tls'",
        "origin.podPatch.spec.initContainers[0].volumeDevices[0].name",
    ),
    put(
        f"{PATCH}/containers",
        [{"name": "srss", "env": [{"name": "A", "value": "b"}]}],
        "must be set: 'srss' is not a container of the pod, so the patch adds it",
        ABSENT,
        f"{AT}.containers[0].image",
    ),
    container({"ports": [{"containerPort": 1985}]}, "ports[0].containerPort", "is a port of SRS", "1985", "proxy"),
    container(
        {"securityContext": {"runAsUser": 0}}, "securityContext.runAsUser", "pod security `restricted`", "0", "proxy"
    ),
    container(
        {"livenessProbe": HOOK},
        "livenessProbe.terminationGracePeriodSeconds",
        "a restart would otherwise wait",
        ABSENT,
        "proxy",
    ),
]

BAD_CLOUD_CONFIGS = [
    # Keys of another kind of load balancer.
    cloud({"rtmpPort": 31935}, "is at an unknown key"),
    cloud({"zoneMaps": {}}, "is at an unknown key"),
    cloud({"vswitchId": "vsw-2ze0001"}, "is at an unknown key", NLB, FORMER),
    cloud({"eip": {"bandwith": 5, "bandwidth": 5}}, "did you mean 'bandwidth'?", at="eip.bandwith", shown="5"),
    cloud({"Spec": "slb.s2.small"}, "did you mean 'spec'?"),
    # Missing keys.
    put("loadBalancer", without("addressType", SLB), "is required", shown=ABSENT, at="loadBalancer.addressType"),
    put("loadBalancer", without("zoneMaps", NLB), "is required", shown=ABSENT, at="loadBalancer.zoneMaps"),
    put(
        "loadBalancer",
        without("vswitchId", SLB),
        "must name the vswitch",
        shown=ABSENT,
        at="loadBalancer.vswitchId",
    ),
    cloud({"eip": {}}, "is required", at="eip.bandwidth", shown=ABSENT),
    # Values.
    cloud({"addressType": "vpc"}, "must be 'internet' or 'intranet'"),
    cloud({"backend": "pod"}, "must be 'ecs' or 'eni'"),
    cloud({"scheduler": "random"}, "must be 'wrr', 'rr', 'wlc', 'sch' or 'tch'"),
    cloud({"externalTrafficPolicy": "local"}, "must be 'Cluster' or 'Local'"),
    cloud({"connectionDrain": "9s"}, "must be 10s to 900s, or 0s for none"),
    cloud({"connectionDrain": "901s"}, "must be 10s to 900s, or 0s for none"),
    cloud({"connectionDrain": 900}, "must be a duration with a unit"),
    cloud({"connectionDrain": "12h"}, "must be 10s to 900s", NLB, FORMER),
    cloud({"establishedTimeout": "1h"}, "must be 10s to 900s"),
    cloud({"idleTimeout": "5s"}, "must be 10s to 900s", NLB, FORMER),
    cloud({"persistenceTimeout": "2h"}, "must be 0s to 3600s"),
    cloud({"healthCheck": {"interval": "51s"}}, "must be 1s to 50s"),
    cloud({"healthCheck": {"timeout": "0s"}}, "must be 1s to 300s"),
    cloud({"healthCheck": {"healthyThreshold": 1}}, "greater than or equal to 2"),
    cloud({"healthCheck": {"unhealthyThreshold": 11}}, "less than or equal to 10"),
    cloud({"vswitchId": "vpc-2ze0001"}, "must be the id of a vswitch"),
    cloud({"id": "i-2ze0001"}, "must be the id of a CLB", EXISTING, FORMER),
    cloud({"name": "srs edge"}, "must be a name of at most 80 letters"),
    cloud({"spec": "slb.s9.huge"}, "must be 'slb.s1.small'"),
    cloud({"deleteProtection": "on"}, "must be a valid boolean"),
    cloud({"eip": {"bandwidth": "100"}}, "must be a valid integer"),
    cloud({"eip": {"bandwidth": 0}}, "greater than or equal to 1"),
    cloud({"service": "SRS"}, "must be a DNS label"),
    cloud(
        {"zoneMaps": {"cn-beijing-h": "vsw-2ze0001"}},
        "at least 2 items",
        NLB,
        at="zoneMaps",
        shown="{cn-beijing-h: 'vsw-2ze0001'}",
    ),
    cloud({"zoneMaps": ZONES | {"h": "vsw-2ze0003"}}, "must be a zone", NLB, FORMER, at="zoneMaps.h", shown="'h'"),
    cloud({"tags": {"acs:x": "y"}}, "beginning with neither aliyun nor acs:"),
    cloud({"tags": {NOT_OURS: ""}}, "the controller rejects", at=f'tags["{NOT_OURS}"]', shown="''"),
    cloud({"tags": {REUSED: "x"}}, "the stack sets it", at=f'tags["{REUSED}"]', shown="'x'"),
    cloud({"tags": TAGS}, "must be at most 9 tags", shown=yaml_text(TAGS)),
    cloud({"tags": {"a": "1,2"}}, "must contain neither ',' nor '='", NLB, FORMER),
    cloud({"resourceGroupId": "default"}, "must be the id of a resource group"),
    # Annotations that the stack sets, or that break a promise.
    annotated("external dns", "must be the key of an annotation"),
    annotated("srs/stack", "the stack sets it"),
    annotated("pulumi.com/skipAwait", "the stack sets it", NLB, FORMER),
    annotated("service.beta.kubernetes.io/backend-type", "is decided by the key backend"),
    annotated(f"{PREFIX}connection-drain-timeout", "is decided by the key connectionDrain"),
    annotated(f"{PREFIX}bandwidth", "is decided by the key bandwidth"),
    annotated(f"{PREFIX}additional-resource-tags", "is decided by the key tags", NLB, FORMER),
    annotated("service.beta.kubernetes.io/alicloud-loadbalancer-id", "is decided by the stack, or the key id"),
    annotated("service.beta.kubernetes.io/class", "the controller would no longer manage the Service"),
    annotated(f"{PREFIX}remove-unscheduled-backend", "cordoning a node would drop all connections"),
    annotated(f"{PREFIX}proxy-protocol", "SRS does not understand the PROXY protocol", NLB, FORMER),
    annotated(f"{PREFIX}weight", "must be 1 to 100: with 0 no backend receives a connection"),
    annotated(f"{PREFIX}default-weight", "must be 1 to 100: with 0 no backend receives a connection", NLB, FORMER),
    annotated(f"{PREFIX}backend-ip-version", "SRS listens on IPv4"),
    annotated(f"{PREFIX}hostname", "updates wait for the address of the CLB"),
    annotated(f"{PREFIX}ip-version", "must be ipv4 or ipv6, as the CLB is", EXISTING, FORMER),
    annotated(f"{PREFIX}acl-status", "needs acl-id and acl-type, whom it is to exclude"),
    annotated(f"{PREFIX}acl-status", "has no effect on an NLB, to which everyone could connect", NLB, FORMER),
    cloud(
        {"annotations": {f"{PREFIX}acl-id": "acl-2ze0001"}},
        "must be set with acl-id: without it everyone can connect",
        EXISTING,
        FORMER,
        at=f'annotations["{PREFIX}acl-status"]',
        shown=ABSENT,
    ),
    cloud({"eip": {"bandwidth": 201}}, "must be at most 200 with PayByTraffic", at="eip.bandwidth", shown="201"),
    cloud(
        {"eip": {"bandwidth": 1000, "chargeType": "PayByBandwidth"}},
        "must be at most 500 with PayByBandwidth",
        at="eip.bandwidth",
        shown="1000",
    ),
    # Rules between keys.
    cloud({"spec": "slb.s2.small"}, "has no effect with PayByCLCU"),
    cloud({"instanceChargeType": "PayBySpec"}, "must be set with PayBySpec", at="spec", shown=ABSENT),
    cloud({"vswitchId": "vsw-2ze0001"}, "has no effect on an internet CLB", INTERNET, FORMER),
    cloud({"eip": {"bandwidth": 5}}, "can only be set for an intranet CLB", INTERNET, FORMER, at="eip", shown=EIP),
    cloud({"bandwidth": 100}, "only on an internet CLB with PayByBandwidth"),
    cloud({"bandwidth": 100}, "only on an internet CLB with PayByBandwidth", INTERNET, FORMER),
    cloud(
        {"internetChargeType": "PayByBandwidth"},
        "must be set with PayByBandwidth",
        INTERNET,
        FORMER,
        at="bandwidth",
        shown=ABSENT,
    ),
    cloud({"internetChargeType": "PayByTraffic"}, "no effect on an intranet"),
    cloud({"vswitchId": "vsw-2ze0001"}, "must not be set together with id", EXISTING, FORMER),
    cloud({"tags": {"a": "b"}}, "must not be set together with id", EXISTING, FORMER, at="tags", shown="{a: 'b'}"),
    cloud(
        {"backend": "eni", "externalTrafficPolicy": "Local"},
        "has no effect",
        at="externalTrafficPolicy",
        shown="'Local'",
    ),
    cloud(
        {"backend": "eni", "controllerVersion": "2.9.1"},
        "must be 2.10 or later with backend eni",
        at="controllerVersion",
        shown="'2.9.1'",
    ),
    # Drain timeouts that a load balancer does not support.
    put("loadBalancer", SLB | {"backend": "eni"}, "with backend eni it ends", shown="12h", at=DRAIN),
    put("loadBalancer", NLB | {"backend": "eni"}, "drain.timeout to at most 14m55s", shown="12h", at=DRAIN),
    put(
        "formerLoadBalancer",
        SLB | {"externalTrafficPolicy": "Local", "service": "former"},
        "longer than srs:formerLoadBalancer can keep: with externalTrafficPolicy Local",
        shown="12h",
        at=DRAIN,
    ),
    # Load balancers of other clouds.
    put("loadBalancer", without("drainCeiling", SERVICE), "is required", ABSENT, "loadBalancer.drainCeiling"),
    cloud({"drainCeiling": "forever"}, "must be a duration with a unit", SERVICE, FORMER),
    cloud({"drainCeiling": None}, "must be a duration such as 5m, or none", SERVICE, FORMER, shown=ABSENT),
    cloud({"httpPort": 1935}, "must differ from rtmpPort", SERVICE, FORMER),
    cloud({"loadBalancerClass": "a b"}, "must be the key of an annotation", SERVICE, FORMER),
    cloud(
        {"sourceRanges": ["203.0.113.7/24"]},
        "must be a range of addresses, such as",
        SERVICE,
        FORMER,
        at="sourceRanges[0]",
        shown="'203.0.113.7/24'",
    ),
    cloud(
        {"annotations": {"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*"}},
        "SRS does not understand the PROXY protocol",
        SERVICE,
        FORMER,
        at='annotations["service.beta.kubernetes.io/aws-load-balancer-proxy-protocol"]',
        shown="'*'",
    ),
    put("loadBalancer", SERVICE | {"drainCeiling": "5m"}, "by its drainCeiling it ends", shown="12h", at=DRAIN),
    # Several load balancers.
    put(
        "formerLoadBalancer",
        SLB,
        "is already the Service of srs:loadBalancer",
        shown="'srs-edge-service'",
        at="formerLoadBalancer.service",
    ),
    put(
        "formerLoadBalancer",
        {"kind": "nodePort", "service": "former", "httpPort": 30081},
        "is already a node port of srs:loadBalancer",
        shown="31935",
        at="formerLoadBalancer.rtmpPort",
    ),
    put(
        "publish/loadBalancer",
        SLB | {"service": "socs"},
        "is already the Service of the origins",
        shown="'socs'",
        at="publish.loadBalancer.service",
    ),
    put("publish/to", "origin", "must be 'edges' or 'origins'"),
    put("publish/loadBalancer/kind", "nodePort", "must be one of 'none', 'slb', 'nlb', 'service'"),
    put(
        "publish",
        {"to": "origins", "loadBalancer": SLB, "from": ["10.0.0.1"]},
        "needs exclusive: true with to: origins",
        shown="['10.0.0.1']",
        at="publish.from",
    ),
    put(
        "publish",
        {"to": "origins", "loadBalancer": SLB, "hook": "http://auth/"},
        "needs exclusive: true with to: origins",
        shown="[secret]",
        at="publish.hook",
    ),
    BadCase(
        "publish.from",
        "['10.0.0.0/8']",
        "SRS knows ranges from 5.0.26 on; edge release r5: 4.0.5, edge release r6: 4.0.6",
        lambda config: config.update(loadBalancer={"kind": "none"}, publish={"from": ["10.0.0.0/8", "10.0.0.1"]}),
    ),
    # HLS, images, nodes, monitoring.
    put("hls/port", 8081, "needs a CLB (loadBalancer.kind: slb; it is nodePort)"),
    put("publish/former", {}, "must be the load balancer that", shown=ABSENT, at="publish.former.loadBalancer"),
    put("images/mirror", "https://docker.io", "must be a host such as"),
    cloud({"backendNodes": {"a b": "c"}}, "must be the key of a label", at="backendNodes.a b", shown="'a b'"),
    put(
        "loadBalancer",
        SLB | {"externalTrafficPolicy": "Local", "backendNodes": {"pool": "edge"}},
        "can only be set with backend ecs and externalTrafficPolicy Cluster",
        shown="{pool: 'edge'}",
        at="loadBalancer.backendNodes",
    ),
    put("hls/port", 0, "must be greater than or equal to 1"),
    put("images/pullSecrets", "acr", "must be a valid list"),
    put("images/pullSecrets", ["ACR"], "must be a DNS label", shown="'ACR'", at="images.pullSecrets[0]"),
    put("images/registry", LOGIN | {"user": "x"}, "did you mean 'username'?", shown="'x'", at="images.registry.user"),
    put("images/registry", LOGIN | {"username": "a:b"}, "without ':'", shown="'a:b'", at="images.registry.username"),
    put(
        "images/registry",
        LOGIN | {"server": "a b"},
        "must be the host of a",
        shown="'a b'",
        at="images.registry.server",
    ),
    put("images/registry", LOGIN | {"password": 12}, "valid string", shown="[secret]", at="images.registry.password"),
    put("edge/nodeSelector/a b", "c", "must be the key of a label", shown="'a b'"),
    put("origin/nodeSelector/pool", True, "must be a valid string"),
    put(
        "edge/tolerations",
        [{"key": "pool"}],
        "must be set with Equal",
        shown=ABSENT,
        at="edge.tolerations[0].value",
    ),
    put(
        "edge/tolerations",
        [POOL | {"operator": "Exists"}],
        "must be left out with operator Exists",
        shown="'edge'",
        at="edge.tolerations[0].value",
    ),
    put(
        "origin/tolerations",
        [POOL | {"efect": "NoSchedule"}],
        "did you mean 'effect'?",
        shown="'NoSchedule'",
        at="origin.tolerations[0].efect",
    ),
    put("hls/tolerations", {"key": "pool"}, "must be a valid list"),
    put("monitoring/kind", "prometheus", "must be 'none', 'podMonitor' or 'annotations'"),
    put("monitoring/interval", "1m", "needs kind podMonitor (it is none)", shown="1m"),
    put(
        "monitoring",
        {"kind": "podMonitor", "interval": "10s"},
        "must not be shorter than 20s",
        shown="10s",
        at="monitoring.interval",
    ),
    put("monitoring/labels", {"team": "video"}, "needs kind podMonitor (it is none)"),
    put("monitoring/namespace", "Monitoring", "must be a DNS label"),
    put("kubernetes/kubeconfig", "apiVersion: v1\nkind: Config", "must be the path of a kubeconfig", shown="[secret]"),
]
"""Bad configs of production on Alibaba Cloud."""

ALICLOUD = {"alicloud:region": "cn-beijing"}
"""The provider's settings that GOOD needs with SLB."""
