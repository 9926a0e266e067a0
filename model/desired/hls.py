"""HLS: the origins write it to a shared volume, nginx serves it."""

from collections.abc import Sequence
from datetime import timedelta

from model.config.values import seconds
from model.desired import nginx_conf, workloads
from model.desired.context import Context, tcp
from model.desired.hls_cleaner import cleaner
from model.desired.objects import DesiredObject, Manifest
from model.desired.pods import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    SHARED_VOLUME_SECURITY,
    certificate,
    place,
    pull_secrets,
    resources,
    spread,
)
from model.load_balancers.exposed_service import ExposedService, service_annotations
from model.names import HLS, HLS_CLAIM, HTTPS_PORT, nginx_config, service_port_names
from model.srs.conf import left_hls

DEREGISTER = timedelta(seconds=5)
"""How long kube-proxy needs to remove a terminating pod, with a margin."""

EXIT_SECONDS = 5
"""What nginx may need to exit. Short: the provider always waits for the deletion of a claim, and the claim for its
pods."""

NGINX_PORT = 8080
"""The port of the unprivileged nginx image."""

NGINX_CONF = "/etc/nginx/srs"
"""Folder of nginx.conf; the image has its own files in /etc/nginx."""

HTML = "/usr/share/nginx/html"
"""Where nginx has the volume."""

LABELS = {"app": HLS}


def services(context: Context) -> tuple[DesiredObject, ...]:
    """The Services of HLS.

    Each CLB of the edges that serves HLS has a Service of its own, because a Service in use cannot move to another CLB
    (clbv1/model_applier.go, `isLoadBalancerReusable`). The article's Service also exists without a CLB.
    """
    settings, hls = context.settings, context.settings.hls
    found = [
        _service(context, name, "LoadBalancer", hls.http_ports, hls.https_ports, edges)
        for name, edges in settings.hls_services.items()
    ]
    if f"{HLS}-service" not in settings.hls_services:
        http, https = ([port] if (port := settings.hls_ports.get(scheme)) else [] for scheme in ("http", "https"))
        found.append(_service(context, f"{HLS}-service", "ClusterIP", http, https))
    return tuple(found)


def _service(
    context: Context,
    name: str,
    service_type: str,
    http: Sequence[int],
    https: Sequence[int],
    edges: ExposedService | None = None,
) -> DesiredObject:
    """edges: the Service whose CLB it is on."""
    kept = context.kept
    annotations = kept.leaving.get(name, {})
    if edges:
        annotations = service_annotations(edges.load_balancer, kept.backend_nodes.get(name, {}))
    names = service_port_names(
        {**dict.fromkeys(http, "http"), **dict.fromkeys(https, "https")}, kept.port_names.get(name, {})
    )
    ports = [
        {"name": names[port], "port": port, "targetPort": HTTPS_PORT if port in https else "http", "protocol": "TCP"}
        for port in names
    ]
    return context.object(
        "Service",
        name,
        "exposed Service" if edges else "Service",
        LABELS,
        {"spec": {"type": service_type, "selector": LABELS, "ports": ports}},
        annotations,
    )


def claim(context: Context) -> DesiredObject:
    """The claim of the shared volume. No edit of the config deletes recordings; only the namespace takes it along."""
    hls = context.settings.hls
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": hls.storage_class or "",
        "resources": {"requests": {"storage": hls.size}},
    }
    return context.object("PersistentVolumeClaim", HLS_CLAIM, "claim", LABELS, {"spec": spec}, retained=True)


def nginx(context: Context, volume: DesiredObject) -> tuple[DesiredObject, ...]:
    """nginx, its ConfigMap, PodDisruptionBudget and NetworkPolicy. volume: its claim."""
    settings = context.settings
    text = nginx_conf.render(settings.hls.resources.cpu, settings.tls.secret_name is not None)
    # Named by its content, so that a changed nginx.conf rolls nginx.
    conf = context.object(
        "ConfigMap", nginx_config(text), "configuration", LABELS, {"data": {"nginx.conf": text}, "immutable": True}
    )
    return (
        conf,
        context.object(
            "Deployment",
            f"{HLS}-deploy",
            "workload",
            LABELS,
            {"spec": _spec(context, conf.name)},
            needs=(volume, conf),
            workload=workloads.hls(settings),
        ),
        context.disruption_budget(HLS, maxUnavailable=1),
        context.network_policy(
            HLS, [{"ports": [tcp(port) for port in (NGINX_PORT, *([HTTPS_PORT] if settings.tls.secret_name else []))]}]
        ),
    )


def _spec(context: Context, config: str) -> Manifest:
    settings, hls = context.settings, context.settings.hls
    mounts, volumes = certificate(settings, nginx_conf.TLS_FOLDER)
    balancers = {name: service.load_balancer for name, service in settings.hls_services.items()}
    deregister = seconds(
        max(
            (item.default_deregister or DEREGISTER for item in balancers.values() if item.pods_are_backends),
            default=DEREGISTER,
        )
    )
    image = settings.images.reference(hls.image)
    left = left_hls(settings.srs_confs.origin)
    claim: Manifest = {"claimName": HLS_CLAIM}
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": SHARED_VOLUME_SECURITY if left else POD_SECURITY,
        "terminationGracePeriodSeconds": deregister + EXIT_SECONDS,
        "topologySpreadConstraints": spread(HLS),
        "containers": [
            {
                "name": "nginx",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                # Not the entrypoint of the image, which edits files of its read-only root.
                "command": ["nginx", "-c", f"{NGINX_CONF}/nginx.conf"],
                "ports": [{"name": "http", "containerPort": NGINX_PORT, "protocol": "TCP"}],
                "securityContext": CONTAINER_SECURITY,
                "resources": resources(hls.resources),
                # A TCP probe: nginx answers 403 while the volume is empty.
                "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 5},
                # Segments are short downloads: deregistering is all that nginx needs.
                "lifecycle": {"preStop": {"sleep": {"seconds": deregister}}},
                "volumeMounts": [
                    {"name": "nginx-conf", "mountPath": NGINX_CONF, "readOnly": True},
                    {"name": "hls", "mountPath": HTML, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},
                    *mounts,
                ],
            },
            *([cleaner(image, HTML, left)] if left else []),
        ],
        "volumes": [
            {"name": "nginx-conf", "configMap": {"name": config}},
            {"name": "hls", "persistentVolumeClaim": claim if left else {**claim, "readOnly": True}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *volumes,
        ],
    }
    place(pod, hls)
    # The gate of a Service that is being replaced would keep pods unready for good after its deletion.
    gates = [item.readiness_gate(name) for name, item in balancers.items() if not settings.hls_services[name].former]
    if gates := [gate for gate in gates if gate is not None]:
        pod["readinessGates"] = [{"conditionType": gate} for gate in gates]
    if secrets := pull_secrets(settings.images.secret_names):
        pod["imagePullSecrets"] = secrets
    health_time = max((item.health_time for item in balancers.values()), default=timedelta(0))
    return {
        "replicas": hls.replicas,
        **({"minReadySeconds": seconds(health_time)} if health_time else {}),
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": pod},
    }
