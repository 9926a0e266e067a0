"""A bad release fails the update with the pod's own reason, and every connection stays open."""

import copy
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress

import psutil
import pytest

from e2e.expectations import assert_undisturbed
from e2e.live_stack import EDGES, LiveStack
from e2e.viewers import Audience
from stack import repeated

UNKNOWN_DIRECTIVE = {"version": "6.0.999", "srs": {"directives": "no_such_directive on;"}}
"""A directive in a version newer than those whose directives the program knows, so that only SRS can reject it."""

CRASH_SECONDS = 4
"""Age at which SRS crashes: it accepts connections, and its pod is not ready before the warm-up ends."""


@contextmanager
def crashes(stack: LiveStack, spared: set[str]) -> Generator[None]:
    """Kill SRS in every edge except the spared pods, CRASH_SECONDS after each of its starts, while the block runs."""

    def crash() -> None:
        for pod in stack.pod_names() - spared:
            with suppress(AssertionError, LookupError, OSError, psutil.Error):  # SRS does not run
                process = stack.process(pod)
                if time.time() - process.create_time() >= CRASH_SECONDS:
                    # The first process of a container ignores other signals without a handler (pid_namespaces(7)).
                    process.kill()

    with repeated(crash):
        yield


def as_canary(stack: LiveStack, old: str, image: str, **more: object) -> None:
    stack.two_releases(old, image, (75, 25), **more)


def in_place(stack: LiveStack, _old: str, image: str, **more: object) -> None:
    stack.one_release(image, **more)


UNREACHABLE = "192.0.2.1"
"""An address of no machine (RFC 5737)."""


@pytest.mark.parametrize("deploy", [as_canary, in_place])
def test_a_release_that_crashes_affects_nobody_and_the_rollback_needs_no_new_pod(
    stack: LiveStack, audience: Audience, deploy: Callable[..., None], old: str, new: str
) -> None:
    """A release that crashes at its start, then one that crashes later"""
    stack.config["edge"] |= {"warmUp": "8s", "rolloutTimeout": "40s"}
    stack.must_update()
    good, serving = copy.deepcopy(stack.config), stack.endpoints()
    with audience() as viewers:
        for title, more, crash, reason in (
            ("unknown directive", UNKNOWN_DIRECTIVE, nullcontext(), "no_such_directive"),
            (f"crash after {CRASH_SECONDS} s", {}, crashes(stack, serving), "exit code 137"),
        ):
            viewers.step(title)
            deploy(stack, old, new, **more)
            with crash:
                failed = stack.update()
            assert not failed.ok
            assert reason in failed.output, failed.output
            assert failed.seconds < 40 + 30
            assert serving <= stack.endpoints()
            viewers.step("rollback")
            stack.config = copy.deepcopy(good)
            stack.must_update()
            assert stack.endpoints() == serving
    assert_undisturbed(viewers.record)
    assert viewers.minimum_ready >= EDGES


def test_edges_that_are_ready_and_play_nothing_fail_the_update(
    stack: LiveStack, audience: Audience, old: str, new: str
) -> None:
    """A rolling update to edges that are ready and reach no origin"""
    stack.config["edge"] |= {"rolloutTimeout": "25s", "minReady": "3s"}  # time to stop after the first edge
    stack.config["kubernetes"]["clusterDomain"] = "cluster.wrong"
    failed = stack.update()
    assert not failed.ok
    assert "no new edge has reached an origin" in failed.output
    assert ".svc.cluster.wrong:1935 to=5000ms : get address info" in failed.output
    assert "check srs:kubernetes.clusterDomain" in failed.output
    del stack.config["kubernetes"]["clusterDomain"]
    stack.config["edge"]["rolloutTimeout"] = "45s"  # SRS waits 30 s for the hook
    serving_release = copy.deepcopy(stack.config["edge"]["releases"])
    hook = f"http_hooks {{ enabled on; on_play http://{UNREACHABLE}/play?key=hunter2; }}"
    in_place(stack, new, old, srs={"vhostDirectives": hook})
    failed = stack.update()
    assert not failed.ok
    unanswered = [line for line in failed.output.splitlines() if "hook on_play gives no answer" in line]
    assert unanswered, failed.output
    assert not any("hunter2" in line for line in unanswered), "the URL of a hook may be secret"
    assert "check the URL of http_hooks" in failed.output
    stack.config["edge"]["releases"] = serving_release
    stack.config["edge"]["rolloutTimeout"] = "90s"
    assert "not checked" not in stack.must_update().output
    good, serving = copy.deepcopy(stack.config), stack.endpoints()
    with audience() as viewers:
        stack.config["edge"]["rolloutTimeout"] = "25s"
        elsewhere = {"ip": UNREACHABLE, "hostnames": [f"srs-origin-service.{stack.namespace}.svc.cluster.local"]}
        in_place(stack, old, new, podPatch={"spec": {"hostAliases": [elsewhere]}})
        failed = stack.update()
        assert not failed.ok
        assert "check that NetworkPolicies allow egress from the edges to the origins" in failed.output
        assert f"is paused, and {EDGES} edges of the earlier revision still serve" in failed.output, failed.output
        assert serving <= stack.endpoints()
        stack.config = good
        stack.must_update()
        assert serving == stack.endpoints()
    assert viewers.record.dropped == [], viewers.record.dropped[:5]
    assert viewers.minimum_ready >= EDGES
