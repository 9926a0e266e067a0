"""`make report`: run the scenarios of tests/e2e at a given size, and write figures, table and charts into docs/.

The scenarios are the tests themselves, which write what they recorded (tests/e2e/recorder.py).
"""

import argparse
import json
import os
import subprocess
import sys

from report.render import Scenario, chart, figures, page
from testbed.environment import PROJECT

RECORDS = PROJECT / ".testbed-report"
DOCS = PROJECT / "docs"
CANARY = "test_a_canary_to_100_percent_drops_nobody"
"""The scenario whose chart the README shows."""


def main() -> int:
    """Run the scenarios and write the report; returns the exit code of pytest."""
    parser = argparse.ArgumentParser(prog="python -m report", description="The report on connections.")
    parser.add_argument("--players", type=int, default=200)
    parser.add_argument("--connects", type=int, default=100, help="new connections a second")
    parser.add_argument("--render-only", action="store_true", help="render the records of the last run")
    arguments = parser.parse_args()
    code = 0 if arguments.render_only else run(arguments.players, arguments.connects)
    scenarios: list[Scenario] = [json.loads(file.read_text()) for file in RECORDS.glob("*.json")]
    if not scenarios:
        print(f"error: no records in {RECORDS}", file=sys.stderr)
        return code or 1
    scenarios.sort(key=lambda scenario: scenario["started"])
    (DOCS / "connections.json").write_text(json.dumps([figures(item) for item in scenarios], indent=1) + "\n")
    (DOCS / "connections.md").write_text(page(scenarios))
    chart(scenarios, DOCS / "connections.png", columns=2)
    if canary := [scenario for scenario in scenarios if scenario["scenario"] == CANARY]:
        chart(canary, DOCS / "canary.png", columns=1)
    return code


def run(players: int, connects: int) -> int:
    """Run the scenarios and return the exit code of pytest."""
    for file in RECORDS.glob("*.json"):
        file.unlink()
    variables = {"SRS_PLAYERS": str(players), "SRS_CONNECTS": str(connects), "SRS_REPORT": str(RECORDS)}
    command = [sys.executable, "-m", "pytest", "tests/e2e"]
    return subprocess.run(command, cwd=PROJECT, env=os.environ | variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
