"""Which origins an update keeps, creates and drains.

An origin that is replaced keeps its name until its last publisher has left, so its successor needs another one. The
origins of a revision have consecutive ordinals (`spec.ordinals.start` of their StatefulSet), and another revision has
other ones:

    srs-origin-0 -1 -2                  3 origins
    srs-origin-0 -1 -2 -3               a changed image: one new origin, which is checked
    srs-origin-0 -1 -2 -3 -4 -5         all new origins, which become ready
    (0 1 2)      srs-origin-3 -4 -5     the earlier ones drain; the next revision gets 6 to 8

Origins that this program has not created, as those of the article, are the exception: the edges that go on beside ours
know them by their names. They are replaced one after the other, each under its own name; the first one, which has most
streams, comes last (ossrs/srs #4187).

Pure: settings and live state in, plan out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.live import Object
from cluster.rollout_status import stateful_set_ordinals
from cluster.state import LiveState
from cluster.terminating import is_running
from model.config.problems import Problem, UpdateWarning
from model.config.stack import StackSettings
from model.config.values import plural
from model.desired.origin_drain import REVISION_ANNOTATION, drains
from model.desired.render import Desired
from model.names import ORIGIN, origin_ordinal, origin_pod
from update.prediction import admitted, apply_changes


@dataclass(frozen=True)
class OriginPlan:
    """What an update does to the origins.

    ordinals: of the origins after it; None if no free ones are left. live: ordinals of the live StatefulSet, none if
    there is no StatefulSet and no pod that is left of one. fresh: ordinals of the origins that it creates.
    removed: live origins that it removes, with the seconds that each may drain, 0 for one that drops its publishers.
    kept: live origins that stay. ready: live origins that are ready. draining: terminating ones.
    surges: whether the new ones must be ready, and checked, before live ones are removed.
    in_place: the origins that are replaced one after the other, under their own names.
    """

    ordinals: range | None
    live: range = range(0)
    fresh: tuple[int, ...] = ()
    removed: Mapping[str, int] = field(default_factory=dict[str, int])
    kept: tuple[str, ...] = ()
    ready: frozenset[str] = frozenset()
    draining: tuple[str, ...] = ()
    surges: bool = False
    in_place: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The origins after the update; none if there are no free ordinals."""
        return _names(self.ordinals or ())

    @property
    def start(self) -> int:
        """The ordinal of the first origin."""
        return self.ordinals.start if self.ordinals else self.live.start

    @property
    def checked(self) -> int:
        """The ordinal of the new origin that is next to the live ones; it is checked before there are more of them."""
        assert self.ordinals
        new = [number for number in self.ordinals if origin_pod(number) not in self.draining] or self.ordinals
        return new[0] if self.ordinals.start >= self.live.start else new[-1]

    @property
    def first(self) -> range:
        """The ordinals of the StatefulSet while one new origin is checked: the live ones and it."""
        return _cover(self.live, range(self.checked, self.checked + 1))

    @property
    def earlier(self) -> range:
        """The ordinals of the StatefulSet without the new origins, which are not usable."""
        assert self.ordinals is not None
        earlier = [number for number in self.live if number not in self.ordinals]
        return range(earlier[0], earlier[-1] + 1) if earlier else self.live

    @property
    def all(self) -> range:
        """The ordinals of the StatefulSet while both the live and the new origins serve."""
        assert self.ordinals is not None
        return _cover(self.live, self.ordinals) if self.live else self.ordinals

    @property
    def peak(self) -> int:
        """The largest number of origins at the same time, without those that terminate already."""
        live = len(self.kept) + len(self.removed)
        if self.in_place:
            return max(live, len(self.ordinals or ()))
        return max(live, len(self.all) if self.surges else live + len(self.fresh)) if self.ordinals else live

    @property
    def dropped(self) -> list[str]:
        """Origins that drop their publishers."""
        return [name for name, grace in self.removed.items() if not grace]


NO_ORIGINS = OriginPlan(range(0))
"""The part of a plan that does not know the origins."""


def origin_plan(desired: Desired, state: LiveState) -> OriginPlan:
    """Plan the origins."""
    origin = desired.settings.origin
    count, names = origin.replicas, origin.name_count
    live = state.origins
    terminating = _by_ordinal(state.draining_origins)
    pods = _by_ordinal(pod for pod in state.pods if pod["metadata"]["labels"].get("app") == ORIGIN)
    if live is None and not pods:
        ordinals = _choose(count, names, range(0), {}, terminating.keys())
        return OriginPlan(ordinals, range(0), tuple(ordinals or ()), draining=_names(terminating))
    of_set = stateful_set_ordinals(live) if live is not None else range(min(pods), max(pods) + 1)
    is_current = _revision_check(desired.origin_set.compared, live, state)
    current = {number for number, pod in pods.items() if is_current(pod)}
    # Pods that do not run have no connections; they are deleted, and the StatefulSet creates them again.
    running = {number: pod for number, pod in pods.items() if live is None or is_running(pod) or _is_ready(pod)}
    blocked = {number for number in running if number not in current} | {
        number for number in terminating if number not in of_set or not current & set(of_set)
    }
    value = {number: 2 if _is_ready(pods[number]) else 1 for number in current if number in running}
    foreign = [pod for pod in running.values() if pod["spec"].get("serviceAccountName") != ORIGIN]
    own_names = range(of_set.start, of_set.start + count) if foreign and of_set.start + count <= names else None
    ordinals = own_names or _choose(count, names, of_set, value, blocked)
    ready = frozenset(origin_pod(number) for number, pod in pods.items() if _is_ready(pod))
    if ordinals is None:
        return OriginPlan(None, of_set, kept=_names(pods), ready=ready, draining=_names(terminating))
    stays = current if own_names else ordinals
    removed = {number: pod for number, pod in running.items() if number not in stays}
    fresh = tuple(number for number in ordinals if number not in current and number not in terminating)
    replaced = {number for number, pod in removed.items() if number not in current and _is_ready(pod)}
    return OriginPlan(
        ordinals,
        of_set,
        fresh,
        {origin_pod(number): _drain_seconds(pod) for number, pod in removed.items()},
        _names(number for number in ordinals if number in current),
        ready,
        _names(terminating),
        surges=not own_names and bool(replaced),
        in_place=_names(number for number in removed if number in ordinals)[::-1],
    )


