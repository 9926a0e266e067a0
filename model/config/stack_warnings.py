"""What a stack config allows and a preview warns of."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from model.config.problems import UpdateWarning
from model.config.values import format_duration, plural
from model.load_balancers.exposed_service import bandwidth_warnings, conf_warnings
from model.names import EDGE_APP, ORIGIN
from model.srs import conf as srs_conf
from model.srs.conf import left_hls
from model.srs.versions import (
    KEEPS_HLS_FILES,
    Defect,
    Version,
    capabilities,
    defects,
    format_version,
    recommended,
)

if TYPE_CHECKING:
    from model.config.stack import StackSettings

FEW_STREAMS = 20
"""Streams that every edge serves, below which the connection limit of the origins is a warning."""

SHORTEST_DEREGISTER = timedelta(seconds=3)
"""How long kube-proxy may go on sending new connections to a pod that has been deleted.

Measured on two busy cores with Kubernetes 1.34 (`kubeproxy_network_programming_duration_seconds`): 1.5 s on average,
less than 3 s in 97 of 100 changes, and up to 5 s. kube-proxy changes its rules once a second, and the controller of
EndpointSlices waits for a second or more when its cache is out of date.
"""


def config_warnings(settings: "StackSettings") -> Iterator[str]:
    """What may do harm but is the operator's choice, a line each."""
    weighted = [name for name, weight in settings.edge.weights.items() if weight > 0]
    yield from _version_warnings(settings, weighted)
    yield from _origin_capacity_warnings(settings)
    yield from _exporter_warnings(settings, weighted)
    yield from _deregister_warnings(settings)
    for service in settings.exposed_services:
        yield from service.load_balancer.warnings(service, weighted)
    shares = settings.edge.shares
    connections = sum(shares[name].replicas * settings.edge.releases[name].srs.max_connections for name in weighted)
    yield from bandwidth_warnings(settings.exposed_services, connections)
    confs = {f"edge release {name}": (EDGE_APP, settings.srs_confs.edges[name]) for name in weighted}
    titles: dict[str, list[str]] = {}
    for title, (app, conf) in (confs | {"origins": (ORIGIN, settings.srs_confs.origin)}).items():
        services = [service for service in settings.exposed_services if service.app == app]
        for warning in (*srs_conf.warnings(conf), *conf_warnings(conf, services)):
            titles.setdefault(warning, []).append(title)
    for warning, names in titles.items():
        yield UpdateWarning(f"{', '.join(names)}: {warning}", getattr(warning, "reason", ""))
    if settings.demo.enabled and settings.publish.sources:
        yield UpdateWarning(
            "srs:demo publishes from the address of a pod: srs:publish.from must allow it", "DemoSource"
        )


def _origin_capacity_warnings(settings: "StackSettings") -> Iterator[str]:
    """Origins whose connection limit is reached by few streams.

    Each edge pulls each stream that it serves once, draining edges too, and its encoder is one more connection. A
    full origin refuses them, so that viewers of its streams on other edges have no media.
    """
    origins, limit, edges = settings.origin.replicas, settings.origin.srs.max_connections, settings.edge.largest_total
    streams = origins * limit // (2 * edges + 1)
    if streams < FEW_STREAMS:
        yield UpdateWarning(
            f"{plural(origins, 'origin')} with maxConnections {limit} can serve about {plural(streams, 'stream')} "
            f"while {plural(edges, 'edge')} with all of them roll (2 × {edges} pulls and 1 encoder each); a full "
            "origin refuses pulls and encoders: if there are more streams, raise srs:origin.srs.maxConnections",
            "FewStreamsPerOrigin",
        )


def _version_warnings(settings: "StackSettings", weighted: Sequence[str]) -> Iterator[str]:
    """Known defects of the SRS versions."""
    origins = settings.origin.srs_version
    if settings.hls.enabled and not left_hls(settings.srs_confs.origin) and (fix := KEEPS_HLS_FILES.fix(origins)):
        yield _defect(KEEPS_HLS_FILES, origins, "origins", fix)
    releases: dict[Version, list[str]] = {}
    for name in weighted:
        releases.setdefault(settings.edge.releases[name].srs_version, []).append(name)
    for version, names in releases.items():
        for defect, fix in defects(version, origins):
            if defect.warns:
                yield _defect(defect, version, f"edge release {', '.join(names)}", fix)


def _exporter_warnings(settings: "StackSettings", weighted: Sequence[str]) -> Iterator[str]:
    """What Prometheus does not see."""
    if settings.monitoring.kind == "none":
        return
    versions = {f"edge release {name}": settings.edge.releases[name].srs_version for name in weighted}
    versions["origins"] = settings.origin.srs_version
    for title, version in versions.items():
        if not capabilities(version).exporter:
            yield UpdateWarning(
                f"{title}: SRS {format_version(version)} has no exporter, so Prometheus does not see it",
                "VersionWithoutExporter",
            )


def _deregister_warnings(settings: "StackSettings") -> Iterator[str]:
    """Pods that end, or close their listeners, before the rules of kube-proxy have changed."""
    effects = {
        "edge": (settings.edge.drain, "refused"),
        "origin": (settings.origin.drain, "without an answer: encoders fail, and viewers wait for their first picture"),
    }
    for role, (drain, effect) in effects.items():
        if drain.timeout and drain.deregister < SHORTEST_DEREGISTER:
            yield UpdateWarning(
                f"srs:{role}.drain.deregister: {format_duration(drain.deregister)} may be too short: a node sends new "
                f"connections to a pod for up to {format_duration(SHORTEST_DEREGISTER)} after its deletion, and they "
                f"would be {effect}",
                "DeregisterTooShort",
            )


def _defect(defect: Defect, version: Version, title: str, fix: Version) -> UpdateWarning:
    return UpdateWarning(
        f"SRS {format_version(version)} ({title}): {defect.effect} ({defect.source}); fixed in {format_version(fix)}, "
        f"use {recommended()}",
        "KnownDefect",
    )
