"""srs.conf for edges and origins, rendered for the SRS version of the image.

SRS does not start with a directive that it does not know, so a directive is rendered only for versions
that know it (`srs_version`).
"""

import re
from collections.abc import Sequence

from model.names import API_PORT, HTTP_PORT, RTMP_PORT
from model.srs_version import Version, capabilities

GRACE_START_WAIT = 700
"""Milliseconds between SIGTERM and the closing of the listeners; SRS serves meanwhile."""

GRACE_FINAL_WAIT = 800
"""Milliseconds between the end of the last connection and the exit."""

HLS_SEGMENT = "[app]/[stream]-[timestamp]-[seq].ts"
"""Name of a segment. SRS counts segments from 0 after each start, and its default name has nothing else: a player or a
CDN would take the segment of the earlier run, which it has cached, for the new one."""

Statement = str | tuple[str, "Block"]
Block = Sequence[Statement]

_RESERVED = {
    "global": {
        "listen": "edges and origins listen on 1935",
        "daemon": "a container ends when its first process becomes a daemon",
        "pid": "it must be writable without root",
        "max_connections": "set maxConnections",
        "srs_log_tank": "logs go to the console",
        "force_grace_quit": "without it an update drops every connection",
        "grace_start_wait": "it is part of the drain",
        "grace_final_wait": "it is part of the drain",
        "http_api": "probes use it on 1985",
        "http_server": "viewers use it on 8080",
        "vhost": "use vhostDirectives for __defaultVhost__",
    },
    "vhost": {
        "cluster": "it makes the edge an edge and the origin an origin",
        "http_remux": "HTTP-FLV is always on",
        "hls": "see srs:hls",
    },
}
"""Directives that the program writes itself, and why the config cannot set them."""


def check_directives(text: str, scope: str) -> None:
    """Check additional directives.

    scope: `global` or `vhost`, where the text is inserted.
    Raises ValueError if braces do not match, a statement has no end, or a directive is reserved.
    """
    depth = 0
    statement: list[str] = []
    for token in re.findall(r"#[^\n]*|\"[^\"]*\"|'[^']*'|[{};]|[^\s{};#\"']+", text):
        if token.startswith("#"):
            continue
        if token in "{;":
            if not statement:
                raise ValueError(f"has {token!r} without a directive before it")
            if depth == 0 and statement[0] in _RESERVED[scope]:
                raise ValueError(f"must not set {statement[0]!r}: {_RESERVED[scope][statement[0]]}")
            depth += token == "{"
            statement = []
        elif token == "}":
            depth -= 1
            if depth < 0:
                raise ValueError("has a '}' without a '{'")
            if statement:
                raise ValueError(f"has a directive without ';' at its end: {' '.join(statement)}")
        else:
            statement.append(token)
    if statement:
        raise ValueError(f"has a directive without ';' at its end: {' '.join(statement)}")
    if depth:
        raise ValueError("has a '{' that is not closed")


def render_edge(
    version: Version,
    origin: str,
    max_connections: int = 1000,
    directives: str = "",
    vhost_directives: str = "",
) -> str:
    """srs.conf of an edge that pulls from, and pushes to, the origins.

    origin: host name of the Service in front of all origins. Not a list of origins: SRS starts with the first one for
    each stream, so that one origin would have all streams (ossrs/srs #4187), it does not skip a dead one (#4511), and
    another number of origins would roll every edge. An origin without the stream redirects to the one that has it
    (origin cluster).
    """
    known = capabilities(version)
    return _render(
        [
            *_basics(max_connections),
            *([f"grace_start_wait {GRACE_START_WAIT}"] if known.grace_start_wait else []),
            f"grace_final_wait {GRACE_FINAL_WAIT}",
            "force_grace_quit on",
            *_http(),
            *_lines(directives),
            (
                "vhost __defaultVhost__",
                [
                    ("cluster", ["mode remote", f"origin {origin}"]),
                    ("http_remux", ["enabled on"]),
                    *_lines(vhost_directives),
                ],
            ),
        ]
    )


def render_origin(
    coworkers: Sequence[str],
    hls: bool,
    max_connections: int = 1000,
    directives: str = "",
    vhost_directives: str = "",
) -> str:
    """srs.conf of an origin; coworkers: host names of all origins, itself included (harmless, ossrs/srs #1608).

    No grace directives: an origin restarts quickly. A draining origin keeps its publishers but rejects the
    pulls of edges, so that new viewers see nothing.
    """
    addresses = " ".join(f"{host}:{API_PORT}" for host in coworkers)
    return _render(
        [
            *_basics(max_connections),
            *_http(),
            *_lines(directives),
            (
                "vhost __defaultVhost__",
                [
                    ("cluster", ["origin_cluster on", f"coworkers {addresses}"]),
                    ("http_remux", ["enabled on"]),
                    *([("hls", ["enabled on", f"hls_ts_file {HLS_SEGMENT}"])] if hls else []),
                    *_lines(vhost_directives),
                ],
            ),
        ]
    )


def _basics(max_connections: int) -> list[Statement]:
    return [
        f"listen {RTMP_PORT}",
        f"max_connections {max_connections}",
        "daemon off",
        "pid /tmp/srs.pid",
        "srs_log_tank console",
    ]


def _http() -> list[Statement]:
    return [
        ("http_api", ["enabled on", f"listen {API_PORT}"]),
        ("http_server", ["enabled on", f"listen {HTTP_PORT}"]),
    ]


class _Verbatim(str):
    """A line of the config that is rendered unchanged."""

    __slots__ = ()


def _lines(text: str) -> list[Statement]:
    return [_Verbatim(line) for line in text.strip().splitlines()]


def _render(block: Block, indent: str = "") -> str:
    text = ""
    for statement in block:
        if isinstance(statement, tuple):
            text += f"{indent}{statement[0]} {{\n{_render(statement[1], indent + '    ')}{indent}}}\n"
        elif isinstance(statement, _Verbatim):
            text += f"{indent}{statement}\n"
        else:
            text += f"{indent}{statement};\n"
    return text
