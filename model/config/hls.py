"""`srs:hls`: HLS."""

from datetime import timedelta
from typing import Self

from pydantic import Field, StrictBool, model_validator

from model.config.base import OriginCount, Port
from model.config.pods import Placement, Resources
from model.config.problems import Problem, RuleError
from model.config.values import Duration, Image, StorageQuantity, Subdomain


class HlsSettings(Placement):
    """HLS: written by the origins to a shared volume, served by nginx."""

    enabled: StrictBool = Field(default=False, description="Whether HLS is written and served.")
    storage_class: Subdomain | None = Field(
        default=None, description="Storage class of the shared volume; it must support ReadWriteMany."
    )
    size: StorageQuantity = Field(default="10Gi", description="Size of the shared volume, in bytes.")
    image: Image = Field(
        default="nginxinc/nginx-unprivileged:1.28.0",
        description="nginx image that runs without root; with `sh`, `find` and `grep`.",
    )
    replicas: OriginCount = Field(default=1, description="Number of nginx pods.")
    resources: Resources = Field(
        default=Resources(cpu="50m", memory="64Mi"),
        description="Resources of each nginx; it has one worker process for each requested core.",
    )
    bind_timeout: Duration = Field(
        default=timedelta(minutes=5),
        description="An update fails, before it changes an origin, when the claim of the shared volume is not bound "
        "after this time.",
    )
    port: Port | None = Field(
        default=None,
        description="Port of the CLB (`kind: slb`) on which HLS is served; default: only inside the cluster.",
    )
    former_port: Port | None = Field(
        default=None,
        description="A port that is being replaced by `port`: HLS is served on both until this key is removed.",
    )
    https_port: Port | None = Field(
        default=None,
        description="Port of the CLB (`kind: slb`) on which HLS is served with HTTPS (`srs:tls`); default: only "
        "inside the cluster.",
    )
    former_https_port: Port | None = Field(
        default=None, description="A port that is being replaced by `httpsPort`, in the same way."
    )

    @property
    def http_ports(self) -> list[int]:
        """The ports of the load balancer on which HLS is served without HTTPS."""
        return [port for port in (self.port, self.former_port) if port is not None]

    @property
    def https_ports(self) -> list[int]:
        """The ports of the load balancer on which HLS is served with HTTPS."""
        return [port for port in (self.https_port, self.former_https_port) if port is not None]

    @property
    def ports(self) -> list[int]:
        """The ports of the load balancer on which HLS is served."""
        return [*self.http_ports, *self.https_ports]

    @model_validator(mode="after")
    def _storage_class_is_set(self) -> Self:
        if self.enabled and self.storage_class is None:
            raise RuleError(
                [
                    Problem(
                        ("storageClass",),
                        None,
                        "must name a storage class with ReadWriteMany while hls.enabled is true: "
                        "a cluster's default class rarely supports it",
                        reason="NoStorageClass",
                    )
                ]
            )
        return self
