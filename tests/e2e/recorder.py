"""Writes the record of a scenario for the report (`make report`)."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from e2e.fleet_course import Observation
from e2e.viewers import Record, Viewers
from testbed.containers.images import SrsImages


def write_record(name: str, title: str, images: SrsImages, viewers: Viewers) -> None:
    """Write `<name>.json` into the folder in SRS_REPORT, if that is set."""
    if not (folder := os.environ.get("SRS_REPORT")):
        return
    record = viewers.record
    content = {
        "scenario": name,
        "title": title,
        "started": record.events[0]["t"],
        "real": images.real,
        "size": asdict(viewers.size),
        "minimum_ready": viewers.minimum_ready,
        # Clients, not connections: a client can be dropped more than once.
        "players_dropped": len({connection["id"] for connection in record.dropped_players}),
        "encoders_dropped": len({connection["id"] for connection in record.dropped_encoders}),
        "dropped_at": [connection["t"] for connection in record.dropped],
        "steps": record.steps,
        "ticks": record.of("tick"),
        "summary": record.summary,
    }
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}.json").write_text(json.dumps(content))


def write_course(name: str, course: Sequence[Observation], *records: Record) -> None:
    """Write the sizes of a fleet and its players over time into the folder in SRS_REPORT, if that is set."""
    if not (folder := os.environ.get("SRS_REPORT")):
        return
    content = {
        "course": [asdict(seen) for seen in course],
        "players": [[(tick["t"], sum(tick["open_by_version"].values())) for tick in r.of("tick")] for r in records],
        "steps": [step for record in records for step in record.steps],
        "opened": [opened["t"] for record in records for opened in record.of("open")],
        "summaries": [record.summary for record in records],
    }
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}.json").write_text(json.dumps(content))
