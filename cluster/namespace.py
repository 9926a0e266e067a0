"""A namespace that is still terminating: nothing can be made in it until its last pod has drained."""

import time
from collections.abc import Callable
from datetime import timedelta

from cluster.draining import HOW_TO_CUT, describe, words
from cluster.live import LiveCluster

POLL = 2.0
"""Seconds between two looks."""

SYNC_PERIOD = timedelta(minutes=5)
"""How long an empty namespace may stay: its controller looks again after half the grace of the pods that it saw, hours
here, or at its next regular look (`--namespace-sync-period` of kube-controller-manager, by default 5 minutes)."""


class StillTerminating(RuntimeError):
    """The namespace did not go in time; the message names the pods that it waits for, and until when."""


def wait_until_gone(live: LiveCluster, timeout: timedelta, tell: Callable[[str], None]) -> None:
    """Wait while the namespace is terminating; come back at once if it is not.

    timeout: how long to wait while there are pods; an empty namespace is waited for until it goes, which is a matter
    of minutes. tell: is given the message whenever it changes. Raises StillTerminating in the end.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    emptied = False
    told = ""
    while (found := terminating(live)) is not None:
        pods, message = found
        if not pods and not emptied:
            emptied = True
            deadline = max(deadline, time.monotonic() + (SYNC_PERIOD + timeout).total_seconds())
        if time.monotonic() >= deadline:
            raise StillTerminating(message)
        if message != told:
            tell(told := message)
        time.sleep(POLL)


def terminating(live: LiveCluster) -> tuple[int, str] | None:
    """The number of pods that a terminating namespace waits for, and the message; None if it is not terminating."""
    namespace = live.live_namespace()
    if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
        return None
    pods = live.pods()
    head = f"namespace {live.namespace} is still terminating; "
    if not pods:
        return 0, f"{head}its last pod has gone, and Kubernetes removes it within {SYNC_PERIOD.seconds // 60} minutes"
    told = describe(f"{head}it waits for {len(pods)} pods", pods, words(live, pods))
    return len(pods), f"{told}\n{HOW_TO_CUT}"
