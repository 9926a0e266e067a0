"""The edges: one Deployment per release."""

from model.config.values import seconds
from model.desired import workloads
from model.desired.autoscalers import autoscaling, share_annotation
from model.desired.configs import srs_configs
from model.desired.context import Context, tcp
from model.desired.objects import DesiredObject, Manifest
from model.desired.pods import KEEP_NODE, certificate, patched, place, scrape, srs_container, srs_pod
from model.desired.pre_stop import keep_serving
from model.names import (
    ABORTED_APP,
    API_PORT,
    EDGE_APP,
    HTTP_PORT,
    HTTPS_PORT,
    RTMP_PORT,
    edge_config,
    edge_deployment,
    edge_run,
)
from model.srs.conf import TLS_FOLDER, asks_before_play, flv_path


def fleet(context: Context) -> tuple[DesiredObject, ...]:
    """What all releases share."""
    settings = context.settings
    ports = (RTMP_PORT, HTTP_PORT, *([HTTPS_PORT] if settings.tls.secret_name else []))
    fixed = settings.edge.autoscaling is None
    return (
        # An integer, not maxUnavailable or a percentage: for those the controller computes the expected number of pods
        # from their owners, and draining pods of a removed release have none, which blocks every node drain for hours.
        *([context.disruption_budget(EDGE_APP, minAvailable=settings.edge.total - 1)] if fixed else []),
        context.network_policy(
            EDGE_APP,
            [
                {"ports": [tcp(port) for port in ports]},
                {"from": [{"podSelector": {}}], "ports": [tcp(API_PORT)]},
                *context.exporter_ingress(),
            ],
            # Also edges that are out of rotation: their connections stay open.
            {"matchExpressions": [{"key": "app", "operator": "In", "values": [EDGE_APP, ABORTED_APP]}]},
        ),
    )


def release(context: Context, name: str) -> tuple[DesiredObject, ...]:
    """ServiceAccount, configuration, autoscaler and Deployment of a release."""
    conf, run, settings = context.confs.edges[name], edge_run(name), context.settings.edge.releases[name]
    parsed = context.settings.srs_confs.edges[name]
    scaling = autoscaling(context, name)
    configs = srs_configs(context, edge_config(name, conf.hash), run, conf, run)
    deployment = context.object(
        "Deployment",
        edge_deployment(name),
        "workload",
        {"run": run},
        {"spec": _spec(context, name)},
        {
            "kubernetes.io/change-cause": f"image={settings.image} config={conf.hash}",
            **share_annotation(context.settings, name),
        },
        needs=(*configs, *scaling),
        secret=context.is_secret("edge", settings.pod_patch, settings.pod_annotations),
        workload=workloads.edges(
            context.settings, name, flv_path(parsed, *workloads.PROBE_STREAM), asks_before_play(parsed)
        ),
    )
    return (context.account(run, {"app": EDGE_APP, "run": run}), *configs, *scaling, deployment)


def _spec(context: Context, release: str) -> Manifest:
    settings = context.settings
    edge, release_settings = settings.edge, settings.edge.releases[release]
    run = edge_run(release)
    exporter = settings.exports(release_settings.srs_version)
    mounts, volumes = certificate(settings, TLS_FOLDER)
    image = settings.images.reference(release_settings.image)
    container = srs_container(image, release_settings.resources, mounts, edge.warm_up, exporter=exporter)
    if edge.drain.keep_serving:
        container["lifecycle"] = keep_serving(edge.drain)
    elif edge.drain.deregister:
        # The pod accepts connections until load balancers have removed it; SIGTERM comes after that. `sleep` is a
        # kubelet action (on by default since Kubernetes 1.30) and needs no shell in the image.
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": seconds(edge.drain.deregister)}}}
    conf = context.confs.edges[release]
    pod = srs_pod(container, edge_config(release, conf.hash), conf.is_secret, EDGE_APP, volumes)
    pod["serviceAccountName"] = run
    pod["terminationGracePeriodSeconds"] = edge.drain.grace_seconds
    place(pod, edge)
    if gates := settings.readiness_gates:
        pod["readinessGates"] = [{"conditionType": gate} for gate in gates]
    return {
        "replicas": 1 if release_settings.out_of_rotation else context.shares[release].replicas,
        "paused": release_settings.paused,
        "minReadySeconds": seconds(edge.min_ready),
        "progressDeadlineSeconds": seconds(edge.rollout_timeout),
        "revisionHistoryLimit": 10,
        "selector": {"matchLabels": {"run": run}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": edge.max_surge}},
        "template": patched(
            {
                "metadata": {
                    "labels": {
                        "app": ABORTED_APP if release_settings.out_of_rotation else EDGE_APP,
                        "run": run,
                        **({"role": "edge", "release": release} if exporter else {}),
                    },
                    "annotations": {
                        **KEEP_NODE,
                        **scrape(settings, exporter),
                        **release_settings.pod_annotations,
                    },
                },
                "spec": pod,
            },
            release_settings.pod_patch,
        ),
    }
