"""What earlier updates are known by."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

from bad_configs import GOOD
from rollout.commands.history import _update


def test_the_config_hash_of_an_earlier_update_is_that_of_its_commit(tmp_path: Path) -> None:
    def commit(conf: str) -> str:
        (tmp_path / "edge.conf").write_text(conf)
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
        subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
        subprocess.run(["git", *identity, "commit", "-qm", "x"], cwd=tmp_path, check=True)
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    config = copy.deepcopy(GOOD)
    name = min(config["edge"]["releases"])
    config["edge"]["releases"][name]["srs"] = {"conf": "edge.conf"}

    def entry(**environment: str) -> dict[str, Any]:
        values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
        fields = dict.fromkeys(("version", "kind", "result", "startedAt", "seconds", "message", "changes"))
        return fields | {"environment": environment, "config": values}

    first = commit("vhost __defaultVhost__ { play { gop_cache off; } }\n")
    second = commit("vhost __defaultVhost__ { play { gop_cache on; } }\n")
    hashes = [
        {release["name"]: release["config"] for release in _update(tmp_path, entry(**environment))["releases"]}[name]
        for environment in ({"git.head": first}, {"git.head": second}, {"git.head": second, "git.dirty": "true"})
    ]
    assert hashes[0]
    assert hashes[1]
    assert hashes[0] != hashes[1]
    assert hashes[2] is None, "the file may have been another one"
