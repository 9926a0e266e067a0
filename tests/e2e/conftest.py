"""A cluster whose nodes run containers, shared by all tests of a worker, and a stack of the program for each test.

Tests mostly wait, so several workers (`pytest -n`) make a run shorter. Each has a cluster of its own, because tests use
fixed node ports, stop cluster DNS and restart kubelets.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.live_stack import LiveStack
from e2e.recorder import write_record
from e2e.versions import can_drain
from e2e.viewers import FIRST_FRAME, Audience, Size, Viewers
from testbed.cluster import NODE_PORTS, EmbeddedCluster, tools_for
from testbed.containers.images import SrsImages, srs_images
from testbed.containers.machine import missing_requirements
from testbed.environment import environment
from testbed.guard import guarded
from testbed.locking import exclusive
from testbed.ports import free_ports
from testbed.toolchain.install import ensure_tools

HERE = Path(__file__).parent
STATE = HERE.parents[1] / "-".join([".testbed-e2e", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])
"""The state folder of this worker's cluster."""

STARTING = HERE.parents[1] / ".testbed-e2e-starting.lock"
"""Workers start their clusters one after the other, so that they do not choose the same free ports."""

LONGEST = ("test_bad_releases.py", "test_outages.py", "test_a_canary_to_100_percent_drops_nobody")
"""Files and tests that workers begin with, so that they end at about the same time."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not any(name in item.nodeid for name in LONGEST))
    reason = missing_requirements()
    for item in items:
        if reason and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedCluster]:
    """The running cluster; its tools are on PATH. Its node ports are not those of `make up`, which may run, too."""
    tools = ensure_tools(tools=tools_for("containerd"))
    with guarded(STATE):
        with exclusive(STARTING, lambda _line: None):
            # Outside the range from which the cluster takes its own ports.
            ports = dict(zip(free_ports(len(NODE_PORTS), range(14000, 16000)), NODE_PORTS, strict=True))
            started = EmbeddedCluster(STATE, tools, report=lambda _line: None, node_ports=ports)
            started.start(kind="containerd")
        os.environ.update(environment(STATE, tools))
        yield started


@pytest.fixture(scope="session")
def images(cluster: EmbeddedCluster) -> SrsImages:
    """The SRS images under test: those of SRS_IMAGES, or fake SRS."""
    return srs_images(cluster.tools, STATE / "images")


@pytest.fixture(scope="session")
def size() -> Size:
    """The load of each test."""
    return Size.from_environment()


def draining(images: SrsImages) -> list[str]:
    """The images whose SRS can drain: at least two."""
    found = [name for name in images.names if can_drain(name)]
    assert len(found) >= 2, f"two images of versions that can drain are needed, SRS_IMAGES has {images.names}"
    return found


@pytest.fixture
def old(images: SrsImages) -> str:
    """The image before an update: the first that can drain."""
    return draining(images)[0]


@pytest.fixture
def new(images: SrsImages) -> str:
    """The image after an update: the second that can drain."""
    return draining(images)[1]


@pytest.fixture
def newest(images: SrsImages) -> str:
    """The image after an update of the origins only: the last that can drain."""
    return draining(images)[-1]


@pytest.fixture
def stack(cluster: EmbeddedCluster, old: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LiveStack]:
    """A small stack with one release of the old image, before its first update."""
    created = LiveStack(tmp_path, cluster, request.node.name, old)
    yield created
    created.clean_up()


@pytest.fixture
def audience(request: pytest.FixtureRequest, stack: LiveStack, images: SrsImages, size: Size) -> Audience:
    """Players, an encoder and new connections while a block runs; their record is written for the report."""
    title = (request.function.__doc__ or request.node.name).strip().splitlines()[0]
    if variant := getattr(request.node, "callspec", None):
        title += f" ({variant.id.replace('_', ' ')})"

    @contextmanager
    def watch(ca: Path | None = None, first_frame: float = FIRST_FRAME) -> Generator[Viewers]:
        shown = Viewers(stack.cluster, size, ca=ca, first_frame=first_frame)
        with stack.watched_endpoints() as ready, shown as viewers:
            try:
                yield viewers
            finally:
                viewers.minimum_ready = min(ready)
        if viewers.record.of("nomedia"):
            print(stack.pulls())  # pytest shows it if the test fails
        write_record(request.node.name, title, images, viewers)

    return watch
