"""A soak: players and encoders stay, others come and go, and every two minutes something of the stack changes.

On request only (`make soak`): two hours. What must be true of it is in report/soak_rules.py.
"""

import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from e2e.live_stack import LiveStack
from e2e.soak_actions import CANARIES, STEADY, Action, action
from e2e.soak_course import Course, Observer
from e2e.versions import version_of
from e2e.viewers import Size, Viewers
from edit_oracle import EdgeWatch
from edit_sequences import replicas_of
from report.soak_rules import rules
from stack import eventually, repeated
from testbed.cluster import EmbeddedCluster
from testbed.containers.images import SrsImages

REQUEST = "SRS_SOAK"
pytestmark = pytest.mark.skipif(REQUEST not in os.environ, reason="takes hours: `make soak`")

EVERY = float(os.environ.get("SRS_SOAK_EVERY", "120"))
"""Seconds between two actions."""

GROUPS, SHORTEST = 10, 60.0
"""Groups of players that come and go, and the shortest time in seconds that a group stays."""

SAMPLES = 30.0
"""Seconds between two samples."""

EVIDENCE = 20
"""Maximum of files with the logs of all pods, about 10 MB each."""

DRAINED, RESTARTED = 2, 4
"""Of five actions, the one after which node-2 is drained, and the one after which the kubelets are restarted."""


@dataclass
class Group:
    """Clients that come and go together. until: when they leave, as Unix time. seen: of their events."""

    viewers: Viewers
    since: float
    until: float
    seen: int = 0


