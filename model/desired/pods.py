"""Pods: the SRS container, probes, security settings, placement."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from model.config.pod_patch import merged
from model.config.pods import Placement, Resources, Toleration
from model.config.stack import StackSettings
from model.config.values import seconds
from model.desired.objects import Manifest
from model.names import API_PORT, EXPORTER_PORT, HTTP_PORT, RTMP_PORT, SRS_HOME

POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""SRS needs no privileges: its ports are above 1024 and its pid file is in /tmp."""

SHARED_VOLUME_SECURITY: Manifest = {**POD_SECURITY, "fsGroupChangePolicy": "OnRootMismatch"}
"""For pods that write to the volume of HLS. Otherwise each start of one changes the owner of every file on the volume,
where its driver lets the kubelet do that: minutes without that pod."""

CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def resources(settings: Resources) -> Manifest:
    """Requests and limits of a container; by default no CPU limit, because throttling stalls every viewer."""
    limits = {"memory": settings.memory}
    if settings.cpu_limit is not None:
        limits["cpu"] = settings.cpu_limit
    return {"requests": {"cpu": settings.cpu, "memory": settings.memory}, "limits": limits}


KEEP_NODE = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""An autoscaler that removes the node would drop every connection of this pod (cluster autoscaler FAQ, "What types of
pods can prevent CA from removing a node"; Karpenter docs, "Pod-Level Controls")."""

EXPORTER: Manifest = {"name": "exporter", "containerPort": EXPORTER_PORT, "protocol": "TCP"}


def srs_container(
    image: str,
    settings: Resources,
    mounts: Sequence[Manifest] = (),
    warm_up: timedelta = timedelta(),
    exporter: bool = False,
) -> Manifest:
    """The SRS container; edges and origins add how they terminate.

    warm_up: how long it must run before it can be ready; it starts again after a restart. Not minReadySeconds,
    which start when the pod already has connections, and not a success threshold, because the kubelet keeps
    counting successes across a quick restart.
    The command is explicit: since 4.0.168 the image's default command reads another file than the mounted one.
    """
    return {
        "name": "srs",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["./objs/srs", "-c", "conf/srs.conf"],
        "workingDir": SRS_HOME,
        "ports": [
            {"name": "rtmp", "containerPort": RTMP_PORT, "protocol": "TCP"},
            {"name": "api", "containerPort": API_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            *([EXPORTER] if exporter else []),
        ],
        "resources": resources(settings),
        "securityContext": CONTAINER_SECURITY,
        "readinessProbe": {
            **_probe(period=2, failures=15, timeout=2),
            "initialDelaySeconds": seconds(warm_up),
        },
        # SRS resolves names blocking, in its only thread: with slow cluster DNS all edges miss probes at the same
        # time, and restarting them would drop all connections. The probe has its own grace period, because
        # otherwise a liveness restart takes the pod's grace period of hours (kubernetes/kubernetes #64715).
        "livenessProbe": {
            **_probe(period=30, failures=10, timeout=10),
            "terminationGracePeriodSeconds": 5,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": f"{SRS_HOME}/conf", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *mounts,
        ],
    }


def _probe(period: int, failures: int, timeout: int) -> Manifest:
    # No request: at max_connections SRS accepts each connection and closes it at once, on all ports (ossrs/srs #4409).
    # Full edges would become not ready one after the other, and their liveness probes would drop all viewers.
    return {
        "tcpSocket": {"port": "api"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def srs_pod(container: Manifest, config: str, is_secret: bool, app: str, volumes: Sequence[Manifest] = ()) -> Manifest:
    """The pod around an SRS container.

    config: name of the ConfigMap with srs.conf, or of the Secret (is_secret). app: value of its `app` label.
    """
    mounted: Manifest = {"name": "config", "configMap": {"name": config}}
    if is_secret:
        mounted = {"name": "config", "secret": {"secretName": config}}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": [container],
        # Few, short attempts, and fully qualified names first: each attempt blocks SRS.
        "dnsConfig": {
            "options": [
                {"name": "ndots", "value": "2"},
                {"name": "timeout", "value": "1"},
                {"name": "attempts", "value": "2"},
            ]
        },
        "topologySpreadConstraints": spread(app),
        "volumes": [
            mounted,
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *volumes,
        ],
    }


def place(pod: Manifest, settings: Placement) -> None:
    """Add to a pod on which nodes it runs, and what schedules it."""
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        pod["tolerations"] = [_toleration(toleration) for toleration in settings.tolerations]
    if settings.affinity:
        pod["affinity"] = dict(settings.affinity)
    if settings.priority_class is not None:
        pod["priorityClassName"] = settings.priority_class
    if settings.scheduler_name is not None:
        pod["schedulerName"] = settings.scheduler_name


def _toleration(settings: Toleration) -> Manifest:
    toleration: Manifest = {"key": settings.key, "operator": settings.operator}
    if settings.value is not None:
        toleration["value"] = settings.value
    if settings.effect is not None:
        toleration["effect"] = settings.effect
    if settings.toleration_seconds is not None:
        toleration["tolerationSeconds"] = seconds(settings.toleration_seconds)
    return toleration


def patched(template: Manifest, patch: Mapping[str, Any]) -> Manifest:
    """A pod template with a patch (`model/config/pod_patch.py`)."""
    return merged(template, patch) if patch else template


def pull_secrets(names: Sequence[str]) -> list[Manifest] | None:
    """References to pull secrets, for a pod or a ServiceAccount."""
    return [{"name": name} for name in names] or None


def spread(app: str) -> list[Manifest]:
    """Over zones and nodes by preference, never required: draining pods accumulate and would block new ones."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": app}},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def certificate(settings: StackSettings, folder: str) -> tuple[list[Manifest], list[Manifest]]:
    """Mount and volume of the certificate, none without TLS; `fsGroup` lets the group read it.

    The whole Secret: the kubelet does not renew a file that is mounted by its `subPath`.
    """
    secret = settings.tls.secret_name
    if secret is None:
        return [], []
    return (
        [{"name": "tls", "mountPath": folder, "readOnly": True}],
        [{"name": "tls", "secret": {"secretName": secret, "defaultMode": 0o440}}],
    )


def scrape(settings: StackSettings, exporter: bool) -> dict[str, str]:
    """The annotations by which many a Prometheus finds its targets."""
    if not exporter or settings.monitoring.kind != "annotations":
        return {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(EXPORTER_PORT)}
