"""The directives that each SRS version knows: it does not start with another one.

From the lists of `SrsConfig::check_normal_config` in ossrs/srs, trunk/src/app/srs_app_config.cpp, at every revision of
4.0release, 5.0release and 6.0release up to 6.0.157. Newer revisions of 6.0 may know more.
"""

import difflib
from collections.abc import Iterator, Sequence

from model.srs_grammar import Directive, Finding
from model.srs_version import Version, format_version, parse_version

NEWEST: Version = (6, 0, 157)
"""The last version whose lists are in the table."""

_TABLE = {
    "": """asprocess auto_reload_for_docker@4.0.13 chunk_size circuit_breaker@4.0.103,5.0.2 daemon
        disable_daemon_for_docker@4.0.13 empty_ip_ok@4.0.8 exporter@5.0.67 ff_log_dir ff_log_level
        first_wait_for_qlv@4.0.257,5.0.44 force_grace_quit grace_final_wait grace_start_wait@4.0.6 heartbeat http_api
        http_server http_stream in_docker@4.0.216,5.0.20 inotify_auto_reload@4.0.13 is_full@4.0.117,5.0.2 listen
        max_connections pid pithy_print_ms query_latest_version@4.0.149,5.0.10 rtc_server@4.0.14
        server_id@4.0.257,5.0.44 srs_log_file srs_log_level srs_log_level_v2@5.0.83 srs_log_tank srt_server stats
        stream_caster tcmalloc_release_rate@4.0.23 tencentcloud_apm@5.0.64 tencentcloud_cls@5.0.44 threads@5.0.32
        utc_time vhost work_dir""",
    "exporter": "enabled label listen tag",
    "heartbeat": "device_id enabled interval ports@5.0.215,6.0.156 summaries url",
    "http_api": "auth@5.0.152,6.0.40 crossdomain enabled https@4.0.46 listen raw_api",
    "http_api.auth": "enabled password username",
    "http_api.raw_api": "allow_query allow_reload allow_update enabled",
    "http_server": "crossdomain dir enabled https@4.0.46 listen",
    "stats": "disk enabled@4.0.72 network",
    # Besides today's, those of SRS 1 and 2 that SRS itself moves to where they are now (srs_config_transform_vhost).
    "vhost": """bandcheck chunk_size cluster dash dvr enabled exec forward hds hls http_hooks http_remux http_static
        in_ack_size ingest min_latency out_ack_size play publish refer rtc@4.0.14 security srt@5.0.29 tcp_nodelay
        transcode
        atc atc_auto debug_srs_upnode gop_cache http mix_correct mode mr mw_latency nack@4.0.25 origin
        publish_1stpkt_timeout publish_normal_timeout queue_length reduce_sequence_header refer_play refer_publish
        send_min_interval time_jitter token_traverse twcc@4.0.27 vhost""",
    "vhost.cluster": """coworkers debug_srs_upnode follow_client@5.0.1 mode origin origin_cluster protocol@5.0.0
        token_traverse vhost""",
    "vhost.dash": """dash_cleanup@5.0.96,6.0.5 dash_dispose@5.0.96,6.0.5 dash_fragment dash_mpd_file dash_path
        dash_timeshift dash_update_period dash_window_size@5.0.96,6.0.5 enabled""",
    "vhost.dvr": "dvr_apply dvr_duration dvr_path dvr_plan dvr_wait_keyframe enabled time_jitter",
    "vhost.exec": "enabled publish",
    "vhost.forward": "backend@5.0.24 destination enabled",
    "vhost.hls": """enabled hls_acodec hls_aof_ratio hls_cleanup hls_ctx@5.0.46 hls_dispose hls_dts_directly
        hls_entry_prefix hls_fragment hls_fragments_per_key hls_key_file hls_key_file_path hls_key_url hls_keys
        hls_m3u8_file hls_mount hls_nb_notify hls_on_error hls_path hls_storage hls_td_ratio hls_ts_ctx@5.0.58
        hls_ts_file hls_ts_floor hls_vcodec hls_wait_keyframe hls_window""",
    "vhost.http_hooks": """enabled on_close on_connect on_dvr on_hls on_hls_notify on_play on_publish on_stop
        on_unpublish""",
    "vhost.http_remux": """drop_if_not_match@5.0.109,6.0.6 enabled fast_cache guess_has_av@5.0.110,6.0.6
        has_audio@5.0.110,6.0.6 has_video@5.0.110,6.0.6 hstrs mount""",
    "vhost.http_static": "dir enabled mount",
    "vhost.ingest": "enabled engine ffmpeg input",
    "vhost.play": """atc atc_auto gop_cache gop_cache_max_frames@5.0.93 mix_correct mw_latency mw_msgs@4.0.24
        queue_length reduce_sequence_header send_min_interval time_jitter""",
    "vhost.publish": """firstpkt_timeout kickoff_for_idle@5.0.144,6.0.31 mr mr_latency normal_timeout parse_sps
        try_annexb_first@5.0.58""",
    "vhost.refer": "all enabled play publish",
    "vhost.security": "allow deny enabled",
    "vhost.srt": "enabled srt_to_rtmp",
    "vhost.transcode": "enabled engine ffmpeg",
}
"""By block: `name@version`, the first version that knows it, with one for each major that got it by itself.

Of the blocks that are not here, SRS or this program checks nothing."""

