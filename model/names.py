"""Names of objects. The names of the SRS project's article are kept, so its commands work as they stand."""

import hashlib
from collections.abc import Iterable, Mapping

EDGE_APP = "srs-edge"
"""Value of the `app` label that all releases share; the edge Service selects it."""

ABORTED_APP = "srs-edge-aborted"
"""Value of the `app` label of edges that `rollout abort` has taken out of rotation; no Service selects it."""

EDGE_PODS = f"app in ({EDGE_APP},{ABORTED_APP})"
"""Selects all edge pods, in rotation or not."""

EDGE_SERVICE = "srs-edge-service"
PUBLISH_SERVICE = "srs-publish-service"
ORIGIN_SERVICE = "srs-origin-service"
ORIGIN_HEADLESS_SERVICE = "socs"
ORIGIN = "srs-origin"
SRS_PODS = f"app in ({EDGE_APP},{ABORTED_APP},{ORIGIN})"
"""Selects all edges and origins."""

HLS = "nginx-origin"
HLS_CLAIM = "srs-hls"
DEMO = "srs-demo"
MONITORING = "srs"

SRS_HOME = "/usr/local/srs"
"""The folder of SRS in its image."""

RTMP_PORT = 1935
API_PORT = 1985
HTTP_PORT = 8080
HTTPS_PORT = 8443
"""HTTPS port of SRS and of nginx."""
EXPORTER_PORT = 9972

PLAN_FILE = "SRS_PLAN_FILE"
"""Environment variable of the program: where to write the plan as JSON; the text is written beside it, with the ending
`.txt`."""

RUN_TOKEN = "SRS_RUN_TOKEN"
"""Environment variable of the program: the token of the open `rollout run` that the update belongs to."""

FIELD_MANAGER = "srs"
"""The field manager of all objects of a stack."""

STACK_ANNOTATION = "srs/stack"
"""Annotation of every object: organization/project/stack."""

SHARE_ANNOTATION = "srs/share"
"""Annotation of the Deployment of a release in a fleet with autoscaling: the share that its replicas are of the fleet,
as a fraction of the weights, such as `1/4`."""

ABORTED_ANNOTATION = "srs/aborted"
"""Annotation of the Deployment of an aborted release (`cluster/aborted.py`)."""

ROLLOUT_MANAGER = "srs-rollout"
"""The field manager of what the command `rollout` changes."""

CONFIG_HASH_LENGTH = 10
"""Hex digits; 40 bits suffice to distinguish the configs of one release."""


def hls_service(edge_service: str) -> str:
    """The Service of HLS on the load balancer of a Service of the edges; the article's name for the article's one."""
    return f"{HLS}-service" if edge_service == EDGE_SERVICE else f"{edge_service}-hls"


def config_hash(text: str) -> str:
    """A short name for the content of an srs.conf."""
    return hashlib.sha256(text.encode()).hexdigest()[:CONFIG_HASH_LENGTH]


def edge_deployment(release: str) -> str:
    """The Deployment of a release."""
    return f"srs-edge-{release}-deploy"


def edge_run(release: str) -> str:
    """Value of the `run` label of a release, which is its Deployment's own selector."""
    return f"srs-edge-{release}"


def origin_pod(ordinal: int) -> str:
    """The origin with an ordinal."""
    return f"{ORIGIN}-{ordinal}"


def origin_ordinal(pod: str) -> int | None:
    """The ordinal of an origin, None for other pods."""
    stem, _, number = pod.rpartition("-")
    return int(number) if stem == ORIGIN and number.isdecimal() else None


def origin_hosts(ordinals: Iterable[int], namespace: str, cluster_domain: str) -> list[str]:
    """The fully qualified names of origins.

    Fully qualified because SRS resolves names in its only thread, blocking: each search domain without a result
    stalls every viewer of that edge.
    """
    return [f"{origin_pod(ordinal)}.{ORIGIN_HEADLESS_SERVICE}.{namespace}.svc.{cluster_domain}" for ordinal in ordinals]


def origin_service_host(namespace: str, cluster_domain: str) -> str:
    """The fully qualified name of the Service through which edges reach the origins."""
    return f"{ORIGIN_SERVICE}.{namespace}.svc.{cluster_domain}"


def nginx_config(text: str) -> str:
    """The ConfigMap with nginx.conf, named by its content."""
    return f"{HLS}-{config_hash(text)}"


def edge_config(release: str, content: str) -> str:
    """The ConfigMap or Secret with the srs.conf of a release. content: the hash of its content."""
    return f"{edge_run(release)}-{content}"


def origin_config(content: str) -> str:
    """The ConfigMap or Secret with the srs.conf of the origins. content: the hash of its content."""
    return f"{ORIGIN}-{content}"


def service_port_names(protocols: Mapping[int, str], live: Mapping[int, str]) -> dict[int, str]:
    """The names of a Service's ports. protocols: of each port. live: names that ports keep.

    The first new port of a protocol has its name, if no other port has it.
    """
    names: dict[int, str] = {}
    used = {live[port] for port in protocols if port in live}
    for port, protocol in protocols.items():
        names[port] = live.get(port, f"{protocol}-{port}" if protocol in used else protocol)
        used.add(names[port])
    return names
