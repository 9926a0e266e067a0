"""Secrets of srs.conf are in Kubernetes Secrets, and nowhere else in plain text."""

import json
import os
import subprocess
from typing import Any

from stack import DevStack, release

KEYS = ("hunter2-of-the-hook", "hunter2-of-a-text", "hunter2-rotated")


def test_a_hooks_key_is_in_no_state_plan_or_message(stack: DevStack) -> None:
    plan = stack.folder / "plan.json"
    stack.variables["SRS_PLAN_FILE"] = str(plan)
    stack.releases(r5=release("v4.0.6", 2), r6=release("v4.0.6", 1))
    stack.config["publish"] = {"hook": "http://auth.example.com/publish?key=$(hookKey)"}
    stack.encrypt("secrets.hookKey", KEYS[0])
    hooks = f"http_hooks {{ on_play http://auth.example.com/play?key={KEYS[1]}; }}"
    stack.encrypt("edge.releases.r6.srs.vhostDirectives", hooks)
    texts = [stack.preview().output, plan.read_text(), stack.must_update().output, plan.read_text()]
    stack.config["publish"] |= {"hook": f"http://auth.example.com/publish?key={KEYS[2]}"}
    rotated = stack.preview().output
    texts += [rotated, plan.read_text(), plan.with_suffix(".txt").read_text()]
    assert "a secret of srs.conf" in texts[-1]
    stack.config["publish"] = {"hook": "http://auth.example.com/publish?key=$(hookKey)"}
    assert not stack.must_update().changes

    secrets: list[dict[str, Any]] = stack.get("secrets")["items"]
    assert len(secrets) == 2
    # Not by the Automation API, which exports with --show-secrets.
    command = ["pulumi", "stack", "export", "--stack", stack.stack_name]
    env = os.environ | stack.variables
    export = subprocess.run(command, cwd=stack.folder, env=env, capture_output=True, text=True, check=True).stdout
    assert "srs.conf" in export
    for item in secrets:
        assert item["data"]["srs.conf"] not in export
    kinds = "configmaps,deployments,replicasets,pods,statefulsets"
    texts += [export, json.dumps(stack.get(kinds)), json.dumps({k: o.value for k, o in stack.stack.outputs().items()})]
    for text in texts:
        assert not [key for key in KEYS if key in text]
