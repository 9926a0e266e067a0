"""The rules that hold between the keys of a stack config."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from model.config.pod_patch import volume_problems
from model.config.pods import SrsSettings, rollout_timeout_problems
from model.config.problems import REDACTED, Problem
from model.config.values import format_duration
from model.load_balancers.exposed_service import conflicts, drain_problems
from model.names import API_PORT, EDGE_APP, HLS, HTTP_PORT, ORIGIN, ORIGIN_HEADLESS_SERVICE, ORIGIN_SERVICE, RTMP_PORT
from model.srs.conf import CIDR_SINCE, HTTPS_HOOK_SINCE, SrsConf
from model.srs.conf_file import references, unknown_secrets
from model.srs.versions import Version, capabilities, format_version, recommended

if TYPE_CHECKING:
    from model.config.stack import StackSettings


def config_problems(settings: "StackSettings") -> Iterator[Problem]:
    """Everything that does not fit together."""
    yield from _exposed_service_problems(settings)
    yield from _pod_patch_problems(settings)
    yield from _srs_conf_problems(settings)
    yield from _publish_problems(settings)
    yield from _autoscaling_problems(settings)


def _exposed_service_problems(settings: "StackSettings") -> Iterator[Problem]:
    """What does not fit together between load balancers, drain and HLS."""
    drain = settings.edge.drain
    path = ("edge", "drain", "timeout")
    for app, own, key in ((EDGE_APP, drain, path), (ORIGIN, settings.origin.drain, ("origin", "drain", "timeout"))):
        services = [service for service in settings.exposed_services if service.app == app]
        yield from drain_problems(services, own.deregister, own.timeout, key)
    if settings.external_edge_services and drain.timeout < drain.deregister:
        yield Problem(
            path,
            drain.timeout,
            f"must not be shorter than {format_duration(drain.deregister)}, the default "
            "of drain.deregister behind a load balancer",
            reason="DrainShorterThanDeregister",
        )
    yield from _health_problems(settings)
    for service in settings.exposed_services:
        if service.load_balancer.needs_serving and service.app == EDGE_APP and not drain.keep_serving:
            yield Problem(
                ("edge", "drain", "keepServing"),
                False,
                f"must be true with {service.config_key}.gracefulShutdown: SRS closes its listeners when it begins "
                "to quit, and a pod that does not serve is removed from the backends",
                reason="DrainWithoutServing",
            )
    reserved = {ORIGIN_SERVICE: "the origins", ORIGIN_HEADLESS_SERVICE: "the origins", f"{HLS}-service": "hls"}
    reserved |= dict.fromkeys(settings.hls_services, "hls")
    yield from conflicts(settings.exposed_services, reserved)
    yield from _hls_problems(settings)
    yield from _tls_problems(settings)
    yield from _port_problems(settings)


def _health_problems(settings: "StackSettings") -> Iterator[Problem]:
    """Pods that replace earlier ones before the load balancer sends them connections."""
    for key, app, pods in (("edge", EDGE_APP, settings.edge), ("origin", ORIGIN, settings.origin)):
        health_time = settings.health_time(app)
        if pods.min_ready < health_time:
            yield Problem(
                (key, "minReady"),
                pods.min_ready,
                f"must be at least {format_duration(health_time)}: a new backend of a load balancer with backend "
                "eni receives connections only after healthCheck.interval × healthyThreshold, and by then pods "
                "that it replaces would be deleted. Or let healthCheck take less time",
                reason="MinReadyShorterThanHealthCheck",
            )
        elif pods.min_ready == health_time:  # the default of minReady may have been raised to it
            warm_up = settings.edge.warm_up if key == "edge" else timedelta(0)
            for problem in rollout_timeout_problems(pods.min_ready, pods.rollout_timeout, warm_up):
                yield replace(problem, path=(key, *problem.path))


def _chosen_ports(settings: "StackSettings", key: str) -> Iterator[tuple[tuple[str, str], int]]:
    """The ports that are set in one map of the stack config, with their paths."""
    for path, (port, former) in settings.replaceable_ports.items():
        for name, number in ((path, port), (former_path(path), former)):
            if path[0] == key and number is not None:
                yield name, number


def _hls_problems(settings: "StackSettings") -> Iterator[Problem]:
    hls = settings.hls
    for path, port in _chosen_ports(settings, "hls"):
        if not hls.enabled:
            yield Problem(path, port, "has no effect while hls.enabled is false; leave it out", reason="HlsIsDisabled")
        if not settings.load_balancer.SHAREABLE and not settings.hls_services:
            kind = settings.load_balancer.kind
            yield Problem(
                path,
                port,
                f"needs a CLB (loadBalancer.kind: slb; it is {kind}): other kinds can have one Service only",
                reason="HlsPortNeedsClb",
            )
    for path, (port, former) in settings.replaceable_ports.items():
        if port is None and former is not None:
            allowed = f"needs {'.'.join(path)}, the port that replaces it"
            yield Problem(former_path(path), former, allowed, reason="FormerPortAlone")


def _tls_problems(settings: "StackSettings") -> Iterator[Problem]:
    hls, tls = settings.hls, settings.tls
    if tls.secret_name is None:
        for key, name in (("port", "port"), ("formerPort", "former_port")):
            if name in tls.model_fields_set:
                allowed = "has no effect without tls.secretName; leave it out"
                yield Problem(("tls", key), getattr(tls, name), allowed, reason="TlsIsDisabled")
        if hls.https_port is not None:
            yield Problem(
                ("hls", "httpsPort"),
                hls.https_port,
                "needs a certificate: set tls.secretName",
                reason="NoCertificate",
            )
        return
    for name, release in settings.edge.releases.items():
        if not capabilities(release.srs_version).https:
            yield Problem(
                ("edge", "releases", name, "image"),
                release.image,
                f"is SRS {format_version(release.srs_version)}; tls.secretName needs 6.0.132 or later, best "
                f"{recommended()}: earlier ones have no HTTPS, or one failed handshake drops the HTTPS connections "
                "of all viewers (ossrs/srs #3513), or they send no intermediate certificate (#3967)",
                reason="VersionWithoutHttps",
            )
    for service in (settings.edge_service, settings.former_edge_service):
        ports = service.service_ports if service else {}
        for path, port in _chosen_ports(settings, "tls"):
            if service and port in (ports["rtmp"], ports["http"]) and port not in (RTMP_PORT, HTTP_PORT):
                yield Problem(path, port, f"is another port of {service.config_key} already", reason="PortInUse")


def _port_problems(settings: "StackSettings") -> Iterator[Problem]:
    """Two keys with one port of the load balancer."""
    used: dict[int, str] = {}
    for path, port in (*_chosen_ports(settings, "tls"), *_chosen_ports(settings, "hls")):
        if port in (RTMP_PORT, HTTP_PORT, API_PORT):
            yield Problem(
                path,
                port,
                f"must not be {RTMP_PORT}, {HTTP_PORT} or {API_PORT}: they are SRS's",
                reason="PortOfSrs",
            )
        elif port in used:
            yield Problem(path, port, f"must differ from {used[port]}: one load balancer has both", reason="PortInUse")
        used[port] = ".".join(path)


def _pod_patch_problems(settings: "StackSettings") -> Iterator[Problem]:
    """Volumes of patches and their mounts; the pod's own volumes: model/desired/origins.py and edges.py."""
    hls = ["hls"] if settings.hls.enabled else []
    tls = ["tls"] if settings.tls.secret_name is not None else []
    patches = [
        (("origin",), settings.origin.pod_patch, hls),
        *((("edge", "releases", name), release.pod_patch, tls) for name, release in settings.edge.releases.items()),
    ]
    for path, patch, volumes in patches:
        for problem in volume_problems(patch, ["config", "tmp", *volumes]):
            yield replace(problem, path=(*path, "podPatch", *problem.path))


