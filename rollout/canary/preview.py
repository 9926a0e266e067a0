"""Step 0 of `rollout run`: the canary out of rotation, judged by viewers that no real viewer notices.

One edge of it runs without being in any Service (`outOfRotation`). Viewers play it through its kubelet, and as many
play edges of the other releases in the same way at the same time, so the way is no difference. What is black, slow or
refuses connections is found before it has a real viewer. (Argo Rollouts has a preview Service for this.)
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from cluster.live import LiveCluster, Object
from cluster.rollout_status import pod_reason
from cluster.terminating import is_terminating
from model.config.values import plural
from model.names import EDGE_APP, HTTP_PORT, HTTPS_PORT, RTMP_PORT, edge_run
from rollout.canary.analysis import (
    MAX_REFERENCE_FAILURES,
    MINIMUM_VIEWERS,
    Audience,
    Budget,
    quality_findings,
    reference_findings,
)
from rollout.canary.observer import Observation, restart_findings, summary
from rollout.canary.outcome import Finding, error, inconclusive
from rollout.canary.tunnel import Tunnel
from rollout.canary.viewers import Arrivals, View

PORTS = {"rtmp": RTMP_PORT, "http": HTTP_PORT, "https": HTTPS_PORT}
"""The port of an edge for each scheme of a stream's URL."""

REFERENCE_EDGES = 4
"""Edges of the other releases that are played, at most."""

PARALLEL = 10
"""Viewers at the same time: each of them is carried by the API server."""


@dataclass
class PreviewObserver:
    """Observes a canary out of rotation.

    release: as it is declared out of rotation. urls: of the stream. seconds: that each viewer watches. steps: of the
    run, with this one.
    """

    live: LiveCluster
    release: str
    urls: Sequence[str]
    seconds: float
    steps: int
    report: Callable[[str], None]

    def observe(self, attempt: int = 0) -> Observation:
        """Let MINIMUM_VIEWERS play the canary, and as many the other releases. Raises UnreachableError."""
        started = time.monotonic()
        canary = self._pods(f"run={edge_run(self.release)}")
        stable = self._pods(f"app={EDGE_APP}")[:REFERENCE_EDGES]
        restarts = list(restart_findings(canary))
        ready = [pod for pod in canary if pod_reason(pod) is None]
        if restarts or not ready or not stable:
            missing = inconclusive("NoCanaryPod" if stable else "NoReference", self._missing(canary, stable))
            return Observation(restarts or [missing], seconds=time.monotonic() - started)
        port = PORTS[urlsplit(self.urls[0]).scheme]
        edges = [_name(pod) for pod in (ready[0], *stable)]
        with ExitStack() as block:
            tunnels = [block.enter_context(Tunnel(lambda pod=pod: self.live.port_forward(pod, port))) for pod in edges]
            self.report(self._invitation(tunnels[0], edges[0], port))
            # Every second viewer is one of the canary.
            order = [index for number in range(1, len(tunnels)) for index in (0, number)]
            through = [tunnels[index].address for index in order]
            views = self._views(block, through)
            broken = [tunnel.error for tunnel in tunnels[1:] if tunnel.error]
        served = [order[number % len(order)] for number in range(len(views))]
        pods = [(replace(view, server=edges[index]), index) for view, index in zip(views, served, strict=True)]
        canary_views = Audience.seen([view for view, index in pods if not index])
        reference = Audience.seen([view for view, index in pods if index])
        self.report(summary({self.release: canary_views, "other releases": reference}))
        findings = self._findings(canary_views, reference, broken, attempt)
        findings += restart_findings(self._pods(f"run={edge_run(self.release)}"))
        return Observation(findings, seconds=time.monotonic() - started)

    def _pods(self, selector: str) -> list[Object]:
        pods = [pod for pod in self.live.pods(selector) if not is_terminating(pod)]
        in_rotation = selector.startswith("app=")
        return sorted((pod for pod in pods if not in_rotation or pod_reason(pod) is None), key=_name)

    def _missing(self, canary: Sequence[Object], stable: Sequence[Object]) -> str:
        if not stable:
            return "no edge of another release is ready"
        reasons = "; ".join(f"pod {_name(pod)}: {pod_reason(pod)}" for pod in canary)
        return f"{self.release} has no ready edge out of rotation{f': {reasons}' if reasons else ''}"

    def _invitation(self, tunnel: Tunnel, pod: str, port: int) -> str:
        parts = urlsplit(self.urls[0])
        here = f"{parts.scheme}://{tunnel.address[0]}:{tunnel.address[1]}{parts.path}"
        return (
            f"{plural(MINIMUM_VIEWERS, 'viewer')} play {self.release} out of rotation, and as many the other releases; "
            f"meanwhile, play it yourself: {here} (from elsewhere: kubectl -n {self.live.namespace} port-forward {pod} "
            f"{port})"
        )

    def _views(self, block: ExitStack, through: Sequence[tuple[str, int]]) -> list[View]:
        arrivals = block.enter_context(Arrivals(self.urls, self.seconds, PARALLEL, through))
        return arrivals.next(2 * MINIMUM_VIEWERS, last=True)

    def _findings(self, canary: Audience, reference: Audience, broken: Sequence[str], attempt: int) -> list[Finding]:
        if broken:
            return [error("PortForwardFails", f"edges of the other releases cannot be played: {broken[0]}")]
        probability = Budget(self.steps, 1, canary.viewers * self.seconds).error(1, attempt)
        findings = [
            *quality_findings(self.release, canary, reference, probability),
            *reference_findings(self.release, reference),
        ]
        for count, what in ((canary.failed, "failed"), (canary.stalled, "stalled")):
            if count > MAX_REFERENCE_FAILURES * canary.viewers and not findings:
                findings.append(
                    inconclusive(
                        "CanaryNotCertain",
                        f"{self.release}: {count} of {plural(canary.viewers, 'viewer')} {what}, too many to pass, and "
                        "too few to be certain",
                    )
                )
        return findings


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
