"""Waiting for rollouts, with a deadline and with progress."""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import timedelta

from cluster.live import LiveCluster, Unreachable
from cluster.rollout_status import Progress, Workload, observe
from cluster.state import address
from model.values import format_duration

POLL = 0.5
"""Seconds between two looks."""

PATIENCE = timedelta(minutes=1)
"""How long a pod may stay in a state that seldom goes away by itself, before the rollout has failed."""


class RolloutFailed(RuntimeError):
    """Rollouts that did not complete; the message names each one's pods and their own reasons."""


async def rolled_out(live: LiveCluster, workload: Workload, timeout: timedelta, tell: Callable[[str], None]) -> None:
    """Wait until a rollout is complete.

    timeout: after this time it has failed. tell: is given a line whenever there is something new.
    Raises RolloutFailed at the deadline, or sooner when the same pod has been in a hopeless state for a minute.
    """
    engine = os.getppid()
    begun = time.monotonic()
    hopeless_since: dict[str, float] = {}
    told = ""
    while True:
        try:
            progress = await asyncio.to_thread(observe, live, workload)
        except Unreachable as error:
            progress = Progress(False, 0, 1, (str(error),))
        now = time.monotonic()
        if progress.complete:
            tell("")
            return
        line = f"{progress.available} of {progress.wanted} ready" + "".join(f"; {it}" for it in progress.reasons[:1])
        if line != told:
            tell(told := line)
        hopeless_since = {pod: hopeless_since.get(pod, now) for pod in progress.hopeless}
        waited = timedelta(seconds=now - begun)
        given_up = any(now - since >= PATIENCE.total_seconds() for since in hopeless_since.values())
        if waited >= timeout or given_up:
            raise RolloutFailed(_message(workload, progress, min(waited, timeout)))
        if os.getppid() != engine:  # the engine was killed; nobody is left to wait for
            os._exit(1)
        await asyncio.sleep(POLL)


async def addressed(live: LiveCluster, service: str, timeout: timedelta, tell: Callable[[str], None]) -> str:
    """Wait until a Service has the address of its load balancer, and return it.

    timeout: after this time it has failed. tell: is given a line whenever there is something new.
    Raises RolloutFailed at the deadline, with what the cluster's controller says of the Service.
    """
    engine, begun, told = os.getppid(), time.monotonic(), ""
    while True:
        said: list[str] = []
        try:
            found = await asyncio.to_thread(live.service, service)
            if host := address(found):
                tell("")
                return host
            said = await asyncio.to_thread(live.warnings, service)
        except Unreachable as error:
            said = [str(error)]
        line = f"waiting for an address{': ' + said[-1] if said else ''}"
        if line != told:
            tell(told := line)
        if time.monotonic() - begun >= timeout.total_seconds():
            raise RolloutFailed(
                "\n".join(
                    [
                        f"Service {service} has no address of its load balancer after {format_duration(timeout)}",
                        *(f"  {each}" for each in list(dict.fromkeys(said))[-3:]),
                        *([] if said else ["  no event of it says why: is a cloud controller manager running?"]),
                        f"  kubectl -n {live.namespace} describe service {service}",
                    ]
                )
            )
        if os.getppid() != engine:  # the engine was killed; nobody is left to wait for
            os._exit(1)
        await asyncio.sleep(POLL)


def _message(workload: Workload, progress: Progress, waited: timedelta) -> str:
    after = format_duration(timedelta(seconds=round(waited.total_seconds())))
    head = (
        f"{workload.title} ({workload.kind} {workload.name}) is not ready after {after}: "
        f"{progress.available} of {progress.wanted} pods of the new revision are available"
    )
    return "\n".join([head, *(f"  {reason}" for reason in progress.reasons)])
