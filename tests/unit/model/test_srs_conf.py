"""srs.conf is rendered for the SRS version of the image, and bad additions are rejected before SRS reads them."""

import pytest

from model.srs_conf import check_directives, render_edge, render_origin
from model.srs_version import (
    RECOMMENDED,
    RECOMMENDED_TAG,
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


def test_edge_as_in_the_article() -> None:
    assert render_edge((4, 0, 6), SERVICE) == EDGE_4_0_6


def test_a_directive_is_rendered_only_for_versions_that_know_it() -> None:
    old = render_edge((4, 0, 5), SERVICE)
    assert old == EDGE_4_0_6.replace("grace_start_wait 700;\n", "")


def test_additions_are_in_their_scope() -> None:
    text = render_edge((4, 0, 6), SERVICE, 500, "chunk_size 60000;\nwork_dir /tmp;", "play {\n    gop_cache off;\n}")
    assert "max_connections 500;\n" in text
    assert "\nchunk_size 60000;\nwork_dir /tmp;\nvhost __defaultVhost__ {\n" in text
    assert text.endswith("    play {\n        gop_cache off;\n    }\n}\n")


def test_origins_know_each_other_and_do_not_drain() -> None:
    text = render_origin(ORIGINS, hls=True)
    assert f"coworkers {ORIGINS[0]}:1985 {ORIGINS[1]}:1985;" in text
    assert "origin_cluster on;" in text
    assert "hls {\n        enabled on;\n        hls_ts_file [app]/[stream]-[timestamp]-[seq].ts;" in text
    assert "grace" not in text
    assert "hls" not in render_origin(ORIGINS, hls=False)


@pytest.mark.parametrize(
    ("text", "scope", "message"),
    [
        ("listen 1936;", "global", "must not set 'listen'"),
        ("force_grace_quit off;", "global", "drops every connection"),
        ("vhost x { }", "global", "vhostDirectives"),
        ("cluster { mode local; }", "vhost", "must not set 'cluster'"),
        ("chunk_size 60000", "global", "without ';'"),
        ("play { gop_cache off }", "vhost", "without ';'"),
        ("play { gop_cache off;", "vhost", "not closed"),
        ("play gop_cache off; }", "vhost", "'}' without a '{'"),
        ("{ }", "vhost", "without a directive"),
        (";", "global", "without a directive"),
    ],
)
def test_bad_additions(text: str, scope: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_directives(text, scope)


@pytest.mark.parametrize(
    "text",
    ["", "chunk_size 60000;", "# listen 1936;\nchunk_size 60000;", "play { gop_cache off; }", 'work_dir "a;b";'],
)
def test_good_additions(text: str) -> None:
    check_directives(text, "global")


def test_a_reserved_directive_inside_a_block_is_another_directive() -> None:
    check_directives("rtc_server { listen 8000; }", "global")


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
    ("version", "start_wait", "drains"),
    [
        ((4, 0, 5), False, True),
        ((4, 0, 6), True, True),
        ((4, 0, 271), True, True),
        ((5, 0, 213), True, False),
        ((6, 0, 131), True, False),
        ((6, 0, 132), True, True),
    ],
)
def test_what_versions_can_do(version: tuple[int, int, int], start_wait: bool, drains: bool) -> None:
    known = capabilities(version)
    assert (known.grace_start_wait, known.drains) == (start_wait, drains)


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
        ((5, 0, 213), ["#3805", "#4126"]),
        ((6, 0, 131), ["#3805", "#4126", "#4429"]),
        ((6, 0, 139), ["#4429"]),
        ((6, 0, 171), []),
        ((6, 0, 179), ["#4677"]),
        ((6, 0, 184), ["#4677"]),
        ((6, 0, 186), []),
        (RECOMMENDED, []),
    ],
)
def test_known_defects(version: tuple[int, int, int], sources: list[str]) -> None:
    assert [defect.source.split()[1].rstrip(",") for defect, _ in defects(version)] == sources
    assert all(fix > version for _, fix in defects(version))


def test_the_recommended_tag_is_the_recommended_version() -> None:
    assert parse_version(RECOMMENDED_TAG) == RECOMMENDED
