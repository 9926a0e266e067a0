"""The production stack on the embedded cluster and the fake Alibaba API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.prod.prod_stack import ProdStack, only_user_of_nodes, production_stack
from testbed.cluster import EmbeddedCluster
from testbed.toolchain.install import ensure_tools


@pytest.fixture(scope="session")
def cloud_cluster(cluster: EmbeddedCluster) -> EmbeddedCluster:
    """The running cluster, with Pulumi's Alibaba Cloud provider installed."""
    ensure_tools(cloud=True)
    return cluster


@pytest.fixture
def prod(cloud_cluster: EmbeddedCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ProdStack]:
    """A small, quick production stack, before its first update."""
    with production_stack(cloud_cluster, tmp_path, request.node.name) as created:
        yield created


@pytest.fixture
def nodes(cluster: EmbeddedCluster) -> Iterator[None]:
    """No other test changes the nodes of the cluster: a controller builds its list of backends from all of them."""
    with only_user_of_nodes(cluster):
        yield
