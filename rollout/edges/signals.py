"""End terminating edges and origins at once: a draining SRS otherwise waits for its last connection."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from kubernetes.stream.ws_client import ERROR_CHANNEL, WSClient

from cluster.live import PARALLEL, POLL_INTERVAL, LiveCluster

COMMAND = ["kill", "-INT", "1"]
"""SRS exits on SIGINT, even while it drains; a second SIGTERM has no effect (measured, 4.0 and 6.0; ossrs/srs,
SrsServer::on_signal).

Sent from inside the pod, because Kubernetes cannot: a shorter grace period does not reach a kubelet that already waits
for a container (kubernetes/kubernetes #83916), and a forced deletion only removes the object (#113717).
"""

ANSWER_TIMEOUT = 15
"""Seconds for the answer of a pod."""

CUT_TIMEOUT = 60.0
"""Seconds for the pods to end: SRS takes up to 5, the kubelet some more."""


def end(live: LiveCluster, pods: Sequence[str]) -> dict[str, str]:
    """End the SRS of these pods and wait until they are deleted; returns those that have not ended, with the reason."""
    failures = {name: f"could not be signalled: {reason}" for name, reason in cut(live, pods).items()}
    deadline = time.monotonic() + CUT_TIMEOUT
    while remaining := (set(pods) - failures.keys()) & {pod["metadata"]["name"] for pod in live.pods()}:
        if time.monotonic() > deadline:
            failures |= dict.fromkeys(remaining, f"still exists {CUT_TIMEOUT:.0f} s after SIGINT")
            break
        time.sleep(POLL_INTERVAL)
    return dict(sorted(failures.items()))


def cut(live: LiveCluster, pods: Sequence[str]) -> dict[str, str]:
    """End the SRS of these pods, with all their connections.

    Returns the pods that could not be signalled, with the reason.
    """
    with ThreadPoolExecutor(PARALLEL) as pool:
        reasons = dict(zip(pods, pool.map(partial(_send, live), pods), strict=True))
    return {pod: reason for pod, reason in reasons.items() if reason}


def _send(live: LiveCluster, pod: str) -> str | None:
    # A separate client: `stream` modifies the one that it uses.
    api = client.CoreV1Api(client.ApiClient(live.configuration))
    try:
        response: WSClient = stream(
            api.connect_get_namespaced_pod_exec,
            pod,
            live.namespace,
            container="srs",
            command=COMMAND,
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        response.run_forever(timeout=ANSWER_TIMEOUT)
        status_text = response.read_channel(ERROR_CHANNEL)
    except ApiException as error:
        return f"{error.reason}".splitlines()[0]
    if not status_text:
        return f"no answer in {ANSWER_TIMEOUT} s"
    status = json.loads(f"{status_text}")
    return None if status["status"] == "Success" else str(status["message"])
