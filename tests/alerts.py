"""python tests/alerts.py FILE: rules of a stack with two releases, for promtool (tests/alerts.yaml).

They are its alert rules, and `srs:fleet_load`, the load that its autoscalers ask Prometheus for.
"""

import copy
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bad_configs import GOOD  # noqa: E402
from model.config.read import read_settings  # noqa: E402
from model.desired.alerts import alert_rules  # noqa: E402
from model.desired.autoscalers import fleet_load  # noqa: E402

FLEET = {
    "minimum": 2,
    "maximum": 60,
    "metric": "connections",
    "target": 400,
    "prometheus": "http://prometheus:9090",
    "scaleIn": {"window": "0s"},
}
"""The load of now, without its average."""


def main(path: Path) -> None:
    """Write them."""
    config = copy.deepcopy(GOOD)
    for release in config["edge"]["releases"].values():
        release["image"] = "ossrs/srs:v6.0.191"
    config["monitoring"] = {"kind": "annotations"}
    del config["edge"]["replicas"]
    config["edge"]["autoscaling"] = FLEET
    settings = read_settings({f"srs:{key}": json.dumps(value) for key, value in config.items()})
    assert settings.edge.autoscaling is not None
    load = {"record": "srs:fleet_load", "expr": fleet_load(settings, settings.edge.autoscaling)}
    rules = [*alert_rules(settings)["groups"], {"name": "fleet", "rules": [load]}]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"groups": rules}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
