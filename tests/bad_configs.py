"""Stack configs that must be rejected. Each case changes a good one in one place."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]

SLB: Config = {"kind": "slb", "addressType": "intranet", "vswitchId": "vsw-2ze0001"}
ZONES = {"cn-beijing-h": "vsw-2ze0001", "cn-beijing-g": "vsw-2ze0002"}
NLB: Config = {"kind": "nlb", "addressType": "internet", "zoneMaps": ZONES}
"""Valid load balancers of Alibaba Cloud."""

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


def put(path: str, value: Any, shown: str, allowed: str, at: str | None = None) -> BadCase:
    """Set one value. at: the path in the message, if it differs."""

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
    # Unknown keys, with a suggestion for a typo.
    put("egde", {}, "'{}'", "did you mean 'edge'?"),
    put("loadbalancer", {}, "'{}'", "did you mean 'loadBalancer'?"),
    put("edge/replica", 4, "4", "did you mean 'replicas'?"),
    put(f"{R6}/wieght", 4, "4", "did you mean 'weight'?"),
    put("edge/drain/time", "1h", "'1h'", "did you mean 'timeout'?"),
    put("kubernetes/colour", "red", "'red'", "known are clusterDomain, clusterId, context"),
    put("loadBalancer/rtmpport", 31935, "31935", "did you mean 'rtmpPort'?"),
    put("edge/min_ready", "5s", "'5s'", "did you mean 'minReady'?"),
    # Missing keys.
    drop("kubernetes/kubeconfig"),
    drop("kubernetes/clusterId"),
    drop("origin/image"),
    drop("edge/replicas"),
    drop("edge/releases"),
    drop(f"{R6}/weight"),
    drop(f"{R6}/image"),
    put("loadBalancer", {}, "(absent)", "must be one of 'none', 'nodePort', 'slb', 'nlb'", at="loadBalancer.kind"),
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
    put(f"{R6}/image", "ossrs/srs", "'ossrs/srs'", "must have a tag or a digest"),
    put(f"{R6}/image", "ossrs/srs:latest", "'ossrs/srs:latest'", "must not be `latest`"),
    put(f"{R6}/image", "OSSRS/srs:v4.0.6", "'OSSRS/srs:v4.0.6'", "must be an image reference such as"),
    put(f"{R6}/image", "ossrs/srs:v4.0.6 ", "'ossrs/srs:v4.0.6 '", "must be an image reference such as"),
    put(f"{R6}/image", "ossrs/srs:4", "'ossrs/srs:4'", "no tag that names one SRS version"),
    put(f"{R6}/image", "ossrs/srs@sha256:" + "0" * 64, "'ossrs/srs@sha256:" + "0" * 64 + "'", "or set `version`"),
    put(f"{R6}/image", "ossrs/srs:v5.0-r3", "'ossrs/srs:v5.0-r3'", "or set allowDroppedConnections: true"),
    put(f"{R6}/image", "ossrs/srs:v6.0.48", "'ossrs/srs:v6.0.48'", "is SRS 6.0.48, which drops every connection"),
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
    put("loadBalancer/kind", "clb", "'clb'", "must be one of 'none', 'nodePort', 'slb', 'nlb'"),
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


def cloud(change: Config, at: str, shown: str, allowed: str, base: Config = SLB, key: str = "loadBalancer") -> BadCase:
    """A changed load balancer of Alibaba Cloud. at: the path in the message, below `key`.

    Several cases can change the same load balancer, so that many cases fit into one config.
    """

    def apply(config: Config) -> None:
        current: Config = config.get(key) or {}
        config[key] = copy.deepcopy((current if base.items() <= current.items() else base) | change)

    return BadCase(f"{key}.{at}", shown, allowed, apply)


def without(key: str, of: Config) -> Config:
    return {name: value for name, value in of.items() if name != key}


FORMER = "formerLoadBalancer"
NOT_OURS = "kubernetes.do.not.delete"
INTERNET: Config = {"kind": "slb", "addressType": "internet"}
EXISTING: Config = {"kind": "slb", "addressType": "intranet", "id": "lb-2ze0001"}
EIP = '{"bandwidth":5,"chargeType":"PayByTraffic"}'
TAGS = {f"tag{i}": "x" for i in range(10)}
POOL = {"key": "pool", "value": "edge"}
LOGIN = {"server": "registry.example.com", "username": "puller", "password": "hunter2-hunter2"}

BAD_CLOUD_CONFIGS = [
    # Keys of another kind of load balancer.
    cloud({"rtmpPort": 31935}, "rtmpPort", "31935", "is at an unknown key"),
    cloud({"zoneMaps": {}}, "zoneMaps", "{}", "is at an unknown key"),
    cloud({"vswitchId": "vsw-2ze0001"}, "vswitchId", "'vsw-2ze0001'", "is at an unknown key", NLB, FORMER),
    cloud({"eip": {"bandwith": 5, "bandwidth": 5}}, "eip.bandwith", "5", "did you mean 'bandwidth'?"),
    cloud({"Spec": "slb.s2.small"}, "Spec", "'slb.s2.small'", "did you mean 'spec'?"),
    # Missing keys.
    put("loadBalancer", without("addressType", SLB), "(absent)", "is required", at="loadBalancer.addressType"),
    put("loadBalancer", without("zoneMaps", NLB), "(absent)", "is required", at="loadBalancer.zoneMaps"),
    put("loadBalancer", without("vswitchId", SLB), "None", "must name the vswitch", at="loadBalancer.vswitchId"),
    cloud({"eip": {}}, "eip.bandwidth", "(absent)", "is required"),
    # Values.
    cloud({"addressType": "vpc"}, "addressType", "'vpc'", "must be 'internet' or 'intranet'"),
    cloud({"backend": "pod"}, "backend", "'pod'", "must be 'ecs' or 'eni'"),
    cloud({"scheduler": "random"}, "scheduler", "'random'", "must be 'wrr', 'rr', 'wlc', 'sch' or 'tch'"),
    cloud({"externalTrafficPolicy": "local"}, "externalTrafficPolicy", "'local'", "must be 'Cluster' or 'Local'"),
    cloud({"connectionDrain": "9s"}, "connectionDrain", "'9s'", "must be 10s to 900s, or 0s for none"),
    cloud({"connectionDrain": "901s"}, "connectionDrain", "'901s'", "must be 10s to 900s, or 0s for none"),
    cloud({"connectionDrain": 900}, "connectionDrain", "900", "must be a duration with a unit"),
    cloud({"connectionDrain": "12h"}, "connectionDrain", "'12h'", "must be 10s to 900s", NLB, FORMER),
    cloud({"establishedTimeout": "1h"}, "establishedTimeout", "'1h'", "must be 10s to 900s"),
    cloud({"idleTimeout": "5s"}, "idleTimeout", "'5s'", "must be 10s to 900s", NLB, FORMER),
    cloud({"persistenceTimeout": "2h"}, "persistenceTimeout", "'2h'", "must be 0s to 3600s"),
    cloud({"healthCheck": {"interval": "51s"}}, "healthCheck.interval", "'51s'", "must be 1s to 50s"),
    cloud({"healthCheck": {"timeout": "0s"}}, "healthCheck.timeout", "'0s'", "must be 1s to 300s"),
    cloud({"healthCheck": {"healthyThreshold": 1}}, "healthCheck.healthyThreshold", "1", "greater than or equal to 2"),
    cloud(
        {"healthCheck": {"unhealthyThreshold": 11}}, "healthCheck.unhealthyThreshold", "11", "less than or equal to 10"
    ),
    cloud({"vswitchId": "vpc-2ze0001"}, "vswitchId", "'vpc-2ze0001'", "must be the id of a vswitch"),
    cloud({"id": "i-2ze0001"}, "id", "'i-2ze0001'", "must be the id of a CLB", EXISTING, FORMER),
    cloud({"name": "srs edge"}, "name", "'srs edge'", "must be a name of at most 80 letters"),
    cloud({"spec": "slb.s9.huge"}, "spec", "'slb.s9.huge'", "must be 'slb.s1.small'"),
    cloud({"deleteProtection": "on"}, "deleteProtection", "'on'", "must be a valid boolean"),
    cloud({"eip": {"bandwidth": "100"}}, "eip.bandwidth", "'100'", "must be a valid integer"),
    cloud({"eip": {"bandwidth": 0}}, "eip.bandwidth", "0", "greater than or equal to 1"),
    cloud({"service": "SRS"}, "service", "'SRS'", "must be a DNS label"),
    cloud(
        {"zoneMaps": {"cn-beijing-h": "vsw-2ze0001"}},
        "zoneMaps",
        "{'cn-beijing-h': 'vsw-2ze0001'}",
        "at least 2 items",
        NLB,
    ),
    cloud({"zoneMaps": ZONES | {"h": "vsw-2ze0003"}}, "zoneMaps.h", "'h'", "must be a zone", NLB, FORMER),
    cloud({"tags": {"acs:x": "y"}}, "tags.acs:x", "'y'", "beginning with neither aliyun nor acs:"),
    cloud({"tags": {NOT_OURS: ""}}, f'tags["{NOT_OURS}"]', "''", "the controller rejects"),
    cloud(
        {"tags": {"kubernetes.reused.by.user": "x"}}, 'tags["kubernetes.reused.by.user"]', "'x'", "the stack sets it"
    ),
    cloud({"tags": TAGS}, "tags", f"{str(TAGS)[:117]}…", "must be at most 9 tags"),
    cloud({"tags": {"a": "1,2"}}, "tags.a", "'1,2'", "must contain neither ',' nor '='", NLB, FORMER),
    # Rules between keys.
    cloud({"spec": "slb.s2.small"}, "spec", "'slb.s2.small'", "has no effect with PayByCLCU"),
    cloud({"instanceChargeType": "PayBySpec"}, "spec", "None", "must be set with PayBySpec"),
    cloud(
        {"vswitchId": "vsw-2ze0001"}, "vswitchId", "'vsw-2ze0001'", "has no effect on an internet CLB", INTERNET, FORMER
    ),
    cloud({"eip": {"bandwidth": 5}}, "eip", EIP, "can only be set for an intranet CLB", INTERNET, FORMER),
    cloud({"bandwidth": 100}, "bandwidth", "100", "only on an internet CLB with PayByBandwidth"),
    cloud({"bandwidth": 100}, "bandwidth", "100", "only on an internet CLB with PayByBandwidth", INTERNET, FORMER),
    cloud(
        {"internetChargeType": "PayByBandwidth"},
        "bandwidth",
        "None",
        "must be set with PayByBandwidth",
        INTERNET,
        FORMER,
    ),
    cloud({"internetChargeType": "PayByTraffic"}, "internetChargeType", "'PayByTraffic'", "no effect on an intranet"),
    cloud(
        {"vswitchId": "vsw-2ze0001"},
        "vswitchId",
        "'vsw-2ze0001'",
        "must not be set together with id",
        EXISTING,
        FORMER,
    ),
    cloud({"tags": {"a": "b"}}, "tags", "{'a': 'b'}", "must not be set together with id", EXISTING, FORMER),
    cloud({"backend": "eni", "externalTrafficPolicy": "Local"}, "externalTrafficPolicy", "'Local'", "has no effect"),
    # Drain timeouts that a load balancer does not support.
    put("loadBalancer", SLB | {"backend": "eni"}, "12h", "with backend eni it ends", at="edge.drain.timeout"),
    put(
        "loadBalancer",
        NLB | {"backend": "eni"},
        "12h",
        "or set drain.timeout to at most 14m55s",
        at="edge.drain.timeout",
    ),
    put(
        "formerLoadBalancer",
        SLB | {"externalTrafficPolicy": "Local", "service": "former"},
        "12h",
        "longer than formerLoadBalancer can keep: with externalTrafficPolicy Local",
        at="edge.drain.timeout",
    ),
    # Several load balancers.
    put(
        "formerLoadBalancer",
        SLB,
        "'srs-edge-service'",
        "is already the Service of loadBalancer",
        at="formerLoadBalancer.service",
    ),
    put(
        "formerLoadBalancer",
        {"kind": "nodePort", "service": "former", "httpPort": 30081},
        "31935",
        "is already a node port of loadBalancer",
        at="formerLoadBalancer.rtmpPort",
    ),
    put(
        "publish",
        {"loadBalancer": SLB | {"service": "socs"}},
        "'socs'",
        "is already the Service of the origins",
        at="publish.loadBalancer.service",
    ),
    put("publish", {"to": "origin"}, "'origin'", "must be 'edges' or 'origins'", at="publish.to"),
    put(
        "publish",
        {"loadBalancer": {"kind": "nodePort"}},
        "'nodePort'",
        "must be one of 'none', 'slb', 'nlb'",
        at="publish.loadBalancer.kind",
    ),
    # HLS, images, nodes.
    put("hls/port", 8081, "8081", "needs loadBalancer.kind slb (it is nodePort)"),
    put("hls/port", 0, "0", "must be greater than or equal to 1"),
    put("images", {"pullSecrets": "acr"}, "'acr'", "must be a valid list", at="images.pullSecrets"),
    put("images", {"pullSecrets": ["ACR"]}, "'ACR'", "must be a DNS label", at="images.pullSecrets[0]"),
    put("images", {"registry": LOGIN | {"user": "x"}}, "'x'", "did you mean 'username'?", at="images.registry.user"),
    put("images", {"registry": LOGIN | {"password": 12}}, "[secret]", "valid string", at="images.registry.password"),
    put("edge/nodeSelector", {"a b": "c"}, "'a b'", "must be the key of a label", at="edge.nodeSelector.a b"),
    put("origin/nodeSelector", {"pool": True}, "True", "must be a valid string", at="origin.nodeSelector.pool"),
    put(
        "edge/tolerations",
        [{"key": "pool"}],
        "None",
        "must be set with Equal",
        at="edge.tolerations[0].value",
    ),
    put(
        "edge/tolerations",
        [POOL | {"operator": "Exists"}],
        "'edge'",
        "must be left out with operator Exists",
        at="edge.tolerations[0].value",
    ),
    put(
        "origin/tolerations",
        [POOL | {"efect": "NoSchedule"}],
        "'NoSchedule'",
        "did you mean 'effect'?",
        at="origin.tolerations[0].efect",
    ),
    put("hls/tolerations", {"key": "pool"}, "{'key': 'pool'}", "must be a valid list"),
    put("kubernetes/kubeconfig", "apiVersion: v1\nkind: Config", "[secret]", "must be the path of a kubeconfig"),
]
"""Bad configs of production on Alibaba Cloud."""

ALICLOUD = {"alicloud:region": "cn-beijing"}
"""The provider's settings that GOOD needs with SLB."""
