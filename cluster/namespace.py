"""A namespace that is still terminating: nothing can be made in it until its last pod has drained."""

import time
from collections.abc import Callable
from datetime import timedelta

from cluster.live import LiveCluster, Object

POLL = 2.0
"""Seconds between two looks."""

SHOWN = 10
"""Pods that are named; there may be hundreds."""


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
    return describe(live.namespace, live.pods())


def describe(namespace: str, pods: list[Object]) -> str:
    """The message for a terminating namespace with these pods left."""
    # deletionTimestamp is when the grace ends (Kubernetes API, ObjectMeta).
    left = sorted((pod["metadata"].get("deletionTimestamp") or "?", pod["metadata"]["name"]) for pod in pods)
    lines = [f"namespace {namespace} is still terminating; it waits for {len(left)} pods:"]
    lines += [f"  {name} until {until} at the latest" for until, name in left[:SHOWN]]
    if len(left) > SHOWN:
        lines.append(f"  and {len(left) - SHOWN} more, the last one until {left[-1][0]}")
    lines.append(
        "Their open connections end by themselves until then. To cut them now: "
        f"kubectl -n {namespace} delete pod --all --grace-period=0 --force"
    )
    return "\n".join(lines)
