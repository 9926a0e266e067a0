"""srs.conf is rendered for the SRS version of the image, and bad additions are rejected before SRS reads them."""

import pytest

from model.srs.conf import (
    DEFAULT_VHOST,
    Additions,
    LeftHls,
    PublishRules,
    SrsConf,
    asks_before_publish,
    flv_path,
    has_rules_by_address,
    left_hls,
    no_probe,
    open_vhosts,
    render_edge,
    render_origin,
    warnings,
)
from model.srs.grammar import parse, render
from model.srs.versions import (
    RECOMMENDED,
    RECOMMENDED_TAG,
    Version,
    capabilities,
    check_supported,
    defects,
    parse_version,
)

ORIGINS = ["srs-origin-0.socs.live.svc.cluster.local", "srs-origin-1.socs.live.svc.cluster.local"]

SERVICE = "srs-origin-service.live.svc.cluster.local"

EDGE_4_0_6 = """\
listen 1935;
max_connections 1000;
daemon off;
pid /tmp/srs.pid;
srs_log_tank console;
grace_start_wait 700;
grace_final_wait 800;
force_grace_quit on;
http_api {
    enabled on;
    listen 1985;
}
http_server {
    enabled on;
    listen 8080;
}
vhost __defaultVhost__ {
    cluster {
        mode remote;
        origin srs-origin-service.live.svc.cluster.local;
    }
    http_remux {
        enabled on;
    }
}
"""


V4, V6 = (4, 0, 6), (6, 0, 157)


def edge(version: Version = V6, publish: PublishRules | None = None, **texts: str) -> SrsConf:
    return render_edge(version, SERVICE, additions=Additions(**texts), publish=publish)


def origin(version: Version = V6, hls: bool = True, publish: PublishRules | None = None, **texts: str) -> SrsConf:
    return render_origin(version, ORIGINS, hls, additions=Additions(**texts), publish=publish)


def messages(conf: SrsConf) -> list[str]:
    return [f"{finding.line}: {finding.message}" for finding in conf.findings]


def vhost(conf: SrsConf, name: str = DEFAULT_VHOST) -> str:
    (found,) = (vhost for vhost in conf.vhosts if vhost.args == (name,))
    return render([found])


def test_edge_as_in_the_article() -> None:
    assert edge(V4).text == EDGE_4_0_6


def test_a_directive_is_rendered_only_for_versions_that_know_it() -> None:
    assert edge((4, 0, 5)).text == EDGE_4_0_6.replace("grace_start_wait 700;\n", "")


def test_additions_are_in_their_scope_as_they_were_written() -> None:
    """Other text would roll every edge of a stack that has them."""
    conf = render_edge(
        V4, SERVICE, 500, Additions("", "chunk_size 60000; # 60 kB\nutc_time  on;", "play{gop_cache off;}")
    )
    assert "max_connections 500;\n" in conf.text
    assert "\nchunk_size 60000; # 60 kB\nutc_time  on;\nvhost __defaultVhost__ {\n" in conf.text
    assert conf.text.endswith("    play{gop_cache off;}\n}\n")
    assert not conf.findings


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c"])
def test_a_comment_ends_only_where_srs_ends_it(separator: str) -> None:
    """What is not checked, because it is a comment, is none of the directives."""
    conf = edge(directives=f"utc_time on; # x{separator}daemon on;", vhost_directives=f"# x{separator}enabled off;")
    assert parse(conf.text)[0] == conf.directives
    assert not conf.findings


def test_https_has_the_certificate_of_the_mounted_secret() -> None:
    text = render_edge(V6, SERVICE, tls=True).text
    https = "https { enabled on; listen 8443; key /usr/local/srs/tls/tls.key; cert /usr/local/srs/tls/tls.crt; }"
    assert f"http_server {{ enabled on; listen 8080; {https} }}" in " ".join(text.split())


