"""The analysis of a step of `rollout run`: pods, viewers and Prometheus, until the pause is over or something fails."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cluster.live import LiveCluster, Object, UnreachableError
from cluster.rollout_status import STUCK_REASONS, pod_reason
from model.config.values import natural_key, plural
from rollout.canary.analysis import (
    FALSE_ALARM,
    MAX_REFERENCE_FAILURES,
    MINIMUM_VIEWERS,
    WINDOW,
    Audience,
    Budget,
    Unreached,
    canary_findings,
    figures,
    reference_findings,
    share_findings,
)
from rollout.canary.outcome import (
    ERROR_RETRY_SECONDS,
    ErrorCount,
    Finding,
    Outcome,
    failed,
    inconclusive,
    worst,
)
from rollout.canary.prometheus import Queries
from rollout.canary.sampling import Sampling, desired_shares
from rollout.canary.viewers import Arrivals, View
from rollout.command import CommandRejectedError
from rollout.edges.fleet import Fleet
from rollout.stack.stack_file import StackFile

MARGIN = 1.25
"""More viewers than MINIMUM_VIEWERS are expected in the shortest step, because their number is a matter of chance."""

BASELINE_ROUNDS = 3
"""Rounds of viewers before the first step."""

RECENT = 30.0
"""Seconds before the end of a step in which the other releases must not fail either."""

ANALYSIS_INTERVAL = 2.0
"""Seconds between two analyses without viewers."""

NOT_READY_SECONDS = 5.0
"""How long a pod may be not ready: a missed probe is no fault."""

REPORT_INTERVAL = 30.0
"""Seconds between two lines of progress."""


class Seen(NamedTuple):
    """A viewer, the release that served it, and the shares that the releases had then, in per cent."""

    view: View
    release: str | None
    shares: Mapping[str, float]


@dataclass
class Observation:
    """What a step has shown. findings: why it has not passed, empty if it has. figures: see `analysis.figures`."""

    findings: list[Finding] = field(default_factory=list[Finding])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """The outcome of the analysis."""
        return worst(self.findings)

    @property
    def problems(self) -> list[str]:
        """The messages of the findings that decide the outcome, first the most severe ones."""
        order = [Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE]
        return [
            finding.message
            for outcome in (order[:1] if self.outcome is Outcome.FAILED else order)
            for finding in self.findings
            if finding.outcome is outcome
        ]


@dataclass
class Observer:
    """Observes the steps of a run.

    release: the canary. sampling: None without viewers. queries: None without Prometheus. steps: their number, with
    the one before the first viewer.
    pause: seconds that a step is observed at least. in_place: the canary if it is updated in place, else None.
    unreached: viewers before the first step, if known.
    """

    live: LiveCluster
    read_file: Callable[[], StackFile]
    release: str
    sampling: Sampling | None
    queries: Queries | None
    steps: int
    pause: float
    report: Callable[[str], None]
    in_place: str | None = None
    unreached: Unreached = field(default_factory=Unreached)
    _not_ready_since: dict[str, float] = field(default_factory=dict[str, float])
    _was_ready: set[str] = field(default_factory=set[str])
    _api: ErrorCount = field(default_factory=lambda: ErrorCount("ApiServerUnreachable"))

    def observe_baseline(self) -> None:
        """Let viewers watch before the first step. Raises CommandRejectedError if nothing could be found out then."""
        if self.sampling is None:
            return
        seen: list[Seen] = []
        with self.sampling.arrivals() as arrivals:
            for number in range(1, BASELINE_ROUNDS + 1):
                seen += self._round(self.sampling, arrivals, number == BASELINE_ROUNDS)
        if self._api.count:
            raise UnreachableError(self._api.message)
        self.unreached = Unreached(sum(item.release is None for item in seen), len(seen))
        self._check_baseline(_audience(seen))
        self._check_reach(self.sampling.fleet, seen)

    def _check_baseline(self, everyone: Audience) -> None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in everyone.failures.most_common(3))
        for count, what in ((everyone.failed, f"fail before the first step ({reasons})"), (everyone.stalled, "stall")):
            if count > MAX_REFERENCE_FAILURES * everyone.viewers:
                raise CommandRejectedError(
                    f"{count} of {plural(everyone.viewers, 'viewer')} {what}; there is nothing to compare a canary "
                    "with. Is the stream published, and is this line fast enough? --stream-url names another one, "
                    "--no-viewers judges without viewers"
                )

    def _check_reach(self, fleet: Fleet, seen: Sequence[Seen]) -> None:
        """Raise CommandRejectedError if the viewers reach only some of the edges, more surely than by chance."""
        reached = {item.view.server for item in seen if item.view.server is not None}
        viewers = sum(item.view.server is not None for item in seen)
        edges = sum(fleet.ready.values())
        # The probability that one of the edges has none of these viewers, if each viewer may reach any.
        by_chance = edges * (1 - 1 / edges) ** viewers if edges else 1.0
        if viewers and len(reached) < edges and by_chance <= FALSE_ALARM:
            raise CommandRejectedError(
                f"{plural(viewers, 'viewer')} from here reach {len(reached)} of {plural(edges, 'ready edge')}: a "
                "load balancer that is sticky to the client address (loadBalancer.persistenceTimeout, sessionAffinity) "
                "sends them all to one edge, so their shares say nothing about a canary. --stream-url names an address "
                "that is not, --no-viewers judges without viewers"
            )

    def observe_step(self, attempt: int = 0) -> Observation:
        """Observe one step until its pause is over, or until the canary fails. attempt: 0, higher for a repetition.

        What is inconclusive, or an error, at the end of the pause is observed for one more pause.
        """
        started = time.monotonic()
        observation = Observation()
        self._not_ready_since.clear()
        self._was_ready.clear()
        self._api.succeeded()
        if self.queries:
            self.queries.begin()
        if self.sampling is None:
            self._poll(observation)
        else:
            with self.sampling.arrivals() as arrivals:
                self._watch(self.sampling, arrivals, observation, attempt)
        observation.seconds = time.monotonic() - started
        return observation

    def _poll(self, observation: Observation) -> None:
        """Without viewers."""
        started = time.monotonic()
        longest = self.pause + max(self.pause, ERROR_RETRY_SECONDS * 6)
        while True:
            fleet = self._fleet()
            observation.findings = [*self._api_findings(), *self._query_findings()]
            if fleet:
                observation.findings += self._pod_findings(fleet)
            elapsed = time.monotonic() - started
            if observation.outcome is Outcome.FAILED or elapsed >= longest:
                return
            if elapsed >= self.pause and not observation.findings and not self._pending_errors:
                return
            time.sleep(ERROR_RETRY_SECONDS if self._pending_errors else min(ANALYSIS_INTERVAL, self.pause))

    def _watch(self, sampling: Sampling, arrivals: Arrivals, observation: Observation, attempt: int) -> None:
        analyses = self._analyses(sampling)
        budget = Budget(self.steps, analyses, analyses * sampling.round_seconds)
        seen: list[Seen] = []
        reported = time.monotonic()
        for number in range(1, 2 * analyses + 1):
            seen += self._round(sampling, arrivals, number == 2 * analyses)
            fleet, error = sampling.fleet, budget.error(number, attempt)
            last = number >= analyses
            recent = seen if last else [item for item in seen if item.view.started_at > time.monotonic() - WINDOW]
            findings = [
                *self._api_findings(),
                *self._pod_findings(fleet),
                *self._query_findings(),
                *self._viewer_findings(recent, fleet, error, last),
            ]
            # Before the end of the pause, what is not known yet may still become known.
            observation.findings = [item for item in findings if last or item.outcome is Outcome.FAILED]
            audiences = _by_release(seen, fleet)
            observation.figures = figures(audiences, _mean_shares(seen), desired_shares(self.read_file()), FALSE_ALARM)
            if observation.outcome is Outcome.FAILED:
                return
            if last and not observation.findings and not self._pending_errors:
                return
            if time.monotonic() - reported > REPORT_INTERVAL:
                reported = time.monotonic()
                self.report(f"{number} of {analyses}: {summary(audiences)}")

    def _analyses(self, sampling: Sampling) -> int:
        """How many rounds of viewers fill the pause, and give the canary enough viewers."""
        share = (self._fleet() or sampling.fleet).shares.get(self.release, 0) / 100
        enough = MARGIN * MINIMUM_VIEWERS / (sampling.viewers * share) if share else 1
        return max(1, round(self.pause / sampling.round_seconds), -int(-enough // 1))

    def _fleet(self) -> Fleet | None:
        """The edges now, None if the API server does not answer."""
        try:
            fleet = self.sampling.refresh() if self.sampling else Fleet.read(self.live, self.read_file(), self.in_place)
        except UnreachableError as error:
            self._api.failed(str(error))
            return None
        self._api.succeeded()
        return fleet

    def _round(self, sampling: Sampling, arrivals: Arrivals, last: bool) -> list[Seen]:
        views = sampling.watched(arrivals, last=last)
        self._fleet()
        sources, shares = sampling.sources, sampling.fleet.shares
        return [Seen(view, sources.release(view), shares) for view in views]

    def _viewer_findings(self, seen: Sequence[Seen], fleet: Fleet, error: float, last: bool) -> Iterator[Finding]:
        audiences, shares = _by_release(seen, fleet), _mean_shares(seen)
        yield from canary_findings(self.release, audiences, shares.get(self.release, 0), self.unreached, error)
        if last:
            yield from share_findings(audiences, shares, FALSE_ALARM)
            others = Audience.of(audiences[name] for name in audiences if name not in (self.release, None))
            recent = others.since(max((item.view.started_at for item in seen), default=0.0) - RECENT)
            yield from reference_findings(self.release, recent)

    def _pod_findings(self, fleet: Fleet) -> Iterator[Finding]:
        """Pods of the canary that have restarted, are not ready, or are missing."""
        now = time.monotonic()
        pods = fleet.pods_of(self.release)
        yield from restart_findings(pods)
        for pod in pods:
            name = pod["metadata"]["name"]
            reason = pod_reason(pod)
            if reason is None:
                self._not_ready_since.pop(name, None)
                self._was_ready.add(name)
            elif now - self._not_ready_since.setdefault(name, now) >= NOT_READY_SECONDS:
                # A pod that has never been ready replaces one that was evicted, or whose node was drained.
                is_fault = name in self._was_ready or reason.split(":")[0] in STUCK_REASONS
                finding = failed if is_fault else inconclusive
                yield finding("PodNotReady", f"pod {name} is not ready: {reason}")
        missing = fleet.replicas.get(self.release, 0) - len(pods)
        if not pods:
            yield inconclusive("NoCanaryPod", f"{self.release} has no pods")
        elif missing <= 0:
            self._not_ready_since.pop("", None)
        elif now - self._not_ready_since.setdefault("", now) >= NOT_READY_SECONDS:
            yield inconclusive("PodsMissing", f"{self.release} has {plural(len(pods), 'pod')} of {len(pods) + missing}")

    def _query_findings(self) -> list[Finding]:
        return list(self.queries.findings(self.release)) if self.queries else []

    def _api_findings(self) -> Iterable[Finding]:
        return [finding] if (finding := self._api.finding) else []

    @property
    def _pending_errors(self) -> bool:
        """Whether the last measurement of any kind was not possible."""
        return bool(self._api.count or (self.queries and self.queries.has_errors))


def _audience(seen: Iterable[Seen], edges: int = 1) -> Audience:
    return Audience.seen([item.view for item in seen], edges)


def _by_release(seen: Sequence[Seen], fleet: Fleet) -> dict[str | None, Audience]:
    releases = {*fleet.ready, *(item.release for item in seen), None}
    return {
        name: _audience((item for item in seen if item.release == name), max(1, fleet.ready.get(name or "", 1)))
        for name in releases
    }


def _mean_shares(seen: Sequence[Seen]) -> dict[str, float]:
    """The expected share of each release among these viewers, in per cent: edges come and go while they arrive."""
    releases = {release for item in seen for release in item.shares}
    return {
        release: sum(item.shares.get(release, 0.0) for item in seen) / len(seen)
        for release in sorted(releases, key=natural_key)
    }


def restart_findings(pods: Iterable[Object]) -> Iterator[Finding]:
    """Pods of a canary that have restarted."""
    for pod in pods:
        if restarted := _restarts(pod):
            yield failed("PodRestarted", f"pod {pod['metadata']['name']} has restarted: {restarted}")


def _restarts(pod: Object) -> str:
    """Why and how often the containers of a pod have restarted, "" if they have not."""
    for container in pod.get("status", {}).get("containerStatuses", []):
        if count := container.get("restartCount", 0):
            ended = container.get("lastState", {}).get("terminated") or {}
            return f"exit code {ended.get('exitCode', '?')}, {plural(count, 'restart')}"
    return ""


def summary(audiences: Mapping[Any, Audience]) -> str:
    """One line about the viewers of each release; None: of none that is known."""
    parts: list[str] = []
    for release, audience in sorted(audiences.items(), key=lambda item: item[0] or "~"):
        if audience.viewers:
            first_frame = audience.first_frame(0.5)
            median = f", first frame {first_frame:.2f} s" if first_frame is not None else ""
            parts.append(f"{release or '?'} {plural(audience.viewers, 'viewer')}{median}, {audience.failed} failed")
    return "; ".join(parts)
