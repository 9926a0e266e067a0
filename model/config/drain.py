"""How a pod terminates: what edges and origins have in common."""

from datetime import timedelta
from typing import ClassVar, Self

from pydantic import model_validator

from model.config.base import Settings
from model.config.problems import Problem, RuleError
from model.config.values import Duration, seconds

DRAIN_MARGIN = timedelta(seconds=30)
"""Between the end of the drain timeout and SIGKILL (ACK recommends at least 30 s after preStop)."""


class DrainTimes(Settings):
    """The times of a drain. Subclasses have their defaults.

    deregister: how long a terminating pod still accepts connections. timeout: how long open ones may then last.
    """

    deregister: Duration
    timeout: Duration

    may_be_off: ClassVar[bool] = False
    """Whether a timeout of 0 is allowed, which is no drain."""

    @model_validator(mode="after")
    def _timeout_outlasts_deregister(self) -> Self:
        if self.timeout < self.deregister and (self.timeout or not self.may_be_off):
            raise RuleError(
                [
                    Problem(
                        ("timeout",),
                        self.timeout,
                        "must not be shorter than drain.deregister",
                        reason="DrainShorterThanDeregister",
                    )
                ]
            )
        return self

    @property
    def grace_seconds(self) -> int:
        """`terminationGracePeriodSeconds` of the pod."""
        return seconds(self.deregister + self.timeout + DRAIN_MARGIN)
