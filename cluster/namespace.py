"""A namespace that is still terminating: nothing can be made in it until its last pod has drained."""

import time
from collections.abc import Callable
from datetime import timedelta

from cluster.draining import describe, words
from cluster.live import LiveCluster

POLL = 2.0
"""Seconds between two looks."""


class StillTerminating(RuntimeError):
    """The namespace did not go in time; the message names the pods that it waits for, and until when."""


def wait_until_gone(live: LiveCluster, timeout: timedelta, tell: Callable[[str], None]) -> None:
    """Wait while the namespace is terminating; come back at once if it is not.

    tell: is given the message whenever it changes. Raises StillTerminating after `timeout`.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    told = ""
    while (message := terminating(live)) is not None:
        if time.monotonic() >= deadline:
            raise StillTerminating(message)
        if message != told:
            tell(told := message)
        time.sleep(POLL)


def terminating(live: LiveCluster) -> str | None:
    """What a terminating namespace waits for; None if it is not terminating."""
    namespace = live.live_namespace()
    if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
        return None
    pods = live.pods()
    head = f"namespace {live.namespace} is still terminating; it waits for {len(pods)} pods"
    return describe(head, live.namespace, pods, words(live, pods))
