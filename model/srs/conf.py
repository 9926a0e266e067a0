"""srs.conf for edges and origins: what the program needs, merged with what the stack config adds.

Rendered for the SRS version of the image, because SRS does not start with a directive that it does not know
(`srs_directives`). What the program writes itself wins: a different value in the config is rejected, the same value is
redundant. SRS discards silently what it does not use, so nothing is passed on that it would discard.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from model.config.problems import UpdateWarning
from model.names import API_PORT, EXPORTER_PORT, HTTP_PORT, HTTPS_PORT, RTMP_PORT
from model.srs import directives as srs_directives
from model.srs.grammar import MAX_FINDINGS, Directive, Finding, block, line, parse, render
from model.srs.rules import NO_FFMPEG_LOG, Role, check_rules, runs_ffmpeg
from model.srs.versions import Version, capabilities

TLS_FOLDER = "/usr/local/srs/tls"
"""Where edges have the certificate. SRS reads it for each handshake (`SrsSslConnection::handshake`), so a renewed one
needs no reload; not the folder of srs.conf, which SRS watches for changes."""

GRACE_START_WAIT = 700
"""Milliseconds between SIGTERM and the closing of the listeners; SRS serves meanwhile."""

GRACE_FINAL_WAIT = 800
"""Milliseconds between the end of the last connection and the exit."""

HLS_SEGMENT = "[app]/[stream]-[timestamp]-[seq].ts"
"""Name of a segment. SRS counts segments from 0 after each start, and its default name has nothing else: a player or a
CDN would take the segment of the earlier run, which it has cached, for the new one."""

HLS_DISPOSE = 120
"""Seconds after the end of a stream until its HLS files are deleted: SRS's own default since 5.0-r0. In 4.0 they stay
for good."""

_DISPOSES: Version = (5, 0, 205)

FORGETS_STREAMS_SINCE: Version = (6, 0, 130)
"""SRS forgets a stream some time after its end (ossrs/srs #4161). Before, an encoder that comes back continues the
playlist of before, so SRS itself must delete its segments."""

_HLS_FILES = ("hls_dispose", "hls_cleanup", "hls_path", "hls_m3u8_file", "hls_ts_file")
"""Directives of `hls` that decide which files there are, and how long."""

CIDR_SINCE: Version = (5, 0, 26)
"""`security` knows ranges of addresses (ossrs/srs #2914)."""

HTTPS_HOOK_SINCE: Version = (4, 0, 45)
"""Hooks can be called by HTTPS (ossrs/srs #1657)."""

DEFAULT_VHOST = "__defaultVhost__"

_RESERVED = {
    "listen": "edges and origins listen on 1935",
    "daemon": "a container ends when its first process becomes a daemon",
    "pid": "it must be writable without root",
    "max_connections": "set maxConnections",
    "srs_log_tank": "logs go to the console",
    "force_grace_quit": "without it an update drops every connection, and origins restart quickly without it",
    "grace_start_wait": "it is part of the drain",
    "grace_final_wait": "it is part of the drain",
    "http_api.enabled": "origins find each other's streams by it, and probes use it",
    "http_api.listen": "origins find each other's streams by it on 1985, and probes use it",
    "http_server.enabled": "viewers use it",
    "http_server.listen": "viewers use it on 8080",
    "exporter.enabled": "srs:monitoring turns it on",
    "exporter.listen": "srs:monitoring uses 9972",
    "vhost.cluster.mode": "it makes the edge an edge",
    "vhost.cluster.origin": "edges reach the origins through one Service",
    "vhost.cluster.origin_cluster": "it makes the origins a cluster",
    "vhost.cluster.coworkers": "it lists the origins",
    "vhost.http_remux.enabled": "HTTP-FLV is always on",
    "vhost.hls.enabled": "srs:hls.enabled sets it",
    "vhost.security": "srs:publish sets it (from, exclusive)",
    "vhost.http_hooks.enabled": "srs:publish.hook needs it",
    "vhost.http_hooks.on_publish": "srs:publish.hook sets it",
}
"""Directives that the program writes itself, and why the config cannot set them to another value."""

_ONLY_OURS = {"force_grace_quit", "grace_start_wait", "grace_final_wait"} | {
    f"vhost.cluster.{name}" for name in ("mode", "origin", "origin_cluster", "coworkers")
}
"""Directives that the config cannot set where the program does not set them either."""

_CLUSTER = ("mode", "origin", "token_traverse", "vhost", "debug_srs_upnode")
"""Directives of `cluster` that SRS 2 had in the vhost itself. SRS still moves them there, over what is there."""


@dataclass(frozen=True)
class PublishRules:
    """Who may publish to the pods of a role.

    allow: addresses and CIDR ranges; every address if it is empty. deny: no address may. hook: a URL that SRS asks.
    """

    allow: tuple[str, ...] = ()
    deny: bool = False
    hook: str | None = None

    def directives(self) -> Iterator[Directive]:
        """In a vhost. With one rule that allows, SRS denies everything else (`SrsSecurity::allow_check`)."""
        if self.deny:
            yield block("security", line("enabled on"), line("deny publish all"))
        elif self.allow:
            ranges = (line(f"allow publish {addresses}") for addresses in self.allow)
            yield block("security", line("enabled on"), line("allow play all"), *ranges)
        if self.hook is not None:
            yield block("http_hooks", line("enabled on"), Directive("on_publish", (self.hook,)))


@dataclass(frozen=True)
class Additions:
    """What a stack config adds to an srs.conf, each a text in SRS's syntax.

    conf, directives: at the top level. vhost_directives: in `vhost __defaultVhost__`.
    """

    conf: str = ""
    directives: str = ""
    vhost_directives: str = ""

    def texts(self) -> dict[str, str]:
        """The texts by field name, which is the source of their directives."""
        return {"conf": self.conf, "directives": self.directives, "vhost_directives": self.vhost_directives}


@dataclass(frozen=True)
class SrsConf:
    """An srs.conf. text: in SRS's syntax. directives: the same, parsed. findings: what is wrong in the additions."""

    text: str
    directives: tuple[Directive, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def hidden_text(self) -> str:
        """The text, in which no word that the stack config adds can be read."""
        return render(_hidden(self.directives))

    @property
    def vhosts(self) -> list[Directive]:
        """The vhosts."""
        return [directive for directive in self.directives if directive.name == "vhost"]


def render_edge(
    version: Version,
    origin: str,
    max_connections: int = 1000,
    additions: Additions | None = None,
    publish: PublishRules | None = None,
    exporter: bool = False,
    tls: bool = False,
) -> SrsConf:
    """srs.conf of an edge that pulls from, and pushes to, the origins.

    origin: host name of the Service in front of all origins. Not a list of origins: SRS starts with the first one for
    each stream, so that one origin would have all streams (ossrs/srs #4187), it does not skip a dead one (#4511), and
    a changed number of origins would roll every edge. An origin without the stream redirects to the one that has it
    (origin cluster). tls: whether it also serves HTTPS.
    """
    grace = [
        *([line(f"grace_start_wait {GRACE_START_WAIT}")] if capabilities(version).grace_start_wait else []),
        line(f"grace_final_wait {GRACE_FINAL_WAIT}"),
        line("force_grace_quit on"),
    ]
    cluster = block("cluster", line("mode remote"), line(f"origin {origin}"))
    root = (*_basics(max_connections), *grace, *_http(exporter, tls))
    own = _Own("edge", version, root, (cluster, _REMUX), publish=publish)
    return _merge(own, additions or Additions())


def render_origin(
    version: Version,
    coworkers: Sequence[str],
    hls: bool,
    max_connections: int = 1000,
    additions: Additions | None = None,
    publish: PublishRules | None = None,
    exporter: bool = False,
) -> SrsConf:
    """srs.conf of an origin; coworkers: host names that origins can have, itself included (harmless, ossrs/srs #1608).

    SRS skips names that do not resolve. No grace directives: a graceful quit closes the listeners, so that edges could
    not pull what is still published. Origins drain before SIGTERM (`model/desired/origin_drain.py`).
    """
    addresses = " ".join(f"{host}:{API_PORT}" for host in coworkers)
    cluster = block("cluster", line("origin_cluster on"), line(f"coworkers {addresses}"))
    root = (*_basics(max_connections), *_http(exporter))
    own = _Own("origin", version, root, (cluster, _REMUX), hls, publish)
    return _merge(own, additions or Additions())


_REMUX = block("http_remux", line("enabled on"))


def _basics(max_connections: int) -> list[Directive]:
    texts = (
        f"listen {RTMP_PORT}",
        f"max_connections {max_connections}",
        "daemon off",
        "pid /tmp/srs.pid",
        "srs_log_tank console",
    )
    return [line(text) for text in texts]


def _http(exporter: bool, tls: bool = False) -> list[Directive]:
    certificate = block(
        "https",
        line("enabled on"),
        line(f"listen {HTTPS_PORT}"),
        line(f"key {TLS_FOLDER}/tls.key"),
        line(f"cert {TLS_FOLDER}/tls.crt"),
    )
    return [
        block("http_api", line("enabled on"), line(f"listen {API_PORT}")),
        block("http_server", line("enabled on"), line(f"listen {HTTP_PORT}"), *([certificate] if tls else [])),
        *([block("exporter", line("enabled on"), line(f"listen {EXPORTER_PORT}"))] if exporter else []),
    ]


class _Own(NamedTuple):
    """What the program writes itself.

    root: without vhosts. vhost: in each of them. hls: whether origins write it. keeps_hls: whether they leave the files
    of a stream that has ended.
    """

    role: Role
    version: Version
    root: tuple[Directive, ...]
    vhost: tuple[Directive, ...]
    hls: bool = False
    publish: PublishRules | None = None
    keeps_hls: bool = False

    def vhost_block(self, theirs: Directive) -> tuple[Directive, ...]:
        """The program's part of a vhost. theirs: the vhost in the config."""
        hls: list[Directive] = []
        wanted = theirs.get("hls")
        if self.hls and (wanted or theirs.args == (DEFAULT_VHOST,)):
            defaults = [line(f"hls_ts_file {HLS_SEGMENT}")]
            if self.keeps_hls:
                defaults.append(line("hls_dispose 0"))
            elif self.version < _DISPOSES:
                defaults.append(line(f"hls_dispose {HLS_DISPOSE}"))
            kept = [default for default in defaults if not (wanted and wanted.get(default.name))]
            hls = [block("hls", line("enabled on"), *kept)]
        return (*self.vhost, *hls, *(self.publish.directives() if self.publish else ()))


def _merge(own: _Own, additions: Additions) -> SrsConf:
    findings: list[Finding] = []
    parsed: dict[str, tuple[Directive, ...]] = {}
    for source, text in additions.texts().items():
        parsed[source], problems = parse(text, source)
        findings += problems
    vhost_directives = _without_default_vhost(parsed["vhost_directives"])
    theirs = _with_default_vhost([*parsed["conf"], *parsed["directives"]], vhost_directives)
    theirs = [_modern(directive, findings) for directive in theirs]
    findings += islice(srs_directives.check(theirs, own.version), MAX_FINDINGS)
    findings += check_rules(theirs, own.role, own.version, own.hls)
    own = own._replace(keeps_hls=own.hls and own.version >= FORGETS_STREAMS_SINCE and not _choose_hls_files(theirs))
    if own.role == "origin" and runs_ffmpeg(theirs) and all(given.name != NO_FFMPEG_LOG.name for given in theirs):
        own = own._replace(root=(*own.root, NO_FFMPEG_LOG))

    root, added = _merged(own.root, [directive for directive in theirs if directive.name != "vhost"], "", findings)
    statements: list[Directive | str] = [*root, *_as_written(added, parsed, "directives", additions.directives)]
    directives = [*root, *added]
    for vhost in (directive for directive in theirs if directive.name == "vhost"):
        inner, added = _merged(own.vhost_block(vhost), vhost.block or (), "vhost", findings)
        written = _as_written(added, parsed, "vhost_directives", additions.vhost_directives)
        statements.append(replace(vhost, block=(*inner, *written)))
        directives.append(replace(vhost, block=(*inner, *added)))
    return SrsConf(render(statements), tuple(directives), tuple(sorted(findings, key=_position)))


def _choose_hls_files(directives: Sequence[Directive]) -> bool:
    vhosts = (directive for directive in directives if directive.name == "vhost")
    return any(hls.get(name) for hls in _hls_blocks(vhosts) for name in _HLS_FILES)


def _hls_blocks(vhosts: Iterable[Directive]) -> list[Directive]:
    return [hls for vhost in vhosts if (hls := vhost.get("hls"))]


def _position(finding: Finding) -> tuple[str, int]:
    return finding.source, finding.line


def _without_default_vhost(directives: Sequence[Directive]) -> tuple[Directive, ...]:
    """The directives of a vhost, of which some may be inside a whole `vhost __defaultVhost__ { … }`."""
    inner: list[Directive] = []
    for directive in directives:
        is_default = directive.name == "vhost" and directive.args == (DEFAULT_VHOST,) and directive.block is not None
        inner += directive.block or () if is_default else [directive]
    return tuple(inner)


def _with_default_vhost(directives: Sequence[Directive], inner: tuple[Directive, ...]) -> list[Directive]:
    """Directives with the default vhost as the first of the vhosts, and more directives in it."""
    vhosts = [directive for directive in directives if directive.name == "vhost"]
    default = next((vhost for vhost in vhosts if vhost.args == (DEFAULT_VHOST,)), block("vhost", args=[DEFAULT_VHOST]))
    return [
        *(directive for directive in directives if directive.name != "vhost"),
        replace(default, block=(*(default.block or ()), *inner)),
        *(vhost for vhost in vhosts if vhost is not default),
    ]


def _modern(directive: Directive, findings: list[Finding]) -> Directive:
    """A directive of the top level, with names and places of SRS 1 and 2 replaced by today's.

    SRS does the same (`srs_config_transform_vhost`), but what it moves replaces the `cluster` of the program.
    """
    if directive.name == "http_stream":
        return replace(directive, name="http_server")
    if directive.name != "vhost" or directive.block is None:
        return directive
    moved = tuple(inner for inner in directive.block if inner.name in _CLUSTER and inner.block is None)
    for inner in directive.block:
        if inner.name in _CLUSTER and inner.block is not None:
            message = (
                f"has {inner.name!r} with a block inside a vhost, of which SRS discards the block; vhosts belong to "
            )
            message += "the top level (srs.conf)"
            findings.append(Finding(inner.line, message, inner.source, reason="DirectiveInWrongPlace"))
    others = tuple(inner for inner in directive.block if inner.name not in _CLUSTER)
    if not moved:
        return replace(directive, block=others)
    cluster = next((inner for inner in others if inner.name == "cluster"), replace(moved[0], name="cluster", args=()))
    rest = tuple(inner for inner in others if inner is not cluster)
    return replace(directive, block=(*rest, replace(cluster, block=(*(cluster.block or ()), *moved))))


def _merged(
    own: Sequence[Directive], theirs: Sequence[Directive], path: str, findings: list[Finding]
) -> tuple[list[Directive], list[Directive]]:
    """Our directives of a block, merged with theirs of the same name; and their other ones."""
    merged, added = list(own), list[Directive]()
    for directive in theirs:
        inner_path = f"{path}.{directive.name}".removeprefix(".")
        index = next((i for i, ours in enumerate(own) if ours.name == directive.name), None)
        ours = None if index is None else merged[index]
        if index is not None and ours and _are_mergeable(ours, directive):
            inner, more = _merged(ours.block or (), directive.block or (), inner_path, findings)
            merged[index] = replace(ours, block=(*inner, *more))
        elif (ours is None and (inner_path not in _ONLY_OURS or _is_off(directive))) or ours == directive:
            added += [directive] if ours is None else []
        else:
            message = f"must not set {directive.name!r}: {_RESERVED.get(inner_path, 'the program sets it')}"
            findings.append(Finding(directive.line, message, directive.source, reason="DirectiveOfTheProgram"))
    return merged, added


def _are_mergeable(ours: Directive, theirs: Directive) -> bool:
    return ours.block is not None and theirs.block is not None and ours.name != "security"


def _is_off(directive: Directive) -> bool:
    """Whether it only states the default: `off`, or `mode local`."""
    return directive.args in (("off",), ("local",))


def _as_written(
    added: Sequence[Directive], parsed: dict[str, tuple[Directive, ...]], source: str, text: str
) -> list[Directive | str]:
    """Directives to render; those of `source` line by line as in its text, unless some of them were merged."""
    mine = [directive for directive in added if directive.source == source]
    others = [directive for directive in added if directive.source != source]
    whole = len(mine) == len(parsed[source]) and all(a is b for a, b in zip(mine, parsed[source], strict=True))
    # Not splitlines(): SRS ends a line, and with it a comment, only at "\n"; what follows U+2028 would be a directive.
    return [*others, *(re.split(r"\r?\n", text.strip()) if whole and text.strip() else mine)]


def _hidden(directives: Sequence[Directive]) -> tuple[Directive, ...]:
    return tuple(
        replace(
            directive,
            args=("[secret]",) if directive.source and directive.args else directive.args,
            block=None if directive.block is None else _hidden(directive.block),
        )
        for directive in directives
    )


# What the config means, for the warnings of a plan.


def open_vhosts(conf: SrsConf) -> list[str]:
    """The vhosts that accept every publisher; a client chooses the vhost."""
    return [" ".join(vhost.args) for vhost in conf.vhosts if not _restricts_publishing(vhost)]


def _restricts_publishing(vhost: Directive) -> bool:
    hooks, security = vhost.get("http_hooks"), vhost.get("security")
    if hooks and hooks.is_on() and (hooks.get("on_publish") or hooks.get("on_connect")):
        return True
    if not security or not security.is_on():
        return False
    rules = security.block or ()
    allowed = [rule.args for rule in rules if rule.name == "allow"]
    denied = [rule.args for rule in rules if rule.name == "deny"]
    return ("publish", "all") in denied or (("publish", "all") not in allowed and bool(allowed or not denied))


def flv_path(conf: SrsConf, app: str, stream: str) -> str:
    """The path of a stream's HTTP-FLV in the default vhost (ossrs/srs, srs_app_http_stream.cpp, `http_mount`)."""
    vhost = _default_vhost(conf)
    remux = vhost.get("http_remux") if vhost else None
    mount = remux.get("mount") if remux else None
    path = mount.args[0] if mount and mount.args else "[vhost]/[app]/[stream].flv"
    for name, value in (("[vhost]", DEFAULT_VHOST), ("[app]", app), ("[stream]", stream)):
        path = path.replace(name, value)
    return "/" + path.removeprefix(DEFAULT_VHOST).removeprefix("/")


def asks_before_play(conf: SrsConf) -> bool:
    """Whether SRS asks a hook before it plays a stream of the default vhost."""
    return _asks(conf, "on_play")


def asks_before_publish(conf: SrsConf) -> bool:
    """Whether SRS asks a hook before it accepts a stream of the default vhost."""
    return _asks(conf, "on_connect", "on_publish")


def _asks(conf: SrsConf, *events: str) -> bool:
    vhost = _default_vhost(conf)
    hooks = vhost.get("http_hooks") if vhost else None
    return hooks is not None and hooks.is_on() and any(hooks.get(event) is not None for event in events)


def no_probe(conf: SrsConf) -> str:
    """Why a stream in the default vhost that is no encoder's would do harm or prove nothing; "" if it would not."""
    vhost = _default_vhost(conf)
    for name, effect in _NO_PROBE.items():
        directive = vhost.get(name) if vhost else None
        # SRS 1 and 2 had `forward` without a block.
        if directive and (directive.block is None or directive.is_on()):
            return f"srs.conf has {name!r}, which {effect}"
    return ""


_NO_PROBE = {
    "forward": "would pass the stream of the check on",
    "transcode": "would transcode the stream of the check",
    "exec": "would start a program for the stream of the check",
    "dvr": "would record the stream of the check",
    "dash": "would record the stream of the check",
    "security": "decides by addresses",
    "refer": "decides by pages",
}


def _default_vhost(conf: SrsConf) -> Directive | None:
    return next((vhost for vhost in conf.vhosts if vhost.args == (DEFAULT_VHOST,)), None)


class LeftHls(NamedTuple):
    """The HLS files that origins do not delete themselves. fragment, window: the longest ones, in seconds."""

    fragment: float
    window: float


def left_hls(conf: SrsConf) -> LeftHls | None:
    """The HLS files that an origin leaves, None if it deletes them itself, or the config decides about them.

    An origin deletes by name and does not ask who has written the file: where it deletes the files of streams that have
    ended, it deletes the playlist of an encoder that has connected to another origin meanwhile.
    """
    blocks = _hls_blocks(conf.vhosts)
    kept = [dispose for hls in blocks if (dispose := hls.get("hls_dispose")) == line("hls_dispose 0")]
    if not any(dispose and not dispose.source for dispose in kept):  # the program's own, in all vhosts or in none
        return None
    fragment, window = (max(_number(hls.get(name), default) for hls in blocks) for name, default in _HLS_SECONDS)
    return LeftHls(fragment, window)


_HLS_SECONDS = (("hls_fragment", 10), ("hls_window", 60))
"""With SRS's defaults."""


def _number(directive: Directive | None, default: float) -> float:
    try:
        return float(directive.args[0]) if directive and directive.args else default
    except ValueError:  # a secret
        return default


def has_rules_by_address(conf: SrsConf) -> bool:
    """Whether a vhost allows or denies clients by their addresses."""
    blocks = [security for vhost in conf.vhosts if (security := vhost.get("security")) and security.is_on()]
    return any("all" not in rule.args for security in blocks for rule in security.block or () if rule.name != "enabled")


def warnings(conf: SrsConf) -> Iterator[str]:
    """What has no effect, or hides something, a line each."""
    for directive in conf.directives:
        if directive.name in ("rtc_server", "srt_server", "stream_caster") and directive.is_on():
            yield UpdateWarning(
                f"{directive.name} of srs.conf is on, but no port leads there: only RTMP and HTTP are exposed",
                "ServerWithoutPort",
            )
        if directive.name.startswith("srs_log_level") and directive.args[:1] in _QUIET:
            yield UpdateWarning(
                f"{directive.name} {directive.args[0]} hides what an update and `rollout draining` read in the log: "
                "whether an edge reaches an origin, and how many connections are open",
                "LogHidesConnections",
            )


_QUIET = (("warn",), ("error",), ("off",))
