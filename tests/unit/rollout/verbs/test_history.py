"""What earlier updates are known by."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

from bad_configs import GOOD
from rollout.stack.stack_file import StackFile
from rollout.verbs.history import _update


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
    file = StackFile(tmp_path / "Pulumi.dev.yaml", b"", folder=tmp_path)
    hashes = [
        {release["name"]: release["config"] for release in _update(file, entry(**environment))["releases"]}[name]
        for environment in ({"git.head": first}, {"git.head": second}, {"git.head": second, "git.dirty": "true"})
    ]
    assert hashes[0]
    assert hashes[1]
    assert hashes[0] != hashes[1]
    assert hashes[2] is None, "the file may have been another one"


def test_a_history_with_a_secret_has_the_releases_of_its_commit(tmp_path: Path) -> None:
    """With a secret anywhere in `srs:edge`, pulumi masks the whole map."""
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(
        "config: {srs:edge: {replicas: 4, releases: {r5: {image: 'ossrs/srs:v4.0.5', weight: 75, "
        "podPatch: {secure: v1:abc}}, r6: {weight: 25}}}}\n"
    )
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    fields = dict.fromkeys(("version", "kind", "result", "startedAt", "seconds", "message", "changes"))
    masked = {"srs:edge": "[secret]"}
    file = StackFile.of(tmp_path, "dev")
    update = _update(file, fields | {"environment": {"git.head": head.stdout.strip()}, "config": masked})
    assert [(item["name"], item["share"], item["image"]) for item in update["releases"]] == [
        ("r5", 75, "ossrs/srs:v4.0.5"),
        ("r6", 25, None),
    ]
    assert "v1:abc" not in json.dumps(update)
    assert _update(file, fields | {"environment": {}, "config": masked})["releases"] == []


def test_a_fleet_that_autoscalers_sized_has_shares_and_no_number_of_edges(tmp_path: Path) -> None:
    config = copy.deepcopy(GOOD)
    del config["edge"]["replicas"]
    config["edge"]["autoscaling"] = {"minimum": 4, "maximum": 60, "metric": "cpu", "target": "600m"}
    config["edge"]["releases"] = {
        name: {"image": "ossrs/srs:v4.0.6", "weight": weight} for name, weight in (("r5", 90), ("r6", 10))
    }
    fields = dict.fromkeys(("version", "kind", "result", "startedAt", "seconds", "message", "changes"))
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    file = StackFile(tmp_path / "Pulumi.dev.yaml", b"", folder=tmp_path)
    releases = _update(file, fields | {"environment": {}, "config": values})["releases"]
    assert [(item["name"], item["share"], item["edges"]) for item in releases] == [("r5", 90, None), ("r6", 10, None)]
