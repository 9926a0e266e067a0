"""The outcome of an analysis: passed, failed, inconclusive or error; only the first one goes on to the next step.

The four phases are those of an AnalysisRun of Argo Rollouts (`analysis.go`: Successful, Failed, Inconclusive, Error),
and a single failed measurement is no error yet: CONSECUTIVE_ERRORS of the same kind are (consecutiveErrorLimit).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

CONSECUTIVE_ERRORS = 4
"""Failed measurements in a row that are tolerated (Argo Rollouts: DefaultConsecutiveErrorLimit)."""

ERROR_RETRY_SECONDS = 10.0
"""Seconds between a failed measurement and the next one (Argo Rollouts: DefaultErrorRetryInterval)."""


class Outcome(StrEnum):
    """What an analysis has found, from the least to the most severe.

    inconclusive: what was measured says nothing about the canary. error: it could not be measured.
    """

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """Why an analysis has not passed. reason: in CamelCase, for programs. message: for the operator."""

    outcome: Outcome
    reason: str
    message: str


def failed(reason: str, message: str) -> Finding:
    """A fault of the canary."""
    return Finding(Outcome.FAILED, reason, message)


def inconclusive(reason: str, message: str) -> Finding:
    """A reason why nothing is known about the canary."""
    return Finding(Outcome.INCONCLUSIVE, reason, message)


def error(reason: str, message: str) -> Finding:
    """A measurement that was not possible."""
    return Finding(Outcome.ERROR, reason, message)


_SEVERITY = list(Outcome)


def worst(findings: Iterable[Finding]) -> Outcome:
    """The outcome of an analysis with these findings: a fault of the canary counts, whatever else is unknown."""
    return max((finding.outcome for finding in findings), key=_SEVERITY.index, default=Outcome.PASSED)


class ErrorCount:
    """The failed measurements in a row of one kind."""

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self.count = 0
        self.message = ""

    def succeeded(self) -> None:
        """Count a measurement that was possible."""
        self.count = 0

    def failed(self, message: str) -> None:
        """Count one that was not."""
        self.count += 1
        self.message = message

    @property
    def finding(self) -> Finding | None:
        """The error, None while the limit is not exceeded."""
        if self.count <= CONSECUTIVE_ERRORS:
            return None
        return error(self._reason, f"{self.message} ({self.count} times in a row)")
