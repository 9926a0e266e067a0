"""The article's cluster comes under the program, by the commands of docs/migration.md, without dropping a player."""

import os
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from e2e.expectations import assert_all_connected
from e2e.live_stack import EDGES, PROXY_DELAY, TINY, LiveStack
from e2e.viewers import Audience
from stack import ROOT, eventually

ARTICLE = Path(__file__).parent / "article.yaml"
GRACE = 10
"""Seconds; the grace period of the article's edges in this test."""

ORIGINS = 3
SILENCE = 15.0
"""Maximum silence of a player in seconds while origins restart (see test_outages.py)."""

DRAINING = "srs-migration=drain"
"""Label of the pods that leave the Service (docs/migration.md)."""


class Migration:
    """The article's cluster in the namespace of a stack, and the commands of docs/migration.md."""

    def __init__(self, stack: LiveStack, old: str, new: str) -> None:
        self.stack = stack
        self._commands = self._documented()
        stack.kubectl("create", "namespace", stack.namespace)
        manifests = ARTICLE.read_text().replace("ossrs/srs:v4.0.5", old).replace("ossrs/srs:v4.0.6", new)
        self._run(["kubectl", "-n", stack.namespace, "apply", "-f", "-"], manifests)
        stack.kubectl("rollout", "status", "statefulset/srs-origin", "--timeout=120s")
        stack.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=srs-edge", "--timeout=120s")
        # What the page says about the config.
        stack.config["kubernetes"] |= {"createNamespace": False, "adopt": True}
        stack.config["origin"] |= {"image": new, "replicas": ORIGINS}
        stack.releases(r7={"image": new, "weight": 100, "resources": TINY})

    def _documented(self) -> Iterator[str]:
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / "docs/migration.md").read_text(), re.DOTALL):
            yield block.replace("-n live", f"-n {self.stack.namespace}")

    def next_commands(self) -> str:
        """Run the next block of commands of the page, and return it."""
        commands = next(self._commands)
        self._run(["bash", "-euc", commands])
        return commands

    def _run(self, command: list[str], standard_input: str | None = None) -> None:
        environment = os.environ | {"KUBECONFIG": str(self.stack.kubeconfig)}
        done = subprocess.run(
            command, input=standard_input, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def edges(self) -> set[str]:
        """The pods of the article's edges."""
        return {pod["metadata"]["name"] for pod in self.stack.pods("run in (srs-edge-r5,srs-edge-r6)")}

    def ports(self) -> Any:
        """The ports of the edge Service, with their names and node ports."""
        return self.stack.get("service", "srs-edge-service")["spec"]["ports"]


def interruptions(cuts: list[dict[str, Any]]) -> int:
    """How often encoders were interrupted: one that reconnects at once may reach the ending origin and be cut again."""
    times = sorted(cut["t"] for cut in cuts)
    return len(times) - sum(later - earlier < PROXY_DELAY for earlier, later in pairwise(times))


def test_the_articles_cluster_comes_under_the_program(stack: LiveStack, audience: Audience, old: str, new: str) -> None:
    """From the article's cluster to this program"""
    migration = Migration(stack, old, new)
    article, ports = migration.edges(), migration.ports()
    assert stack.endpoints() == article
    with audience() as viewers:
        rejected = stack.preview()
        assert "delete statefulset srs-origin --cascade=orphan" in rejected.output

        viewers.step("the stack's edges run beside the article's")
        assert "--cascade=orphan" in migration.next_commands()
        preview = stack.preview().output
        assert "takes over Service srs-edge-service, Service socs (created with kubectl)" in preview
        assert "3 origins will drop publishers once; they reconnect." in preview
        assert "edge release r7: create, 4 edges, 0 % -> 50 % of new viewers" in preview
        stack.must_update()
        assert stack.endpoints() == article | stack.pod_names("run=srs-edge-r7")
        assert len(article) == len(stack.pod_names("run=srs-edge-r7")) == EDGES
        assert viewers.record.dropped_players == []

        viewers.step("the article's edges leave the Service")
        migration.next_commands()
        eventually(lambda: stack.endpoints() == stack.pod_names("run=srs-edge-r7"))
        viewers.count(5)
        viewers.step("and drain")
        migration.next_commands()
        viewers.count(GRACE + 10)
        with_players = stack.pod_names(DRAINING, terminating=True)
        assert with_players, "they outlast their own grace period"
        assert with_players <= article

    record = viewers.record
    assert record.dropped_players == []
    assert record.failed_samples == []
    assert interruptions(record.dropped_encoders) <= ORIGINS, "once per origin"
    assert record.longest_silence < SILENCE, record.summary["silence"]
    assert viewers.minimum_ready >= EDGES
    assert_all_connected(record)

    stack.wait_until_drained(DRAINING)
    migration.next_commands()
    assert "kubernetes.adopt has nothing left to take over" in stack.preview().output
    del stack.config["kubernetes"]["adopt"]
    last = stack.must_update()
    assert last.changes == {}, last.output
    assert migration.ports() == ports
    live = stack.get("deployments,statefulsets,services,configmaps,networkpolicies,poddisruptionbudgets")["items"]
    foreign = [item["metadata"]["name"] for item in live if "srs/stack" not in item["metadata"].get("annotations", {})]
    assert foreign == ["kube-root-ca.crt"], "everything else is the stack's"
