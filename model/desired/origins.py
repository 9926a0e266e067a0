"""The origins: an SRS origin cluster as a StatefulSet."""

from model.config.values import seconds
from model.desired import workloads
from model.desired.configs import srs_configs
from model.desired.context import Context, tcp
from model.desired.objects import DesiredObject, Manifest
from model.desired.origin_drain import REVISION_ANNOTATION, lifecycle, revision
from model.desired.pods import KEEP_NODE, SHARED_VOLUME_SECURITY, patched, place, scrape, srs_container, srs_pod
from model.desired.services import cluster_service
from model.names import (
    ABORTED_APP,
    API_PORT,
    EDGE_APP,
    HLS_CLAIM,
    ORIGIN,
    ORIGIN_HEADLESS_SERVICE,
    ORIGIN_SERVICE,
    RTMP_PORT,
    SRS_HOME,
    origin_config,
)

LABELS = {"app": ORIGIN}


def origins(context: Context, claim: DesiredObject | None) -> tuple[DesiredObject, ...]:
    """Two Services, ServiceAccount, configuration, StatefulSet, PodDisruptionBudget, NetworkPolicy of the origins.

    claim: of the volume that HLS is written to, None without HLS.
    """
    conf = context.confs.origin
    headless = cluster_service(
        context, ORIGIN_HEADLESS_SERVICE, LABELS, {"rtmp": RTMP_PORT, "api": API_PORT}, headless=True
    )
    configs = srs_configs(context, origin_config(conf.hash), ORIGIN, conf, ORIGIN)
    stateful_set = context.object(
        "StatefulSet",
        ORIGIN,
        "workload",
        LABELS,
        {"spec": _spec(context)},
        needs=(headless, *configs, *([claim] if claim else [])),
        secret=context.is_secret("origin", context.settings.origin.pod_patch, context.settings.origin.pod_annotations),
        workload=workloads.origins(context.settings),
    )
    pods = [{"podSelector": {"matchLabels": {"app": app}}} for app in (EDGE_APP, ABORTED_APP, ORIGIN)]
    ingress: list[Manifest] = [{"from": pods, "ports": [tcp(RTMP_PORT), tcp(API_PORT)]}]
    ports: set[int] = set()
    for service in (service for service in context.settings.exposed_services if service.app == ORIGIN):
        check = service.load_balancer.check_port
        ports |= {*service.ports.values(), *([] if check is None else [check])}
    if ports:
        ingress.append({"ports": [tcp(port) for port in sorted(ports)]})
    return (
        headless,
        # Edges reach the origins through this one: it spreads streams, and never selects an origin that is not ready.
        cluster_service(context, ORIGIN_SERVICE, LABELS, {"rtmp": RTMP_PORT}),
        context.account(ORIGIN, LABELS),
        *configs,
        stateful_set,
        # Not maxUnavailable: an only origin could be evicted, and its successor waits for the last publisher.
        context.disruption_budget(ORIGIN, minAvailable=max(1, context.settings.origin.replicas - 1)),
        context.network_policy(ORIGIN, [*ingress, *context.exporter_ingress()]),
    )


def _spec(context: Context) -> Manifest:
    settings, origin = context.settings, context.settings.origin
    mounts: list[Manifest] = []
    volumes: list[Manifest] = []
    if settings.hls.enabled:
        mounts = [{"name": "hls", "mountPath": f"{SRS_HOME}/objs/nginx/html"}]
        volumes = [{"name": "hls", "persistentVolumeClaim": {"claimName": HLS_CLAIM}}]
    exporter = settings.exports(origin.srs_version)
    container = srs_container(settings.images.reference(origin.image), origin.resources, mounts, exporter=exporter)
    conf = context.confs.origin
    pod = srs_pod(container, origin_config(conf.hash), conf.is_secret, ORIGIN, volumes)
    if settings.hls.enabled:
        pod["securityContext"] = SHARED_VOLUME_SECURITY
    pod["serviceAccountName"] = ORIGIN
    container["lifecycle"] = lifecycle(origin.drain)
    pod["terminationGracePeriodSeconds"] = origin.drain.grace_seconds
    place(pod, origin)
    template = patched(
        {
            "metadata": {
                "labels": {**LABELS, **({"role": "origin"} if exporter else {})},
                "annotations": {**KEEP_NODE, **scrape(settings, exporter), **origin.pod_annotations},
            },
            "spec": pod,
        },
        origin.pod_patch,
    )
    template["metadata"]["annotations"][REVISION_ANNOTATION] = revision(template)
    return {
        "serviceName": ORIGIN_HEADLESS_SERVICE,
        "replicas": origin.replicas,
        "ordinals": {"start": 0},  # see `Desired.with_origins_from`
        # Under OrderedReady a broken origin stays broken after the config is reverted (Kubernetes docs, "Forced
        # rollback"). The field is immutable.
        "podManagementPolicy": "Parallel",
        # The controller would replace origins one by one, each under its own name and so before its successor.
        "updateStrategy": {"type": "OnDelete"},
        "minReadySeconds": seconds(origin.min_ready),
        "revisionHistoryLimit": 10,
        "selector": {"matchLabels": LABELS},
        "template": template,
    }