def test_origins_know_each_other_and_do_not_drain() -> None:
    text = origin(V4).text
    assert f"coworkers {ORIGINS[0]}:1985 {ORIGINS[1]}:1985;" in text
    assert "origin_cluster on;" in text
    segment = "hls_ts_file [app]/[stream]-[timestamp]-[seq].ts;"
    assert f"hls {{\n        enabled on;\n        {segment}\n        hls_dispose 120;\n" in text
    assert "grace" not in text
    assert "hls" not in origin(V4, hls=False).text
    assert f"{segment}\n        hls_dispose 0;\n" in origin(V6).text
    assert "hls_dispose" not in origin((5, 0, 213)).text


PASTED = """\
# An edge as it ran before.
listen              1935;
max_connections     1000;
daemon              off;
srs_log_tank        console;
srs_log_level       trace;
http_api {
    enabled on;
    listen 1985;
    crossdomain on;
}
http_stream {
    enabled on;
    listen 8080;
}
vhost __defaultVhost__ {
    mode remote;
    token_traverse on;
    gop_cache off;
    http_remux {
        enabled on;
        mount [vhost]/[app]/[stream].flv;
        fast_cache 5;
        has_audio off;
    }
    http_hooks {
        enabled on;
        on_publish "http://auth.example.com/publish?key=1;2";
    }
}
vhost events.example.com {
    http_hooks {
        enabled on;
        on_play http://auth.example.com/play;
    }
}
"""


def test_a_pasted_conf_is_merged() -> None:
    conf = edge(conf=PASTED)
    assert not conf.findings
    assert conf.text.count("listen 1935;") == conf.text.count("http_server {") == 1
    assert "http_api {\n    enabled on;\n    listen 1985;\n    crossdomain on;\n}" in conf.text
    cluster = f"    cluster {{\n        mode remote;\n        origin {SERVICE};\n"
    assert f"{cluster}        token_traverse on;\n    }}\n" in vhost(conf)
    assert "enabled on;\n        mount [vhost]/[app]/[stream].flv;\n        fast_cache 5;" in vhost(conf)
    assert 'on_publish "http://auth.example.com/publish?key=1;2";' in vhost(conf)
    assert f"{cluster}    }}\n" in vhost(conf, "events.example.com")
    assert "on_play" in vhost(conf, "events.example.com")
    assert parse(conf.text) == (conf.directives, [])


@pytest.mark.parametrize("key", ["conf", "directives", "vhost_directives"])
def test_a_pasted_vhost_keeps_its_hooks(key: str) -> None:
    """SRS would discard a vhost inside a vhost, and every second one of a name."""
    pasted = "vhost __defaultVhost__ {\n http_hooks {\n enabled on;\n on_publish http://auth;\n }\n}"
    conf = render_edge(V6, SERVICE, additions=Additions(**{key: pasted}))
    assert not conf.findings
    assert "on_publish http://auth;" in vhost(conf)
    assert conf.text.count("vhost ") == 1


def test_hls_is_merged_where_origins_write_it() -> None:
    written = "hls { hls_fragment 4; hls_window 20; hls_dispose 30; }"
    conf = origin(V4, vhost_directives=written, conf=f"vhost second {{ {written} }} vhost third {{ }}")
    for name in (DEFAULT_VHOST, "second"):
        assert "-[seq].ts;\n        hls_fragment 4;" in vhost(conf, name)
        assert vhost(conf, name).count("hls_dispose") == 1
    assert "hls" not in vhost(conf, "third")


@pytest.mark.parametrize(
    ("version", "written", "left"),
    [
        ((6, 0, 157), "", LeftHls(10, 60)),
        ((6, 0, 191), "hls { hls_fragment 4; hls_window 20; }", LeftHls(4, 20)),
        ((6, 0, 191), "hls { hls_fragment $(seconds); }", LeftHls(10, 60)),
        ((6, 0, 191), "hls { hls_dispose 0; }", None),  # to keep them
        ((6, 0, 191), "hls { hls_cleanup off; }", None),
        ((6, 0, 191), "hls { hls_ts_file [app]/[stream]-[seq].ts; }", None),
        ((6, 0, 129), "", None),
        ((5, 0, 213), "", None),
        ((4, 0, 271), "", None),
    ],
)
def test_origins_leave_hls_files_where_srs_forgets_streams(
    version: Version, written: str, left: LeftHls | None
) -> None:
    conf = origin(version, vhost_directives=written)
    assert left_hls(conf) == left
    assert ("hls_dispose 0" in conf.text) == (left is not None or "hls_dispose 0" in written)


