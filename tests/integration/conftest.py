"""The embedded cluster of the tests, and a stack of the program on it for each test.

All workers of a run share one cluster. Its state folder is not that of `make up`, so both can run at the same time.
It is deleted at the end of the run, however that ends.

One worker runs all tests of a file with a shared set-up, in order; other tests go to any worker. The nodes are shared
by all: who changes or counts them asks for the fixture `nodes`.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from stack import DevStack
from testbed.cluster import EmbeddedCluster
from testbed.environment import environment
from testbed.guard import guarded
from testbed.toolchain.install import ensure_tools

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".testbed-tests"
GUARD = pytest.StashKey[ExitStack]()
SHARED_SETUP = (
    "test_abort_update.py",
    "test_autoscaled_fleet.py",
    "test_edits.py",
    "test_embedded_cluster.py",
    "test_cloud_controller.py",
    "test_declared_objects.py",
    "test_faults.py",
    "test_prod_clb.py",
    "test_roles.py",
    "test_prod_committed.py",
    "test_rollout.py",
)
LONGEST = (
    "test_make_up.py",
    "test_rollout.py",
    "test_edit_sequences.py",
    "test_waves.py",
    "test_roles.py",
    "test_bad_config.py",
)


class Scheduling(LoadScopeScheduling):
    """Distributes single tests, and files with a shared set-up as a whole.

    `--dist loadgroup` cannot: it has no effect with pytest 9.2, which ignores the group that xdist 3.8 adds to an id.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.endswith(SHARED_SETUP) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.stash[GUARD] = guard = ExitStack()
        guard.enter_context(guarded(STATE))


def pytest_unconfigure(config: pytest.Config) -> None:
    if guard := config.stash.get(GUARD, None):
        guard.close()


@pytest.fixture(scope="session")
def cluster() -> EmbeddedCluster:
    """The running cluster; its tools are on PATH."""
    tools = ensure_tools()
    started = EmbeddedCluster(STATE, tools, report=lambda _line: None)
    started.start()
    os.environ.update(environment(STATE, tools))
    return started


@pytest.fixture
def stack(cluster: EmbeddedCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DevStack]:
    """A small, quick dev stack in a folder and a namespace of its own, before its first update."""
    created = DevStack(tmp_path, cluster.kubeconfig, request.node.name)
    yield created
    created.clean_up()
