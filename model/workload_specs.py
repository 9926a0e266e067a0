"""The specs of the stack's workloads: plain data, from settings alone.

The components declare them and the update plan compares them with the live objects, so both see the same spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model import nginx_conf, srs_conf
from model.names import (
    DEMO,
    EDGE_APP,
    EXPORTER_PORT,
    HLS,
    HLS_CLAIM,
    ORIGIN,
    ORIGIN_HEADLESS_SERVICE,
    ORIGIN_SERVICE,
    RTMP_PORT,
    SRS_HOME,
    edge_config,
    edge_run,
    nginx_config,
    origin_config,
)
from model.pods import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    patched,
    place,
    pull_secrets,
    resources,
    spread,
    srs_container,
    srs_pod,
)
from model.settings.stack import StackSettings
from model.values import seconds

if TYPE_CHECKING:
    from pulumi_kubernetes.apps.v1 import DeploymentSpecArgsDict, StatefulSetSpecArgsDict
    from pulumi_kubernetes.core.v1 import PodSpecArgsDict, VolumeArgsDict, VolumeMountArgsDict

ORIGIN_GRACE_SECONDS = 10
"""Origins restart quickly: viewers of the edges stay connected and have no media for a few seconds. A draining origin
would keep its publishers and reject the pulls of edges, so that new viewers would see nothing."""

KEEP_NODE = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""An autoscaler that removes the node would drop every connection of this pod (cluster autoscaler FAQ, "What types of
pods can prevent CA from removing a node"; Karpenter docs, "Pod-Level Controls")."""

HLS_GRACE_SECONDS = 10
"""Short: the provider always waits for the deletion of a claim, and the claim waits for its pods."""

NGINX_PORT = 8080
"""The port of the unprivileged nginx image."""

NGINX_CONF = "/etc/nginx/srs"
"""Folder of nginx.conf; the image has its own files in /etc/nginx."""


def change_cause(settings: StackSettings, release: str) -> str:
    """The change cause of a release, which `kubectl rollout history` shows."""
    return f"image={settings.edge.releases[release].image} config={settings.edge_conf(release).hash}"


def edge_spec(settings: StackSettings, release: str) -> DeploymentSpecArgsDict:
    """The Deployment of a release."""
    edge, release_settings = settings.edge, settings.edge.releases[release]
    run = edge_run(release)
    exporter = settings.exports(release_settings.srs_version)
    mounts, volumes = _certificate(settings, srs_conf.TLS_FOLDER)
    image = settings.images.reference(release_settings.image)
    container = srs_container(image, release_settings.resources, mounts, edge.warm_up, exporter=exporter)
    if edge.drain.deregister:
        # The pod accepts connections until load balancers have removed it; SIGTERM comes after that. `sleep` is a
        # kubelet action (on by default since Kubernetes 1.30) and needs no shell in the image.
        container["lifecycle"] = {"pre_stop": {"sleep": {"seconds": seconds(edge.drain.deregister)}}}
    conf = settings.edge_conf(release)
    pod = srs_pod(container, edge_config(release, conf.hash), conf.is_secret, EDGE_APP, volumes)
    pod["service_account_name"] = run
    pod["termination_grace_period_seconds"] = edge.drain.grace_seconds
    place(pod, edge)
    if gates := settings.readiness_gates:
        pod["readiness_gates"] = [{"condition_type": gate} for gate in gates]
    return {
        "replicas": edge.shares[release].replicas,
        "paused": release_settings.paused,
        "min_ready_seconds": seconds(edge.min_ready),
        "progress_deadline_seconds": seconds(edge.rollout_timeout),
        "revision_history_limit": 10,
        "selector": {"match_labels": {"run": run}},
        "strategy": {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 0, "max_surge": edge.max_surge}},
        "template": patched(
            {
                "metadata": {
                    "labels": {
                        "app": EDGE_APP,
                        "run": run,
                        **({"role": "edge", "release": release} if exporter else {}),
                    },
                    "annotations": {
                        **KEEP_NODE,
                        **_scrape(settings, exporter),
                        **release_settings.pod_annotations,
                    },
                },
                "spec": pod,
            },
            release_settings.pod_patch,
        ),
    }


def _certificate(settings: StackSettings, folder: str) -> tuple[list[VolumeMountArgsDict], list[VolumeArgsDict]]:
    """Mount and volume of the certificate, none without TLS; `fsGroup` lets the group read it.

    The whole Secret: the kubelet does not renew a file that is mounted by its `subPath`.
    """
    secret = settings.tls.secret_name
    if secret is None:
        return [], []
    return (
        [{"name": "tls", "mount_path": folder, "read_only": True}],
        [{"name": "tls", "secret": {"secret_name": secret, "default_mode": 0o440}}],
    )