def test_one_vhost_that_keeps_its_hls_files_keeps_those_of_all() -> None:
    """They are on the same volume."""
    conf = origin(V6, conf="vhost second { hls { hls_cleanup off; } }")
    assert left_hls(conf) is None
    assert "hls_dispose" not in conf.text
    assert left_hls(origin(V6, conf="vhost second { hls { hls_window 3600; } }")) == LeftHls(10, 3600)
    assert left_hls(origin(V6, hls=False)) is None


def test_rules_for_publishing_are_in_every_vhost() -> None:
    """A client chooses the vhost."""
    rules = PublishRules(("10.0.0.0/8", "203.0.113.7"), hook="http://auth/publish")
    conf = edge(publish=rules, conf="vhost second { http_hooks { enabled on; on_play http://auth/play; } }")
    for name in (DEFAULT_VHOST, "second"):
        assert "allow play all;\n        allow publish 10.0.0.0/8;\n        allow publish 203.0.113.7;" in vhost(
            conf, name
        )
        assert "enabled on;\n        on_publish http://auth/publish;" in vhost(conf, name)
    assert "on_play http://auth/play;" in vhost(conf, "second")
    assert "deny publish all;" in edge(publish=PublishRules(deny=True)).text
    assert messages(edge(publish=rules, vhost_directives="security { enabled on; allow play all; }")) == [
        "1: must not set 'security': srs:publish sets it (from, exclusive)"
    ]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (edge(directives="listen 1936;"), "1: must not set 'listen': edges and origins listen on 1935"),
        (edge(directives="force_grace_quit off;"), "drops every connection"),
        (
            edge(directives="\n\nhttp_server { dir ./objs/nginx/html; listen 80; }"),
            "3: must not set 'listen': viewers use it on 8080",
        ),
        (edge(directives="vhost x;"), "must be a vhost with one name and a block"),
        (edge(directives="include other.conf;"), "put its content here"),
        (edge(conf="vhost a { }\nvhost a { }"), "2: sets 'vhost' again"),
        (edge(conf="vhost a {\n tcp_nodelay on;\n tcp_nodelay off;\n}"), "3: sets 'tcp_nodelay' again"),
        (edge(vhost_directives="cluster { mode local; }"), "must not set 'mode': it makes the edge an edge"),
        (edge(vhost_directives="origin 10.0.0.1:1935;"), "must not set 'origin': edges reach the origins"),
        (edge(vhost_directives="vhost second { dvr { enabled on; } }"), "of which SRS discards the block"),
        (edge(vhost_directives="http_remux { enabled off; }"), "HTTP-FLV is always on"),
        (edge(vhost_directives="dvr { enabled on; }"), "record on the origins"),
        (edge(vhost_directives="forward 10.0.0.1;"), "forward on the origins"),
        (edge((6, 0, 191), vhost_directives="gop_cahce off;"), "did you mean 'gop_cache'?"),
        (edge((6, 0, 191), directives="gop_cache off;"), "which SRS does not know; it belongs to vhost"),
        (edge((6, 0, 191), directives="quite_unknown on;"), "has 'quite_unknown', which SRS does not know"),
        (edge((6, 0, 191), directives="hls_recover on;"), "has 'hls_recover', which SRS does not know"),
        (edge((6, 0, 183), vhost_directives="hls { hls_recover on; }"), "has 'hls_recover', which SRS does not know"),
        (edge(directives="rtc_server { enable on; }"), "did you mean 'enabled'?"),
        (edge(directives="circuit_breaker { enabled off; high_treshold 5; }"), "did you mean 'high_threshold'?"),
        (edge(directives="srs_log_level debug;"), "one of verbose, info, trace, warn, error, off"),
        (edge(directives="heartbeat { interval 0; }"), "a number of seconds from 1 to 86400"),
        (edge(directives="stats { network 1; }"), "must have in 'network' 0, the address of the pod"),
        (edge(directives="# off\rforce_grace_quit off;"), "1: has a comment that SRS 6.0 ends at a carriage return"),
        (edge(directives="srt_server { tlpkdrop on; }"), "which SRS knows before 6.0.4 only, not 6.0.157"),
        (edge((6, 0, 170), directives="srt_server { default_streamid a; }"), "which SRS knows from 6.0.181 on"),
        (edge(directives="stream_caster { rtp_port_min 9000; }"), "which SRS knows before 5.0.74 only"),
        (edge(V4, directives="stream_caster { tcp_enable on; }"), "which SRS knows from 4.0.57 on, not 4.0.6"),
        (edge((4, 0, 271), directives="stream_caster { sip { candidate a; } }"), "which SRS knows from 5.0.75 on"),
        (edge(directives="stream_caster { enabled on; caster flv; }"), "SRS does not start without listen in it"),
        (edge(directives="stream_caster { caster rtmp; }"), "must have in 'caster' one of mpegts_over_udp, flv,"),
        (edge(directives="stream_caster { enabled on; }"), "SRS does not start without caster and listen in it"),
        (edge(V4, vhost_directives="bandcheck { limit_bps 1; }"), "did you mean 'limit_kbps'?"),
        (origin(vhost_directives="ingest a { } ingest a { }"), "sets 'ingest' again, and SRS does not start"),
        (origin(vhost_directives="http_remux { mount /[app]/[stream].ts; }"), "does not start with HTTP-TS and HLS"),
        (
            origin(vhost_directives="forward { enabled on; } publish { kickoff_for_idle 5; }"),
            "does not start with it and forward",
        ),
        (edge(vhost_directives="security { enabled on; }"), "rejects every viewer; add `allow play all;`"),
        (edge(vhost_directives="security { enabled on; allow publish 10.0.0.1; }"), "rejects every viewer"),
        (origin(vhost_directives="security { enabled on; allow play all; }"), "it rejects every publisher"),
        (edge(vhost_directives="security { allow play office; }"), "an IP address or a range such as 10.0.0.0/8"),
        (edge(vhost_directives="exec { publish; }"), "must have in 'publish' a value"),
        (edge(vhost_directives="publish { mr on; } publish { mr off; }"), "sets 'publish' again"),
        (edge(directives="chunk_size 4096 8192;"), "a whole number of bytes"),
        (edge(directives="chunk_size 100000;"), "a whole number of bytes"),
        (edge(directives="chunk_size;"), "a whole number of bytes"),
        (edge(conf="http_server { dir ./objs/nginx/html/../..; }"), "read the files of the pod"),
        (edge(conf="http_stream { dir conf; }"), "read the files of the pod"),
        (edge(vhost_directives="http { enabled on; dir /var/run/secrets; }"), "read the files of the pod"),
        (edge(conf="http_api { raw_api { allow_query on; } }"), "would read srs.conf with its secrets"),
        (edge(vhost_directives="enabled off;"), "reject every client"),
        (edge(V4, vhost_directives="bandcheck { enabled on; }"), "a test of its bandwidth"),
        (edge(V4, directives="exporter { enabled on; }"), "SRS knows from 5.0.67 on, not 4.0.6"),
        (edge((6, 0, 5), vhost_directives="http_remux { has_audio off; }"), "knows from 6.0.6 on, not 6.0.5"),
        (edge(vhost_directives="paly { gop_cache off; }"), "does not know in 'vhost'; did you mean 'play'?"),
        (edge(directives="http_hooks { on_play http://x; }"), "does not know; it belongs to vhost"),
        (edge(vhost_directives="play { hls_fragment 5; }"), "does not know in 'vhost.play'; it belongs to vhost.hls"),
        (origin(directives="grace_start_wait 100;"), "it is part of the drain"),
        (origin(vhost_directives="cluster { origin 10.0.0.1; }"), "must not set 'origin'"),
        (origin(vhost_directives="hls { hls_path /data; }", hls=True), "must be in ./objs/nginx/html"),
        (origin(vhost_directives="hls { enabled on; }", hls=False), "set srs:hls.enabled"),
        (origin(vhost_directives="dvr { enabled on; }", hls=False), "set srs:hls.enabled"),
        (origin(conf="http_api { auth { enabled on; } }"), "without a password"),
    ],
)
def test_what_breaks_a_release_or_has_no_effect_is_rejected(conf: SrsConf, message: str) -> None:
    assert len(conf.findings) == 1, messages(conf)
    assert message in messages(conf)[0]


