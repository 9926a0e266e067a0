"""Pods as plain data: the SRS container, probes, security settings, placement. Typed dicts in the provider's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pydantic.alias_generators import to_camel

from model.names import API_PORT, EXPORTER_PORT, HTTP_PORT, RTMP_PORT, SRS_HOME
from model.pod_patch import merged
from model.settings.pods import Placement, Resources, Toleration
from model.values import seconds

if TYPE_CHECKING:
    from pulumi_kubernetes.core.v1 import (
        AffinityArgsDict,
        ContainerArgsDict,
        ContainerPortArgsDict,
        LocalObjectReferenceArgsDict,
        PodSecurityContextArgsDict,
        PodSpecArgsDict,
        PodTemplateSpecArgsDict,
        ProbeArgsDict,
        ResourceRequirementsArgsDict,
        SecurityContextArgsDict,
        TolerationArgsDict,
        TopologySpreadConstraintArgsDict,
        VolumeArgsDict,
        VolumeMountArgsDict,
    )

POD_SECURITY: PodSecurityContextArgsDict = {
    "run_as_non_root": True,
    "run_as_user": 1000,
    "run_as_group": 1000,
    "fs_group": 1000,
    "seccomp_profile": {"type": "RuntimeDefault"},
}
"""SRS needs no privileges: its ports are above 1024 and its pid file is in /tmp."""

CONTAINER_SECURITY: SecurityContextArgsDict = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def resources(settings: Resources) -> ResourceRequirementsArgsDict:
    """Requests and limits of a container; by default no CPU limit, because throttling stalls every viewer."""
    limits = {"memory": settings.memory}
    if settings.cpu_limit is not None:
        limits["cpu"] = settings.cpu_limit
    return {"requests": {"cpu": settings.cpu, "memory": settings.memory}, "limits": limits}


EXPORTER: ContainerPortArgsDict = {"name": "exporter", "container_port": EXPORTER_PORT, "protocol": "TCP"}


def srs_container(
    image: str,
    settings: Resources,
    mounts: Sequence[VolumeMountArgsDict] = (),
    warm_up: timedelta = timedelta(),
    exporter: bool = False,
) -> ContainerArgsDict:
    """The SRS container; edges and origins add how they terminate.

    warm_up: how long it must run before it can be ready; it starts again after a restart. Not minReadySeconds,
    which start when the pod already has connections, and not a success threshold, because the kubelet keeps
    counting successes across a quick restart.
    The command is explicit: since 4.0.168 the image's default command reads another file than the mounted one.
    """
    return {
        "name": "srs",
        "image": image,
        "image_pull_policy": "IfNotPresent",
        "command": ["./objs/srs", "-c", "conf/srs.conf"],
        "working_dir": SRS_HOME,
        "ports": [
            {"name": "rtmp", "container_port": RTMP_PORT, "protocol": "TCP"},
            {"name": "api", "container_port": API_PORT, "protocol": "TCP"},
            {"name": "http", "container_port": HTTP_PORT, "protocol": "TCP"},
            *([EXPORTER] if exporter else []),
        ],
        "resources": resources(settings),
        "security_context": CONTAINER_SECURITY,
        "readiness_probe": {
            **_probe(period=2, failures=15, timeout=2),
            "initial_delay_seconds": seconds(warm_up),
        },
        # SRS resolves names blocking, in its only thread: with slow cluster DNS all edges miss probes at the same
        # time, and restarting them would drop all connections. The probe has its own grace period, because
        # otherwise a liveness restart takes the pod's grace period of hours (kubernetes/kubernetes #64715).
        "liveness_probe": {
            **_probe(period=30, failures=10, timeout=10),
            "termination_grace_period_seconds": 5,
        },
        "termination_message_policy": "FallbackToLogsOnError",
        "volume_mounts": [
            {"name": "config", "mount_path": f"{SRS_HOME}/conf", "read_only": True},
            {"name": "tmp", "mount_path": "/tmp"},
            *mounts,
        ],
    }


def _probe(period: int, failures: int, timeout: int) -> ProbeArgsDict:
    # No request: at max_connections SRS accepts each connection and closes it at once, on all ports (ossrs/srs #4409).
    # Full edges would become not ready one after the other, and their liveness probes would drop all viewers.
    return {
        "tcp_socket": {"port": "api"},
        "period_seconds": period,
        "failure_threshold": failures,
        "timeout_seconds": timeout,
    }


def srs_pod(
    container: ContainerArgsDict, config: str, is_secret: bool, app: str, volumes: Sequence[VolumeArgsDict] = ()
) -> PodSpecArgsDict:
    """The pod around an SRS container.

    config: name of the ConfigMap with srs.conf, or of the Secret (is_secret). app: value of its `app` label.
    """
    mounted: VolumeArgsDict = {"name": "config", "config_map": {"name": config}}
    if is_secret:
        mounted = {"name": "config", "secret": {"secret_name": config}}
    return {
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": POD_SECURITY,
        "containers": [container],
        # Few, short attempts, and fully qualified names first: each attempt blocks SRS.
        "dns_config": {
            "options": [
                {"name": "ndots", "value": "2"},
                {"name": "timeout", "value": "1"},
                {"name": "attempts", "value": "2"},
            ]
        },
        "topology_spread_constraints": spread(app),
        "volumes": [
            mounted,
            {"name": "tmp", "empty_dir": {"size_limit": "64Mi"}},
            *volumes,
        ],
    }


def place(pod: PodSpecArgsDict, settings: Placement) -> None:
    """Add to a pod on which nodes it runs, and what schedules it."""
    if settings.node_selector:
        pod["node_selector"] = dict(settings.node_selector)
    if settings.tolerations:
        pod["tolerations"] = [_toleration(toleration) for toleration in settings.tolerations]
    if settings.affinity:
        pod["affinity"] = cast("AffinityArgsDict", Manifest(settings.affinity))
    if settings.priority_class is not None:
        pod["priority_class_name"] = settings.priority_class
    if settings.scheduler_name is not None:
        pod["scheduler_name"] = settings.scheduler_name


def _toleration(settings: Toleration) -> TolerationArgsDict:
    toleration: TolerationArgsDict = {"key": settings.key, "operator": settings.operator}
    if settings.value is not None:
        toleration["value"] = settings.value
    if settings.effect is not None:
        toleration["effect"] = settings.effect
    if settings.toleration_seconds is not None:
        toleration["toleration_seconds"] = seconds(settings.toleration_seconds)
    return toleration


class Manifest(dict[str, Any]):
    """A part of a spec that is in the notation of Kubernetes already: keys in camelCase, or data."""


_USER_KEYS = {"labels", "annotations", "match_labels", "node_selector", "requests", "limits"}
"""Fields whose keys are data."""


def to_manifest(value: Any) -> Any:
    """The JSON of an object that is written as the provider's typed dict: keys in camelCase."""
    if isinstance(value, Manifest):
        return dict(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {to_camel(key): dict(inner) if key in _USER_KEYS else to_manifest(inner) for key, inner in items}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_manifest(item) for item in cast("Sequence[Any]", value)]
    return value


def patched(template: PodTemplateSpecArgsDict, patch: Mapping[str, Any]) -> PodTemplateSpecArgsDict:
    """A pod template with a patch (`model/pod_patch.py`)."""
    if not patch:
        return template
    return cast("PodTemplateSpecArgsDict", Manifest(merged(to_manifest(template), patch)))


def pull_secrets(names: Sequence[str]) -> list[LocalObjectReferenceArgsDict] | None:
    """References to pull secrets, for a pod or a ServiceAccount."""
    return [{"name": name} for name in names] or None


def spread(app: str) -> list[TopologySpreadConstraintArgsDict]:
    """Over zones and nodes by preference, never required: draining pods accumulate and would block new ones."""
    return [
        {
            "max_skew": 1,
            "topology_key": key,
            "when_unsatisfiable": "ScheduleAnyway",
            "label_selector": {"match_labels": {"app": app}},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
