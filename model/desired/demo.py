"""A demo stream, so that a new cluster has something to play."""

from model.desired import workloads
from model.desired.context import Context
from model.desired.objects import DesiredObject, Manifest
from model.desired.pods import CONTAINER_SECURITY, POD_SECURITY, pull_secrets
from model.names import DEMO, ORIGIN_SERVICE, RTMP_PORT

LABELS = {"app": DEMO}


def demo(context: Context) -> tuple[DesiredObject, ...]:
    """The Deployment of an encoder that publishes a sample file through the edges in a loop; its NetworkPolicy."""
    workload = workloads.demo(context.settings)
    return (
        context.object("Deployment", workload.name, "workload", LABELS, {"spec": _spec(context)}, workload=workload),
        context.network_policy(DEMO),
    )


def _spec(context: Context) -> Manifest:
    settings, demo, edges = context.settings, context.settings.demo, context.settings.edge_service
    edge_address = f"{edges.name}:{edges.service_ports['rtmp']}"
    address = f"{ORIGIN_SERVICE}:{RTMP_PORT}" if settings.publish.exclusive else edge_address
    url = f"rtmp://{address}/{demo.stream}"
    return {
        "replicas": 1,
        "selector": {"matchLabels": LABELS},
        "strategy": {"type": "Recreate"},  # SRS rejects a second publisher of a stream
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "imagePullSecrets": pull_secrets(settings.images.secret_names) or [],
                "terminationGracePeriodSeconds": 5,
                "securityContext": POD_SECURITY,
                "containers": [
                    {
                        "name": "encoder",
                        "image": settings.images.reference(demo.image),
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "-c"],
                        "args": [f"while true; do ffmpeg -re -i '{demo.source}' -c copy -f flv {url}; sleep 3; done"],
                        "securityContext": CONTAINER_SECURITY,
                        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                    }
                ],
            },
        },
    }
