"""Step 0: the canary out of rotation, played through the kubelet beside edges of the other releases."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.live import LiveCluster, UnreachableError
from cluster.port_forward import PortForward
from model.run_record import RunRecord
from rollout.canary import preview
from rollout.canary.analysis import MINIMUM_VIEWERS
from rollout.canary.observer import Observation
from rollout.canary.outcome import Outcome
from rollout.canary.preview import PreviewObserver
from rollout.canary.steps import last_file, new_record, preview_file, reverted, step_file, written
from rollout.canary.tunnel import Tunnel
from rollout.canary.viewers import View
from rollout.stack.stack_file import StackFile

FILE = StackFile(
    Path("Pulumi.dev.yaml"),
    b"""config:
  srs:edge:
    replicas: 4
    releases:
      r5: {image: "ossrs/srs:v4.0.5", weight: 100, resources: {cpu: 1}}
""",
)


def state(release: str, file: StackFile = FILE) -> RunRecord:
    return new_record(file, release, "ossrs/srs:v4.0.6", None, (25, 100))


def test_step_0_adds_an_edge_out_of_rotation_and_changes_nothing_else() -> None:
    first = preview_file(FILE, state("r6"))
    canary = {"image": "ossrs/srs:v4.0.6", "resources": {"cpu": 1}, "weight": 0}
    assert first.releases == FILE.releases | {"r6": {**canary, "outOfRotation": True}}
    second = step_file(first, state("r6"), 0)
    assert second.releases["r6"] == {**canary, "weight": 25}
    assert preview_file(first, state("r6")).content == first.content, "resumed"


def test_a_release_with_viewers_is_previewed_under_another_name() -> None:
    two = replace(FILE, content=FILE.content + b"      r4: {image: x, weight: 100}\n")
    run = state("r5", two)
    first = preview_file(two, run)
    assert first.releases == two.releases | {
        "r5-preview": {"image": "ossrs/srs:v4.0.6", "resources": {"cpu": 1}, "weight": 0, "outOfRotation": True}
    }
    for following in (step_file(first, run, 0), last_file(first, run)):
        assert list(following.releases) == ["r5", "r4"]


def pod(release: str, number: int, restarts: int = 0, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{release}-{number}", "labels": {"run": f"srs-edge-{release}"}},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"restartCount": restarts, "lastState": {"terminated": {"exitCode": 139}}}],
        },
    }


STABLE = (pod("r5", 1), pod("r5", 2))


def observer(
    monkeypatch: pytest.MonkeyPatch,
    play: Callable[[int], View],
    canary: Sequence[dict[str, Any]] = (pod("r6", 1),),
    stable: Sequence[dict[str, Any]] = STABLE,
    interval: float = 0.5,
) -> PreviewObserver:
    """`play` is what the viewer of this number sees: even ones are of the canary, odd ones of the other releases.

    interval: seconds between two viewers.
    """

    def views(_observer: PreviewObserver, _block: object, _through: object) -> list[View]:
        return [replace(play(number), started_at=1e9 + number * interval) for number in range(2 * MINIMUM_VIEWERS)]

    monkeypatch.setattr(PreviewObserver, "_views", views)
    live = SimpleNamespace(
        namespace="live",
        pods=lambda selector: list(stable if selector.startswith("app=") else canary),
    )
    return PreviewObserver(
        cast("LiveCluster", live), "r6", ["rtmp://host/live/x"], 5.0, 3, cast("Any", lambda _line: None)
    )


def good(number: int) -> View:
    server = "10.0.6.1" if number % 2 == 0 else f"10.0.5.{number // 2 % 2}"
    return View("", 0, server=server, first_frame=0.3 + 0.01 * (number % 7))


def test_a_good_canary_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    observation = observer(monkeypatch, good).observe()
    assert (observation.outcome, observation.problems) == (Outcome.PASSED, [])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda view: View("", 0, server=view.server, failure="no media"), "ViewersFailed"),
        (lambda _view: View("", 0, failure="Connection refused"), "ViewersFailed"),
        (lambda view: replace(view, first_frame=1.5), "FirstFrameLate"),
        (lambda view: replace(view, stalls=1), "ViewersStalled"),
    ],
    ids=["black", "refusing", "slow", "stalling"],
)
def test_a_bad_canary_is_found_before_its_first_viewer(
    monkeypatch: pytest.MonkeyPatch, bad: Callable[[View], View], reason: str
) -> None:
    observation = observer(monkeypatch, lambda number: good(number) if number % 2 else bad(good(number))).observe()
    assert observation.outcome is Outcome.FAILED
    assert reason in {finding.reason for finding in observation.findings}


def of_few_seconds(monkeypatch: pytest.MonkeyPatch, failing: int, reference_failing: int) -> Observation:
    """All viewers came within 20 s, so that few events can be told apart; the first ones of each side fail."""

    def play(number: int) -> View:
        view = good(number)
        fails = number // 2 < (reference_failing if number % 2 else failing)
        return View("", 0, server=view.server, failure="no media") if fails else view

    return observer(monkeypatch, play, interval=0.25).observe()


def test_a_black_canary_is_found_although_a_viewer_of_another_release_fails_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observation = of_few_seconds(monkeypatch, MINIMUM_VIEWERS - 1, 1)
    assert observation.outcome is Outcome.FAILED
    assert observation.problems[0].startswith("r6: 39 of 40 viewers failed (39 no media), elsewhere 1 of 40")


def test_too_many_failures_to_pass_are_observed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    observation = of_few_seconds(monkeypatch, 6, 0)
    assert {finding.reason: finding.outcome for finding in observation.findings} == {
        "CanaryNotCertain": Outcome.INCONCLUSIVE
    }
    assert of_few_seconds(monkeypatch, 3, 0).outcome is Outcome.PASSED


def test_a_crash_of_the_edge_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    observation = observer(monkeypatch, good, [pod("r6", 1, restarts=1, ready=False)]).observe()
    assert observation.problems == ["pod r6-1 has restarted: exit code 139, 1 restart"]


def test_what_cannot_be_compared_has_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    def reasons(observing: PreviewObserver) -> dict[str, Outcome]:
        return {finding.reason: finding.outcome for finding in observing.observe().findings}

    def black(number: int) -> View:
        return View("", 0, server=good(number).server, failure="no media")

    assert reasons(observer(monkeypatch, good, [])) == {"NoCanaryPod": Outcome.INCONCLUSIVE}
    assert reasons(observer(monkeypatch, good, stable=[])) == {"NoReference": Outcome.INCONCLUSIVE}
    assert reasons(observer(monkeypatch, black)) == {"ReferenceFails": Outcome.INCONCLUSIVE}, "the stream has ended"


class EchoForward:
    """A pod that answers each message with its upper case, and closes after `bye`."""

    def __init__(self) -> None:
        self.received, self.closed = b"", False
        self._answers: list[bytes] = []

    def send(self, data: bytes) -> None:
        self._answers.append(data.upper())

    def receive(self, timeout: float) -> None:
        time.sleep(timeout / 10)
        while self._answers:
            answer = self._answers.pop(0)
            self.received += answer
            self.closed = answer == b"BYE"

    def close(self) -> None:
        self.closed = True


def test_a_tunnel_carries_several_connections() -> None:
    with Tunnel(lambda: cast("PortForward", EchoForward())) as tunnel:
        clients = [socket.create_connection(tunnel.address, 5) for _ in range(3)]
        for number, client in enumerate(clients):
            client.sendall(f"viewer {number}".encode())
        for number, client in enumerate(clients):
            assert client.recv(100) == f"VIEWER {number}".encode()
            client.sendall(b"bye")
            assert client.recv(100) == b"BYE"
            assert client.recv(100) == b"", "the end of the pod's connection is the end of the viewer's"
            client.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(tunnel.address, 5)


def test_a_tunnel_without_a_pod_refuses_its_viewers() -> None:
    def connect() -> PortForward:
        raise UnreachableError("no connection to port 1935 of pod r6-1: forbidden")

    with Tunnel(connect) as tunnel:
        with socket.create_connection(tunnel.address, 5) as client:
            assert client.recv(100) == b""
        assert "forbidden" in tunnel.error
    assert threading.active_count() < 50
    assert preview.PARALLEL <= MINIMUM_VIEWERS


def test_the_revert_of_step_0_leaves_the_file_of_before() -> None:
    two = replace(FILE, content=FILE.content + b"      r4: {image: x, weight: 100}\n")
    for file, release in ((FILE, "r6"), (two, "r5")):
        run = state(release, file)
        first = preview_file(file, run)
        run = run.model_copy(update=written(first, run))
        assert reverted(first, run) == (file, [])
