"""Mutated stack configs and texts of srs.conf are accepted, or rejected with path and reason; never a traceback.

`make test-input` runs many more of them (INPUTS). With SRS_BINARIES, which has the paths of `objs/srs` of several
versions, separated by colons, SRS itself reads what is accepted.
"""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from model.srs.conf import Additions, SrsConf, render_edge, render_origin
from model.srs.grammar import REASONS, parse
from model.srs.versions import Version, parse_version
from mutations import INPUTS, additions, rendered, stack_configs
from unit.model.srs.conf_tree import tree

SLOW = 1.0
"""Seconds of CPU time, so that a busy machine does not count."""

inputs = hypothesis.settings(
    max_examples=INPUTS, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def binaries() -> dict[Version, Path]:
    """The SRS binaries of SRS_BINARIES by version."""
    paths = [Path(path) for path in os.environ.get("SRS_BINARIES", "").split(":") if path]
    found: dict[Version, Path] = {}
    for path in paths:
        done = subprocess.run([path, "-v"], capture_output=True, text=True, check=True)
        version = parse_version((done.stdout + done.stderr).strip())
        assert version, path
        found[version] = path
    return found


BINARIES = binaries()
VERSIONS: list[Version] = [*BINARIES] or [(4, 0, 5), (4, 0, 6), (4, 0, 271), (5, 0, 213), (6, 0, 157), (6, 0, 191)]


class Tally:
    """How many inputs are accepted and rejected, and the seconds of CPU time of the slowest one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0

    @contextmanager
    def timed(self) -> Generator[None]:
        start = time.process_time()
        yield
        seconds = time.process_time() - start
        self.slowest = max(self.slowest, seconds)
        assert seconds < SLOW

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"{counts}; the slowest took {self.slowest:.2f} s"


def test_a_mutated_stack_config_is_accepted_or_rejected() -> None:
    tally = Tally()

    @given(stack_configs())
    @inputs
    def check(config: dict[str, Any]) -> None:
        with tally.timed():
            desired = rendered(config)
        if isinstance(desired, list):
            assert all(problem.path and problem.allowed and problem.reason for problem in desired)
            # Nothing acts on a terminal, and no line begins as a command of a workflow (`::error::`).
            assert all(str(problem).isprintable() for problem in desired)
        else:
            json.dumps([item.manifest for item in desired.objects.values()], allow_nan=False)
        tally.counts["rejected" if isinstance(desired, list) else "accepted"] += 1

    check()
    print(f"stack configs: {tally}")


def test_a_mutated_srs_conf_is_accepted_or_rejected(tmp_path: Path) -> None:
    """What is accepted, SRS reads as what was checked, and starts with it."""
    tally = Tally()

    @given(st.sampled_from(VERSIONS).flatmap(lambda version: st.tuples(st.just(version), additions(version))))
    @inputs
    def check(found: tuple[Version, Additions]) -> None:
        version, texts = found
        with tally.timed():
            confs: list[SrsConf] = [
                render_edge(version, "origin", additions=texts),
                render_origin(version, ["origin"], True, additions=texts),
            ]
        for conf in confs:
            tally.counts["rejected" if conf.findings else "accepted"] += 1
            assert all(finding.message and finding.reason in REASONS for finding in conf.findings)
            if conf.findings:
                continue
            read, findings = parse(conf.text)
            assert not findings
            assert tree(read) == tree(conf.directives), "SRS reads something else than what was checked"
            if version in BINARIES:
                file = tmp_path / "srs.conf"
                file.write_bytes(conf.text.encode())
                command = [BINARIES[version], "-t", "-c", file]
                done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
                assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-2000:]
                tally.counts["accepted by SRS"] += 1

    check()
    print(f"srs.conf, for an edge and for an origin: {tally}")