_REPEATED = {"allow", "deny", "engine", "ingest", "publish", "stream_caster", "transcode"}
"""Directives of which SRS reads all, and not only the first one of a block."""


def _since(entry: str) -> tuple[str, list[Version]]:
    name, _, versions = entry.partition("@")
    return name, [version for text in versions.split(",") if (version := parse_version(text))]


_KNOWN = {path: dict(_since(entry) for entry in entries.split()) for path, entries in _TABLE.items()}

NAMES = {name for names in _KNOWN.values() for name in names}
"""All directives of all blocks and versions."""


def check(directives: Sequence[Directive], version: Version, path: str = "") -> Iterator[Finding]:
    """Directives that the version does not know, and repeated ones, of which SRS uses the first one only.

    path: the block that they are in: "" for the top level, `vhost`, `vhost.play`.
    """
    known = _KNOWN.get(path)
    seen: set[tuple[str, ...]] = set()
    for directive in directives:
        if directive.name == "include":
            continue
        if known is not None and (message := _unknown(directive.name, known, version, path)):
            yield Finding(directive.line, message, directive.source)
        key = (directive.name, *directive.args) if directive.name in ("vhost", *_REPEATED) else (directive.name,)
        if key in seen and directive.name not in _REPEATED:
            message = f"sets {_shown(directive.name)} again, and SRS uses the first one only"
            yield Finding(directive.line, message, directive.source)
        seen.add(key)
        if directive.block is not None:
            inner = f"{path}.{directive.name}".removeprefix(".")
            yield from check(directive.block, version, "http_server" if inner == "http_stream" else inner)


def _unknown(name: str, known: dict[str, list[Version]], version: Version, path: str) -> str | None:
    where = f" in {path!r}" if path else ""
    if name not in known:
        if version > NEWEST:
            return None
        close = difflib.get_close_matches(name, known, n=1)
        elsewhere = sorted(other or "the top level" for other, names in _KNOWN.items() if name in names)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it belongs to {elsewhere[0]}" if elsewhere else ""
        return f"has {_shown(name)}, which SRS does not know{where}{hint}"
    since = [first for first in known[name] if first[0] == version[0]] or known[name]
    if not since or version >= since[-1]:
        return None
    first = next(first for first in since if version < first)
    return f"has {name!r}{where}, which SRS knows from {format_version(first)} on, not {format_version(version)}"


def _shown(name: str) -> str:
    return repr(name) if name.isidentifier() else "a directive"