@pytest.mark.parametrize(
    "conf",
    [
        edge(directives="# listen 1936;\nchunk_size 60000;"),
        edge(conf="listen 1935; http_api { listen 1985; } vhost __defaultVhost__ { cluster { mode remote; } }"),
        edge(vhost_directives="dvr { enabled off; } bandcheck { enabled on; } hls { enabled off; }"),
        edge(directives="rtc_server { listen 8000; }\r\n# x\r\n"),
        edge(directives="stream_caster { enabled on; caster flv; listen 8936; }"),
        edge((4, 0, 271), directives="stream_caster { tcp_enable on; sip { serial a; } } srt_server { tlpkdrop on; }"),
        edge(vhost_directives="http_remux { mount /[app]/[stream].ts; } publish { kickoff_for_idle 5; }"),
        origin(vhost_directives="ingest a { } ingest b { } forward { enabled on; } publish { kickoff_for_idle 0; }"),
        edge(vhost_directives="security { enabled on; allow publish all; allow play all; deny play 10.0.0.1; }"),
        edge(directives="# $(name) is not looked into\nserver_id $(name); heartbeat { enabled on; interval 9.3; }"),
        edge((6, 0, 191), directives="srt_server { default_streamid a; }", vhost_directives="hls { hls_recover on; }"),
        edge(vhost_directives="http_hooks { enabled on; on_play $(hook) http://a/$(key) https://b; }"),
        edge(conf="http_server { dir ./objs/nginx/html/www; } http_api { raw_api { enabled on; } }"),
        edge(conf="http_server { dir /data/www; }", vhost_directives="forward { enabled off; destination a; }"),
        edge(vhost_directives="security { enabled on; deny publish all; }"),
        edge(vhost_directives="security { enabled on; allow publish all; allow play 10.0.0.0/8; }"),
        origin(vhost_directives="forward { enabled on; destination 10.0.0.1:1935 cdn.example.com; }"),
        origin(vhost_directives="forward 10.0.0.1:1935;"),
        origin(directives="ff_log_dir /tmp/logs;", vhost_directives="transcode { enabled on; }"),
        edge(directives="ff_log_dir ./objs;"),
        origin(vhost_directives="cluster { mode local; }"),
        origin(vhost_directives="dvr { enabled on; dvr_path ./objs/nginx/html/[app]/[stream].flv; }"),
        origin(vhost_directives="transcode a { enabled on; } transcode b { enabled on; }"),
    ],
)
def test_what_is_accepted(conf: SrsConf) -> None:
    assert not conf.findings


