"""The names of the objects that a stack declares."""

from collections.abc import Iterator

from model.names import (
    DEMO,
    EDGE_APP,
    HLS,
    HLS_CLAIM,
    MONITORING,
    ORIGIN,
    ORIGIN_HEADLESS_SERVICE,
    ORIGIN_SERVICE,
    edge_deployment,
    edge_run,
)
from model.settings.stack import StackSettings


def declared_objects(settings: StackSettings) -> Iterator[tuple[str, str]]:
    """Kind and name of each object in the namespace, without ConfigMaps, whose names contain a hash."""
    yield from (("Service", service.name) for service in settings.exposed_services)
    yield from (("Service", name) for name in (ORIGIN_SERVICE, ORIGIN_HEADLESS_SERVICE))
    yield from (("ServiceAccount", ORIGIN), ("StatefulSet", ORIGIN))
    for app in (ORIGIN, EDGE_APP):
        yield from (("PodDisruptionBudget", app), ("NetworkPolicy", app))
    for release in settings.edge.releases:
        yield from (("ServiceAccount", edge_run(release)), ("Deployment", edge_deployment(release)))
    if settings.hls.enabled:
        yield from (("PersistentVolumeClaim", HLS_CLAIM), ("Service", f"{HLS}-service"), ("PodDisruptionBudget", HLS))
        yield from (("Service", name) for name in settings.hls_services if name != f"{HLS}-service")
    for name, enabled in ((HLS, settings.hls.enabled), (DEMO, settings.demo.enabled)):
        if enabled:
            yield from (("Deployment", f"{name}-deploy"), ("NetworkPolicy", name))
    if settings.monitoring.kind == "podMonitor":
        yield from (("PodMonitor", MONITORING), ("PrometheusRule", MONITORING))