@dataclass
class Visitors:
    """Groups of players that stay for a random time and are replaced by others; the last one is an encoder."""

    cluster: EmbeddedCluster
    course: Course
    players: int
    longest: float
    random: Random
    groups: list[Group] = field(default_factory=list[Group])

    def enter(self) -> None:
        """A group comes, for a time with a logarithmic distribution."""
        encoders = not any(group.viewers.size.players == 0 for group in self.groups)
        size = Size(0 if encoders else self.players // GROUPS, 0)
        viewers = Viewers(self.cluster, size, publish=False, settle=False, more_streams=int(encoders))
        viewers.__enter__()
        stays = SHORTEST * (self.longest / SHORTEST) ** self.random.random()
        self.groups.append(Group(viewers, time.time(), time.time() + stays))

    def turn(self, leave: bool = False) -> None:
        """Replace the groups whose time is over. leave: all groups leave."""
        for group in list(self.groups):
            if leave or time.time() > group.until:
                self.groups.remove(group)
                group.viewers.end()
                seconds, record = time.time() - group.since, group.viewers.record
                self.course.clients.append({"seconds": seconds, "summary": record.summary})
                if not record.of("ready"):
                    self.course.problem(f"a group without media for all its players after {seconds:.0f} s")
            group.seen = self.course.watch(group.viewers.record, group.seen)
        while not leave and len(self.groups) <= GROUPS:
            self.enter()


@dataclass
class Sampler:
    """Samples the stack and its viewers."""

    observer: Observer
    course: Course
    residents: Viewers
    visitors: Visitors
    seen: int = 0
    problems: int = 0
    evidence: int = 0

    def turn(self) -> None:
        """Record a sample, and logs if there were problems."""
        events = self.residents.record.events
        first, self.seen = self.seen, self.course.watch(self.residents.record, self.seen)
        ticks = [event for event in events[first : self.seen] if event["event"] == "tick"]
        here = [self.residents, *(group.viewers for group in self.visitors.groups)]
        sample: dict[str, Any] = {
            "t": time.time(),
            "players": sum(sum(viewers.open().values()) for viewers in here),
            "connects": [sum(tick["samples_by_version"].values()) for tick in ticks],
            "silence": max((tick["longest_silence"] for tick in ticks), default=0),
        }
        self.course.samples.append(sample | self.observer.sample())
        self.course.write()
        if self.course.target and len(self.course.problems) > self.problems and self.evidence < EVIDENCE:
            self.evidence += 1
            name = f"problem-{time.strftime('%H%M%S')}.log"
            self.course.target.with_name(name).write_text(self.observer.evidence(2 * SAMPLES))
        self.problems = len(self.course.problems)


@contextmanager
def going_on(course: Course, turn: Any, pause: float) -> Generator[None]:
    """Call `turn` again and again while the block runs; its errors are problems, and it goes on."""

    def safely() -> None:
        try:
            turn()
        except Exception as error:  # the soak goes on
            course.problem(f"{type(error).__name__}: {error}")

    with repeated(safely, pause):
        yield


@dataclass
class Operator:
    """Changes the stack."""

    stack: LiveStack
    course: Course
    observer: Observer
    watch: EdgeWatch
    earlier: dict[str, Any]

    def act(self, chosen: Action) -> None:
        """Carry out an edit or an abort."""
        with self.recorded(chosen.title) as recorded:
            before = recorded["ready"]
            lost = replicas_of(self.stack.config).get(chosen.aborted or "", 0)
            config, self.stack.config = self.stack.config, chosen.config
            if chosen.aborted:
                result = self.stack.rollout("abort", "--release", chosen.aborted)
                written = yaml.safe_load((self.stack.folder / f"Pulumi.{self.stack.stack_name}.yaml").read_text())
                self.stack.config = {key.removeprefix("srs:"): value for key, value in written["config"].items()}
            else:
                result = self.stack.update()
            recorded |= {"ok": result.ok, "update_seconds": result.seconds}
            if not result.ok:
                self.course.problem(f"{chosen.title}: {result.output[-3000:]}")
                self.stack.config = config
            self.earlier = config
            wanted = replicas_of(self.stack.config)
            if result.ok:
                eventually(
                    lambda: (
                        {k: v for k, v in self.stack.replicas().items() if v} == {k: v for k, v in wanted.items() if v}
                    ),
                    60,
                )
            recorded["minimum"] = min(before, sum(wanted.values())) - lost

    def drain_node(self) -> None:
        """`kubectl drain` of node-2 until its edges are replaced; it would end with their last connection."""
        node, wanted = "node-2", replicas_of(self.stack.config)
        with self.recorded(f"{node} drained") as recorded:
            recorded["minimum"] = recorded["ready"] - 1
            draining = self.stack.drain_node(node)
            try:
                eventually(
                    lambda: (
                        node not in self.ready_by_node() and sum(self.stack.replicas().values()) == sum(wanted.values())
                    ),
                    120,
                )
            finally:
                draining.kill()
                draining.communicate()
                self.stack.kubectl("uncordon", node)

    def restart_kubelets(self) -> None:
        """Restart one kubelet after the other. Its pods are not ready until it has probed them."""
        wanted = sum(replicas_of(self.stack.config).values())
        for number, kubelet in enumerate(self.stack.components("kubelet")):
            by_node = self.ready_by_node()
            if len(by_node) < 2:
                return  # all edges would be without new connections for a moment (kubernetes/kubernetes #100277)
            with self.recorded(f"kubelet {number + 1} restarted") as recorded:
                recorded["minimum"] = min(by_node.values())
                kubelet.send_signal(signal.SIGHUP)
                eventually(
                    lambda kubelet=kubelet: len(new := self.stack.components("kubelet")) == 2 and kubelet not in new
                )
                time.sleep(10)
                eventually(lambda: sum(self.watch.ready().values()) >= wanted, 60)

    def ready_by_node(self) -> dict[str, int]:
        """Ready edges by node."""
        nodes = [
            pod["spec"]["nodeName"] for pod in self.stack.pods() if pod["metadata"]["name"] in self.stack.endpoints()
        ]
        return {node: nodes.count(node) for node in nodes}

    @contextmanager
    def recorded(self, title: str) -> Generator[dict[str, Any]]:
        """Record an action; what it raises is a problem."""
        recorded: dict[str, Any] = {"t": time.time(), "title": title, "ready": sum(self.watch.restart().values())}
        recorded["left_over"] = []
        self.course.actions.append(recorded)
        try:
            yield recorded
            recorded["left_over"] = sorted(self.observer.left_over())
        except Exception as error:  # the soak goes on
            self.course.problem(f"{title}: {type(error).__name__}: {error}")
        recorded |= {
            "seconds": time.time() - recorded["t"],
            "least_ready": self.watch.least_ready,
        }
        self.course.write()
        last: dict[str, Any] = {"players": 0, "pods": {}, "silence": 0} | (self.course.samples or [{}])[-1]
        print(
            f"{time.strftime('%H:%M:%S')} {title}: {recorded['seconds']:.0f} s, at least {recorded['least_ready']} of "
            f"{recorded.get('minimum')} edges ready, left over {recorded['left_over']}, players {last['players']}, "
            f"pods {dict(last['pods'])}, silence {last['silence']:.1f} s, problems {len(self.course.problems)}",
            flush=True,
        )


@pytest.mark.timeout(0)
def test_a_soak_drops_nobody_and_nothing_grows(
    stack: LiveStack, size: Size, images: SrsImages, old: str, new: str
) -> None:
    minutes, seed = float(os.environ[REQUEST]), int(os.environ.get("SRS_SOAK_SEED", "1"))
    stack.two_releases(new, old, (50, 50))  # the steady one has the newer image
    assert set(stack.config["edge"]["releases"]) == {STEADY, CANARIES[0]}
    stack.config["edge"]["drain"]["timeout"] = "12h"
    stack.must_update()
    report = os.environ.get("SRS_REPORT")
    target = Path(report) / "soak.json" if report else None
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        for old_file in (*target.parent.glob("soak.*"), *target.parent.glob("problem-*.log")):
            old_file.unlink()
    course = Course(
        target,
        {
            "started": time.time(),
            "minutes": minutes,
            "every": EVERY,
            "seed": seed,
            "size": [size.players, size.connects],
            "versions": [version_of(old), version_of(new)],
            "real": images.real,
            "complete": False,
        },
    )
    observer, watch = Observer(stack), EdgeWatch(stack)
    watch.start()
    operator = Operator(stack, course, observer, watch, stack.config)
    visitors = Visitors(stack.cluster, course, size.players // 2, max(2 * SHORTEST, 15 * minutes), Random(seed))
    with Viewers(stack.cluster, Size(size.players - size.players // 2, size.connects)) as residents:
        sampler = Sampler(observer, course, residents, visitors)
        with going_on(course, visitors.turn, 1), going_on(course, sampler.turn, SAMPLES):
            end, number = time.time() + 60 * minutes, 0
            while (due := course.head["started"] + number * EVERY) < end - EVERY / 2:
                time.sleep(max(0, due - time.time()))
                if not watch.is_alive():
                    course.problem("the watch of the edges has ended")
                operator.act(action(stack.config, operator.earlier, (old, new), 1000 * seed + number))
                if number % 5 == DRAINED:
                    operator.drain_node()
                elif number % 5 == RESTARTED:
                    operator.restart_kubelets()
                number += 1
            time.sleep(max(0, end - time.time()))
        visitors.turn(leave=True)
        sampler.turn()
    course.clients.append({"seconds": 60 * minutes, "summary": residents.record.summary})
    course.watch(residents.record, sampler.seen)
    with operator.recorded("all have left"):
        for role in ("edge", "origin"):
            eventually(partial(lambda role: not stack.pods(f"app=srs-{role}", terminating=True), role), 120)
        observer.left_over()
    course.samples.append({"t": time.time(), "players": 0, "connects": [], "silence": 0} | observer.sample())
    watch.stop()
    course.head["complete"] = True
    course.write()
    broken = [f"{rule.title}: {rule.found}" for rule in rules(course.content) if not rule.holds]
    assert not broken, broken
