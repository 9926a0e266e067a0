"""Polling: one loop for everything that an update waits for, with a deadline and with progress."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from cluster.live import POLL_INTERVAL, LiveCluster, UnreachableError
from cluster.origin_check import NOT_CHECKED, OriginAccess, OriginCheck
from cluster.rollout_status import RolloutStatus, dead_pods, rollout_status
from cluster.running_version import broken_promise, running_version
from cluster.state import address, is_bound
from cluster.terminating import SYNC_PERIOD, terminating_namespace
from model.config.values import format_duration, plural
from model.desired.workloads import Workload
from model.names import ORIGIN
from model.srs.versions import Version, format_version

STUCK_TIMEOUT = timedelta(minutes=1)
"""How long a pod may be stuck, in a state that rarely recovers, before its rollout fails."""

_IP = re.compile(r"[\d.]+|[\da-f:]+")

T = TypeVar("T")


@dataclass(frozen=True)
class Pending:
    """What is not ready yet.

    status: one line of progress. error: the message if the wait ends here. expired: whether it ends now.
    """

    status: str
    error: str
    expired: bool = False


class RolloutError(RuntimeError):
    """A rollout did not complete; the message names its pods and their reasons."""


class AddressError(RuntimeError):
    """A Service has no address; the message contains its events."""


class ClaimError(RuntimeError):
    """A claim is not bound; the message contains its events."""


class NamespaceTerminatingError(RuntimeError):
    """A namespace is still terminating; the message names the pods that it waits for, and their deadlines."""


async def poll(
    observe: Callable[[timedelta], T | Pending],
    on_progress: Callable[[str], None],
    error: type[Exception],
    interval: float = POLL_INTERVAL,
) -> T:
    """Observe until the result is there, and return it.

    observe: is called in a thread with the time since the start. on_progress: receives each new status line, and an
    empty one at the end. Raises `error` when an observation has expired.
    """
    engine = os.getppid()
    start = time.monotonic()
    status = ""
    while True:
        observation = await asyncio.to_thread(observe, timedelta(seconds=time.monotonic() - start))
        if not isinstance(observation, Pending):
            if status:
                on_progress("")
            return observation
        if observation.status != status:
            on_progress(status := observation.status)
        if observation.expired:
            raise error(observation.error)
        if os.getppid() != engine:  # the engine was killed, and no process reads the result
            os._exit(1)
        await asyncio.sleep(interval)


class ReadyTimes:
    """How long the pods of a workload have been seen ready.

    The controller of StatefulSets reports `availableReplicas` one or two periods of `minReadySeconds` late (measured
    with 1.34: 30 s for 15 s), and the status of a Deployment does not say which of its pods are available.
    """

    def __init__(self, workload: Workload) -> None:
        self._minimum = workload.min_ready
        self._since: dict[str, timedelta] = {}

    def lasting(self, status: RolloutStatus, elapsed: timedelta) -> set[str]:
        """The pods that have been ready for the time that is needed. elapsed: since the start of the wait."""
        self._since = {name: self._since.get(name, elapsed) for name in status.ready}
        return {name for name, since in self._since.items() if elapsed - since >= self._minimum}


@dataclass(frozen=True)
class RolloutResult:
    """What was found out about a complete rollout.

    unchecked: why it cannot be found out whether its edges reach an origin; empty if they do. running: the SRS version
    that its edges run, if it is not the declared one.
    """

    unchecked: str = ""
    running: Version | None = None


async def wait_for_rollout(
    live: LiveCluster, workload: Workload, on_progress: Callable[[str], None], pause_at: int
) -> RolloutResult:
    """Wait until a rollout is complete, and until one of the new edges has reached an origin.

    From the first ready new edge until then the Deployment is paused: it replaces no more edges, and stays so if the
    wait fails.
    pause_at: number of ready new edges at which it is paused again, and the wait ends when they have been ready for
    `minReady`; 0: it goes on until it is complete. A batch is never divided, so there may be more.
    Raises RolloutError at the workload's timeout, or earlier: when the same pod has been stuck for a minute and no pod
    of the new revision is available, when the new edges have reached no origin for a minute, or when they run an SRS
    version that breaks the promises of the declared one.
    """
    stuck_since: dict[str, timedelta] = {}
    check = OriginCheck(live, workload.probe_path, workload.probe_asks)
    running: Version | None = None
    times = ReadyTimes(workload)

    def observe(elapsed: timedelta) -> RolloutResult | Pending:
        nonlocal stuck_since, running
        access = NOT_CHECKED
        try:
            if workload.kind == "StatefulSet":
                remove_dead_pods(live, workload)
            status = rollout_status(live, workload)
            lasting = times.lasting(status, elapsed) >= set(status.ready)
            if lasting and status.all_ready:
                status = replace(status, complete=True)
            if status.aborted and status.desired:
                return Pending("aborted", f"{workload.title} was taken out of rotation (rollout abort)", expired=True)
            if workload.release is not None and status.desired:
                pauses = bool(status.replaces) and 0 < pause_at <= len(status.ready)
                if status.ready and status.replaces and not status.paused and (pauses or not check.is_final):
                    live.pause(workload.name, True, status.version)
                access = check.observe(status.ready)
                if status.ready and access.result != "unknown":
                    running = running or running_version(live, status.ready[0])
                    _check_version(workload, running)
                if status.paused and access.is_final:
                    if not pauses:
                        live.pause(workload.name, False, status.version)
                    elif not status.reasons and lasting:
                        status = replace(status, complete=True)
        except UnreachableError as error:  # or changed since it was read, for example by an abort
            return _unknown(workload, error, elapsed)
        if status.complete and access.is_final:
            return RolloutResult("; ".join(access.message), None if running == workload.version else running)
        stuck = status.stuck | (frozenset({ORIGIN}) if access.result == "failed" else frozenset[str]())
        stuck_since = {name: stuck_since.get(name, elapsed) for name in stuck}
        stuck_long = {name for name, since in stuck_since.items() if elapsed - since >= STUCK_TIMEOUT}
        return Pending(
            f"{status.available} of {status.desired} ready"
            + "".join(f"; {reason}" for reason in (*status.reasons, *access.message)[:1]),
            _rollout_error(workload, status, access, min(elapsed, workload.timeout)),
            elapsed >= workload.timeout
            or ORIGIN in stuck_long
            # One stuck pod among available ones may be on a bad node, and is given the whole timeout.
            or (bool(stuck_long) and not status.available),
        )

    try:
        return await poll(observe, on_progress, RolloutError)
    finally:
        check.close()


async def wait_for_pods(
    live: LiveCluster, workload: Workload, pods: Collection[str], on_progress: Callable[[str], None]
) -> None:
    """Wait until these pods of the newest revision of a StatefulSet have been ready for `minReady`.

    What its other pods are does not matter. Raises RolloutError at the workload's timeout, or earlier when one of these
    has been stuck for a minute.
    """
    stuck_since: dict[str, timedelta] = {}
    times = ReadyTimes(workload)

    def observe(elapsed: timedelta) -> Pending | None:
        nonlocal stuck_since
        try:
            remove_dead_pods(live, workload)
            status = rollout_status(live, workload, frozenset(pods))
            if set(pods) <= times.lasting(status, elapsed):
                return None
        except UnreachableError as error:
            return _unknown(workload, error, elapsed)
        stuck = status.stuck & set(pods)
        stuck_since = {name: stuck_since.get(name, elapsed) for name in stuck}
        missing = len(set(pods) - set(status.ready))
        expired = elapsed >= workload.timeout or any(elapsed - since >= STUCK_TIMEOUT for since in stuck_since.values())
        shown = replace(status, desired=len(pods), available=len(pods) - missing)
        return Pending(
            f"{shown.available} of {shown.desired} new ones ready"
            + "".join(f"; {reason}" for reason in status.reasons[:1]),
            _rollout_error(workload, shown, NOT_CHECKED, min(elapsed, workload.timeout)),
            expired,
        )

    await poll(observe, on_progress, RolloutError)


def remove_dead_pods(live: LiveCluster, workload: Workload) -> None:
    """Delete pods of earlier revisions that do not run: only a deleted one is replaced."""
    stateful_set = live.stateful_set(workload.name)
    for pod in dead_pods(stateful_set, live.pods(workload.selector)) if stateful_set else []:
        live.delete_pod(pod["metadata"]["name"], pod["metadata"]["uid"])


async def wait_for_address(
    live: LiveCluster, service: str, timeout: timedelta, on_progress: Callable[[str], None], expected: str | None = None
) -> str:
    """Wait until a Service has the address of its load balancer, and return it.

    expected: the address of the load balancer, if it is known. A host name is accepted as well (annotation `hostname`).
    Raises AddressError at the timeout, with the Service's events.
    """

    def observe(elapsed: timedelta) -> str | Pending:
        host = None
        try:
            host = address(live.service(service))
            if host and (expected in (None, host) or not _IP.fullmatch(host)):
                return host
            events = live.warnings(service)
        except UnreachableError as error:
            events = [str(error)]
        message = [
            f"Service {service} has no address of its load balancer after {format_duration(timeout)}"
            + (f", but {host}, where the load balancer has {expected}" if host else ""),
            *(f"  {event}" for event in list(dict.fromkeys(events))[-3:]),
            *([] if events else ["  it has no events: is a cloud controller manager running?"]),
            f"  kubectl -n {live.namespace} describe service {service}",
        ]
        status = f"waiting for an address{': ' + events[-1] if events else ''}"
        return Pending(status, "\n".join(message), elapsed >= timeout)

    return await poll(observe, on_progress, AddressError)


async def wait_for_claim(
    live: LiveCluster, claim: str, workload: Workload, timeout: timedelta, on_progress: Callable[[str], None]
) -> None:
    """Wait until a claim is bound. workload: the one whose pods mount it.

    Raises ClaimError at the timeout, with the claim's events and the reasons of the pods.
    """

    def observe(elapsed: timedelta) -> Pending | None:
        try:
            if is_bound(live.claim(claim)):
                return None
            # A storage class with WaitForFirstConsumer waits for pods that can be scheduled.
            reasons = [*live.warnings(claim)[-3:], *rollout_status(live, workload).reasons]
        except UnreachableError as error:
            reasons = [str(error)]
        message = [
            f"claim {claim} is not bound after {format_duration(timeout)}",
            *(f"  {reason}" for reason in dict.fromkeys(reasons)),
            *([] if reasons else ["  it has no events: does the provisioner of its storage class run?"]),
            f"  kubectl -n {live.namespace} describe pvc {claim}",
        ]
        status = f"waiting for a volume{': ' + reasons[0] if reasons else ''}"
        return Pending(status, "\n".join(message), elapsed >= timeout)

    await poll(observe, on_progress, ClaimError)


async def wait_for_namespace(
    live: LiveCluster, timeout: timedelta, report: Callable[[str], None], on_progress: Callable[[str], None]
) -> None:
    """Wait while the namespace is terminating; return at once if it is not.

    timeout: how long to wait while it has pods; an empty namespace is awaited until it is deleted, which takes
    minutes at most. report: receives the pods that it waits for, once. on_progress: receives one line at each change.
    Raises NamespaceTerminatingError.
    """
    deadline = timeout
    empty = reported = False

    def observe(elapsed: timedelta) -> Pending | None:
        nonlocal deadline, empty, reported
        namespace = terminating_namespace(live)
        if namespace is None:
            return None
        pods, message = namespace
        if not reported:
            report(message)
            reported = True
        if not pods and not empty:
            empty = True
            deadline = max(deadline, elapsed + SYNC_PERIOD + timeout)
        return Pending(message.splitlines()[0].rstrip(":"), message, elapsed >= deadline)

    await poll(observe, on_progress, NamespaceTerminatingError, interval=2.0)


def _check_version(workload: Workload, running: Version | None) -> None:
    """Raise RolloutError if edges run a version that breaks the promises of the declared one."""
    declared = workload.version
    if declared and running and running != declared and (reason := broken_promise(declared, running)):
        raise RolloutError(
            f"{_title(workload)} runs SRS {format_version(running)}, and the config "
            f"declares {format_version(declared)}: {reason}. Use another image, or correct its `version`"
        )


def _unknown(workload: Workload, error: UnreachableError, elapsed: timedelta) -> Pending:
    """What is pending if the cluster gave no answer: how many pods are ready is not known. A stuck one stays stuck."""
    message = f"{_title(workload)} is not ready after {_rounded(workload.timeout)}: the last read failed\n  {error}"
    return Pending(str(error), message, elapsed >= workload.timeout)


def _title(workload: Workload) -> str:
    return f"{workload.title} ({workload.kind} {workload.name})"


def _rounded(elapsed: timedelta) -> str:
    return format_duration(timedelta(seconds=round(elapsed.total_seconds())))


def _rollout_error(workload: Workload, status: RolloutStatus, access: OriginAccess, elapsed: timedelta) -> str:
    rounded = _rounded(elapsed)
    title = _title(workload)
    if access.result == "failed" or status.complete:
        head = f"{title} plays nothing after {rounded}: no new edge has reached an origin"
        if status.paused:
            head += (
                f". Its rolling update is paused, and {plural(status.replaces, 'edge')} of the earlier revision still "
                f"{'serves' if status.replaces == 1 else 'serve'}"
            )
    else:
        head = (
            f"{title} is not ready after {rounded}: "
            f"{status.available} of {status.desired} pods of the new revision are available"
        )
    return "\n".join([head, *(f"  {reason}" for reason in (*access.message, *status.reasons))])
