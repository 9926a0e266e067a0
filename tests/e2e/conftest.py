"""A cluster whose nodes run containers, shared by all tests of the run, and a stack of the program for each test."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.live_stack import LiveStack
from e2e.recorder import write_record
from e2e.versions import can_drain
from e2e.viewers import Audience, Size, Viewers
from testbed.cluster import NODE_PORTS, EmbeddedCluster, tools_for
from testbed.containers.images import SrsImages, srs_images
from testbed.containers.machine import missing_requirements
from testbed.environment import environment
from testbed.guard import guarded
from testbed.ports import free_ports
from testbed.toolchain.install import ensure_tools

HERE = Path(__file__).parent
STATE = HERE.parents[1] / ".testbed-e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing_requirements()
    for item in items:
        if reason and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def ports() -> dict[int, int]:
    """Ports of this machine that lead to the node ports; not those of `make up`, which may run at the same time."""
    # Outside the range from which the cluster takes its own ports later.
    return dict(zip(free_ports(len(NODE_PORTS), range(14000, 16000)), NODE_PORTS, strict=True))


@pytest.fixture(scope="session")
def cluster(ports: dict[int, int]) -> Iterator[EmbeddedCluster]:
    """The running cluster; its tools are on PATH."""
    tools = ensure_tools(tools=tools_for("containerd"))
    with guarded(STATE):
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
    def watch() -> Generator[Viewers]:
        with stack.watched_endpoints() as ready, Viewers(stack.cluster, size) as viewers:
            try:
                yield viewers
            finally:
                viewers.minimum_ready = min(ready)
        write_record(request.node.name, title, images, viewers)

    return watch
