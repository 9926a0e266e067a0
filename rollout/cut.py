"""Cut what drains: end each SRS that waits for its last connection."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from kubernetes.stream.ws_client import ERROR_CHANNEL, WSClient

from cluster.live import LiveCluster

COMMAND = ["kill", "-INT", "1"]
"""SRS ends at SIGINT, also in a drain; a second SIGTERM changes nothing (measured, 4.0 and 6.0; ossrs/srs,
SrsServer::on_signal).

Sent from inside the pod, because Kubernetes cannot: a grace period that is made shorter does not reach a kubelet that
waits for a container already (kubernetes/kubernetes #83916), and a forced deletion removes the object only (#113717).
"""

AT_ONCE = 16
"""Pods that are told at the same time."""

ANSWER_TIMEOUT = 15
"""Seconds for a pod to take the signal."""


def cut(live: LiveCluster, pods: Sequence[str]) -> dict[str, str]:
    """End the SRS of these pods, with all their connections.

    Returns the pods that it could not be sent to, with the reason.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reasons = dict(zip(pods, pool.map(partial(_send, live), pods), strict=True))
    return {pod: reason for pod, reason in reasons.items() if reason}


def _send(live: LiveCluster, pod: str) -> str | None:
    # A client of its own: `stream` changes the one that it uses.
    api = client.CoreV1Api(client.ApiClient(live.configuration))
    try:
        answer: WSClient = stream(
            api.connect_get_namespaced_pod_exec,
            pod,
            live.namespace,
            container="srs",
            command=COMMAND,
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        answer.run_forever(timeout=ANSWER_TIMEOUT)
        said = answer.read_channel(ERROR_CHANNEL)
    except ApiException as error:
        return f"{error.reason}".splitlines()[0]
    if not said:
        return f"no answer in {ANSWER_TIMEOUT} s"
    status = json.loads(f"{said}")
    return None if status["status"] == "Success" else str(status["message"])
