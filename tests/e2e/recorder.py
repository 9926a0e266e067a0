"""Keeps what a scenario showed, for the report that `make report` makes of it (bench/dataplane.py)."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from e2e.viewers import Viewers
from testbed.containers.images import SrsImages


def keep(name: str, title: str, images: SrsImages, viewers: Viewers) -> None:
    """Write `<name>.json` into the folder that SRS_REPORT names; nothing where it is not set."""
    if not (folder := os.environ.get("SRS_REPORT")):
        return
    story = viewers.story
    content = {
        "scenario": name,
        "title": title,
        "begun": story.events[0]["t"],
        "real": images.real,
        "size": asdict(viewers.size),
        "least_ready": viewers.least_ready,
        # Each once, however often it was cut.
        "players_cut": len({cut["id"] for cut in story.player_cuts}),
        "encoders_cut": len({cut["id"] for cut in story.cuts if cut["kind"] == "publish"}),
        "steps": story.steps,
        "ticks": story.of("tick"),
        "summary": story.summary,
    }
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}.json").write_text(json.dumps(content))
