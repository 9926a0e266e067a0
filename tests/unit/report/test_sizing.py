"""The costs that explain measurements, from measurements whose costs are known."""

from typing import Any

import pytest

from report.sizing import USAGE, costs, page

MIB = 2**20
BASE, PLAYER, MBIT, CONNECTION, STREAM, PULL = 0.01, 1e-4, 5e-5, 6e-4, 5e-4, 1e-4


def step(series: str, players: int = 4, kbps: float = 1000, connects: float = 0, **more: Any) -> dict[str, Any]:
    cores = BASE + players * (PLAYER + kbps / 1000 * MBIT) + connects * CONNECTION
    figures = {"edge_cores": cores, "edge_bytes": 15 * MIB + players * MIB / 10, "edge_files": players, "silence": 1.0}
    more = {"waited": 0.1, "failed": 0, "connect_ms": None} | more
    return {"series": series, "players": players, "kbps": kbps, "connects": connects, **figures, **more}


STEPS = [
    *(step("players", players, kbps) for players in (50, 100, 400) for kbps in (500, 1000, 2500)),
    *(step("connects", connects=rate) for rate in (0, 100, 300)),
    *(
        step(
            "streams",
            streams=streams,
            edges=edges,
            origin_connections=streams * (1 + edges),
            origin_cores=0.002 + streams * STREAM + streams * edges * PULL,
            origin_bytes=20 * MIB,
        )
        for streams, edges in ((1, 1), (8, 1), (8, 2), (8, 4))
    ),
    step("stalled", 100, queued_bytes=90 * MIB),
]


def test_the_costs_are_found() -> None:
    found = costs(STEPS)
    expected = (BASE, PLAYER, MBIT, CONNECTION, STREAM, PULL)
    assert (found.base, found.player, found.mbit, found.connection, found.stream, found.pull) == pytest.approx(expected)
    assert (found.base_bytes, found.player_bytes) == pytest.approx((15 * MIB, MIB / 10))
    assert found.queue_bytes == pytest.approx(0.9 * MIB)
    assert found.error == pytest.approx(0, abs=1e-6)


def test_an_edge_of_as_many_players_uses_the_planned_part_of_a_core() -> None:
    found = costs(STEPS)
    players = found.players(2)
    assert found.cores(players, 2) <= USAGE < found.cores(players + 1, 2)


def test_the_page_has_all_figures() -> None:
    text = page("6.0.157", STEPS, costs(STEPS))
    assert "R × 0.60 ÷ 1000" in text
    assert "{" not in text
