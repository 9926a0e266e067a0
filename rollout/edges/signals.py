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
from websocket import WebSocketException

from cluster.live import PARALLEL, POLL_INTERVAL, LiveCluster, Object

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

RETRY_TIMEOUT = 10.0
"""Seconds in which a pod that could not be signalled may end by itself, or is signalled again."""


def end(live: LiveCluster, pods: Sequence[Object]) -> dict[str, str]:
    """End the SRS of these pods and wait until they are deleted; returns those that have not ended, with the reason.

    A pod of the same name that replaces one of them, as of a StatefulSet, is neither waited for nor signalled.

    A pod that cannot be signalled is no failure if it ends: SRS may have quit between the list of pods and the signal,
    and runc then reports a container without a process (`error executing setns process`; seen with runc 1.1.5). Others
    are signalled again for RETRY_TIMEOUT.
    """
    uids = {pod["metadata"]["uid"] for pod in pods}
    unsignalled = {pod["metadata"]["name"]: "" for pod in pods}
    started = time.monotonic()
    while remaining := {pod["metadata"]["name"] for pod in live.pods() if pod["metadata"]["uid"] in uids}:
        refused = remaining & unsignalled.keys()
        waited = time.monotonic() - started
        if waited > (RETRY_TIMEOUT if refused == remaining else CUT_TIMEOUT):
            failures = {name: f"could not be signalled: {unsignalled[name]}" for name in refused}
            silent = dict.fromkeys(remaining - refused, f"still exists {CUT_TIMEOUT:.0f} s after SIGINT")
            return dict(sorted((failures | silent).items()))
        if refused and waited <= RETRY_TIMEOUT:
            unsignalled = cut(live, sorted(refused))
        time.sleep(POLL_INTERVAL)
    return {}


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
    except (WebSocketException, OSError) as error:
        return f"the connection is closed: {error}"
    if not status_text:
        return f"no answer in {ANSWER_TIMEOUT} s"
    status = json.loads(f"{status_text}")
    return None if status["status"] == "Success" else str(status["message"])