def _srs_conf_problems(settings: "StackSettings") -> Iterator[Problem]:
    """What does not fit together between the additions to srs.conf and other keys."""
    texts: list[tuple[tuple[str, ...], SrsSettings, SrsConf]] = [
        (("origin",), settings.origin.srs, settings.srs_confs.origin)
    ]
    for name, release in settings.edge.releases.items():
        texts.append((("edge", "releases", name), release.srs, settings.srs_confs.edges[name]))
    for path, srs, conf in texts:
        unknown = unknown_secrets(conf, settings.secret_values())
        for problem in srs.problems(replace(conf, findings=(*conf.findings, *unknown))):
            yield replace(problem, path=(*path, *problem.path))


def _publish_problems(settings: "StackSettings") -> Iterator[Problem]:
    """What does not fit together between who may publish, load balancers and SRS versions."""
    publish = settings.publish
    app = ORIGIN if publish.exclusive else EDGE_APP
    hidden = [service for service in settings.exposed_services if service.app == app]
    hidden = [service.config_key for service in hidden if service.load_balancer.hides_addresses]
    if publish.sources and hidden:
        allowed = f"cannot be checked behind {', '.join(hidden)}: SRS sees the address of a node as every client's; "
        allowed += "use externalTrafficPolicy Local or backend eni, or a hook"
        yield Problem(("publish", "from"), publish.sources, allowed, reason="SourcesAreHidden")
    hook = "" if publish.hook is None else publish.hook.get_secret_value()
    if unknown := references(hook) - settings.secrets.keys():
        yield Problem(
            ("publish", "hook"),
            REDACTED,
            f"has {', '.join(sorted(unknown))}, not a name in srs:secrets",
            reason="UnknownSecret",
        )
    versions = {f"edge release {name}": release.srs_version for name, release in settings.edge.releases.items()}
    if app == ORIGIN:
        versions = {"origins": settings.origin.srs_version}

    def older_than(since: Version) -> str:
        return ", ".join(f"{name}: {format_version(version)}" for name, version in versions.items() if version < since)

    ranges = [source for source in publish.sources if "/" in source]
    if ranges and (older := older_than(CIDR_SINCE)):
        since = f"{format_version(CIDR_SINCE)} on; {older}"
        yield Problem(
            ("publish", "from"),
            ranges,
            f"must be single addresses: SRS knows ranges from {since}",
            reason="VersionWithoutRanges",
        )
    if hook.startswith("https:") and (older := older_than(HTTPS_HOOK_SINCE)):
        since = f"{format_version(HTTPS_HOOK_SINCE)} on; {older}"
        yield Problem(
            ("publish", "hook"),
            REDACTED,
            f"must begin with http://: SRS asks by HTTPS from {since}",
            reason="VersionWithoutHttpsHooks",
        )


def _autoscaling_problems(settings: "StackSettings") -> Iterator[Problem]:
    """What the metric of the autoscalers needs of other keys."""
    scaling = settings.edge.autoscaling
    if scaling is None or scaling.metric != "connections" or scaling.query is not None:
        return
    path = ("edge", "autoscaling", "metric")
    if settings.monitoring.kind == "none":
        allowed = "needs srs:monitoring, because SRS counts its connections in an exporter; or scale on cpu"
        yield Problem(path, scaling.metric, allowed, reason="MetricSource")
        return
    for name, weight in settings.edge.weights.items():
        version = settings.edge.releases[name].srs_version
        if weight and not capabilities(version).exporter:
            allowed = (
                f"needs an SRS with an exporter, and release {name} is {format_version(version)}: scale on cpu, "
                "or set autoscaling.query to an expression that counts its connections, too"
            )
            yield Problem(path, scaling.metric, allowed, reason="MetricSource")


def former_path(path: tuple[str, str]) -> tuple[str, str]:
    """The config key of the port that the one of another key replaces: of `port`, `formerPort`."""
    return path[0], f"former{path[1][0].upper()}{path[1][1:]}"
