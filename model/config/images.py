"""`srs:images`: how images are pulled."""

import re
from typing import Annotated

from pydantic import Field, SecretStr, StrictStr

from model.config.base import NonEmpty, Settings, matching
from model.config.values import DnsLabel

_mirror = matching(r"[a-z0-9.-]+\.[a-z0-9-]+(:\d{1,5})?(/[a-z0-9._-]+)*", "a host such as docker.m.daocloud.io")

_server = matching(
    r"(https?://)?[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9_./-]*)?", "the host of a registry, such as registry.example.com"
)
_username = matching(r"[^:\x00-\x1f\x7f]+", "a user name without ':' (RFC 7617) and control characters")

REGISTRY_SECRET = "srs-registry"
"""The pull Secret that the stack creates."""


class RegistrySettings(Settings):
    """An image registry that requires a login."""

    server: Annotated[NonEmpty, _server] = Field(description="Host of the registry.")
    username: Annotated[NonEmpty, _username] = Field(description="User name.")
    password: Annotated[SecretStr, Field(min_length=1)] = Field(
        description="Password: `pulumi config set --secret --path srs:images.registry.password`."
    )


class ImagesSettings(Settings):
    """How images are pulled."""

    mirror: Annotated[StrictStr, _mirror] | None = Field(
        default=None,
        description="Host, and path if needed, of a mirror of Docker Hub that the nodes can reach, such as "
        "`docker.m.daocloud.io`. Images without a registry are pulled from there, under their name.",
    )
    pull_secrets: list[DnsLabel] = Field(
        default_factory=list[str], description="Names of pull secrets that exist in the namespace."
    )
    registry: RegistrySettings | None = Field(
        default=None, description="A registry for which the stack creates a pull secret."
    )

    def reference(self, image: str) -> str:
        """Where an image of the config is pulled from.

        An image without a registry is one of Docker Hub; `nginx` is `library/nginx` there (distribution/reference,
        normalize.go, `splitDockerDomain`).
        """
        registry, slash, _ = image.partition("/")
        if self.mirror is None or (slash and (re.search("[.:]", registry) or registry == "localhost")):
            return image
        return f"{self.mirror}/{image if slash else f'library/{image}'}"

    @property
    def secret_names(self) -> list[str]:
        """All pull secrets of the pods, each once: the API server rejects a list with one of them twice."""
        return list(dict.fromkeys([*self.pull_secrets, *([REGISTRY_SECRET] if self.registry else [])]))
