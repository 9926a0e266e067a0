"""Errors of updates; apart from `rollout/stack/operation.py`, because Pulumi takes a while to load."""


class OperationError(RuntimeError):
    """An update or a preview failed; the message has the reason in the program's words."""


class RejectedError(OperationError):
    """The program rejected the config or the edit; nothing was changed."""


class LockedError(OperationError):
    """Another update of the stack is running, or was killed. left: its process was on this machine, and has ended."""

    def __init__(self, message: str, left: bool = False) -> None:
        super().__init__(message)
        self.left = left
