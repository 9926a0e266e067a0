"""The whole stack config, and the rules that hold between its keys."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, SecretStr, model_validator

from model import alibaba, nginx_conf, srs_conf
from model.base import Settings
from model.conf_file import ConfFile, added_words, conf_file, redact, references, resolve, unknown_secrets
from model.exposed_service import FORMER, ExposedService, conf_warnings, conflicts, drain_problems, warnings
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
    edge_deployment,
    hls_service,
    origin_hosts,
    origin_service_host,
)
from model.problems import REDACTED, Problem, RuleError
from model.settings.demo import DemoSettings
from model.settings.edge import EdgeSettings
from model.settings.hls import HlsSettings
from model.settings.images import ImagesSettings
from model.settings.kubernetes import KubernetesSettings
from model.settings.load_balancer import (
    CloudLoadBalancer,
    ExternalLoadBalancer,
    LoadBalancerSettings,
    NoLoadBalancer,
    SlbLoadBalancer,
)
from model.settings.monitoring import MonitoringSettings
from model.settings.origin import OriginSettings
from model.settings.pods import SrsSettings
from model.settings.publish import HOOK, PublishSettings, PublishTarget, SecretName, SecretValue
from model.settings.tls import TlsSettings
from model.srs_conf import CIDR_SINCE, HTTPS_HOOK_SINCE, SrsConf
from model.srs_version import Version, capabilities, defects, format_version, recommended
from model.values import format_duration, plural

FEW_STREAMS = 20
"""Streams that every edge serves, below which the connection limit of the origins is a warning."""


class StackSettings(Settings):
    """The whole stack config; each field is a key `srs:<name>`."""

    kubernetes: KubernetesSettings = Field(description="The cluster that the stack is deployed to.")
    origin: OriginSettings = Field(description="The origins: they receive the streams.")
    edge: EdgeSettings = Field(description="The edges: they serve the viewers.")
    load_balancer: LoadBalancerSettings = Field(
        default=NoLoadBalancer(kind="none"), description="The load balancer of the edges."
    )
    former_load_balancer: LoadBalancerSettings = Field(
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
    _conf_key: str = PrivateAttr(default="")

    @model_validator(mode="wrap")
    @classmethod
    def _keys_fit_together(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        settings = handler(data)
        drain = settings.edge.drain
        if "deregister" not in drain.model_fields_set and settings.external_edge_services:
            # Such a load balancer needs longer to remove a terminating pod than kube-proxy.
            drain = drain.model_copy(update={"deregister": alibaba.DEREGISTER})
            settings = settings.model_copy(update={"edge": settings.edge.model_copy(update={"drain": drain})})
        rules = (settings.exposed_service_problems, settings.srs_conf_problems, settings.publish_problems)
        if problems := [problem for rule in rules for problem in rule()]:
            raise RuleError(problems)
        return settings

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
        if isinstance(former, NoLoadBalancer) and former.service is None:
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
            hls_service(service.name): service
            for service in services
            if service and isinstance(service.load_balancer, SlbLoadBalancer)
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
        return [
            service
            for service in self.exposed_services
            if service.app == EDGE_APP and isinstance(service.load_balancer, ExternalLoadBalancer)
        ]

    @property
    def uses_clbs(self) -> bool:
        """Whether a Service has a CLB, which a Service of another namespace could have as well."""
        return any(isinstance(service.load_balancer, SlbLoadBalancer) for service in self.exposed_services)

    @property
    def readiness_gates(self) -> list[str]:
        """Conditions that an edge needs besides its probes (see `alibaba.readiness_gate`).

        The Service that is being replaced has none: pods would never be ready again after its deletion.
        """
        return [
            alibaba.readiness_gate(service.name)
            for service in self.external_edge_services
            if not service.former
            and isinstance(service.load_balancer, CloudLoadBalancer)
            and service.load_balancer.backend == "eni"
        ]

    def exposed_service_problems(self) -> Iterator[Problem]:
        """What does not fit together between load balancers, drain and HLS."""
        drain = self.edge.drain
        path = ("edge", "drain", "timeout")
        yield from drain_problems(self.exposed_services, drain.deregister, drain.timeout, path)
        if self.external_edge_services and drain.timeout < drain.deregister:
            yield Problem(
                path,
                drain.timeout,
                f"must not be shorter than {format_duration(drain.deregister)}, the default "
                "of drain.deregister behind a load balancer",
            )
        reserved = {ORIGIN_SERVICE: "the origins", ORIGIN_HEADLESS_SERVICE: "the origins", f"{HLS}-service": "hls"}
        reserved |= dict.fromkeys(self.hls_services, "hls")
        yield from conflicts(self.exposed_services, reserved)
        yield from self._hls_problems()
        yield from self._tls_problems()
        yield from self._port_problems()

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
                yield Problem(path, port, "has no effect while hls.enabled is false; leave it out")
            if not isinstance(self.load_balancer, SlbLoadBalancer) and not self.hls_services:
                kind = self.load_balancer.kind
                yield Problem(
                    path, port, f"needs loadBalancer.kind slb (it is {kind}): only a CLB can have several Services"
                )
        for path, (port, former) in self.replaceable_ports.items():
            if port is None and former is not None:
                allowed = f"needs {'.'.join(path)}, the port that replaces it"
                yield Problem(former_path(path), former, allowed)

    def _tls_problems(self) -> Iterator[Problem]:
        hls, tls = self.hls, self.tls
        if tls.secret_name is None:
            for key, name in (("port", "port"), ("formerPort", "former_port")):
                if name in tls.model_fields_set:
                    allowed = "has no effect without tls.secretName; leave it out"
                    yield Problem(("tls", key), getattr(tls, name), allowed)
            if hls.https_port is not None:
                yield Problem(("hls", "httpsPort"), hls.https_port, "needs a certificate: set tls.secretName")
            return
        for name, release in self.edge.releases.items():
            if not capabilities(release.srs_version).https:
                yield Problem(
                    ("edge", "releases", name, "image"),
                    release.image,
                    f"is SRS {format_version(release.srs_version)}; tls.secretName needs 6.0.132 or later, best "
                    f"{recommended()}: earlier ones have no HTTPS, or one failed handshake drops the HTTPS connections "
                    "of all viewers (ossrs/srs #3513), or they send no intermediate certificate (#3967)",
                )
        for service in (self.edge_service, self.former_edge_service):
            ports = service.service_ports if service else {}
            for path, port in self._chosen_ports("tls"):
                if service and port in (ports["rtmp"], ports["http"]) and port not in (RTMP_PORT, HTTP_PORT):
                    yield Problem(path, port, f"is another port of {service.config_key} already")

    def _port_problems(self) -> Iterator[Problem]:
        """Two keys with one port of the load balancer."""
        used: dict[int, str] = {}
        for path, port in (*self._chosen_ports("tls"), *self._chosen_ports("hls")):
            if port in (RTMP_PORT, HTTP_PORT, API_PORT):
                yield Problem(path, port, f"must not be {RTMP_PORT}, {HTTP_PORT} or {API_PORT}: they are SRS's")
            elif port in used:
                yield Problem(path, port, f"must differ from {used[port]}: one load balancer has both")
            used[port] = ".".join(path)

    def srs_conf_problems(self) -> Iterator[Problem]:
        """What does not fit together between the additions to srs.conf and other keys."""
        texts: list[tuple[tuple[str, ...], SrsSettings, SrsConf]] = [
            (("origin",), self.origin.srs, self.origin_srs_conf)
        ]
        for name, release in self.edge.releases.items():
            texts.append((("edge", "releases", name), release.srs, self.edge_srs_conf(name)))
        for path, srs, conf in texts:
            unknown = unknown_secrets(conf, self._secrets())
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
            yield Problem(("publish", "from"), publish.sources, allowed)
        hook = "" if publish.hook is None else publish.hook.get_secret_value()
        if unknown := references(hook) - self.secrets.keys():
            yield Problem(("publish", "hook"), REDACTED, f"has {', '.join(sorted(unknown))}, not a name in srs:secrets")
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
            yield Problem(("publish", "from"), ranges, f"must be single addresses: SRS knows ranges from {since}")
        if hook.startswith("https:") and (older := older_than(HTTPS_HOOK_SINCE)):
            since = f"{format_version(HTTPS_HOOK_SINCE)} on; {older}"
            yield Problem(("publish", "hook"), REDACTED, f"must begin with http://: SRS asks by HTTPS from {since}")

    def warnings(self) -> Iterator[str]:
        """What may do harm but is the operator's choice, a line each."""
        weighted = [name for name, weight in self.edge.weights.items() if weight > 0]
        yield from self._version_warnings(weighted)
        yield from self._origin_capacity_warnings()
        yield from self._exporter_warnings(weighted)
        for service in self.exposed_services:
            yield from warnings(service, weighted)
        confs = {f"edge release {name}": (EDGE_APP, self.edge_srs_conf(name)) for name in weighted}
        titles: dict[str, list[str]] = {}
        for title, (app, conf) in (confs | {"origins": (ORIGIN, self.origin_srs_conf)}).items():
            services = [service for service in self.exposed_services if service.app == app]
            for warning in (*srs_conf.warnings(conf), *conf_warnings(conf, services)):
                titles.setdefault(warning, []).append(title)
        yield from (f"{', '.join(names)}: {warning}" for warning, names in titles.items())
        if self.demo.enabled and self.publish.sources:
            yield "srs:demo publishes from the address of a pod: srs:publish.from must allow it"

    def _origin_capacity_warnings(self) -> Iterator[str]:
        """Origins whose connection limit is reached by few streams.

        Each edge pulls each stream that it serves once, draining edges too, and its encoder is one more connection. A
        full origin refuses them, so that viewers of its streams on other edges have no media.
        """
        origins, limit, edges = self.origin.replicas, self.origin.srs.max_connections, self.edge.replicas
        streams = origins * limit // (2 * edges + 1)
        if streams < FEW_STREAMS:
            yield (
                f"{plural(origins, 'origin')} with maxConnections {limit} can serve about {plural(streams, 'stream')} "
                f"that all {edges} edges serve during a rolling update (2 × {edges} pulls and 1 encoder each); a full "
                "origin refuses pulls and encoders: if there are more streams, raise srs:origin.srs.maxConnections"
            )

    def _version_warnings(self, weighted: Sequence[str]) -> Iterator[str]:
        """Known defects of the edges' SRS versions."""
        releases: dict[Version, list[str]] = {}
        for name in weighted:
            releases.setdefault(self.edge.releases[name].srs_version, []).append(name)
        for version, names in releases.items():
            for defect, fix in defects(version, self.origin.srs_version):
                if defect.warns:
                    yield (
                        f"SRS {format_version(version)} (edge release {', '.join(names)}): "
                        f"{defect.effect} ({defect.source}); fixed in {format_version(fix)}, use {recommended()}"
                    )

    def _exporter_warnings(self, weighted: Sequence[str]) -> Iterator[str]:
        """What Prometheus does not see."""
        if self.monitoring.kind == "none":
            return
        versions = {f"edge release {name}": self.edge.releases[name].srs_version for name in weighted}
        versions["origins"] = self.origin.srs_version
        for title, version in versions.items():
            if not capabilities(version).exporter:
                yield f"{title}: SRS {format_version(version)} has no exporter, so Prometheus does not see it"

    @property
    def origins(self) -> list[str]:
        """Host names of the origins."""
        return origin_hosts(self.origin.replicas, self.kubernetes.namespace, self.kubernetes.cluster_domain)

    @property
    def origin_srs_conf(self) -> SrsConf:
        """The srs.conf of the origins with what is wrong in it, and with references instead of secrets."""
        srs = self.origin.srs
        return srs_conf.render_origin(
            self.origin.srs_version,
            self.origins,
            self.hls.enabled,
            srs.max_connections,
            srs.additions,
            exporter=self.exports(self.origin.srs_version),
            publish=self.publish.rules(ORIGIN),
        )

    @property
    def nginx_conf(self) -> str:
        """nginx.conf of the server of HLS."""
        return nginx_conf.render(self.hls.resources.cpu, self.tls.secret_name is not None)

    def edge_srs_conf(self, release: str) -> SrsConf:
        """The srs.conf of a release, as `origin_srs_conf`."""
        settings = self.edge.releases[release]
        return srs_conf.render_edge(
            settings.srs_version,
            origin_service_host(self.kubernetes.namespace, self.kubernetes.cluster_domain),
            settings.srs.max_connections,
            settings.srs.additions,
            exporter=self.exports(settings.srs_version),
            publish=self.publish.rules(EDGE_APP),
            tls=self.tls.secret_name is not None,
        )

    def exports(self, version: Version) -> bool:
        """Whether pods with this SRS version have an exporter."""
        return self.monitoring.kind != "none" and capabilities(version).exporter

    @property
    def origin_conf(self) -> ConfFile:
        """srs.conf of the origins."""
        hides = "origin" in self._secret_keys
        return conf_file(self.origin_srs_conf, self._secrets(), self._conf_key, hides)

    def edge_conf(self, release: str) -> ConfFile:
        """srs.conf of a release."""
        return conf_file(self.edge_srs_conf(release), self._secrets(), self._conf_key, "edge" in self._secret_keys)

    def _secrets(self) -> dict[str, str]:
        """The values that `$(name)` in srs.conf stands for, by name."""
        named = {name: value.get_secret_value() for name, value in self.secrets.items()}
        hook = self.publish.hook
        return named | ({} if hook is None else {HOOK: resolve(hook.get_secret_value(), named)})

    @property
    def has_secret_confs(self) -> bool:
        """Whether an srs.conf has a secret."""
        return any(conf.is_secret for conf in (self.origin_conf, *map(self.edge_conf, self.edge.releases)))

    def with_secret_keys(self, keys: Collection[str]) -> Self:
        """The same settings, which know which of their keys were set with `--secret`."""
        copy = self.model_copy()
        copy._secret_keys = frozenset(keys)
        return copy

    def with_conf_key(self, key: str) -> Self:
        """The same settings, which hash an srs.conf with secrets by this key."""
        copy = self.model_copy()
        copy._conf_key = key
        return copy

    def redact(self, text: str) -> str:
        """A text without the secrets of srs.conf."""
        words: list[str] = []
        if "origin" in self._secret_keys:
            words += added_words(self.origin_srs_conf.directives)
        if "edge" in self._secret_keys:
            words += (word for name in self.edge.releases for word in added_words(self.edge_srs_conf(name).directives))
        return redact(text, {f"word {index}": word for index, word in enumerate(words)} | self._secrets())

    def release_outputs(self) -> dict[str, dict[str, Any]]:
        """The stack output `releases`: each release in natural order."""
        return {
            name: {
                "image": self.edge.releases[name].image,
                "deployment": edge_deployment(name),
                "replicas": share.replicas,
                "weight": self.edge.releases[name].weight,
                "desiredPercent": round(share.desired, 1),
                "actualPercent": round(share.actual, 1),
                "configHash": self.edge_conf(name).hash,
                "paused": self.edge.releases[name].paused,
            }
            for name, share in self.edge.shares.items()
        }


def former_path(path: tuple[str, str]) -> tuple[str, str]:
    """The config key of the port that the one of another key replaces: of `port`, `formerPort`."""
    return path[0], f"former{path[1][0].upper()}{path[1][1:]}"


def _publish_service(key: tuple[str, ...], target: PublishTarget) -> ExposedService | None:
    load_balancer = target.load_balancer
    if isinstance(load_balancer, NoLoadBalancer):
        return None
    app = EDGE_APP if target.to == "edges" else ORIGIN
    name, former = load_balancer.service or PUBLISH_SERVICE, key[-1] == "former"
    return ExposedService((*key, "loadBalancer"), name, load_balancer, app, {"rtmp": RTMP_PORT}, former)


CONFIG_KEYS: Mapping[str, str] = {
    field.alias or name: field.description or "" for name, field in StackSettings.model_fields.items()
}
"""The keys of the stack config with their descriptions; `Pulumi.yaml` declares the same ones."""
