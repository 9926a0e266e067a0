"""srs.conf for edges and origins: what the program needs, merged with what the stack config adds.

Rendered for the SRS version of the image, because SRS does not start with a directive that it does not know
(`srs_directives`). What the program writes itself wins: another value of the config is rejected, the same value is
redundant. SRS discards silently what it does not use, so nothing is passed on that it would discard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from model import srs_directives
from model.names import API_PORT, EXPORTER_PORT, HTTP_PORT, HTTPS_PORT, RTMP_PORT
from model.srs_grammar import Directive, Finding, block, line, parse, render
from model.srs_version import Version, capabilities

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

CIDR_SINCE: Version = (5, 0, 26)
"""`security` knows ranges of addresses (ossrs/srs #2914)."""

HTTPS_HOOK_SINCE: Version = (4, 0, 45)
"""Hooks can be called by HTTPS (ossrs/srs #1657)."""

DEFAULT_VHOST = "__defaultVhost__"

HTML = "objs/nginx/html"
"""The folder of HLS and recordings, in which the shared volume is mounted."""

Role = Literal["edge", "origin"]

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
"""Those of them that the config cannot set either where the program does not."""

_NEVER = {
    "include": "SRS would look for the file in the pod, which has only srs.conf: put its content here",
    "work_dir": "SRS would not find its files",
    "is_full": "SRS does not start with it",
    "http_api.https": "the pod has no certificate for it",
    "http_server.https": "set srs:tls",
}
"""Directives that the config can set to no value."""

_CLUSTER = ("mode", "origin", "token_traverse", "vhost", "debug_srs_upnode")
"""Directives of `cluster` that SRS 2 had in the vhost itself. SRS still moves them there, over what is there."""


@dataclass(frozen=True)
class PublishRules:
    """Who may publish to the pods of a role.

    allow: addresses and CIDR ranges; everybody if it is empty. deny: nobody. hook: a URL that SRS asks.
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
    another number of origins would roll every edge. An origin without the stream redirects to the one that has it
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
    """srs.conf of an origin; coworkers: host names of all origins, itself included (harmless, ossrs/srs #1608).

    No grace directives: an origin restarts quickly. A draining origin keeps its publishers but rejects the
    pulls of edges, so that new viewers see nothing.
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
    """What the program writes itself. root: without vhosts. vhost: in each of them. hls: whether origins write it."""

    role: Role
    version: Version
    root: tuple[Directive, ...]
    vhost: tuple[Directive, ...]
    hls: bool = False
    publish: PublishRules | None = None

    def vhost_block(self, theirs: Directive) -> tuple[Directive, ...]:
        """The program's part of a vhost. theirs: the vhost in the config."""
        hls: list[Directive] = []
        wanted = theirs.get("hls")
        if self.hls and (wanted or theirs.args == (DEFAULT_VHOST,)):
            defaults = [line(f"hls_ts_file {HLS_SEGMENT}")]
            if self.version < _DISPOSES:
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
    findings += srs_directives.check(theirs, own.version)
    findings += _rules(own, theirs)

    root, added = _merged(own.root, [directive for directive in theirs if directive.name != "vhost"], "", findings)
    statements: list[Directive | str] = [*root, *_as_written(added, parsed, "directives", additions.directives)]
    directives = [*root, *added]
    for vhost in (directive for directive in theirs if directive.name == "vhost"):
        inner, added = _merged(own.vhost_block(vhost), vhost.block or (), "vhost", findings)
        written = _as_written(added, parsed, "vhost_directives", additions.vhost_directives)
        statements.append(replace(vhost, block=(*inner, *written)))
        directives.append(replace(vhost, block=(*inner, *added)))
    return SrsConf(render(statements), tuple(directives), tuple(sorted(findings, key=_position)))


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
            findings.append(Finding(inner.line, message, inner.source))
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
            findings.append(Finding(directive.line, message, directive.source))
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
    return [*others, *(text.strip().splitlines() if whole else mine)]


_FOR_EACH_STREAM = "SRS would do it for each stream that the edge pulls, and the viewers get nothing when it fails"
_ON_ORIGINS = {
    "dvr": f"{_FOR_EACH_STREAM}: the pod cannot write files; record on the origins (srs:origin.srs)",
    "dash": f"{_FOR_EACH_STREAM}: the pod cannot write files; write it on the origins (srs:origin.srs)",
    "hds": f"{_FOR_EACH_STREAM}: the pod cannot write files",
    "hls": "edges write no HLS: the origins do, with srs:hls.enabled",
    "transcode": f"{_FOR_EACH_STREAM}: transcode on the origins (srs:origin.srs)",
    "exec": f"{_FOR_EACH_STREAM}: run it on the origins (srs:origin.srs)",
    "ingest": "each edge would publish the stream to the origins, which accept only one publisher; ingest elsewhere",
}
"""Blocks that break an edge while its pod is ready (ossrs/srs #2698, #1443, #3457)."""

_WRITES = {"dvr": "dvr_path", "dash": "dash_path", "hls": "hls_path", "hds": "hds_path"}
"""Blocks that write files, with the directive of their folder; the default is in HTML."""


def _rules(own: _Own, theirs: Sequence[Directive]) -> Iterator[Finding]:
    """What SRS accepts, and what breaks a release while its pods are ready."""
    for directive, path in _all(theirs):
        if directive.name == "include" or path in _NEVER:
            message = f"must not set {directive.name!r}: {_NEVER.get(path, _NEVER['include'])}"
            yield Finding(directive.line, message, directive.source)
        if path == "http_api.auth" and own.role == "origin" and directive.is_on():
            message = "must not set 'auth' of http_api: origins ask each other without a password"
            yield Finding(directive.line, message, directive.source)
        if path == "vhost":
            if len(directive.args) != 1 or directive.block is None:
                yield Finding(directive.line, "must be a vhost with one name and a block", directive.source)
            yield from _vhost_rules(own, directive)


def _all(directives: Sequence[Directive], path: str = "") -> Iterator[tuple[Directive, str]]:
    for directive in directives:
        inner = f"{path}.{directive.name}".removeprefix(".")
        yield directive, inner
        yield from _all(directive.block or (), inner)


def _vhost_rules(own: _Own, vhost: Directive) -> Iterator[Finding]:
    for inner in vhost.block or ():
        problem = None
        if inner.name == "enabled" and inner.args == ("off",):
            problem = "SRS would reject every client while the pods are ready"
        elif not (inner.is_on() or (inner.name == "hls" and own.hls)):
            continue
        elif inner.name == "bandcheck" and own.version < (5, 0, 52):
            problem = "every RTMP client would get a test of its bandwidth instead of the stream"
        elif own.role == "edge":
            problem = _ON_ORIGINS.get(inner.name)
        elif inner.name in _WRITES and not own.hls:
            problem = "the pod cannot write files without the volume of HLS, and SRS would reject every publisher"
            problem += "; set srs:hls.enabled"
        elif inner.name in _WRITES:
            folder = inner.get(_WRITES[inner.name])
            if folder and not folder.args[0].removeprefix("./").removeprefix("/usr/local/srs/").startswith(HTML):
                problem = f"{folder.name} must be in ./{HTML}, where the volume is; the pod cannot write elsewhere"
        if problem:
            yield Finding(inner.line, f"must not set {inner.name!r}: {problem}", inner.source)


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
    vhost = next((vhost for vhost in conf.vhosts if vhost.args == (DEFAULT_VHOST,)), None)
    remux = vhost.get("http_remux") if vhost else None
    mount = remux.get("mount") if remux else None
    path = mount.args[0] if mount and mount.args else "[vhost]/[app]/[stream].flv"
    for name, value in (("[vhost]", DEFAULT_VHOST), ("[app]", app), ("[stream]", stream)):
        path = path.replace(name, value)
    return "/" + path.removeprefix(DEFAULT_VHOST).removeprefix("/")


def has_rules_by_address(conf: SrsConf) -> bool:
    """Whether a vhost allows or denies clients by their addresses."""
    blocks = [security for vhost in conf.vhosts if (security := vhost.get("security")) and security.is_on()]
    return any("all" not in rule.args for security in blocks for rule in security.block or () if rule.name != "enabled")


def warnings(conf: SrsConf) -> Iterator[str]:
    """What has no effect, or hides something, a line each."""
    for directive in conf.directives:
        if directive.name in ("rtc_server", "srt_server", "stream_caster") and directive.is_on():
            yield f"{directive.name} of srs.conf is on, but no port leads there: only RTMP and HTTP are exposed"
        if directive.name.startswith("srs_log_level") and directive.args[:1] in _QUIET:
            yield (
                f"{directive.name} {directive.args[0]} hides what an update and `rollout draining` read in the log: "
                "whether an edge reaches an origin, and how many connections are open"
            )


_QUIET = (("warn",), ("error",), ("off",))
