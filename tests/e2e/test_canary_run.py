"""`rollout sample` measures shares, and `rollout run` reverts a canary that is bad for its viewers.

Canaries are a second release, or an update of the only release in place; slow, black or crashing; in step 0, out of
rotation, or in their first step.
"""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.live_stack import EDGES, LiveStack
from e2e.versions import version_of
from e2e.viewers import STREAM, Audience, Viewers
from stack import NAME, ROOT, eventually

SLOW_CONF = "vhost __defaultVhost__ { play { gop_cache off; } }\n"
"""A viewer's first picture then comes with the next key frame instead of at once."""


@pytest.fixture
def addresses(stack: LiveStack) -> dict[str, str]:
    """The URLs of the stream on this machine, by scheme."""
    rtmp, http = stack.cluster.node_ports
    return {"rtmp": f"rtmp://127.0.0.1:{rtmp}/{STREAM}", "http": f"http://127.0.0.1:{http}/{STREAM}.flv"}


@contextmanager
def rollout(stack: LiveStack, *arguments: str) -> Generator["subprocess.Popen[str]"]:
    """A running `rollout`."""
    process = subprocess.Popen(
        [str(ROOT / "bin/rollout"), *arguments, "--stack", NAME, "--json"],
        cwd=stack.folder,
        env={**os.environ, **stack.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()


class Progress:
    """What a running `rollout` reports, line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._lines.append(line)

    def wait_for(self, text: str) -> None:
        """Wait until a line has this text."""
        eventually(lambda: any(text in line for line in self._lines), 240)

    def result(self, code: int) -> Any:
        """What it prints at its end, with this exit code."""
        assert self._process.stdout
        output = self._process.stdout.read()
        self._process.wait(300)
        self._reader.join(10)
        print("".join(self._lines))
        assert self._process.returncode == code, f"{output}{''.join(self._lines)}"
        return json.loads(output)


def result(process: "subprocess.Popen[str]", code: int) -> Any:
    output, errors = process.communicate(timeout=300)
    print(errors)
    assert process.returncode == code, f"{output}{errors}"
    return json.loads(output)


def viewers_of(viewers: Viewers, version: str) -> int:
    """How many new connections have come to this version."""
    return sum(tick["samples_by_version"].get(version, 0) for tick in viewers.record.of("tick"))


def last_sample(viewers: Viewers, version: str) -> float:
    """When the last new connection came to this version."""
    return max(tick["t"] for tick in viewers.record.of("tick") if tick["samples_by_version"].get(version))


def turn_black(stack: LiveStack, pods: Iterable[str]) -> None:
    """Let edges pull nothing any more from the origins."""
    for pod in pods:
        stack.run_in_network(pod, "iptables", "-I", "OUTPUT", "-p", "tcp", "--dport", "1935", "-j", "DROP")


@pytest.mark.timeout(1200)  # five updates on a busy machine
def test_a_run_reverts_a_canary_that_is_bad_for_its_viewers(
    stack: LiveStack, audience: Audience, addresses: dict[str, str], new: str
) -> None:
    """`rollout run`: a good canary that becomes black in its second step"""
    stack.must_update()
    stack_file = stack.folder / f"Pulumi.{NAME}.yaml"
    before = stack_file.read_bytes()
    watch = ["--stream-url", addresses["rtmp"], "--auto", "--watch", "2s", "--pause", "30s"]
    canary = ["run", "--release", "r6", "--image", new, *watch]
    with audience() as viewers:
        viewers.step("canary of 25 %")
        with rollout(stack, *canary, "--steps", "25,50") as process:
            eventually(lambda: stack.replicas() == {"r5": EDGES - 1, "r6": 1}, 300)  # after step 0
            time.sleep(5)  # terminating edges accept connections for so long
            both = [*addresses.values(), "--watch", "2s", "--viewers", "60"]
            with rollout(stack, "sample", *both) as sample:
                sampled = result(sample, code=0)
            shares = {name: release["sharePercent"] for name, release in sampled["releases"].items()}
            assert shares == pytest.approx({"r5": 75, "r6": 25}, abs=25)
            assert sampled["releases"]["r6"]["actualPercent"] == 25
            # Its edges have fewer viewers than the other edges, and are as good.
            eventually(lambda: stack.replicas() == {"r5": EDGES // 2, "r6": EDGES // 2}, 400)
            time.sleep(5)
            viewers.step("the canary is black")
            fault = time.time()
            turn_black(stack, stack.pod_names("run=srs-edge-r6"))
            black = result(process, code=4)
        # Those that watch stall, and those that come have no media.
        bad = re.compile(r"r6: \d+ of \d+ viewers (stalled|failed)")
        assert any(bad.match(reason) for reason in black["reasons"]), black["reasons"]
        seconds = last_sample(viewers, version_of(new)) - fault
        print(
            f"black canary: detected after {black['detectedAt'] - fault:.1f} s, last new viewer after {seconds:.1f} s"
        )
        assert seconds < 60
        assert stack_file.read_bytes() == before
        assert stack.replicas() == {"r5": EDGES}
    assert viewers.record.dropped == [], viewers.record.dropped[:5]
    assert viewers.minimum_ready >= EDGES // 2, "those that are not out of rotation"


SEEN_BY_STEP_0 = ("slow", "black", "crashing")
"""Faults that reach no real viewer."""

WITH_REAL_SRS = pytest.mark.skipif(not os.environ.get("SRS_IMAGES"), reason="with real SRS: SRS_IMAGES (5 minutes)")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("release", "faults"),
    [
        pytest.param("r5", ("slow",), id="in place"),
        pytest.param("r5", SEEN_BY_STEP_0, id="in place, all faults", marks=WITH_REAL_SRS),
        pytest.param("r6", SEEN_BY_STEP_0, id="second release, all faults", marks=WITH_REAL_SRS),
    ],
)
def test_a_bad_canary_has_no_real_viewer_or_loses_them_with_the_verdict(
    stack: LiveStack, audience: Audience, addresses: dict[str, str], new: str, release: str, faults: Sequence[str]
) -> None:
    """A canary that step 0 ends without a real viewer, and one that turns black with viewers"""
    (stack.folder / "slow.conf").write_text(SLOW_CONF)
    stack.must_update()
    stack_file = stack.folder / f"Pulumi.{NAME}.yaml"
    before = stack_file.read_bytes()
    preview = "r5-preview" if release == "r5" else release
    run = ["run", "--release", release, "--image", new, "--stream-url", addresses["rtmp"], "--auto"]
    run += ["--watch", "2s", "--pause", "20s", "--steps", "50,100"]

    def new_edges() -> list[str]:
        pods = stack.pods("app=srs-edge")
        return [pod["metadata"]["name"] for pod in pods if pod["spec"]["containers"][0]["image"].endswith(new)]

    with audience() as viewers:
        for fault in faults:
            viewers.step(f"{fault} canary")
            conf = ["--conf", "slow.conf"] if fault == "slow" else []
            with rollout(stack, *run, *conf) as process:
                progress = Progress(process)
                if fault != "slow":
                    progress.wait_for("out of rotation, and as many")  # viewers begin to play it
                    pods = stack.pod_names(f"run=srs-edge-{preview}")
                    if fault == "black":
                        turn_black(stack, pods)
                    else:
                        time.sleep(3)
                        for pod in pods:
                            stack.process(pod).kill()
                bad = progress.result(code=4)
            print(f"{fault}: {bad['reasons']}, {viewers_of(viewers, version_of(new))} real viewers")
            assert fault != "slow" or "the first frame comes after" in bad["reasons"][0]
            assert [step["percent"] for step in bad["steps"]] == [0]
            assert stack_file.read_bytes() == before
            assert stack.replicas() == {"r5": EDGES}
        assert viewers_of(viewers, version_of(new)) == 0, "step 0 has seen it"

        viewers.step("canary of 50 %")
        with rollout(stack, *run) as process:
            progress = Progress(process)
            eventually(lambda: len(new_edges()) >= EDGES // 2 and viewers_of(viewers, version_of(new)) > 0, 300)
            time.sleep(10)  # terminating edges accept connections for half of it
            viewers.step("the canary is black")
            turn_black(stack, new_edges())
            black = progress.result(code=4)
        late = last_sample(viewers, version_of(new)) - black["detectedAt"]
        print(f"black: {black['reasons']}, last new viewer {late:.1f} s after the verdict")
        assert late < 5, "2 s without the load of other tests"
        assert stack_file.read_bytes() == before
        assert stack.replicas() == {"r5": EDGES}
        assert not new_edges()
    assert viewers.record.dropped == [], viewers.record.dropped[:5]
    assert viewers.record.failed_samples == [], viewers.record.failed_samples[:5]
    assert viewers.minimum_ready >= EDGES // 2, "those that are not out of rotation"
