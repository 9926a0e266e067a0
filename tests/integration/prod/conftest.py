"""The production stack on the embedded cluster and the stand-in of the cloud."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.prod.fake_alibaba_api import CloudApi
from integration.prod.fake_cloud_controller import CloudController
from integration.prod.prod_stack import ProdStack
from testbed.cluster import EmbeddedCluster
from testbed.toolchain.install import ensure_tools


@pytest.fixture(scope="session")
def cloud_provider(cluster: EmbeddedCluster) -> EmbeddedCluster:
    """The running cluster; Pulumi's Alibaba Cloud provider is there, too."""
    ensure_tools(cloud=True)
    return cluster


@pytest.fixture
def api() -> Iterator[CloudApi]:
    """The stand-in of the cloud's API."""
    with CloudApi() as started:
        yield started


@pytest.fixture
def prod(
    cloud_provider: EmbeddedCluster, api: CloudApi, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[ProdStack]:
    """The production stack as it is committed, made small and quick; not up yet."""
    assert not [name for name in os.environ if name.startswith(("ALICLOUD_", "ALIBABA_CLOUD_"))]
    made = ProdStack(tmp_path, cloud_provider.kubeconfig, request.node.name, api)
    with CloudController(api, made.kubeconfig, made.namespace) as controller:
        made.controller = controller
        yield made
        made.clean_up()
        controller.away = False
        controller.release()
        assert not controller.trouble, controller.trouble
