"""The workloads of a stack, as an update handles them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from model.config.stack import StackSettings
from model.names import DEMO, HLS, ORIGIN, edge_deployment, edge_run
from model.srs.conf import asks_before_publish, no_probe
from model.srs.versions import Version

PROBE_STREAM = ("live", "srs-probe")
"""App and name of a stream that only the check of a new origin publishes. Always the same one: SRS 4 keeps an entry for
each name that was ever played."""


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet.

    title: its name in messages. selector: the labels of its pods. timeout: how long its rollout may take.
    min_ready: how long the pods of edges and origins must be ready.
    release: the edge release, None for other workloads. version: the SRS version that the config declares for it.
    probe_path: where its edges serve, by HTTP-FLV, the stream that the checks play. probe_asks: whether its edges ask a
    hook before they play it, and its origins before they accept it. probe_skipped: why its origins are not checked.
    """

    kind: Literal["Deployment", "StatefulSet"]
    name: str
    selector: str
    title: str
    timeout: timedelta
    release: str | None = None
    version: Version | None = None
    probe_path: str = ""
    probe_asks: bool = False
    probe_skipped: str = ""
    min_ready: timedelta = timedelta()


def origins(settings: StackSettings) -> Workload:
    """The origins."""
    origin, conf = settings.origin, settings.srs_confs.origin
    return Workload(
        "StatefulSet",
        ORIGIN,
        f"app={ORIGIN}",
        "origins",
        origin.rollout_timeout,
        probe_asks=asks_before_publish(conf),
        probe_skipped=no_probe(conf),
        min_ready=origin.min_ready,
    )


def edges(settings: StackSettings, release: str, probe_path: str = "", probe_asks: bool = False) -> Workload:
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
        probe_path,
        probe_asks,
        min_ready=settings.edge.min_ready,
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
