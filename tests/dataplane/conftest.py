"""A cluster whose nodes run containers, for all tests of the run, and a stack of the program on it for each."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from viewers import Size, Viewers

from testbed.cluster import EmbeddedCluster, tools_for
from testbed.containers.images import srs_images
from testbed.containers.machine import ALL_NODES, missing_requirements
from testbed.environment import environment
from testbed.guard import guarded
from testbed.tools import ensure_tools

from live_stack import LiveStack, Releases
from scenario import Recorder

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".testbed-dataplane"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := missing_requirements():
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedCluster]:
    """The running cluster; its tools are on PATH."""
    tools = ensure_tools(tools=tools_for("containerd"))
    with guarded(STATE):
        EmbeddedCluster(STATE, say=quiet).delete()  # what a run left that was killed together with its guard
        started = EmbeddedCluster(STATE, tools, say=quiet)
        started.start(kind="containerd")
        os.environ.update(environment(STATE, tools))
        yield started


def quiet(_line: str) -> None:
    """The cluster's progress; pytest has its own."""
