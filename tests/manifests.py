"""python tests/manifests.py FOLDER: the manifests of the committed stacks, as the program renders them.

For tools that check manifests: no engine, no cluster, no cloud.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cluster.state import LiveState  # noqa: E402
from model.config.read import read_settings  # noqa: E402
from model.desired.render import render  # noqa: E402
from update.kept import read_kept  # noqa: E402

STACKS = ("dev", "staging", "prod")


def manifests(stack: str) -> list[dict[str, Any]]:
    """The Kubernetes objects of a committed stack."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings = read_settings(values)
    desired = render(settings, read_kept(settings, LiveState(), ""), f"organization/srs/{stack}")
    namespace = [desired.namespace] if desired.namespace else []
    return [item.manifest for item in (*namespace, *desired.objects.values())]


class _Dumper(yaml.SafeDumper):
    """Writes parts that several objects share as often as they occur."""

    def ignore_aliases(self, data: Any) -> bool:
        """Whether a value is written again instead of being referred to."""
        del data
        return True


def main() -> None:
    """Write a file for each stack."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for stack in STACKS:
        (folder / f"{stack}.yaml").write_text(yaml.dump_all(manifests(stack), Dumper=_Dumper, sort_keys=False))


if __name__ == "__main__":
    main()
