"""What `rollout status` makes of the live objects, and its picture on 80 columns."""

from rollout.show import text_of
from rollout.verbs.status import Fleet, Origin, Release, Status, render

NOW = "2026-01-01T12:00:00Z"


def release(name: str, **more: object) -> Release:
    values: dict[str, object] = {
        "name": name,
        "image": "registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v6.0-r0",
        "config_hash": "5cc742b08f",
        "weight": 25,
        "desired_percent": 25.0,
        "actual_percent": 33.3,
        "desired": 1,
        "ready": 1,
        "terminating": 0,
        "connections": 1200,
        "draining_connections": 0,
        "until": None,
        "restarts": 0,
        "since": "2026-01-01T09:00:00Z",
        "change_cause": None,
        "paused": False,
        "aborted": False,
    }
    return Release(**{**values, **more})  # pyright: ignore[reportArgumentType]


def text(*releases: Release, problem: str | None = None, fleet: Fleet | None = None) -> str:
    origin = Origin("srs-origin-0", False, 2, "2025-12-30T12:00:00Z", None)
    many = Origin("srs-origin-1", True, 0, "2026-01-01T11:59:00Z", [f"live/{number}" for number in range(7)])
    status = Status("dev", "live", NOW, list(releases), [origin, many], None, problem, fleet)
    return text_of(render(status, "An update would change no workload."))


def test_the_status_fits_into_80_columns() -> None:
    output = text(release("r5"), release("a-release-with-a-rather-long-name"))
    assert max(map(len, output.splitlines())) <= 80
    (row,) = [line for line in output.splitlines() if line.startswith("r5")]
    assert row.split() == ["r5", "v6.0-r0", "5cc742b08f", "25", "%", "33", "%", "1/1", "1200", "0", "3h"]
    assert "An update would change no workload." in output


def test_the_status_says_what_is_not_normal() -> None:
    draining = release("r6", terminating=2, draining_connections=7, until="2026-01-02T00:00:35Z")
    unknown = release("r7", terminating=1, draining_connections=None, until=NOW, connections=None, aborted=True)
    output = text(draining, unknown, release("r8", paused=True), problem="the stack file cannot be used")
    assert "r6: 2 edges drain 7 connections, until 2026-01-02T00:00:35Z at the latest" in output
    assert "r7 is aborted: it receives no new viewers" in output
    assert "r7: 1 edge drains an unknown number of connections" in output
    assert "r8 is paused" in output
    assert "the stack file cannot be used" in output
    assert "the fleet has" not in output


def test_the_status_has_the_live_size_of_a_fleet() -> None:
    output = text(release("r5"), fleet=Fleet(40, 4, 60))
    assert "the fleet has 40 edges, as its autoscalers want (4 to 60)" in output


def test_origins_have_their_streams() -> None:
    lines = text().splitlines()
    assert any(line.split() == ["srs-origin-0", "no", "2", "2d", "unknown"] for line in lines)
    assert any("live/0, live/1, live/2," in line for line in lines)
