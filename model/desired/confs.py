"""srs.conf of the origins and of each release, parsed and merged once in a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.names import EDGE_APP, ORIGIN, origin_hosts, origin_service_host
from model.srs.conf import SrsConf, render_edge, render_origin
from model.srs.conf_file import ConfFile, added_words, conf_file, redact

if TYPE_CHECKING:
    from model.config.stack import StackSettings


@dataclass(frozen=True)
class SrsConfs:
    """Every srs.conf with what is wrong in it, and with references instead of secrets. edges: by release."""

    origin: SrsConf
    edges: Mapping[str, SrsConf]


def srs_confs(settings: StackSettings) -> SrsConfs:
    """The srs.conf of the origins and of each release."""
    kubernetes, origin = settings.kubernetes, settings.origin
    return SrsConfs(
        render_origin(
            origin.srs_version,
            coworkers(settings),
            settings.hls.enabled,
            origin.srs.max_connections,
            origin.srs.additions,
            exporter=settings.exports(origin.srs_version),
            publish=settings.publish.rules(ORIGIN),
        ),
        {
            name: render_edge(
                release.srs_version,
                origin_service_host(kubernetes.namespace, kubernetes.cluster_domain),
                release.srs.max_connections,
                release.srs.additions,
                exporter=settings.exports(release.srs_version),
                publish=settings.publish.rules(EDGE_APP),
                tls=settings.tls.secret_name is not None,
            )
            for name, release in settings.edge.releases.items()
        },
    )


@dataclass(frozen=True)
class Confs:
    """Every srs.conf as pods mount it. edges: by release. secrets: their values by name."""

    origin: ConfFile
    edges: Mapping[str, ConfFile]
    secrets: Mapping[str, str]

    @property
    def have_secrets(self) -> bool:
        """Whether an srs.conf has a secret."""
        return any(conf.is_secret for conf in (self.origin, *self.edges.values()))

    def redact(self, text: str) -> str:
        """A text, such as a log, without the secrets of srs.conf."""
        return redact(text, self.secrets)


def mounted_confs(settings: StackSettings, key: str) -> Confs:
    """Every srs.conf with its secrets. key: of the hashes in the names of Secrets."""
    parsed, values, secret_keys = settings.srs_confs, settings.secret_values(), settings.secret_keys
    words = [*_added_words(parsed, "origin" in secret_keys, "edge" in secret_keys)]
    return Confs(
        conf_file(parsed.origin, values, key, "origin" in secret_keys),
        {name: conf_file(conf, values, key, "edge" in secret_keys) for name, conf in parsed.edges.items()},
        {f"word {index}": word for index, word in enumerate(words)} | values,
    )


def _added_words(parsed: SrsConfs, origin: bool, edge: bool) -> Iterator[str]:
    """The words that the stack config adds where all of a key is secret."""
    if origin:
        yield from added_words(parsed.origin.directives)
    if edge:
        for conf in parsed.edges.values():
            yield from added_words(conf.directives)


def coworkers(settings: StackSettings) -> list[str]:
    """The names that origins can have, with the final dot: most of them do not resolve, and without it each of these
    would be looked up in every search domain, while SRS does nothing else."""
    kubernetes = settings.kubernetes
    hosts = origin_hosts(range(settings.origin.name_count), kubernetes.namespace, kubernetes.cluster_domain)
    return [f"{host}." for host in hosts]
