"""The sizes of an autoscaled fleet over time, and what must be true of them."""

import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import psutil

from e2e.live_stack import LiveStack


@dataclass(frozen=True)
class Observation:
    """The fleet at a moment. time: Unix time. wanted, ready: edges by release.

    connections: of each ready edge on all ports; draining: of each terminating one.
    """

    time: float
    wanted: Mapping[str, int]
    ready: Mapping[str, int]
    connections: Mapping[str, int]
    draining: Mapping[str, int]

    @property
    def size(self) -> int:
        """The edges of all releases, ready or not."""
        return sum(self.wanted.values())


@dataclass(frozen=True)
class Removal:
    """Edges that a release lost at once. since: seconds since it lost the edge before, if it did."""

    release: str
    edges: int
    since: float | None


Course = list[Observation]


def deviation(seen: Observation, share: Fraction, release: str) -> Fraction:
    """How many edges a release is away from its share of the fleet."""
    return abs(seen.wanted[release] - share * seen.size)


def deviates(course: Course, share: Fraction, release: str) -> float:
    """The longest time in seconds for which a release was more than one edge away from its share."""
    longest, since = 0.0, None
    for seen in course:
        if deviation(seen, share, release) <= 1:
            since = None
        else:
            since = seen.time if since is None else since
            longest = max(longest, seen.time - since)
    return longest


def sizes(course: Course, seconds: float) -> list[Mapping[str, int]]:
    """The edges by release, each time that they did not change for so many seconds."""
    found: list[Mapping[str, int]] = []
    since = course[0]
    for seen in course:
        if seen.wanted != since.wanted:
            since = seen
        if seen.time - since.time >= seconds and (not found or found[-1] != seen.wanted):
            found.append(seen.wanted)
    return found


def removals(course: Course) -> Iterator[Removal]:
    """When the releases lost edges."""
    last: dict[str, float] = {}
    for before, after in pairwise(course):
        for release, edges in before.wanted.items():
            lost = edges - after.wanted.get(release, 0)
            if lost > 0:
                since = after.time - last[release] if release in last else None
                last[release] = after.time
                yield Removal(release, lost, since)


def fullest(course: Course) -> int:
    """The most connections that an edge had."""
    return max(max(seen.connections.values(), default=0) for seen in course)


@contextmanager
def recorded(stack: LiveStack, releases: Sequence[str], pause: float = 1.0) -> Generator[Course]:
    """Record the fleet while the block runs. pause: seconds between two observations."""
    course: Course = []
    pids: dict[str, int] = {}
    done = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            while not done.wait(pause):
                course.append(observe(stack, releases, pids))
        except Exception as error:  # raised in the block's thread
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield course
    finally:
        done.set()
        thread.join()
    assert not failures, failures


def observe(stack: LiveStack, releases: Sequence[str], pids: dict[str, int]) -> Observation:
    """The fleet now. pids: the processes of pods that are known already."""
    now = time.time()
    items = stack.get("deployments,pods")["items"]
    deployments = {item["metadata"]["name"]: item for item in items if item["kind"] == "Deployment"}
    edges = {release: deployments[f"srs-edge-{release}-deploy"] for release in releases}
    connections: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for pod in (item for item in items if item["metadata"].get("labels", {}).get("app") == "srs-edge"):
        name = pod["metadata"]["name"]
        if not any(status.get("started") for status in pod["status"].get("containerStatuses", [])):
            continue
        if name not in pids:
            with suppress(AssertionError, OSError, psutil.NoSuchProcess):  # it has ended by now
                pids[name] = stack.process(name).pid
        found = stack.connections(pids[name]) if name in pids else None
        if found is not None:
            connections["deletionTimestamp" in pod["metadata"]][name] = found
    return Observation(
        now,
        {release: item["spec"]["replicas"] for release, item in edges.items()},
        {release: item["status"].get("readyReplicas", 0) for release, item in edges.items()},
        connections[False],
        connections[True],
    )
