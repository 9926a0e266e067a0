"""The pull Secret of an image registry."""

import base64
import json

import pulumi
from pulumi_kubernetes.core.v1 import Secret

from components.manifest import metadata
from model.settings.images import REGISTRY_SECRET, RegistrySettings


def registry_secret(settings: RegistrySettings, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> Secret:
    """Declare the pull Secret; its content is encrypted in Pulumi's state."""
    password = settings.password.get_secret_value()
    login = {
        "username": settings.username,
        "password": password,
        "auth": base64.b64encode(f"{settings.username}:{password}".encode()).decode(),
    }
    content = json.dumps({"auths": {settings.server: login}}, sort_keys=True)
    return Secret(
        REGISTRY_SECRET,
        metadata=metadata(REGISTRY_SECRET, namespace, {"app": REGISTRY_SECRET}),
        type="kubernetes.io/dockerconfigjson",
        string_data=pulumi.Output.secret({".dockerconfigjson": content}),
        opts=opts,
    )
