"""The workloads of a stack, as an update handles them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from model.names import DEMO, HLS, ORIGIN, edge_deployment, edge_run
from model.settings.stack import StackSettings
from model.srs_conf import flv_path
from model.srs_version import Version

PROBE_STREAM = ("live", "srs-probe")
"""App and name of a stream that nobody publishes. Always the same one: SRS 4 keeps an entry for each name that was ever
played."""


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet.

    title: its name in messages. selector: the labels of its pods. timeout: how long its rollout may take.
    release: the edge release, None for other workloads. version: the SRS version that the config declares for it.
    probe_path: where its edges serve, by HTTP-FLV, the stream that the check of the origins plays.
    """

    kind: Literal["Deployment", "StatefulSet"]
    name: str
    selector: str
    title: str
    timeout: timedelta
    release: str | None = None
    version: Version | None = None
    probe_path: str = ""


def origins(settings: StackSettings) -> Workload:
    """The origins."""
    return Workload("StatefulSet", ORIGIN, f"app={ORIGIN}", "origins", settings.origin.rollout_timeout)


def edges(settings: StackSettings, release: str) -> Workload:
    """The edges of a release, which the config may no longer have."""
    declared = settings.edge.releases.get(release)
    return Workload(
        "Deployment",
        edge_deployment(release),
        f"run={edge_run(release)}",
        f"edge release {release}",
        settings.edge.rollout_timeout,
        release,
        declared.srs_version if declared else None,
        flv_path(settings.edge_srs_conf(release), *PROBE_STREAM) if declared else "",
    )


def hls(settings: StackSettings) -> Workload:
    """nginx, which serves HLS."""
    return Workload("Deployment", f"{HLS}-deploy", f"app={HLS}", HLS, settings.edge.rollout_timeout)


def demo(settings: StackSettings) -> Workload:
    """The demo stream."""
    return Workload("Deployment", f"{DEMO}-deploy", f"app={DEMO}", DEMO, settings.edge.rollout_timeout)


def release_of(deployment: str) -> str:
    """The release of an edge Deployment."""
    return deployment.removeprefix("srs-edge-").removesuffix("-deploy")
