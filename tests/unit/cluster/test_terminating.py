"""Messages about terminating pods and their open connections."""

from typing import Any, cast

from cluster.live import LiveCluster
from cluster.terminating import HOW_TO_UNBLOCK, OpenConnections, describe, logged_connections, terminating_namespace


def test_a_message_names_the_first_pods_and_the_last_deadline() -> None:
    pods = [{"metadata": {"name": f"p{i}", "deletionTimestamp": f"2026-01-01T{i:02}:00:00Z"}} for i in range(12)]
    lines = describe("12 pods terminating", pods).splitlines()
    assert lines[0] == "12 pods terminating:"
    assert lines[1] == "  p0 until 2026-01-01T00:00:00Z at the latest"
    assert lines[-1] == "  and 2 more, the last one until 2026-01-01T11:00:00Z"


def test_the_log_of_a_draining_pod_contains_its_open_connections() -> None:
    log = (
        "2026-01-01T10:00:00.123456789Z [2026-01-01 10:00:00.123][Trace][1][x] wait for 7 conns to quit\n"
        "2026-01-01T10:00:09.5Z [2026-01-01 10:00:09.500][Trace][1][x] wait for 1 conns to quit\n"
        "2026-01-01T10:00:10Z [2026-01-01 10:00:10.000][Trace][1][x] client finished\n"
    )
    found = logged_connections(log)
    assert found == OpenConnections(1, "2026-01-01T10:00:09Z")
    assert str(found) == "1 connection open at 2026-01-01T10:00:09Z"
    assert logged_connections("2026-01-01T10:00:00Z [Trace] listeners closed\n") is None
    pods = [{"metadata": {"name": "p0", "deletionTimestamp": "2026-01-01T12:00:00Z"}}]
    message = describe("1 pod terminating", pods, {"p0": OpenConnections(3, "2026-01-01T10:00:09Z")})
    assert "  p0 until 2026-01-01T12:00:00Z at the latest (3 connections open at 2026-01-01T10:00:09Z)" in message


def condition(kind: str, message: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "message": message}


def test_a_namespace_that_a_finalizer_keeps_names_it_and_what_to_do() -> None:
    remaining = condition("NamespaceContentRemaining", "Some resources are remaining: pods. has 1 resource instances")
    held = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    conditions = [condition("NamespaceDeletionDiscoveryFailure", "All resources successfully discovered", "False")]

    class Live:
        namespace = "live"

        def live_namespace(self) -> Any:
            return {"metadata": {"deletionTimestamp": "2026-01-01T12:00:00Z"}, "status": {"conditions": conditions}}

        def pods(self) -> list[Any]:
            return []

    live = cast(LiveCluster, Live())
    ended = "namespace live is still terminating; its last pod has ended, and Kubernetes removes it within 5 minutes"
    conditions.append(remaining)
    assert terminating_namespace(live) == (0, ended)
    conditions.append(condition("NamespaceFinalizersRemaining", held))
    assert terminating_namespace(live) == (0, f"{ended}, unless this stays so:\n  {held}\n{HOW_TO_UNBLOCK}")
