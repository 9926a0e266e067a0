"""nginx.conf of the server that serves HLS."""

import math

from kubernetes.utils.quantity import parse_quantity

from model.names import HTTPS_PORT

PLAYLIST_SECONDS = 1
"""How long a playlist may be cached: SRS replaces it with every segment, and a CDN still asks once a second only."""

SEGMENT_SECONDS = 86400
"""How long a segment may be cached: its name contains the time at which it was begun (see `srs_conf.HLS_SEGMENT`), so
that it never has another content."""


TLS_FOLDER = "/etc/nginx/tls"
"""Where nginx has the certificate."""


def render(cpu: str, tls: bool = False) -> str:
    """nginx.conf. cpu: the CPU request as a Kubernetes quantity. tls: whether it also serves HTTPS.

    One worker for each requested core: `worker_processes auto` takes the cores of the node, and 64 workers do not fit
    into the memory limit. Temporary files are in /tmp, because the root file system is read-only. With a variable in
    its path, the certificate is read for each handshake (nginx docs, "ssl_certificate"): a renewed one needs no reload.
    """
    return _CONF.format(
        workers=math.ceil(parse_quantity(cpu)),
        playlist=PLAYLIST_SECONDS,
        segment=SEGMENT_SECONDS,
        tls=_TLS if tls else "",
        folder=_FOLDER if tls else "",
    )


_FOLDER = f"""\
    map "" $tls {{
        default {TLS_FOLDER};
    }}
"""

_TLS = f"""\
        listen {HTTPS_PORT} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate $tls/tls.crt;
        ssl_certificate_key $tls/tls.key;
"""

_CONF = """\
worker_processes {workers};
worker_rlimit_nofile 16384;
daemon off;
pid /tmp/nginx.pid;
error_log stderr warn;

events {{
    worker_connections 8192;
}}

http {{
    access_log /dev/stdout;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path /tmp/client_body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    types {{
        application/vnd.apple.mpegurl m3u8;
        video/mp2t ts;
        audio/aac aac;
        video/mp4 mp4 m4s;
        text/html html;
    }}
    default_type application/octet-stream;
    # Without `always` in add_header, errors have no Cache-Control: a stream that is not there yet may begin any time.
    map $uri $cache_control {{
        default "public, max-age={playlist}";
        ~\\.(ts|aac|m4s)$ "public, max-age={segment}, immutable";
    }}
{folder}
    server {{
        listen 8080;
{tls}        root /usr/share/nginx/html;
        add_header Cache-Control $cache_control;
        add_header Access-Control-Allow-Origin * always;
        add_header Access-Control-Allow-Headers * always;
        add_header Access-Control-Allow-Methods "GET, HEAD, OPTIONS" always;
        add_header Access-Control-Expose-Headers "Content-Length, Content-Range, Date" always;
        add_header Access-Control-Max-Age 86400 always;
        if ($request_method = OPTIONS) {{
            return 204;
        }}
    }}
}}
"""
