"""What SRS accepts in an srs.conf, and what breaks a release, or exposes the pod, while its pods are ready."""

import posixpath
from collections.abc import Iterator, Sequence
from typing import Literal

from model.names import SRS_HOME
from model.srs.grammar import Directive, Finding
from model.srs.versions import Version

Role = Literal["edge", "origin"]

HTML = "objs/nginx/html"
"""The folder of HLS and recordings, in which the shared volume is mounted."""

_NEVER = {
    "include": "SRS would look for the file in the pod, which has only srs.conf: put its content here",
    "work_dir": "SRS would not find its files",
    "is_full": "SRS does not start with it",
    "http_api.https": "the pod has no certificate for it",
    "http_server.https": "set srs:tls",
}
"""Directives that the config can set to no value."""

_NEVER_ON = {
    "http_api.raw_api.allow_query": "whoever reaches the API would read srs.conf with its secrets",
    "http_api.raw_api.allow_update": "whoever reaches the API would change the config of one pod, which no update sees",
}
"""Switches that the config cannot turn on."""

_FOR_EACH_STREAM = "SRS would do it for each stream that the edge pulls, and the viewers get nothing when it fails"
_ON_ORIGINS = {
    "dvr": f"{_FOR_EACH_STREAM}: the pod cannot write files; record on the origins (srs:origin.srs)",
    "dash": f"{_FOR_EACH_STREAM}: the pod cannot write files; write it on the origins (srs:origin.srs)",
    "hds": f"{_FOR_EACH_STREAM}: the pod cannot write files",
    "hls": "edges write no HLS: the origins do, with srs:hls.enabled",
    "transcode": f"{_FOR_EACH_STREAM}: transcode on the origins (srs:origin.srs)",
    "exec": f"{_FOR_EACH_STREAM}: run it on the origins (srs:origin.srs)",
    "ingest": "each edge would publish the stream to the origins, which accept only one publisher; ingest elsewhere",
    "forward": "each edge that pulls a stream would publish it to the destination, which accepts only one publisher; "
    "forward on the origins (srs:origin.srs)",
}
"""Blocks that break an edge while its pod is ready (ossrs/srs #2698, #1443, #3457, #437, #2633)."""

_WRITES = {"dvr": "dvr_path", "dash": "dash_path", "hls": "hls_path", "hds": "hds_path"}
"""Blocks that write files, with the directive of their folder; the default is in HTML."""

NO_FFMPEG_LOG = Directive("ff_log_dir", ("/dev/null",))
"""Without it, SRS opens the log of FFmpeg in a folder that the pod cannot write, again and again, and the stream that
FFmpeg makes does not exist (ossrs/srs #1715, srs_app_encoder.cpp)."""

_RUNS_FFMPEG = ("transcode", "ingest")

_SYSTEM = {
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "var",
}
"""Folders of the image, and of Kubernetes in the pod, at the root of the file system."""


def check_rules(directives: Sequence[Directive], role: Role, version: Version, hls: bool) -> Iterator[Finding]:
    """What must not be in an srs.conf. directives: those that the config adds. hls: whether origins write HLS."""
    starts_ffmpeg = role == "origin" and runs_ffmpeg(directives)
    for directive, path in _all(directives):
        problem = _problem(directive, path, role)
        if path == "ff_log_dir" and starts_ffmpeg and not _is_writable(directive, hls):
            problem = "the pod cannot write there; leave it out (no log of FFmpeg), or use /tmp"
        if problem:
            yield _harmful(directive, problem)
        if path == "vhost":
            if len(directive.args) != 1 or directive.block is None:
                message = "must be a vhost with one name and a block"
                yield Finding(directive.line, message, directive.source, reason="InvalidDirectiveValue")
            yield from _vhost_rules(directive, role, version, hls)


def _harmful(directive: Directive, problem: str) -> Finding:
    message = f"must not set {directive.name!r}: {problem}"
    return Finding(directive.line, message, directive.source, reason="HarmfulDirective")


def runs_ffmpeg(directives: Sequence[Directive]) -> bool:
    """Whether SRS starts FFmpeg."""
    return any(
        inner.name in _RUNS_FFMPEG and inner.is_on()
        for directive in directives
        if directive.name == "vhost"
        for inner in directive.block or ()
    )


def _all(directives: Sequence[Directive], path: str = "") -> Iterator[tuple[Directive, str]]:
    for directive in directives:
        inner = f"{path}.{directive.name}".removeprefix(".")
        yield directive, inner
        yield from _all(directive.block or (), inner)


def _problem(directive: Directive, path: str, role: Role) -> str | None:
    if directive.name == "include" or path in _NEVER:
        return _NEVER.get(path, _NEVER["include"])
    if path in _NEVER_ON and directive.args == ("on",):
        return _NEVER_ON[path]
    if path == "http_api.auth" and role == "origin" and directive.is_on():
        return "origins ask each other without a password"
    if path in ("http_server.dir", "http_stream.dir", "vhost.http_static.dir", "vhost.http.dir"):
        return _folder_problem(directive)
    if path == "heartbeat" and directive.is_on() and (device := directive.get("device_id")):
        return _device_problem(device)
    if path == "stream_caster" and directive.is_on():
        missing = [name for name in ("caster", "listen") if not directive.get(name)]
        return f"SRS does not start without {' and '.join(missing)} in it" if missing else None
    return None


