"""`rollout sample` measures shares, and `rollout run` reverts a canary that is bad for its viewers."""

import json
import os
import re
import subprocess
import time
from collections.abc import Generator
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


@pytest.mark.timeout(1200)  # five updates on a busy machine
def test_a_run_reverts_a_canary_that_is_bad_for_its_viewers(
    stack: LiveStack, audience: Audience, addresses: dict[str, str], new: str
) -> None:
    """`rollout run`: a canary whose first pictures come late, and a good one that becomes black in its second step"""
    (stack.folder / "slow.conf").write_text(SLOW_CONF)
    stack.must_update()
    stack_file = stack.folder / f"Pulumi.{NAME}.yaml"
    before = stack_file.read_bytes()
    watch = ["--stream-url", addresses["rtmp"], "--auto", "--watch", "2s", "--pause", "30s"]
    canary = ["run", "--release", "r6", "--image", new, *watch]
    with audience() as viewers:
        viewers.step("canary with late first pictures")
        with rollout(stack, *canary, "--steps", "50,100", "--conf", "slow.conf") as process:
            slow = result(process, code=4)
        assert any("r6: the first frame comes after" in reason for reason in slow["reasons"]), slow["reasons"]
        found, real = slow["steps"][-1]["title"], viewers_of(viewers, version_of(new))
        print(f"slow canary: found in {found}, {real} real viewers")
        assert stack_file.read_bytes() == before
        assert stack.replicas() == {"r5": EDGES}

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
            for pod in stack.pod_names("run=srs-edge-r6"):
                network = f"--net=/proc/{stack.process(pod).pid}/ns/net"
                drop = ["iptables", "-I", "OUTPUT", "-p", "tcp", "--dport", "1935", "-j", "DROP"]
                subprocess.run(["nsenter", network, "--", *drop], check=True)
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