def origin_problems(settings: StackSettings, plan: OriginPlan) -> Iterator[Problem]:
    """No free names: earlier revisions drain under them."""
    if plan.ordinals is None:
        count = settings.origin.name_count
        yield Problem(
            ("origin",),
            settings.origin.replicas,
            f"cannot be changed now: {settings.origin.replicas} consecutive names of {count} are needed for the new "
            f"origins, and {plural(len(plan.draining), 'origin')} still "
            f"{'drains' if len(plan.draining) == 1 else 'drain'} ({', '.join(plan.draining)}). Wait until their "
            "publishers have left (rollout draining), or drop these: rollout cut",
            reason="NoFreeOriginNames",
        )


def origin_warnings(settings: StackSettings, plan: OriginPlan, lost: Collection[str] = ()) -> Iterator[UpdateWarning]:
    """What an update means for encoders, a line each. lost: pods on nodes that do not answer (`cluster_warnings`)."""
    if plan.dropped:
        hls = ", but HLS players have to be started again (docs/hls.md)" if settings.hls.enabled else ""
        origins = plural(len(plan.dropped), "origin")
        yield UpdateWarning(
            f"{origins} that this version of the program has not created cannot drain: each drops its "
            "publishers once, and they reconnect; viewers stay connected and have no media for a few seconds"
            f"{hls}. Later updates drop none",
            "OriginsDropPublishers",
        )
    paused = [name for name in plan.draining if name in plan.names and name not in lost]
    if paused:
        yield UpdateWarning(
            f"{', '.join(paused)} {'is' if len(paused) == 1 else 'are'} draining outside of an update, as on a drained "
            f"node, and will be replaced when {'its' if len(paused) == 1 else 'their'} publishers have left",
            "OriginNotReplaced",
        )


def _choose(desired: int, names: int, live: range, value: Mapping[int, int], blocked: Collection[int]) -> range | None:
    """The ordinals that keep most of the current origins, ready ones first; then those next to the live ones.

    value: of each current origin. blocked: ordinals that cannot be used.
    """
    found = [
        range(start, start + desired)
        for start in range(names - desired + 1)
        if not any(number in blocked for number in range(start, start + desired))
    ]
    # Next to the live ones: the StatefulSet has all ordinals in between during the update.
    return min(
        found,
        key=lambda ordinals: (
            -sum(value.get(number, 0) for number in ordinals),
            len(_cover(live, ordinals)),
            ordinals.start < live.start,
            ordinals.start,
        ),
        default=None,
    )


def _cover(*parts: range) -> range:
    parts = tuple(part for part in parts if part)
    return range(min(part.start for part in parts), max(part.stop for part in parts))


def _revision_check(manifest: Object, live: Object | None, state: LiveState) -> Callable[[Object], bool]:
    """The check whether a pod has the desired template. manifest: the desired StatefulSet."""
    if live is None:
        return lambda _pod: False
    spec: dict[str, Any] = manifest["spec"]
    newest = live.get("status", {}).get("updateRevision")
    revision = spec["template"]["metadata"]["annotations"][REVISION_ANNOTATION]
    changes = admitted(apply_changes(manifest, live), live, state.admission.stored.get(("StatefulSet", ORIGIN)))
    changed = any(change.path[:2] == ("spec", "template") for change in changes)

    def check(pod: Object) -> bool:
        labels: dict[str, str] = pod["metadata"].get("labels") or {}
        is_newest = labels.get("controller-revision-hash") == newest
        if not changed:
            return is_newest
        annotations: dict[str, str] = pod["metadata"].get("annotations") or {}
        return not is_newest and annotations.get(REVISION_ANNOTATION) == revision

    return check


def _is_ready(pod: Object) -> bool:
    conditions: list[Object] = pod.get("status", {}).get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _drain_seconds(pod: Object) -> int:
    return int(pod["spec"]["terminationGracePeriodSeconds"]) if drains(pod) else 0


def _by_ordinal(pods: Iterable[Object]) -> dict[int, Object]:
    found = {origin_ordinal(pod["metadata"]["name"]): pod for pod in pods}
    return {number: pod for number, pod in found.items() if number is not None}


def _names(ordinals: Iterable[int]) -> tuple[str, ...]:
    return tuple(origin_pod(number) for number in sorted(ordinals))
