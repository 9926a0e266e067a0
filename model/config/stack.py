"""The whole stack config, and the rules that hold between its keys."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
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
from model.config.pods import SrsSettings, rollout_timeout_problems
from model.config.problems import REDACTED, Problem, RuleError, UpdateWarning
from model.config.publish import HOOK, PublishSettings, PublishTarget, SecretName, SecretValue
from model.config.tls import TlsSettings
from model.config.values import format_duration, plural
from model.desired.confs import SrsConfs, srs_confs
from model.load_balancers.exposed_service import (
    FORMER,
    ExposedService,
    bandwidth_warnings,
    conf_warnings,
    conflicts,
    drain_problems,
)
from model.load_balancers.kinds import AnyLoadBalancer
from model.load_balancers.none import NoLoadBalancer
from model.names import (
    API_PORT,
    EDGE_APP,
    EDGE_SERVICE,
    HLS,
    HTTP_PORT,
    ORIGIN,
    ORIGIN_HEADLESS_SERVICE,
    ORIGIN_SERVICE,
    PUBLISH_SERVICE,
    RTMP_PORT,
    hls_service,
)
from model.srs import conf as srs_conf
from model.srs.conf import CIDR_SINCE, HTTPS_HOOK_SINCE, SrsConf, left_hls
from model.srs.conf_file import references, resolve, unknown_secrets
from model.srs.versions import (
    KEEPS_HLS_FILES,
    Defect,
    Version,
    capabilities,
    defects,
    format_version,
    recommended,
)

FEW_STREAMS = 20
"""Streams that every edge serves, below which the connection limit of the origins is a warning."""


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
        rules = (
            settings.exposed_service_problems,
            settings.srs_conf_problems,
            settings.publish_problems,
            settings.autoscaling_problems,
        )
        if problems := [problem for rule in rules for problem in rule()]:
            raise RuleError(problems)
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
        """Those with a load balancer of a controller that leads to edges."""
        return self.external_services(EDGE_APP)

    def external_services(self, app: str) -> list[ExposedService]:
        """Those with a load balancer of a controller that leads to pods with this `app` label."""
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

    def exposed_service_problems(self) -> Iterator[Problem]:
        """What does not fit together between load balancers, drain and HLS."""
        drain = self.edge.drain
        path = ("edge", "drain", "timeout")
        for app, own, key in ((EDGE_APP, drain, path), (ORIGIN, self.origin.drain, ("origin", "drain", "timeout"))):
            services = [service for service in self.exposed_services if service.app == app]
            yield from drain_problems(services, own.deregister, own.timeout, key)
        if self.external_edge_services and drain.timeout < drain.deregister:
            yield Problem(
                path,
                drain.timeout,
                f"must not be shorter than {format_duration(drain.deregister)}, the default "
                "of drain.deregister behind a load balancer",
                reason="DrainShorterThanDeregister",
            )
        yield from self._health_problems()
        for service in self.exposed_services:
            if service.load_balancer.needs_serving and service.app == EDGE_APP and not drain.keep_serving:
                yield Problem(
                    ("edge", "drain", "keepServing"),
                    False,
                    f"must be true with {service.config_key}.gracefulShutdown: SRS closes its listeners when it begins "
                    "to quit, and a pod that does not serve is removed from the backends",
                    reason="DrainWithoutServing",
                )
        reserved = {ORIGIN_SERVICE: "the origins", ORIGIN_HEADLESS_SERVICE: "the origins", f"{HLS}-service": "hls"}
        reserved |= dict.fromkeys(self.hls_services, "hls")
        yield from conflicts(self.exposed_services, reserved)
        yield from self._hls_problems()
        yield from self._tls_problems()
        yield from self._port_problems()

    def _health_problems(self) -> Iterator[Problem]:
        """Pods that replace others before the load balancer sends them connections."""
        for key, app, settings in (("edge", EDGE_APP, self.edge), ("origin", ORIGIN, self.origin)):
            health_time = self.health_time(app)
            if settings.min_ready < health_time:
                yield Problem(
                    (key, "minReady"),
                    settings.min_ready,
                    f"must be at least {format_duration(health_time)}: a new backend of a load balancer with backend "
                    "eni receives connections only after healthCheck.interval × healthyThreshold, and by then pods "
                    "that it replaces would be deleted. Or let healthCheck take less time",
                    reason="MinReadyShorterThanHealthCheck",
                )
            elif settings.min_ready == health_time:  # the default of minReady may have been raised to it
                warm_up = self.edge.warm_up if key == "edge" else timedelta(0)
                for problem in rollout_timeout_problems(settings.min_ready, settings.rollout_timeout, warm_up):
                    yield replace(problem, path=(key, *problem.path))

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

        See `former_path` for the key of the latter.
        """
        hls, tls = self.hls, self.tls
        return {
            ("tls", "port"): (tls.port, tls.former_port) if tls.secret_name else (None, None),
            ("hls", "port"): (hls.port, hls.former_port),
            ("hls", "httpsPort"): (hls.https_port, hls.former_https_port),
        }

    def _chosen_ports(self, key: str) -> Iterator[tuple[tuple[str, str], int]]:
        """Those that are set, of one map of the stack config."""
        for path, (port, former) in self.replaceable_ports.items():
            for name, number in ((path, port), (former_path(path), former)):
                if path[0] == key and number is not None:
                    yield name, number

    def _hls_problems(self) -> Iterator[Problem]:
        hls = self.hls
        for path, port in self._chosen_ports("hls"):
            if not hls.enabled:
                yield Problem(
                    path, port, "has no effect while hls.enabled is false; leave it out", reason="HlsIsDisabled"
                )
            if not self.load_balancer.SHAREABLE and not self.hls_services:
                kind = self.load_balancer.kind
                yield Problem(
                    path,
                    port,
                    f"needs a CLB (loadBalancer.kind: slb; it is {kind}): other kinds can have one Service only",
                    reason="HlsPortNeedsClb",
                )
        for path, (port, former) in self.replaceable_ports.items():
            if port is None and former is not None:
                allowed = f"needs {'.'.join(path)}, the port that replaces it"
                yield Problem(former_path(path), former, allowed, reason="FormerPortAlone")

    def _tls_problems(self) -> Iterator[Problem]:
        hls, tls = self.hls, self.tls
        if tls.secret_name is None:
            for key, name in (("port", "port"), ("formerPort", "former_port")):
                if name in tls.model_fields_set:
                    allowed = "has no effect without tls.secretName; leave it out"
                    yield Problem(("tls", key), getattr(tls, name), allowed, reason="TlsIsDisabled")
            if hls.https_port is not None:
                yield Problem(
                    ("hls", "httpsPort"),
                    hls.https_port,
                    "needs a certificate: set tls.secretName",
                    reason="NoCertificate",
                )
            return
        for name, release in self.edge.releases.items():
            if not capabilities(release.srs_version).https:
                yield Problem(
                    ("edge", "releases", name, "image"),
                    release.image,
                    f"is SRS {format_version(release.srs_version)}; tls.secretName needs 6.0.132 or later, best "
                    f"{recommended()}: earlier ones have no HTTPS, or one failed handshake drops the HTTPS connections "
                    "of all viewers (ossrs/srs #3513), or they send no intermediate certificate (#3967)",
                    reason="VersionWithoutHttps",
                )
        for service in (self.edge_service, self.former_edge_service):
            ports = service.service_ports if service else {}
            for path, port in self._chosen_ports("tls"):
                if service and port in (ports["rtmp"], ports["http"]) and port not in (RTMP_PORT, HTTP_PORT):
                    yield Problem(path, port, f"is another port of {service.config_key} already", reason="PortInUse")

    def _port_problems(self) -> Iterator[Problem]:
        """Two keys with one port of the load balancer."""
        used: dict[int, str] = {}
        for path, port in (*self._chosen_ports("tls"), *self._chosen_ports("hls")):
            if port in (RTMP_PORT, HTTP_PORT, API_PORT):
                yield Problem(
                    path,
                    port,
                    f"must not be {RTMP_PORT}, {HTTP_PORT} or {API_PORT}: they are SRS's",
                    reason="PortOfSrs",
                )
            elif port in used:
                yield Problem(
                    path, port, f"must differ from {used[port]}: one load balancer has both", reason="PortInUse"
                )
            used[port] = ".".join(path)

    def srs_conf_problems(self) -> Iterator[Problem]:
        """What does not fit together between the additions to srs.conf and other keys."""
        texts: list[tuple[tuple[str, ...], SrsSettings, SrsConf]] = [
            (("origin",), self.origin.srs, self.srs_confs.origin)
        ]
        for name, release in self.edge.releases.items():
            texts.append((("edge", "releases", name), release.srs, self.srs_confs.edges[name]))
        for path, srs, conf in texts:
            unknown = unknown_secrets(conf, self.secret_values())
            for problem in srs.problems(replace(conf, findings=(*conf.findings, *unknown))):
                yield replace(problem, path=(*path, *problem.path))

    def publish_problems(self) -> Iterator[Problem]:
        """What does not fit together between who may publish, load balancers and SRS versions."""
        publish = self.publish
        app = ORIGIN if publish.exclusive else EDGE_APP
        hidden = [service for service in self.exposed_services if service.app == app]
        hidden = [service.config_key for service in hidden if service.load_balancer.hides_addresses]
        if publish.sources and hidden:
            allowed = (
                f"cannot be checked behind {', '.join(hidden)}: SRS sees the address of a node as every client's; "
            )
            allowed += "use externalTrafficPolicy Local or backend eni, or a hook"
            yield Problem(("publish", "from"), publish.sources, allowed, reason="SourcesAreHidden")
        hook = "" if publish.hook is None else publish.hook.get_secret_value()
        if unknown := references(hook) - self.secrets.keys():
            yield Problem(
                ("publish", "hook"),
                REDACTED,
                f"has {', '.join(sorted(unknown))}, not a name in srs:secrets",
                reason="UnknownSecret",
            )
        versions = {f"edge release {name}": release.srs_version for name, release in self.edge.releases.items()}
        if app == ORIGIN:
            versions = {"origins": self.origin.srs_version}

        def older_than(since: Version) -> str:
            return ", ".join(
                f"{name}: {format_version(version)}" for name, version in versions.items() if version < since
            )

        ranges = [source for source in publish.sources if "/" in source]
        if ranges and (older := older_than(CIDR_SINCE)):
            since = f"{format_version(CIDR_SINCE)} on; {older}"
            yield Problem(
                ("publish", "from"),
                ranges,
                f"must be single addresses: SRS knows ranges from {since}",
                reason="VersionWithoutRanges",
            )
        if hook.startswith("https:") and (older := older_than(HTTPS_HOOK_SINCE)):
            since = f"{format_version(HTTPS_HOOK_SINCE)} on; {older}"
            yield Problem(
                ("publish", "hook"),
                REDACTED,
                f"must begin with http://: SRS asks by HTTPS from {since}",
                reason="VersionWithoutHttpsHooks",
            )

    def autoscaling_problems(self) -> Iterator[Problem]:
        """What the metric of the autoscalers needs of other keys."""
        scaling = self.edge.autoscaling
        if scaling is None or scaling.metric != "connections" or scaling.query is not None:
            return
        path = ("edge", "autoscaling", "metric")
        if self.monitoring.kind == "none":
            allowed = "needs srs:monitoring, because SRS counts its connections in an exporter; or scale on cpu"
            yield Problem(path, scaling.metric, allowed, reason="MetricSource")
            return
        for name, weight in self.edge.weights.items():
            version = self.edge.releases[name].srs_version
            if weight and not capabilities(version).exporter:
                allowed = (
                    f"needs an SRS with an exporter, and release {name} is {format_version(version)}: scale on cpu, "
                    "or set autoscaling.query to an expression that counts its connections, too"
                )
                yield Problem(path, scaling.metric, allowed, reason="MetricSource")

    def warnings(self) -> Iterator[str]:
        """What may do harm but is the operator's choice, a line each."""
        weighted = [name for name, weight in self.edge.weights.items() if weight > 0]
        yield from self._version_warnings(weighted)
        yield from self._origin_capacity_warnings()
        yield from self._exporter_warnings(weighted)
        for service in self.exposed_services:
            yield from service.load_balancer.warnings(service, weighted)
        shares = self.edge.shares
        connections = sum(shares[name].replicas * self.edge.releases[name].srs.max_connections for name in weighted)
        yield from bandwidth_warnings(self.exposed_services, connections)
        confs = {f"edge release {name}": (EDGE_APP, self.srs_confs.edges[name]) for name in weighted}
        titles: dict[str, list[str]] = {}
        for title, (app, conf) in (confs | {"origins": (ORIGIN, self.srs_confs.origin)}).items():
            services = [service for service in self.exposed_services if service.app == app]
            for warning in (*srs_conf.warnings(conf), *conf_warnings(conf, services)):
                titles.setdefault(warning, []).append(title)
        for warning, names in titles.items():
            yield UpdateWarning(f"{', '.join(names)}: {warning}", getattr(warning, "reason", ""))
        if self.demo.enabled and self.publish.sources:
            yield UpdateWarning(
                "srs:demo publishes from the address of a pod: srs:publish.from must allow it", "DemoSource"
            )

    def _origin_capacity_warnings(self) -> Iterator[str]:
        """Origins whose connection limit is reached by few streams.

        Each edge pulls each stream that it serves once, draining edges too, and its encoder is one more connection. A
        full origin refuses them, so that viewers of its streams on other edges have no media.
        """
        origins, limit, edges = self.origin.replicas, self.origin.srs.max_connections, self.edge.largest_total
        streams = origins * limit // (2 * edges + 1)
        if streams < FEW_STREAMS:
            yield UpdateWarning(
                f"{plural(origins, 'origin')} with maxConnections {limit} can serve about {plural(streams, 'stream')} "
                f"while {plural(edges, 'edge')} with all of them roll (2 × {edges} pulls and 1 encoder each); a full "
                "origin refuses pulls and encoders: if there are more streams, raise srs:origin.srs.maxConnections",
                "FewStreamsPerOrigin",
            )

    def _version_warnings(self, weighted: Sequence[str]) -> Iterator[str]:
        """Known defects of the SRS versions."""
        origins = self.origin.srs_version
        if self.hls.enabled and not left_hls(self.srs_confs.origin) and (fix := KEEPS_HLS_FILES.fix(origins)):
            yield _defect(KEEPS_HLS_FILES, origins, "origins", fix)
        releases: dict[Version, list[str]] = {}
        for name in weighted:
            releases.setdefault(self.edge.releases[name].srs_version, []).append(name)
        for version, names in releases.items():
            for defect, fix in defects(version, origins):
                if defect.warns:
                    yield _defect(defect, version, f"edge release {', '.join(names)}", fix)

    def _exporter_warnings(self, weighted: Sequence[str]) -> Iterator[str]:
        """What Prometheus does not see."""
        if self.monitoring.kind == "none":
            return
        versions = {f"edge release {name}": self.edge.releases[name].srs_version for name in weighted}
        versions["origins"] = self.origin.srs_version
        for title, version in versions.items():
            if not capabilities(version).exporter:
                yield UpdateWarning(
                    f"{title}: SRS {format_version(version)} has no exporter, so Prometheus does not see it",
                    "VersionWithoutExporter",
                )

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


def former_path(path: tuple[str, str]) -> tuple[str, str]:
    """The config key of the port that the one of another key replaces: of `port`, `formerPort`."""
    return path[0], f"former{path[1][0].upper()}{path[1][1:]}"


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


def _defect(defect: Defect, version: Version, title: str, fix: Version) -> UpdateWarning:
    return UpdateWarning(
        f"SRS {format_version(version)} ({title}): {defect.effect} ({defect.source}); fixed in {format_version(fix)}, "
        f"use {recommended()}",
        "KnownDefect",
    )
