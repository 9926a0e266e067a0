"""The embedded cluster of the tests, and a stack of the program on it for each test.

The cluster is one for all workers of a run, with a state folder of its own, so that `make up` and the tests do
not meet. What a killed run left there is ended by the next one.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from stack import DevStack
from testbed.cluster import EmbeddedCluster
from testbed.environment import environment
from testbed.tools import ensure_tools

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".testbed-tests"
HELD = pytest.StashKey[TextIO]()


LOCK = ROOT / ".testbed-tests.lock"


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        lock = LOCK.open("w")
        session.config.stash[HELD] = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit("another test run uses the cluster of this checkout's tests; wait for its end", returncode=1)
        EmbeddedCluster(STATE, say=quiet).delete()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        EmbeddedCluster(STATE, say=quiet).delete()


def quiet(_line: str) -> None:
    """The cluster's progress; pytest has its own."""


@pytest.fixture(scope="session")
def cluster() -> EmbeddedCluster:
    """The running cluster; its tools are on PATH."""
    tools = ensure_tools()
    started = EmbeddedCluster(STATE, tools, say=quiet)
    started.start()
    os.environ.update(environment(STATE, tools))
    return started


@pytest.fixture
def stack(cluster: EmbeddedCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DevStack]:
    """The dev stack in a folder and a namespace of its own, made small and quick; not up yet."""
    made = DevStack(tmp_path, cluster.kubeconfig, request.node.name)
    yield made
    made.clean_up()
