"""The verbs of `rollout`, one module each."""

from rollout.command import Verb
from rollout.verbs import (
    abort,
    cut,
    destroy,
    draining,
    history,
    pause,
    promote,
    resume,
    rollback,
    run,
    sample,
    status,
)

VERBS: tuple[Verb, ...] = tuple(
    module.VERB
    for module in (status, history, sample, run, abort, promote, rollback, pause, resume, draining, cut, destroy)
)
"""In the order of `rollout --help` and docs/rollout.md."""