def test_ffmpeg_of_an_origin_logs_nowhere_by_default() -> None:
    """The default is a folder that the pod cannot write: SRS would start FFmpeg again and again."""
    transcode = "transcode { enabled on; ffmpeg ./objs/ffmpeg/bin/ffmpeg; engine a { enabled on; vbitrate 300; } }"
    assert "\nff_log_dir /dev/null;\n" in origin(vhost_directives=transcode).text
    assert "ff_log_dir" not in origin(vhost_directives=transcode.replace("on", "off", 1)).text
    given = origin(directives="ff_log_dir /tmp;", vhost_directives=transcode).text
    assert given.count("ff_log_dir") == 1


def test_every_problem_of_a_text_is_reported() -> None:
    conf = edge(conf="daemon on;\nlisten 80\npid /x;\nvhost a {\n play {\n  gop_cach on;\n }\n")
    assert [finding.line for finding in conf.findings] == [1, 2, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("text", "open_to_all"),
    [
        ("", True),
        ("http_hooks { enabled on; on_publish http://a; }", False),
        ("http_hooks { enabled on; on_connect http://a; }", False),
        ("http_hooks { enabled on; on_play http://a; }", True),
        ("http_hooks { on_publish http://a; }", True),
        ("security { enabled on; deny publish all; }", False),
        ("security { enabled on; allow play all; allow publish 10.0.0.1; }", False),
        ("security { enabled on; deny publish 10.0.0.1; }", True),
        ("security { enabled on; allow publish all; deny play 10.0.0.1; }", True),
        ("security { allow publish 10.0.0.1; }", True),
    ],
)
def test_who_may_publish(text: str, open_to_all: bool) -> None:
    assert open_vhosts(edge(vhost_directives=text)) == ([DEFAULT_VHOST] if open_to_all else [])
    assert has_rules_by_address(edge(vhost_directives=text)) == ("10.0.0.1" in text and "enabled on" in text)