def _folder_problem(directive: Directive) -> str | None:
    """Why a folder must not be served on a public port."""
    if len(directive.args) != 1:
        return None  # the value is wrong, which is another finding
    folder = posixpath.normpath(posixpath.join(SRS_HOME, directive.args[0]))
    served = f"{SRS_HOME}/{HTML}"
    if folder == served or folder.startswith(f"{served}/"):
        return None
    top = folder.lstrip("/").partition("/")[0]
    if top and top not in _SYSTEM and "$(" not in folder:
        return None
    return (
        f"every viewer could read the files of the pod there, such as srs.conf; it must be ./{HTML} or the folder of a "
        "volume of your own (podPatch) outside of the folders of the system"
    )


def _device_problem(device: Directive) -> str:
    return (
        f"with the same {device.name} in all pods, their receiver sees one device; leave {device.name} out, and from "
        "5.0.85 on give each pod its name by podPatch: env SRS_HEARTBEAT_DEVICE_ID from metadata.name"
    )


def _is_writable(directive: Directive, hls: bool) -> bool:
    if len(directive.args) != 1:
        return True  # the value is wrong, which is another finding
    folder = posixpath.normpath(posixpath.join(SRS_HOME, directive.args[0]))
    writable = ("/tmp/", *([f"{SRS_HOME}/{HTML}/"] if hls else []))
    return folder == "/dev/null" or f"{folder}/".startswith(writable)


def _vhost_rules(vhost: Directive, role: Role, version: Version, hls: bool) -> Iterator[Finding]:
    for inner in vhost.block or ():
        if problem := _vhost_problem(inner, role, version, hls):
            yield _harmful(inner, problem)
    for directive, problem in _conflicts(vhost, role, version):
        yield _harmful(directive, problem)


def _conflicts(vhost: Directive, role: Role, version: Version) -> Iterator[tuple[Directive, str]]:
    """Directives with which SRS does not start because of another one in the vhost (`check_normal_config`)."""
    remux, forward, publish = (vhost.get(name) for name in ("http_remux", "forward", "publish"))
    mount = remux.get("mount") if remux else None
    checks_mount = (5, 0, 140) <= version < (6, 0, 0) or version >= (6, 0, 23)
    if role == "origin" and checks_mount and mount and mount.args and mount.args[0].endswith(".ts"):
        yield mount, "SRS does not start with HTTP-TS and HLS in a vhost, and no viewer plays from an origin by HTTP"
    idle = publish.get("kickoff_for_idle") if publish else None
    is_forwarded = forward and (forward.is_on() or (forward.block is None and forward.args))
    if idle and is_forwarded and idle.args != ("0",):
        yield idle, "SRS does not start with it and forward in a vhost"


def _vhost_problem(inner: Directive, role: Role, version: Version, hls: bool) -> str | None:
    if inner.name == "enabled" and inner.args == ("off",):
        return "SRS would reject every client while the pods are ready"
    if inner.name == "forward" and inner.block is None and inner.args and role == "edge":  # as in SRS 1: it is on
        return _ON_ORIGINS["forward"]
    if not (inner.is_on() or (inner.name == "hls" and hls)):
        return None
    if inner.name == "bandcheck" and version < (5, 0, 52):
        return "every RTMP client would get a test of its bandwidth instead of the stream"
    if inner.name == "security":
        return _security_problem(inner, role)
    if role == "edge":
        return _ON_ORIGINS.get(inner.name)
    if inner.name in _WRITES and not hls:
        return (
            "the pod cannot write files without the volume of HLS, and SRS would reject every publisher; "
            "set srs:hls.enabled"
        )
    if inner.name in _WRITES:
        folder = inner.get(_WRITES[inner.name])
        if (
            folder
            and folder.args
            and not folder.args[0].removeprefix("./").removeprefix(f"{SRS_HOME}/").startswith(HTML)
        ):
            return f"{folder.name} must be in ./{HTML}, where the volume is; the pod cannot write elsewhere"
    return None


def _security_problem(security: Directive, role: Role) -> str | None:
    """Rules that reject every viewer, or on an origin every edge or publisher (ossrs/srs, srs_app_security.cpp).

    A rule that denies goes first; then one that allows must match, if there is any. Without a rule, SRS denies all.
    """
    rules = [rule for rule in security.block or () if rule.name in ("allow", "deny")]
    allowed = [rule.args for rule in rules if rule.name == "allow"]
    denied = [rule.args for rule in rules if rule.name == "deny"]
    clients = {
        "play": "every viewer" if role == "edge" else "the pulls of the edges",
        "publish": "every publisher" if role == "origin" else "",
    }
    for action, rejected in clients.items():
        is_closed = (action, "all") in denied or not rules
        if rejected and (is_closed or (allowed and not any(args[:1] == (action,) for args in allowed))):
            return f"it rejects {rejected}; add `allow {action} all;`" + (
                f", and remove `deny {action} all;`" if (action, "all") in denied else ""
            )
    return None
