"""The directives that each SRS version knows, and the kind of value that each takes.

SRS does not start with a directive that it does not know. From the lists of `SrsConfig::check_normal_config` and the
getters in ossrs/srs, trunk/src/app/srs_app_config.cpp, at every revision of 4.0release, 5.0release and 6.0release up to
6.0.183 and 5.0.224.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from model.srs.grammar import Directive, Finding
from model.srs.values import TYPES, ValueName, ValueType
from model.srs.versions import Version, format_version, parse_version

NEWEST: Version = (6, 0, 183)
"""The last version whose lists are in the table."""

_BACKPORTS = {
    "vhost.hls": {"hls_fmp4_file", "hls_init_file", "hls_master_m3u8_path_relative", "hls_recover", "hls_use_fmp4"},
    "vhost.rtc": {"init_rate_from_sdp", "keep_original_ssrc"},
}
"""By block, what 7.0 has and 6.0.183 has not, so that a later 6.0, which only takes over from 7.0, may have it."""

_TABLE = {
    "": """asprocess:switch auto_reload_for_docker@4.0.13:switch chunk_size:chunk circuit_breaker@4.0.103,5.0.2
        daemon:switch disable_daemon_for_docker@4.0.13:switch empty_ip_ok@4.0.8:switch exporter@5.0.67 ff_log_dir:path
        ff_log_level:ffmpeg_level first_wait_for_qlv@4.0.257,5.0.44:seconds force_grace_quit:switch
        grace_final_wait:ms grace_start_wait@4.0.6:ms heartbeat http_api http_server http_stream
        in_docker@4.0.216,5.0.20:switch inotify_auto_reload@4.0.13:switch is_full@4.0.117,5.0.2:switch listen:words
        max_connections:positive pid:path pithy_print_ms:positive query_latest_version@4.0.149,5.0.10:switch
        rtc_server@4.0.14 server_id@4.0.257,5.0.44:word srs_log_file:path srs_log_level:log_level
        srs_log_level_v2@5.0.83:log_level_v2 srs_log_tank:word srt_server stats stream_caster
        tcmalloc_release_rate@4.0.23:release_rate tencentcloud_apm@5.0.64 tencentcloud_cls@5.0.44 threads@5.0.32
        utc_time:switch vhost work_dir:path""",
    "circuit_breaker": """critical_pulse:positive critical_threshold:percent dying_pulse:positive
        dying_threshold:percent enabled:switch high_pulse:positive high_threshold:percent""",
    "exporter": "enabled:switch label:word listen:word tag:word",
    "heartbeat": """device_id:word enabled:switch interval:period ports@5.0.215,6.0.156:switch summaries:switch
        url:url""",
    "http_api": "auth@5.0.152,6.0.40 crossdomain:switch enabled:switch https@4.0.46 listen:word raw_api",
    "http_api.auth": "enabled:switch password:word username:word",
    "http_api.raw_api": "allow_query:switch allow_reload:switch allow_update:switch enabled:switch",
    "http_server": "crossdomain:switch dir:path enabled:switch https@4.0.46 listen:word",
    "rtc_server": """api_as_candidates@4.0.219,5.0.21:switch black_hole@4.0.24 candidate:word dir:path ecdsa:switch
        enabled:switch encrypt:switch gso<4.0.26:switch ip_family@4.0.26:word keep_api_domain@4.0.260,5.0.60:switch
        listen:port merge_nalus:switch padding@4.0.24<4.0.26:word perf_stat@4.0.24<4.0.111,5.0.1:switch
        protocol@5.0.60:word queue_length@4.0.24<4.0.27:word resolve_api_domain@4.0.260,5.0.60:switch reuseport:count
        rtp_cache@4.0.75<4.0.110,5.0.1 rtp_msg_cache@4.0.75<4.0.110,5.0.1 sendmmsg<4.0.26:word tcp@5.0.60
        use_auto_detect_network_ip@4.0.260,5.0.60:switch""",
    "srt_server": """connect_timeout:word default_app@4.0.10:word default_streamid@6.0.181:word enabled:switch
        latency:word listen:port maxbw:word mix_correct@4.0.10:switch mss:word passphrase@5.0.84:word payloadsize:word
        pbkeylen@5.0.84:word peer_idle_timeout@6.0.136:word peerlatency:word recvbuf:word recvlatency:word
        sei_filter@4.0.11:switch sendbuf:word tlpkdrop<5.0.97,6.0.4:switch tlpktdrop@5.0.29:switch
        tsbpdmode@5.0.29:switch""",
    "stats": "disk:words enabled@4.0.72:switch network:network",
    "stream_caster": """audio_enable@4.0.14<5.0.74:switch auto_create_channel@4.0.23<5.0.74:switch caster:caster
        enabled:switch host@4.0.14<5.0.74:word jitterbuffer_enable@4.0.29<5.0.74:switch listen:port output:word
        rtp_idle_timeout@4.0.14<5.0.74:word rtp_port_max<5.0.74:port rtp_port_min<5.0.74:port sip@4.0.23
        tcp_enable@4.0.57<5.0.74:switch wait_keyframe@4.0.14<5.0.74:switch""",
    "stream_caster.sip": """ack_timeout<5.0.74:word auto_play<5.0.74:switch candidate@5.0.75:word enabled:switch
        host<5.0.74:word invite_port_fixed<5.0.74:switch keepalive_timeout<5.0.74:word listen:port
        query_catalog_interval@4.0.24<5.0.74:word realm<5.0.74:word reinvite@5.0.75:word serial<5.0.74:word
        timeout@5.0.75:word""",
    "threads": "interval:seconds1",
    # Besides today's, those of SRS 1 and 2 that SRS itself moves to where they are now (srs_config_transform_vhost).
    "vhost": """bandcheck chunk_size:chunk cluster dash dvr enabled:switch exec forward hds hls http_hooks http_remux
        http_static in_ack_size:ack ingest min_latency:switch out_ack_size:ack play publish refer rtc@4.0.14 security
        srt@5.0.29 tcp_nodelay:switch transcode
        atc:switch atc_auto:switch debug_srs_upnode:switch gop_cache:switch http mix_correct:switch mode:word mr
        mw_latency:latency nack@4.0.25 origin:endpoints publish_1stpkt_timeout:timeout publish_normal_timeout:timeout
        queue_length:queue reduce_sequence_header:switch refer_play:words refer_publish:words
        send_min_interval:interval time_jitter:jitter token_traverse:switch twcc@4.0.27 vhost:word""",
    "vhost.bandcheck": "enabled:switch interval:word key:word limit_kbps:word",
    "vhost.cluster": """coworkers:endpoints debug_srs_upnode:switch follow_client@5.0.1:switch mode:word
        origin:endpoints origin_cluster:switch protocol@5.0.0:protocol token_traverse:switch vhost:word""",
    "vhost.dash": """dash_cleanup@5.0.96,6.0.5:switch dash_dispose@5.0.96,6.0.5:seconds dash_fragment:fraction1
        dash_mpd_file:path dash_path:path dash_timeshift:fraction1 dash_update_period:fraction1
        dash_window_size@5.0.96,6.0.5:positive enabled:switch""",
    "vhost.dvr": """dvr_apply:words dvr_duration:seconds1 dvr_path:path dvr_plan:plan dvr_wait_keyframe:switch
        enabled:switch time_jitter:jitter""",
    "vhost.exec": "enabled:switch publish:words",
    "vhost.forward": "backend@5.0.24:url destination:endpoints enabled:switch",
    "vhost.hds": "enabled:switch hds_fragment:fraction1 hds_path:path hds_window:fraction1",
    "vhost.hls": """enabled:switch hls_acodec:word hls_aof_ratio:ratio hls_cleanup:switch hls_ctx@5.0.46:switch
        hls_dispose:seconds hls_dts_directly:switch hls_entry_prefix:word hls_fragment:fraction1
        hls_fragments_per_key:positive hls_key_file:path hls_key_file_path:path hls_key_url:word hls_keys:switch
        hls_m3u8_file:path hls_mount:word hls_nb_notify:count hls_on_error:on_error hls_path:path hls_storage:word
        hls_td_ratio:ratio hls_ts_ctx@5.0.58:switch hls_ts_file:path hls_ts_floor:switch hls_vcodec:word
        hls_wait_keyframe:switch hls_window:fraction1""",
    "vhost.http_hooks": """enabled:switch on_close:urls on_connect:urls on_dvr:urls on_hls:urls on_hls_notify:url
        on_play:urls on_publish:urls on_stop:urls on_unpublish:urls""",
    "vhost.http_remux": """drop_if_not_match@5.0.109,6.0.6:switch enabled:switch fast_cache:fraction
        guess_has_av@5.0.110,6.0.6:switch has_audio@5.0.110,6.0.6:switch has_video@5.0.110,6.0.6:switch hstrs:switch
        mount:word""",
    "vhost.http_static": "dir:path enabled:switch mount:word",
    "vhost.ingest": "enabled:switch engine ffmpeg:path input",
    "vhost.ingest.engine": "",
    "vhost.ingest.input": "type:word url:word",
    "vhost.mr": "enabled:switch latency:latency",
    "vhost.play": """atc:switch atc_auto:switch gop_cache:switch gop_cache_max_frames@5.0.93:count mix_correct:switch
        mw_latency:latency mw_msgs@4.0.24:count queue_length:queue reduce_sequence_header:switch
        send_min_interval:interval time_jitter:jitter""",
    "vhost.publish": """firstpkt_timeout:timeout kickoff_for_idle@5.0.144,6.0.31:fraction mr:switch mr_latency:latency
        normal_timeout:timeout parse_sps:switch try_annexb_first@5.0.58:switch""",
    "vhost.refer": "all:words enabled:switch play:words publish:words",
    "vhost.rtc": """aac:word aac_bitrate@5.0.168,6.0.61:positive bframe:word drop_for_pt@4.0.33:count
        dtls_role@4.0.33:word dtls_version@4.0.33:word enabled:switch keep_avc_nalu_sei@5.0.213,6.0.125:switch
        keep_bframe@4.0.175,5.0.17:switch keep_sequence@4.0.31<4.0.32:word nack@4.0.99,5.0.2:switch
        nack_no_copy@4.0.99,5.0.2:switch opus_bitrate@5.0.168,6.0.61:positive pli_for_rtmp@4.0.96,5.0.2:word
        rtc_to_rtmp@4.0.96,5.0.2:switch rtmp_to_rtc@4.0.175,5.0.17:switch stun_strict_check@4.0.23:switch
        stun_timeout@4.0.23:seconds1 twcc@4.0.99,5.0.2:switch""",
    "vhost.security": "allow:rule deny:rule enabled:switch",
    "vhost.srt": "enabled:switch srt_to_rtmp:switch",
    "vhost.transcode": "enabled:switch engine ffmpeg:path",
    "vhost.transcode.engine": """abitrate:kbps achannels:count acodec:word aparams asample_rate:count enabled:switch
        iformat:word oformat:word output:word perfile vbitrate:kbps vcodec:word vfilter vfps:fraction vheight:count
        vparams vpreset:word vprofile:word vthreads:count vwidth:count""",
}
"""By block: `name@since<until:value`. since: the first version that knows it; until: the first one that does not any
more; with one for each major that got it, or lost it, by itself. value: its kind in `TYPES`; a name without one has a
block, or is not checked.

