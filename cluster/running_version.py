"""The SRS version that runs in a pod, which may not be the one that the config declares.

A digest or a private tag does not name the version, so the config does; everything that depends on the version then
depends on a word of the operator.
"""

from cluster.live import LiveCluster
from cluster.srs_api import get
from model.srs.versions import Version, capabilities, check_supported, parse_version

VERSIONS = "/api/v1/versions"


def running_version(live: LiveCluster, pod: str) -> Version | None:
    """Ask the SRS of a pod for its version; None if it does not answer."""
    answer = get(live, pod, VERSIONS) or {}
    return parse_version(str(answer.get("data", {}).get("version", "")))


def broken_promise(declared: Version, running: Version) -> str | None:
    """Why edges must not run a version other than the declared one; None if it does no harm."""
    if capabilities(declared).drains and not capabilities(running).drains:
        return "it drops every connection when it quits (ossrs/srs #3805)"
    try:
        check_supported(running)
    except ValueError as error:
        return f"it {error}"
    return None
