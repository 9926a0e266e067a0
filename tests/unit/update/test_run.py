"""What the program registers with the engine: a stack that is deployed updates with no change.

python tests/unit/update/test_run.py writes registrations.json again. A registration that changes is an update of every
stack; of a pod template, a rolling update of every edge or origin; a URN that changes is a deletion.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor

from cluster.live import LiveCluster
from cluster.state import LiveState
from model.config.read import read_settings
from model.desired.render import render
from update.kept import read_kept
from update.plan import plan
from update.run import run

FILE = Path(__file__).with_name("registrations.json")
STACK = "organization/srs/dev"


class Engine(pulumi.runtime.Mocks):
    """Returns the inputs as the state of each resource."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        return args.name, {**args.inputs, "metadata": {"uid": args.name, **args.inputs.get("metadata", {})}}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        raise AssertionError(args.token)


def registrations(config: dict[str, Any]) -> dict[str, str]:
    """A short hash of the inputs of each resource, by URN, of the first update with a stack config."""
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings = read_settings(values, [key for key in ("srs:images", "srs:secrets") if key in config])
    state = LiveState(cluster_uid="uid")
    desired = render(settings, read_kept(settings, state, "key"), STACK)
    update = plan(desired, state, None)
    assert not update.rejections, list(map(str, update.rejections))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    pulumi.runtime.set_mocks(Engine(), project="srs", stack="dev", preview=True)

    @pulumi.runtime.test
    def declare() -> Any:
        return pulumi.Output.from_input(run(update, desired, cast("LiveCluster", None), state))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulumi, "export", lambda *_: None)  # there is no stack resource
        declare()
    found = cast("MockMonitor", get_monitor()).get_registered_resources()
    loop.close()
    return {urn.rpartition("project::")[2]: _hash(resource.state) for urn, resource in sorted(found.items())}


def _hash(state: Any) -> str:
    content = json.dumps(state, sort_keys=True, default=lambda value: type(value).__name__)
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def test_a_stack_of_an_earlier_version_updates_with_no_change() -> None:
    for case in json.loads(FILE.read_text()):
        assert registrations(case["config"]) == case["registrations"]


if __name__ == "__main__":
    cases = json.loads(FILE.read_text())
    FILE.write_text(
        json.dumps([case | {"registrations": registrations(case["config"])} for case in cases], indent=1) + "\n"
    )