SRS or this program checks nothing in the blocks that are not here."""

_TABLE["vhost.ingest.engine"] = _TABLE["vhost.transcode.engine"]

_ALIASES = {"http_stream": "http_server", "vhost.http": "vhost.http_static"}
"""Names of SRS 1 for blocks."""

_REPEATED = {
    "stream_caster", "vhost.exec.publish", "vhost.ingest", "vhost.ingest.engine", "vhost.security.allow",
    "vhost.security.deny", "vhost.transcode", "vhost.transcode.engine",
}  # fmt: skip
"""Directives of which SRS reads all, and not only the first one of a block."""

_NAMED = {"vhost.ingest"}
"""Those of which SRS accepts no two with the same name."""

_WITHOUT_BLOCK = {"vhost", "vhost.forward", "vhost.refer"}
"""Blocks that SRS also reads without one, as in SRS 1 (srs_config_transform_vhost), and that of another rule."""


@dataclass(frozen=True)
class _Known:
    """A directive of the table. since, until: as in the table, one for each major. value: None if it is not checked."""

    since: tuple[Version, ...] = ()
    until: tuple[Version, ...] = ()
    value: ValueType | None = None


_ENTRY = re.compile(r"(?P<name>\w+)(@(?P<since>[\d.,]+))?(<(?P<until>[\d.,]+))?(:(?P<value>\w+))?")


def _entry(text: str) -> tuple[str, _Known]:
    entry = _ENTRY.fullmatch(text)
    assert entry, text
    since, until = (
        tuple(version for part in (entry[group] or "").split(",") if (version := parse_version(part)))
        for group in ("since", "until")
    )
    return entry["name"], _Known(since, until, TYPES[cast("ValueName", entry["value"])] if entry["value"] else None)


_KNOWN = {path: dict(map(_entry, entries.split())) for path, entries in _TABLE.items()}

NAMES = {name for names in _KNOWN.values() for name in names}
"""All directives of all blocks and versions."""


def check(directives: Sequence[Directive], version: Version, path: str = "") -> Iterator[Finding]:
    """Directives that the version does not know, values that it does not understand, and repeated directives.

    path: the block that they are in: "" for the top level, `vhost`, `vhost.play`.
    """
    known = _KNOWN.get(path)
    seen: set[tuple[str, ...]] = set()
    for directive in directives:
        if directive.name == "include":
            continue
        inner = f"{path}.{directive.name}".removeprefix(".")
        inner = _ALIASES.get(inner, inner)
        if known is not None and (finding := _finding(directive, known, version, path, inner)):
            yield finding
        is_repeated = inner in _REPEATED
        key = (directive.name, *directive.args) if inner == "vhost" or is_repeated else (directive.name,)
        if key in seen and (not is_repeated or inner in _NAMED):
            effect = "does not start" if inner in _NAMED else "uses the first one only"
            message = f"sets {_shown(directive.name)} again, and SRS {effect}"
            yield Finding(directive.line, message, directive.source, reason="RepeatedDirective")
        seen.add(key)
        if directive.block is not None:
            yield from check(directive.block, version, inner)


def _finding(directive: Directive, known: dict[str, _Known], version: Version, path: str, inner: str) -> Finding | None:
    """What is wrong in a directive itself. path: the block that it is in. inner: its own path."""
    found = known.get(directive.name)
    if found is None:
        message, reason = _unknown(directive.name, known, version, path), "UnknownDirective"
    elif message := _unfit(directive, found, inner):
        reason = "InvalidDirectiveValue"
    elif message := _too_new(directive.name, found, version, path):
        reason = "DirectiveOfLaterVersion"
    else:
        message, reason = _too_old(directive.name, found, version, path), "DirectiveOfEarlierVersion"
    return Finding(directive.line, message, directive.source, reason) if message else None


def _unknown(name: str, known: dict[str, _Known], version: Version, path: str) -> str | None:
    if version > NEWEST and name in _BACKPORTS.get(path, ()):
        return None
    close = difflib.get_close_matches(name[:40], known, n=1)
    elsewhere = sorted(other or "the top level" for other, names in _KNOWN.items() if name in names)
    hint = f"; did you mean {close[0]!r}?" if close else f"; it belongs to {elsewhere[0]}" if elsewhere else ""
    return f"has {_shown(name)}, which SRS does not know{_where(path)}{hint}"


def _too_new(name: str, known: _Known, version: Version, path: str) -> str | None:
    first = _of_series(known.since, version)
    if first is None or version >= first:
        return None
    first = next(first for first in known.since if version < first)
    return f"has {name!r}{_where(path)}, which SRS knows from {format_version(first)} on, not {format_version(version)}"


def _too_old(name: str, known: _Known, version: Version, path: str) -> str | None:
    end = _of_series(known.until, version)
    if end is None or version < end:
        return None
    where = f"{name!r}{_where(path)}"
    return f"has {where}, which SRS knows before {format_version(end)} only, not {format_version(version)}"


def _of_series(versions: tuple[Version, ...], version: Version) -> Version | None:
    """The one of the same major; otherwise that of the last major that has one of its own."""
    return next((found for found in versions if found[0] == version[0]), versions[-1] if versions else None)


def _unfit(directive: Directive, known: _Known, path: str) -> str | None:
    """What is wrong in the value of a directive. The message does not contain the value, which may be secret."""
    if known.value is not None:
        if directive.block is not None:
            return f"has a block after {directive.name!r}, which takes a value"
        return None if known.value.fits(directive.args) else f"must have in {directive.name!r} {known.value.allowed}"
    needs_block = path in _KNOWN and path not in _WITHOUT_BLOCK
    return f"must have a block after {directive.name!r}" if needs_block and directive.block is None else None


def _where(path: str) -> str:
    return f" in {path!r}" if path else ""


def _shown(name: str) -> str:
    return repr(name) if name.isidentifier() else "a directive"