@pytest.mark.parametrize(
    ("mount", "path"),
    [
        ("", "/live/s.flv"),
        ("[vhost]/flv/[app]/[stream].ts", "/flv/live/s.ts"),
        ("/[app]-[stream].flv", "/live-s.flv"),
    ],
)
def test_the_path_of_http_flv(mount: str, path: str) -> None:
    text = f"http_remux {{ enabled on; mount {mount}; }}" if mount else ""
    assert flv_path(edge(vhost_directives=text), "live", "s") == path


@pytest.mark.parametrize(
    ("directives", "word"),
    [
        ("", ""),
        ("hls { enabled on; }\ngop_cache on;", ""),
        ("forward { enabled off; destination 10.0.0.1; }", ""),
        ("forward { enabled on; destination 10.0.0.1; }", "'forward'"),
        ("forward 10.0.0.1;", "'forward'"),
        ("dvr { enabled on; }", "'dvr'"),
        ("transcode hd { enabled on; }", "'transcode'"),
        ("security { enabled on; allow publish 10.0.0.1; }", "'security'"),
    ],
)
def test_no_stream_is_published_where_it_would_be_passed_on_or_rejected_by_its_address(
    directives: str, word: str
) -> None:
    found = no_probe(origin(vhost_directives=directives))
    assert word in found
    assert bool(found) == bool(word)


def test_an_origin_asks_a_hook_before_it_accepts_a_stream() -> None:
    hooks = "http_hooks {{ enabled {}; {} http://auth/; }}"
    asks = [
        asks_before_publish(origin(vhost_directives=hooks.format(*words)))
        for words in (("on", "on_publish"), ("on", "on_connect"), ("on", "on_play"), ("off", "on_publish"))
    ]
    assert asks == [True, True, False, False]


