"""The whole stack config; `stack_rules.py` has the rules that hold between its keys."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, SecretStr, model_validator

from model.config.base import Settings
from model.config.demo import DemoSettings
from model.config.edge import EdgeSettings
from model.config.hls import HlsSettings
from model.config.images import ImagesSettings
from model.config.kubernetes import KubernetesSettings
from model.config.monitoring import MonitoringSettings
from model.config.origin import OriginDrainSettings, OriginSettings
from model.config.problems import RuleError
from model.config.publish import HOOK, PublishSettings, PublishTarget, SecretName, SecretValue
from model.config.stack_rules import config_problems
from model.config.tls import TlsSettings
from model.desired.confs import SrsConfs, srs_confs
from model.load_balancers.exposed_service import (
    FORMER,
    ExposedService,
)
from model.load_balancers.kinds import AnyLoadBalancer
from model.load_balancers.none import NoLoadBalancer
from model.names import (
    EDGE_APP,
    EDGE_SERVICE,
    HTTP_PORT,
    ORIGIN,
    PUBLISH_SERVICE,
    RTMP_PORT,
    hls_service,
)
from model.srs.conf_file import resolve
from model.srs.versions import (
    Version,
    capabilities,
)


class StackSettings(Settings):
    """The whole stack config; each field is a key `srs:<name>`."""

    kubernetes: KubernetesSettings = Field(description="The cluster that the stack is deployed to.")
    origin: OriginSettings = Field(description="The origins: they receive the streams.")
    edge: EdgeSettings = Field(description="The edges: they serve the viewers.")
    load_balancer: AnyLoadBalancer = Field(
        default=NoLoadBalancer(kind="none"), description="The load balancer of the edges."
    )
    former_load_balancer: AnyLoadBalancer = Field(
        default=NoLoadBalancer(kind="none"),
        description="A load balancer that is being replaced: it stays unchanged until this key is removed, so that "
        "its connections are not dropped.",
    )
    publish: PublishSettings = Field(
        default_factory=PublishSettings,
        description="Where encoders publish to, if not through the viewers' load balancer.",
    )
    secrets: dict[SecretName, SecretValue] = Field(
        default_factory=dict[str, SecretStr],
        description="Secrets of srs.conf by name: `$(name)` in its texts stands for the value. "
        "`pulumi config set --secret --path srs:secrets.<name>`.",
    )
    images: ImagesSettings = Field(default_factory=ImagesSettings, description="How images are pulled.")
    hls: HlsSettings = Field(default_factory=HlsSettings, description="HLS: written by the origins, served by nginx.")
    tls: TlsSettings = Field(default_factory=TlsSettings, description="HTTPS for HTTP-FLV and HLS.")
    demo: DemoSettings = Field(default_factory=DemoSettings, description="A demo stream.")
    monitoring: MonitoringSettings = Field(
        default_factory=MonitoringSettings, description="Metrics and alert rules for Prometheus."
    )

    _secret_keys: frozenset[str] = PrivateAttr(default=frozenset[str]())

    @model_validator(mode="wrap")
    @classmethod
    def _keys_fit_together(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        settings = handler(data)._with_defaults_of_load_balancers()
        if found := list(config_problems(settings)):
            raise RuleError(found)
        return settings

    def _with_defaults_of_load_balancers(self) -> Self:
        """The settings with what load balancers need where the config does not state it.

        Behind a load balancer deregistering takes longer; where pods are its backends, new ones receive connections
        only after their first health checks, so that the old ones must stay until then.
        """
        changes: dict[str, Any] = {"origin": {"drain": self.origin_drain()}}
        drain = self.edge.drain
        if "deregister" not in drain.model_fields_set and (longer := self.deregister_times):
            changes["edge"] = {"drain": drain.model_copy(update={"deregister": max(longer)})}
        for key, app, settings in (("edge", EDGE_APP, self.edge), ("origin", ORIGIN, self.origin)):
            health_time = self.health_time(app)
            if "min_ready" not in settings.model_fields_set and health_time > settings.min_ready:
                changes[key] = changes.get(key, {}) | {"min_ready": health_time}
        copies = {key: getattr(self, key).model_copy(update=change) for key, change in changes.items()}
        return self.model_copy(update=copies) if copies else self

    def health_time(self, app: str) -> timedelta:
        """How long new edges or origins receive no connections of load balancers (`LoadBalancer.health_time`)."""
        services = (service for service in self.exposed_services if service.app == app)
        return max((service.load_balancer.health_time for service in services), default=timedelta(0))

    @property
    def registration_time(self) -> timedelta:
        """How long a new edge waits for its readiness gates (`LoadBalancer.registration_time`)."""
        services = (service for service in self.external_edge_services if not service.former)
        return max((service.load_balancer.registration_time for service in services), default=timedelta(0))

    @property
    def edge_service(self) -> ExposedService:
        """The viewers' Service."""
        name = self.load_balancer.service or EDGE_SERVICE
        return ExposedService(("loadBalancer",), name, self.load_balancer, EDGE_APP, self.edge_ports)

    @property
    def edge_ports(self) -> dict[str, int]:
        """The ports of a Service that leads to edges, by name."""
        https = dict(zip(("https", f"https{FORMER}"), self.tls.ports, strict=False))
        return {"rtmp": RTMP_PORT, "http": HTTP_PORT, **https}

    @property
    def former_edge_service(self) -> ExposedService | None:
        """The viewers' Service that is being replaced, None if there is none.

        One inside the cluster (`kind: none`) has to be named, because this kind is also the key's default.
        """
        former = self.former_load_balancer
        if not former.is_exposed and former.service is None:
            return None
        name = former.service or EDGE_SERVICE
        return ExposedService(("formerLoadBalancer",), name, former, EDGE_APP, self.edge_ports, former=True)

    @property
    def publish_service(self) -> ExposedService | None:
        """The encoders' Service, None if they use the viewers' one."""
        return _publish_service(("publish",), self.publish)

    @property
    def former_publish_service(self) -> ExposedService | None:
        """The encoders' Service that is being replaced, None if there is none."""
        former = self.publish.former
        return _publish_service(("publish", "former"), former) if former else None

    @property
    def hls_services(self) -> dict[str, ExposedService]:
        """The Services of HLS on the CLBs of the edges, by their names, with the Service whose CLB each uses."""
        if not self.hls.enabled or not self.hls.ports:
            return {}
        services = (self.edge_service, self.former_edge_service)
        return {
            hls_service(service.name): service for service in services if service and service.load_balancer.SHAREABLE
        }

    @property
    def exposed_services(self) -> list[ExposedService]:
        """All Services that are reached from outside the cluster."""
        services = (
            self.edge_service,
            self.former_edge_service,
            self.publish_service,
            self.former_publish_service,
        )
        return [service for service in services if service]

    @property
    def external_edge_services(self) -> list[ExposedService]:
        """The exposed Services with a load balancer of a controller that leads to edges."""
        return self.external_services(EDGE_APP)

    def external_services(self, app: str) -> list[ExposedService]:
        """The exposed Services with a load balancer of a controller that leads to pods with this `app` label."""
        return [
            service for service in self.exposed_services if service.app == app and service.load_balancer.is_external
        ]

    def origin_drain(self) -> OriginDrainSettings:
        """The drain of the origins, with the defaults that the load balancers of encoders demand: they need longer to
        remove a pod than kube-proxy, and may end its connections."""
        drain, services = self.origin.drain, self.external_services(ORIGIN)
        times = [time for service in services if (time := service.load_balancer.default_deregister) is not None]
        if times and "deregister" not in drain.model_fields_set:
            drain = drain.model_copy(update={"deregister": max(times)})
        if "timeout" not in drain.model_fields_set:
            ends = [end for service in services if (end := service.load_balancer.max_connection_time) is not None]
            timeout = min([drain.timeout, *(end - drain.deregister for end in ends)])
            drain = drain.model_copy(update={"timeout": max(timeout, timedelta())})
        return drain

    @property
    def deregister_times(self) -> list[timedelta]:
        """What the load balancers of the edges need to remove a terminating pod."""
        times = [service.load_balancer.default_deregister for service in self.external_edge_services]
        return [time for time in times if time is not None]

    @property
    def can_share_load_balancers(self) -> bool:
        """Whether a Service has a load balancer that a Service of another namespace could have as well."""
        return any(service.load_balancer.SHAREABLE for service in self.exposed_services)

    @property
    def readiness_gates(self) -> list[str]:
        """Conditions that an edge needs besides its probes (see `LoadBalancer.readiness_gate`).

        The Service that is being replaced has none: pods would never be ready again after its deletion.
        """
        gates = (
            service.load_balancer.readiness_gate(service.name)
            for service in self.external_edge_services
            if not service.former
        )
        return [gate for gate in gates if gate is not None]

    @property
    def hls_ports(self) -> dict[str, int]:
        """The ports in the URLs of HLS by scheme; none without HLS."""
        hls = self.hls
        ports = {"http": hls.port, "https": hls.https_port} if hls.ports else {"http": 80, "https": 443}
        if not hls.enabled or self.tls.secret_name is None:
            ports.pop("https")
        return {name: port for name, port in ports.items() if port is not None and hls.enabled}

    @property
    def replaceable_ports(self) -> dict[tuple[str, str], tuple[int | None, int | None]]:
        """Ports of a load balancer that are replaced one after the other: by config key, the port and the former one.

        See `former_path` (stack_rules.py) for the key of the latter.
        """
        hls, tls = self.hls, self.tls
        return {
            ("tls", "port"): (tls.port, tls.former_port) if tls.secret_name else (None, None),
            ("hls", "port"): (hls.port, hls.former_port),
            ("hls", "httpsPort"): (hls.https_port, hls.former_https_port),
        }

    @cached_property
    def srs_confs(self) -> SrsConfs:
        """The srs.conf of the origins and of each release; parsing and merging them is most of a preview's time."""
        return srs_confs(self)

    def exports(self, version: Version) -> bool:
        """Whether pods with this SRS version have an exporter."""
        return self.monitoring.kind != "none" and capabilities(version).exporter

    def secret_values(self) -> dict[str, str]:
        """The values that `$(name)` in srs.conf stands for, by name."""
        named = {name: value.get_secret_value() for name, value in self.secrets.items()}
        hook = self.publish.hook
        return named | ({} if hook is None else {HOOK: resolve(hook.get_secret_value(), named)})

    @property
    def secret_keys(self) -> frozenset[str]:
        """The keys that were set with `--secret`."""
        return self._secret_keys

    def with_secret_keys(self, keys: Collection[str]) -> Self:
        """The same settings, which know which of their keys were set with `--secret`."""
        copy = self.model_copy()
        copy._secret_keys = frozenset(keys)
        return copy


def _publish_service(key: tuple[str, ...], target: PublishTarget) -> ExposedService | None:
    load_balancer = target.load_balancer
    if not load_balancer.is_exposed:
        return None
    app = EDGE_APP if target.to == "edges" else ORIGIN
    name, former = load_balancer.service or PUBLISH_SERVICE, key[-1] == "former"
    return ExposedService((*key, "loadBalancer"), name, load_balancer, app, {"rtmp": RTMP_PORT}, former)


CONFIG_KEYS: Mapping[str, str] = {
    field.alias or name: field.description or "" for name, field in StackSettings.model_fields.items()
}
"""The keys of the stack config with their descriptions; `Pulumi.yaml` declares the same ones."""
