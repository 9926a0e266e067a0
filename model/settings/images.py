"""`srs:images`: how images are pulled."""

from typing import Annotated

from pydantic import Field, SecretStr

from model.base import NonEmpty, Settings
from model.values import DnsLabel

REGISTRY_SECRET = "srs-registry"
"""The pull Secret that the stack creates."""


class RegistrySettings(Settings):
    """An image registry that requires a login."""

    server: NonEmpty = Field(description="Host of the registry.")
    username: NonEmpty = Field(description="User name.")
    password: Annotated[SecretStr, Field(min_length=1)] = Field(
        description="Password: `pulumi config set --secret --path srs:images.registry.password`."
    )


class ImagesSettings(Settings):
    """How images are pulled."""

    pull_secrets: list[DnsLabel] = Field(
        default_factory=list[str], description="Names of pull secrets that exist in the namespace."
    )
    registry: RegistrySettings | None = Field(
        default=None, description="A registry for which the stack creates a pull secret."
    )

    @property
    def secret_names(self) -> list[str]:
        """All pull secrets of the pods."""
        return [*self.pull_secrets, *([REGISTRY_SECRET] if self.registry else [])]
