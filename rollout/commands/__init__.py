"""The verbs of `rollout`, one module each."""

from rollout.command import Verb
from rollout.commands import cut, destroy, draining, sample

VERBS: tuple[Verb, ...] = (
    sample.VERB,
    draining.VERB,
    cut.VERB,
    destroy.VERB,
)
"""In the order of `rollout --help` and docs/rollout.md."""
