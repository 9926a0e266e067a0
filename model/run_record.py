"""The record of an open `rollout run`: one object in the cluster that every verb, the plan and `status` read. Pure.

It is a Lease (coordination.k8s.io), the object with which Kubernetes' own controllers agree on one leader: it has a
holder and a heartbeat, and is written with the version that was read (optimistic locking), so that of two writers one
fails. What a run is and did is an annotation of it, without secrets: image and srs.conf as the stack file has them,
stream URLs without their query.
"""

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from getpass import getuser
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

RUN_LEASE = "srs-rollout"
"""Name of the Lease, in the namespace of the stack."""

RUN_ANNOTATION = "srs/run"
"""Annotation of the Lease: the record as JSON."""

HEARTBEAT_INTERVAL = timedelta(seconds=5)
"""Time between two heartbeats of a run."""

HOLDER_TIMEOUT = timedelta(seconds=30)
"""A holder whose last heartbeat is older is dead, and its run can be resumed."""


class RunRecordError(ValueError):
    """The record of a run cannot be read; the message names the object."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True)


class Holder(_Model):
    """A process that carries out a run. user, host, pid: whose, where, and which."""

    user: str
    host: str
    pid: int

    @classmethod
    def this(cls) -> Self:
        """This process."""
        try:
            user = getuser()
        except (KeyError, OSError):  # a container whose user has no name
            user = str(os.getuid())
        return cls(user=user, host=socket.gethostname(), pid=os.getpid())

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.pid})"


class RunOptions(_Model):
    """How a run judges its steps: the options of `rollout run`.

    stream_urls: of streams that viewers play; none: no viewers. metrics: the file of Prometheus queries.
    """

    pause: timedelta = timedelta()
    auto: bool = False
    stream_urls: tuple[str, ...] = ()
    viewers: int = 20
    watch: timedelta = timedelta(seconds=5)
    parallel: int = 20
    metrics: Path | None = None
    partial: bool = False
    """Whether a stream URL has parts that are not recorded."""

    @property
    def recorded(self) -> Self:
        """The options as they are recorded: a stream URL without user, password and query, which may be secrets."""
        urls = tuple(map(_without_secrets, self.stream_urls))
        return self.model_copy(update={"stream_urls": urls, "partial": urls != self.stream_urls})


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


class StepOutcome(_Model):
    """The analysis of a step. outcome: passed, failed, inconclusive or error. problems: why it has not passed."""

    step: int
    percent: int
    outcome: Literal["passed", "failed", "inconclusive", "error"]
    problems: tuple[str, ...] = ()
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class RunRecord(_Model):
    """An open run.

    id: of the run. token: of its holder, a new one for each; an update that names a different token is rejected.
    release: the canary. image, conf: what its settings get, None if they stay. is_new: whether it did not exist before.
    before: its image, version and srs.conf before. weights_before: of all releases. weights, written: the weights that
    the run has written last, and the hash of the canary's other settings. steps: shares in per cent, in order.
    index: the step that was begun last; -1 before the first one. commit: whether steps are committed.
    pause_at: number of new edges at which the update of this step is paused, 0 if it is not; in place only.
    started_by: whose process has begun it. heartbeat: when the holder has last written. aborted_by: who has aborted it,
    "" while it is not aborted.
    baseline: what the analysis of the later steps needs from before the first one.
    """

    id: str = Field(default_factory=lambda: uuid4().hex)
    token: str = Field(default_factory=lambda: uuid4().hex)
    stack: str = ""
    release: str
    image: str | None = None
    conf: str | None = None
    is_new: bool = True
    before: dict[str, Any] = {}
    weights_before: dict[str, int]
    weights: dict[str, int] = {}
    written: str = ""
    steps: tuple[int, ...]
    index: int = -1
    pause_at: int = 0
    commit: bool = False
    options: RunOptions = RunOptions()
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    started_by: str = ""
    holder: Holder | None = None
    heartbeat: datetime = Field(default_factory=lambda: datetime.now(UTC))
    aborted_by: str = ""
    baseline: dict[str, Any] = {}
    outcomes: tuple[StepOutcome, ...] = ()

    def is_dead(self, now: datetime) -> bool:
        """Whether no process carries it out: it was interrupted, or its holder has not written for HOLDER_TIMEOUT."""
        return self.holder is None or now - self.heartbeat > HOLDER_TIMEOUT

    @property
    def in_place(self) -> bool:
        """Whether the canary is the only release with viewers, whose edges are then updated in place."""
        return bool(self.weights_before.get(self.release)) and not any(
            weight for name, weight in self.weights_before.items() if name != self.release
        )

    @property
    def releases(self) -> frozenset[str]:
        """The releases that the run moves viewers between, and the one of its step 0."""
        return frozenset({self.release, self.preview_release, *self.weights_before})

    @property
    def preview_release(self) -> str:
        """The release that runs out of rotation in step 0: the canary, or for one with viewers a copy of it."""
        return f"{self.release}-preview" if self.weights_before.get(self.release) else self.release

    @property
    def title(self) -> str:
        """`a rollout run of release r6 (step 1 of 4, since 2026-01-01 10:00 UTC, by alice@host (process 7))`."""
        who = f"aborted by {self.aborted_by}" if self.aborted_by else f"by {self.holder}" if self.holder else "stopped"
        since = f"{self.started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        step = f"step {self.index + 1} of {len(self.steps)}"
        return f"a rollout run of release {self.release} ({step}, since {since}, {who})"

    def to_lease(self, version: str | None) -> dict[str, Any]:
        """The object. version: the `resourceVersion` that was read, None for a new object."""
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": RUN_LEASE,
                "annotations": {RUN_ANNOTATION: self.model_dump_json(by_alias=True)},
                **({"resourceVersion": version} if version else {}),
            },
            "spec": {
                "holderIdentity": str(self.holder) if self.holder else "",
                "leaseDurationSeconds": int(HOLDER_TIMEOUT.total_seconds()),
                "acquireTime": _micro_time(self.started_at),
                "renewTime": _micro_time(self.heartbeat),
            },
        }

    @classmethod
    def from_lease(cls, lease: Mapping[str, Any]) -> Self:
        """The record in an object. Raises RunRecordError."""
        annotations: Mapping[str, str] = lease["metadata"].get("annotations") or {}
        try:
            return cls.model_validate_json(annotations.get(RUN_ANNOTATION, ""))
        except ValidationError as error:
            raise RunRecordError(
                f"the record of a rollout run, Lease {RUN_LEASE}, cannot be read; another version of this program may "
                f"have written it: {error.errors()[0]['msg']}"
            ) from error


def settings_hash(release: Mapping[str, Any]) -> str:
    """Identifies the settings of a release in the stack file, apart from its weight."""
    settings = {key: value for key, value in release.items() if key != "weight"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
