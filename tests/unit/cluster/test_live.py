"""Requests to an API server that fails now and then."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import live
from cluster.admission import review
from cluster.live import LiveCluster, UnreachableError
from model.config.kubernetes import KubernetesSettings

RESET = 0
"""The connection is closed without an answer."""


class Server(ThreadingHTTPServer):
    """Answers with these statuses, one a request, and then with 200; an error has the message.

    last: method, path and content of the last request with a content.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.requests = 0
        self.message = "the reason"
        self.last: Any = None


class Handler(BaseHTTPRequestHandler):
    """Of the server."""

    server: Any

    def do_GET(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._read()

    def do_PUT(self) -> None:
        self._read()

    def do_POST(self) -> None:
        self._read()

    def _read(self) -> None:
        self.server.last = (self.command, self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer()

    def _answer(self) -> None:
        self.server.requests += 1
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == RESET:
            return
        body = json.dumps({"metadata": {"name": "found"}, "items": [], "message": self.server.message}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(live, "RETRY_PAUSES", (0.0, 0.0, 0.0))
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def cluster(server: Server, tmp_path: Path) -> LiveCluster:
    content = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    return LiveCluster(KubernetesSettings.model_validate({"kubeconfig": str(file), "context": "c", "clusterId": "c"}))


@pytest.mark.parametrize("statuses", [[503], [429, 500, 504], [RESET]], ids=str)
def test_a_read_is_repeated(cluster: LiveCluster, server: Server, statuses: list[int]) -> None:
    server.statuses = [*statuses]
    found = cluster.deployment("srs")
    assert found is not None
    assert found["metadata"]["name"] == "found"
    server.statuses = [*statuses]
    assert cluster.objects("Service") == {}
    assert server.requests == 2 * (len(statuses) + 1)


@pytest.mark.parametrize(
    ("statuses", "message", "requests"),
    [
        ([503] * 5, "the API server answered 503", 4),
        ([422], "the API server answered 422 Unprocessable .* to GET .*: the reason", 1),
    ],
    ids=["unavailable", "no transient status"],
)
def test_a_read_fails_in_the_end(
    cluster: LiveCluster, server: Server, statuses: list[int], message: str, requests: int
) -> None:
    server.statuses = statuses
    with pytest.raises(UnreachableError, match=message):
        cluster.deployment("srs")
    assert server.requests == requests


def test_a_write_and_a_log_are_not_repeated(cluster: LiveCluster, server: Server) -> None:
    """A write may have happened; the log of a pod whose node is lost is asked for again and again."""
    server.statuses = [503]
    with pytest.raises(UnreachableError, match="503"):
        cluster.scale("srs", 1)
    server.statuses = [500]
    assert cluster.log("srs", 1) is None
    assert server.requests == 2


def test_a_dry_run_changes_nothing(cluster: LiveCluster, server: Server) -> None:
    """A live object is replaced; of a workload any version of it, because its status changes all the time."""
    metadata = {"name": "socs", "uid": "1", "resourceVersion": "7", "managedFields": []}
    found = cluster.dry_run("Service", {"metadata": metadata})
    assert found is not None
    assert found["metadata"]["name"] == "found"
    method, path, content = server.last
    assert (method, path.partition("?")[0]) == ("PUT", "/api/v1/namespaces/live/services/socs")
    assert "dryRun=All" in path
    assert content["metadata"] == {"name": "socs", "uid": "1", "resourceVersion": "7"}
    assert (content["apiVersion"], content["kind"]) == ("v1", "Service")
    cluster.dry_run("Deployment", {"metadata": metadata})
    assert "resourceVersion" not in server.last[2]["metadata"]
    cluster.dry_run("Deployment", {"metadata": {"name": "socs"}})
    method, path, content = server.last
    assert (method, path.partition("?")[0]) == ("POST", "/apis/apps/v1/namespaces/live/deployments")
    assert "dryRun=All" in path
    assert content["apiVersion"] == "apps/v1"


@pytest.mark.parametrize(
    ("status", "message", "denial"),
    [
        (
            422,
            "d is invalid: : ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            "denied request: no",
        ),
        (403, 'admission webhook "v.kyverno.svc" denied the request: \n\nno latest', ": no latest"),
        (400, 'admission webhook "a.example.com" denied the request without explanation', "without explanation"),
        (403, 'deployments is forbidden: User "ci" cannot update resource "deployments"', None),
        (403, 'services "x" is forbidden: exceeded quota: q, requested: services=1', "services=1"),
        (400, 'admission webhook "x" does not support dry run', None),
        (422, "d is invalid: spec.replicas: Invalid value: -1", None),
        (404, "namespaces live not found", None),
    ],
)
def test_who_denies_a_dry_run(
    cluster: LiveCluster, server: Server, status: int, message: str, denial: str | None
) -> None:
    server.statuses, server.message = [status], message
    answer = review(cluster, {("Deployment", "d"): {"metadata": {"name": "d"}}})
    assert not answer.stored
    assert ("Deployment", "d") in answer.denied if denial else not answer.denied
    assert all(text.endswith(str(denial)) for text in answer.denied.values())
    assert answer.unknown == ((("Deployment", "d"),) if "User" in message else ())
    answer = review(cluster, {("Deployment", "d"): {"metadata": {"name": "d"}}})
    assert answer.stored.keys() == {("Deployment", "d")}
    assert not answer.unknown


def test_a_webhook_that_does_not_answer_ends_an_update_before_it_changes_anything(
    cluster: LiveCluster, server: Server
) -> None:
    server.statuses, server.message = [500] * 4, 'failed calling webhook "x": connection refused'
    with pytest.raises(UnreachableError, match=r"500 .* connection refused"):
        review(cluster, {("Deployment", "d"): {"metadata": {"name": "d"}}})
    assert server.requests == 4
