"""Watches where new connections go while a command runs."""

import threading
import time
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from urllib3.exceptions import HTTPError

SERVICE = "srs-edge-service"


@dataclass
class Rotation:
    """The ready endpoints of the edges' Service over time, since `started` (monotonic clock, seconds)."""

    started: float
    earlier: Collection[str]
    _slices: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    _seen: list[tuple[float, frozenset[str]]] = field(default_factory=list[tuple[float, frozenset[str]]])

    def record(self, event: Mapping[str, Any], now: float) -> None:
        """Take an event of a watch (its object as JSON) into account. now: monotonic clock."""
        item: Mapping[str, Any] = event["raw_object"]
        endpoints: list[Mapping[str, Any]] = [] if event["type"] == "DELETED" else item.get("endpoints") or []
        ready = [endpoint for endpoint in endpoints if endpoint["conditions"].get("ready")]
        self._slices[item["metadata"]["name"]] = frozenset(endpoint["targetRef"]["name"] for endpoint in ready)
        self._seen.append((now - self.started, frozenset[str]().union(*self._slices.values())))

    @property
    def without_earlier(self) -> float | None:
        """Seconds until no earlier edge received new connections any more; None if that was not seen."""
        since: float | None = None
        for seconds, ready in self._seen:
            if ready & set(self.earlier):
                since = None
            elif since is None:
                since = seconds
        return since

    @property
    def minimum(self) -> int:
        """The lowest number of ready edges."""
        return min((len(ready) for _, ready in self._seen), default=0)


@contextmanager
def watched(kubeconfig: Path, namespace: str, earlier: Collection[str]) -> Generator[Rotation]:
    """Watch the Service while the block runs, which begins when the watch has the present state.

    earlier: the names of the edges of the earlier version.
    """
    discovery = client.DiscoveryV1Api(config.new_client_from_config(str(kubeconfig)))
    selector = f"kubernetes.io/service-name={SERVICE}"
    stream = watch.Watch()
    present = threading.Event()
    rotation = Rotation(time.monotonic(), earlier)

    def run() -> None:
        events: Any = stream.stream(
            discovery.list_namespaced_endpoint_slice, namespace, label_selector=selector, timeout_seconds=300
        )
        with suppress(HTTPError):  # the server ends it at the end of the block
            for event in events:
                rotation.record(event, time.monotonic())
                present.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    present.wait(30)
    rotation.started = time.monotonic()
    yield rotation
    stream.stop()
