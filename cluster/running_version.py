"""The SRS version that runs in a pod, which may not be the one that the config declares.

A digest or a private tag does not name the version, so the config does; everything that depends on the version then
depends on a word of the operator. SRS is asked through the kubelet's port forwarding, as in `cluster/origin_check.py`.
"""

import re
import time

from cluster.live import LiveCluster, UnreachableError
from model.names import API_PORT
from model.srs_version import Version, capabilities, check_supported, parse_version

PATIENCE = 3.0
"""Seconds that SRS may take to answer. At its connection limit it closes the connection instead."""

_VERSION = re.compile(rb'"version":\s*"([^"]+)"')


def running_version(live: LiveCluster, pod: str) -> Version | None:
    """Ask the SRS of a pod for its version; None if it does not answer."""
    try:
        connection = live.port_forward(pod, API_PORT)
    except UnreachableError:
        return None
    try:
        connection.send(f"GET /api/v1/versions HTTP/1.1\r\nHost: {pod}\r\nConnection: close\r\n\r\n".encode())
        deadline = time.monotonic() + PATIENCE
        while True:
            if found := _VERSION.search(connection.received):
                return parse_version(found[1].decode(errors="replace"))
            if connection.closed or time.monotonic() > deadline:
                return None
            connection.receive(0.2)
    finally:
        connection.close()


def broken_promise(declared: Version, running: Version) -> str | None:
    """Why edges must not run a version other than the declared one; None if it does no harm."""
    if capabilities(declared).drains and not capabilities(running).drains:
        return "it drops every connection when it quits (ossrs/srs #3805)"
    try:
        check_supported(running)
    except ValueError as error:
        return f"it {error}"
    return None
