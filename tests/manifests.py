"""python tests/manifests.py FOLDER: the manifests of the committed stacks, as the components declare them.

For tools that check manifests. Pulumi's mocks stand for the engine: no cluster, no cloud.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pulumi
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cluster.state import LiveState  # noqa: E402
from components.demo_stream import DemoStream  # noqa: E402
from components.edge_fleet import EdgeFleet  # noqa: E402
from components.hls import Hls  # noqa: E402
from components.load_balancer import LoadBalancer  # noqa: E402
from components.namespace import namespace_name  # noqa: E402
from components.origin_cluster import OriginCluster  # noqa: E402
from model.config import read_settings  # noqa: E402
from update.load_balancers import backend_nodes  # noqa: E402

STACKS = ("dev", "staging", "prod")
PREFIX = "kubernetes:"


class Recorder(pulumi.runtime.Mocks):
    """Records the Kubernetes objects that are declared."""

    def __init__(self) -> None:
        self.manifests: list[dict[str, Any]] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """Record a resource; its id is its name."""
        metadata = {"uid": "00000000-0000-0000-0000-000000000000", **args.inputs.get("metadata", {})}
        if args.typ.startswith(PREFIX):
            group_version, _, kind = args.typ.removeprefix(PREFIX).rpartition(":")
            version = group_version.removeprefix("core/")
            self.manifests.append({"apiVersion": version, "kind": kind, **args.inputs})
        return args.name, {**args.inputs, "metadata": metadata}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        """Components call nothing."""
        raise AssertionError(args.token)


def manifests(stack: str) -> list[dict[str, Any]]:
    """The Kubernetes objects of a committed stack."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings = read_settings(values)
    recorder = Recorder()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    pulumi.runtime.set_mocks(recorder, project="srs", stack=stack)

    @pulumi.runtime.test
    def run() -> None:
        namespace = namespace_name(settings, pulumi.ResourceOptions())
        nodes = backend_nodes(settings, LiveState())
        exposed = [
            LoadBalancer(service.name, service, namespace, service.name, {}, nodes.get(service.name, {}))
            for service in settings.exposed_services
        ]
        fleet = EdgeFleet("srs-edge", settings, namespace)
        for release in settings.edge.releases:
            fleet.release(release)
        by_service = {item.exposed.name: item for item in exposed}
        hls = Hls("nginx-origin", settings, namespace, by_service, {}, nodes) if settings.hls.enabled else None
        if hls:
            hls.deploy()
        OriginCluster("srs-origin", settings, namespace, {}, hls.claim if hls else None)
        if settings.demo.enabled:
            DemoStream("srs-demo", settings, namespace)

    run()
    loop.close()
    return recorder.manifests


def main() -> None:
    """Write a file for each stack."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for stack in STACKS:
        (folder / f"{stack}.yaml").write_text(yaml.safe_dump_all(manifests(stack), sort_keys=False))


if __name__ == "__main__":
    main()
