"""The HTTP API of SRS in a pod, through the kubelet's port forwarding: it is never exposed."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster.live import PARALLEL, LiveCluster, UnreachableError
from model.names import API_PORT

STREAMS = "/api/v1/streams/?count=10000"
"""All streams with their clients (ossrs/srs, SrsStatistic::dumps_streams); without the slash, SRS redirects."""

TIMEOUT = 3.0
"""Seconds for the answer of a pod. At its connection limit SRS closes the connection instead."""


@dataclass(frozen=True)
class Stream:
    """A stream of an SRS. clients: its connections: players, publishers, and pulls of other servers."""

    name: str
    published: bool
    clients: int


def streams(live: LiveCluster, pods: Sequence[str]) -> dict[str, list[Stream]]:
    """The streams of each pod; pods that do not answer are missing."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = dict(zip(pods, pool.map(partial(_streams, live), pods), strict=True))
    return {pod: answer for pod, answer in answers.items() if answer is not None}


def _streams(live: LiveCluster, pod: str) -> list[Stream] | None:
    answer = get(live, pod, STREAMS)
    if answer is None:
        return None
    found: list[Mapping[str, Any]] = answer.get("streams") or []
    return [
        Stream(f"{item['app']}/{item['name']}", bool(item.get("publish", {}).get("active")), int(item["clients"]))
        for item in found
    ]


def get(live: LiveCluster, pod: str, path: str) -> dict[str, Any] | None:
    """The JSON that the SRS of a pod answers; None if there is no answer, or an error."""
    try:
        connection = live.port_forward(pod, API_PORT)
    except UnreachableError:
        return None
    try:
        # HTTP/1.0: the answer ends with the connection, or with its Content-Length.
        connection.send(f"GET {path} HTTP/1.0\r\nHost: {pod}\r\nConnection: close\r\n\r\n".encode())
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and not connection.closed and not _is_complete(connection.received):
            connection.receive(0.2)
        body = connection.received.partition(b"\r\n\r\n")[2]
    finally:
        connection.close()
    try:
        answer: Any = json.loads(body)
    except json.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) and answer.get("code") == 0 else None


def _is_complete(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if separator and line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False