def test_what_has_no_effect_is_a_warning() -> None:
    conf = edge(directives="srt_server { enabled on; }\nsrs_log_level warn;\nrtc_server { enabled off; }")
    assert [warning.split()[0] for warning in warnings(conf)] == ["srt_server", "srs_log_level"]


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("v4.0.6", (4, 0, 6)),
        ("4.0.271", (4, 0, 271)),
        ("v4.0-r5", (4, 0, 271)),
        ("v5.0-r3", (5, 0, 213)),
        ("v4.0-r0", (4, 0, 252)),
        ("v6.0-r0", (6, 0, 184)),
        ("v6.0-r1", (6, 0, 191)),
        ("v6.0-r2", (6, 0, 191)),
        ("v4", None),
        ("4.0", None),
        ("develop", None),
        ("v4.0.6-debug", None),
        ("v9.9-r0", None),
    ],
)
def test_version_of_a_tag(tag: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(tag) == version


@pytest.mark.parametrize(
    ("version", "start_wait", "drains", "exporter"),
    [
        ((4, 0, 5), False, True, False),
        ((4, 0, 6), True, True, False),
        ((4, 0, 271), True, True, False),
        ((5, 0, 71), True, False, False),
        ((5, 0, 72), True, False, True),
        ((5, 0, 213), True, False, True),
        ((6, 0, 131), True, False, True),
        ((6, 0, 132), True, True, True),
    ],
)
def test_what_versions_can_do(version: tuple[int, int, int], start_wait: bool, drains: bool, exporter: bool) -> None:
    known = capabilities(version)
    assert (known.grace_start_wait, known.drains, known.exporter) == (start_wait, drains, exporter)


def test_an_exporter_keeps_the_labels_that_the_config_gives_it() -> None:
    additions = Additions(directives="exporter { enabled on; label cn-beijing; }")
    conf = render_edge((6, 0, 191), "origin", additions=additions, exporter=True)
    assert not conf.findings
    (exporter,) = [directive for directive in conf.directives if directive.name == "exporter"]
    assert [inner.name for inner in exporter.block or ()] == ["enabled", "listen", "label"]
    (finding,) = render_edge(
        (6, 0, 191), "origin", additions=Additions(directives="exporter { listen 9000; }"), exporter=True
    ).findings
    assert "srs:monitoring uses 9972" in str(finding)


@pytest.mark.parametrize(
    ("version", "https"),
    [
        ((4, 0, 271), False),
        ((5, 0, 210), False),
        ((5, 0, 211), True),
        ((6, 0, 121), False),
        ((6, 0, 122), True),
    ],
)
def test_versions_whose_https_does_no_harm(version: tuple[int, int, int], https: bool) -> None:
    assert capabilities(version).https is https


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ((4, 0, 4), "has no graceful quit"),
        ((3, 0, 160), "has no graceful quit"),
        ((7, 0, 18), "a development version that is not supported yet"),
    ],
)
def test_versions_that_are_not_supported(version: tuple[int, int, int], reason: str) -> None:
    with pytest.raises(ValueError, match=f"{reason}.*v6.0-r1 \\(SRS 6.0.191\\)"):
        check_supported(version)


@pytest.mark.parametrize(
    ("version", "sources"),
    [
        ((4, 0, 5), ["#4126"]),
        ((4, 0, 266), ["#4126", "#2215"]),
        ((4, 0, 267), ["#4126"]),
        ((5, 0, 213), ["#3805", "#4126", "#4613"]),
        ((6, 0, 131), ["#3805", "#4126", "#4429", "#4613"]),
        ((6, 0, 139), ["#4429", "#4613"]),
        ((6, 0, 171), ["#4613"]),
        ((6, 0, 179), ["#4613", "#4677"]),
        ((6, 0, 184), ["#4613", "#4677"]),
        ((6, 0, 186), []),
        (RECOMMENDED, []),
    ],
)
def test_known_defects(version: tuple[int, int, int], sources: list[str]) -> None:
    known = list(defects(version, origins=RECOMMENDED))
    assert [defect.source.split()[1].rstrip(",") for defect, _ in known] == sources
    assert all(fix > version for _, fix in known)


@pytest.mark.parametrize(
    ("edge", "origins", "has_it"),
    [
        ((6, 0, 154), (4, 0, 271), False),
        ((6, 0, 155), (4, 0, 271), True),
        ((6, 0, 157), (4, 0, 6), True),
        ((6, 0, 157), (5, 0, 213), False),
        ((6, 0, 157), (6, 0, 157), False),
        ((6, 0, 158), (4, 0, 271), False),
    ],
)
def test_a_defect_that_depends_on_the_origins(
    edge: tuple[int, int, int], origins: tuple[int, int, int], has_it: bool
) -> None:
    assert ("ossrs/srs #4215" in [defect.source for defect, _ in defects(edge, origins)]) is has_it


def test_the_recommended_tag_is_the_recommended_version() -> None:
    assert parse_version(RECOMMENDED_TAG) == RECOMMENDED