def origin_spec(settings: StackSettings) -> StatefulSetSpecArgsDict:
    """The StatefulSet of the origins."""
    origin = settings.origin
    labels = {"app": ORIGIN}
    mounts: list[VolumeMountArgsDict] = []
    volumes: list[VolumeArgsDict] = []
    if settings.hls.enabled:
        mounts = [{"name": "hls", "mount_path": f"{SRS_HOME}/objs/nginx/html"}]
        volumes = [{"name": "hls", "persistent_volume_claim": {"claim_name": HLS_CLAIM}}]
    exporter = settings.exports(origin.srs_version)
    container = srs_container(settings.images.reference(origin.image), origin.resources, mounts, exporter=exporter)
    conf = settings.origin_conf
    pod = srs_pod(container, origin_config(conf.hash), conf.is_secret, ORIGIN, volumes)
    if settings.hls.enabled:
        # Otherwise each start of an origin changes the owner of every file on the volume, where its driver lets the
        # kubelet do that: minutes without that origin.
        pod["security_context"] = {**POD_SECURITY, "fs_group_change_policy": "OnRootMismatch"}
    pod["service_account_name"] = ORIGIN
    pod["termination_grace_period_seconds"] = ORIGIN_GRACE_SECONDS
    place(pod, origin)
    return {
        "service_name": ORIGIN_HEADLESS_SERVICE,
        "replicas": origin.replicas,
        # Under OrderedReady a broken origin stays broken after the config is reverted (Kubernetes docs, "Forced
        # rollback"). The field is immutable.
        "pod_management_policy": "Parallel",
        "min_ready_seconds": seconds(origin.min_ready),
        "revision_history_limit": 10,
        "selector": {"match_labels": labels},
        "template": patched(
            {
                "metadata": {
                    "labels": {**labels, **({"role": "origin"} if exporter else {})},
                    "annotations": {**KEEP_NODE, **_scrape(settings, exporter), **origin.pod_annotations},
                },
                "spec": pod,
            },
            origin.pod_patch,
        ),
    }


def _scrape(settings: StackSettings, exporter: bool) -> dict[str, str]:
    """The annotations by which many a Prometheus finds its targets."""
    if not exporter or settings.monitoring.kind != "annotations":
        return {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(EXPORTER_PORT)}


def hls_spec(settings: StackSettings) -> DeploymentSpecArgsDict:
    """The Deployment of nginx, which serves HLS."""
    hls = settings.hls
    labels = {"app": HLS}
    mounts, volumes = _certificate(settings, nginx_conf.TLS_FOLDER)
    pod: PodSpecArgsDict = {
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": POD_SECURITY,
        "termination_grace_period_seconds": HLS_GRACE_SECONDS,
        "topology_spread_constraints": spread(HLS),
        "containers": [
            {
                "name": "nginx",
                "image": settings.images.reference(hls.image),
                "image_pull_policy": "IfNotPresent",
                # Not the entrypoint of the image, which edits files of its read-only root.
                "command": ["nginx", "-c", f"{NGINX_CONF}/nginx.conf"],
                "ports": [{"name": "http", "container_port": NGINX_PORT, "protocol": "TCP"}],
                "security_context": CONTAINER_SECURITY,
                "resources": resources(hls.resources),
                # A TCP probe: nginx answers 403 while the volume is empty.
                "readiness_probe": {"tcp_socket": {"port": "http"}, "period_seconds": 5},
                # Segments are short downloads: deregistering is all that nginx needs.
                "lifecycle": {"pre_stop": {"sleep": {"seconds": 5}}},
                "volume_mounts": [
                    {"name": "nginx-conf", "mount_path": NGINX_CONF, "read_only": True},
                    {"name": "hls", "mount_path": "/usr/share/nginx/html", "read_only": True},
                    {"name": "tmp", "mount_path": "/tmp"},
                    *mounts,
                ],
            }
        ],
        "volumes": [
            {"name": "nginx-conf", "config_map": {"name": nginx_config(settings.nginx_conf)}},
            {"name": "hls", "persistent_volume_claim": {"claim_name": HLS_CLAIM, "read_only": True}},
            {"name": "tmp", "empty_dir": {"size_limit": "64Mi"}},
            *volumes,
        ],
    }
    place(pod, hls)
    if secrets := pull_secrets(settings.images.secret_names):
        pod["image_pull_secrets"] = secrets
    return {
        "replicas": hls.replicas,
        "selector": {"match_labels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }


def demo_spec(settings: StackSettings) -> DeploymentSpecArgsDict:
    """The Deployment of the demo stream, which publishes a sample file through the edges in a loop."""
    demo = settings.demo
    labels = {"app": DEMO}
    edges = settings.edge_service
    edge_address = f"{edges.name}:{edges.service_ports['rtmp']}"
    address = f"{ORIGIN_SERVICE}:{RTMP_PORT}" if settings.publish.exclusive else edge_address
    url = f"rtmp://{address}/{demo.stream}"
    return {
        "replicas": 1,
        "selector": {"match_labels": labels},
        "strategy": {"type": "Recreate"},  # SRS rejects a second publisher of a stream
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "automount_service_account_token": False,
                "enable_service_links": False,
                "image_pull_secrets": pull_secrets(settings.images.secret_names) or [],
                "termination_grace_period_seconds": 5,
                "security_context": POD_SECURITY,
                "containers": [
                    {
                        "name": "encoder",
                        "image": settings.images.reference(demo.image),
                        "image_pull_policy": "IfNotPresent",
                        "command": ["/bin/sh", "-c"],
                        "args": [f"while true; do ffmpeg -re -i '{demo.source}' -c copy -f flv {url}; sleep 3; done"],
                        "security_context": CONTAINER_SECURITY,
                        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                    }
                ],
            },
        },
    }
