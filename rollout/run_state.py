"""The state of an open `rollout run`, next to the stack: `.rollout/<stack>.json`.

It exists from before the first edit of the stack file until the run has ended, so that `rollout resume` and `rollout
abort` can continue after Ctrl-C, SIGKILL or a lost terminal, and a second run is rejected.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER = ".rollout"
"""In the folder of Pulumi.yaml; not committed."""


class RunStateError(ValueError):
    """The state of a run cannot be read; the message names its file."""


class RunOptions(BaseModel):
    """How a run judges its steps: the options of `rollout run`.

    addresses: of a stream that viewers play; none: no viewers. metrics: the file of Prometheus queries.
    """

    pause: timedelta = timedelta()
    auto: bool = False
    addresses: tuple[str, ...] = ()
    viewers: int = 20
    watch: timedelta = timedelta(seconds=5)
    parallel: int = 20
    metrics: Path | None = None


class RunState(BaseModel):
    """An open run.

    release: the canary. patch: what its settings get in the first step. steps: its shares in per cent, in order.
    index: the step that was begun last; -1 before the first one. stack_file_before: the bytes of the stack file before
    the run. commit: whether steps are committed. pid: the process that runs it, or has been killed.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    release: str
    patch: dict[str, Any] = {}
    steps: tuple[int, ...]
    index: int = -1
    stack_file_before: bytes
    started_at: datetime
    commit: bool = False
    pid: int
    options: RunOptions = RunOptions()

    @property
    def is_running(self) -> bool:
        """Whether the process of the run still exists, and is another one."""
        try:
            return self.pid != os.getpid() and "rollout" in " ".join(psutil.Process(self.pid).cmdline())
        except psutil.Error:
            return False

    @staticmethod
    def path(folder: Path, stack: str) -> Path:
        """The file of a stack's run. folder: that of Pulumi.yaml."""
        return folder / FOLDER / f"{stack.replace('/', '.')}.json"

    @staticmethod
    def read(folder: Path, stack: str) -> "RunState | None":
        """The open run of a stack, None if there is none. Raises RunStateError."""
        path = RunState.path(folder, stack)
        try:
            return RunState.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise RunStateError(f"{path} cannot be read: {error}") from error

    def create(self, folder: Path, stack: str) -> None:
        """Write the file of a run that begins. Raises FileExistsError if another run is open, and OSError."""
        temporary = self._written(folder, stack)
        try:
            # A link is made at once, with the whole content, and never over an existing file.
            RunState.path(folder, stack).hardlink_to(temporary)
        finally:
            temporary.unlink()

    def write(self, folder: Path, stack: str) -> None:
        """Replace the file at once. Raises OSError."""
        self._written(folder, stack).replace(RunState.path(folder, stack))

    def _written(self, folder: Path, stack: str) -> Path:
        """The content in a file of its own."""
        path = RunState.path(folder, stack)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(self.model_dump_json(indent=1) + "\n")
        return temporary

    @staticmethod
    def close(folder: Path, stack: str) -> None:
        """Remove the file: the run has ended."""
        RunState.path(folder, stack).unlink(missing_ok=True)
