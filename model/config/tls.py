"""`srs:tls`: HTTPS."""

from pydantic import Field

from model.config.base import Port, Settings
from model.config.values import Subdomain


class TlsSettings(Settings):
    """HTTPS for HTTP-FLV, and for HLS: SRS and nginx have the certificate, so it works behind any load balancer."""

    secret_name: Subdomain | None = Field(
        default=None,
        description="Secret of type kubernetes.io/tls in the stack's namespace, such as cert-manager makes it, with an "
        "RSA key; default: no HTTPS. It is mounted, and never part of the stack's state.",
    )
    port: Port = Field(default=443, description="Port of the load balancer on which HTTP-FLV is served with HTTPS.")
    former_port: Port | None = Field(
        default=None,
        description="A port that is being replaced by `port`: HTTP-FLV is served with HTTPS on both until this key is "
        "removed.",
    )

    @property
    def ports(self) -> list[int]:
        """The ports on which HTTP-FLV is served with HTTPS."""
        if self.secret_name is None:
            return []
        return [self.port] if self.former_port is None else [self.port, self.former_port]
