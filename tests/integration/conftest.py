"""The embedded cluster of the tests, and a stack of the program on it for each test.

The cluster is one for all workers of a run, with a state folder of its own, so that `make up` and the tests do
not meet. It goes with the run, however that ends.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stack import DevStack
from testbed.cluster import EmbeddedCluster
from testbed.environment import environment
from testbed.guard import guarded
from testbed.toolchain.install import ensure_tools

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".testbed-tests"
HELD = pytest.StashKey[ExitStack]()


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.stash[HELD] = held = ExitStack()
        held.enter_context(guarded(STATE))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.stash[HELD].close()


def quiet(_line: str) -> None:
    """The cluster's progress; pytest has its own."""


@pytest.fixture(scope="session")
def cluster() -> EmbeddedCluster:
    """The running cluster; its tools are on PATH."""
    tools = ensure_tools()
    started = EmbeddedCluster(STATE, tools, report=quiet)
    started.start()
    os.environ.update(environment(STATE, tools))
    return started


@pytest.fixture
def stack(cluster: EmbeddedCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DevStack]:
    """The dev stack in a folder and a namespace of its own, made small and quick; not up yet."""
    made = DevStack(tmp_path, cluster.kubeconfig, request.node.name)
    yield made
    made.clean_up()
