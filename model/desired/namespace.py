"""The namespace of the stack, and the pull Secret of its image registry."""

import base64
import json

from model.config.images import REGISTRY_SECRET
from model.desired.context import Context
from model.desired.objects import DesiredObject

LABELS = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}


def namespace(context: Context) -> DesiredObject | None:
    """The namespace, None if it exists. It is protected if anything in it is: its deletion deletes everything."""
    settings = context.settings
    if not settings.kubernetes.create_namespace:
        return None
    protected = any(service.load_balancer.protected for service in settings.exposed_services)
    return context.object("Namespace", settings.kubernetes.namespace, "namespace", LABELS, {}, protected=protected)


def registry_secret(context: Context) -> DesiredObject | None:
    """The pull Secret, None if the config has no login."""
    registry = context.settings.images.registry
    if registry is None:
        return None
    password = registry.password.get_secret_value()
    login = {
        "username": registry.username,
        "password": password,
        "auth": base64.b64encode(f"{registry.username}:{password}".encode()).decode(),
    }
    content = json.dumps({"auths": {registry.server: login}}, sort_keys=True)
    body = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": content}}
    return context.object("Secret", REGISTRY_SECRET, "secret", {"app": REGISTRY_SECRET}, body)
