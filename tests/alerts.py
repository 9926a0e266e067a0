"""python tests/alerts.py FILE: the alert rules of a stack with two releases, for promtool (tests/alerts.yaml)."""

import copy
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bad_configs import GOOD  # noqa: E402
from model.config.read import read_settings  # noqa: E402
from model.desired.alerts import alert_rules  # noqa: E402


def main(path: Path) -> None:
    """Write them."""
    config = copy.deepcopy(GOOD)
    for release in config["edge"]["releases"].values():
        release["image"] = "ossrs/srs:v6.0.191"
    config["monitoring"] = {"kind": "annotations"}
    settings = read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(alert_rules(settings)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
