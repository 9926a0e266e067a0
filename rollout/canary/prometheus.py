"""Prometheus queries as part of the analysis of a canary."""

import base64
import json
import math
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from rollout.canary.outcome import ErrorCount, Finding, failed, inconclusive

USERNAME, PASSWORD, TOKEN = "PROMETHEUS_USERNAME", "PROMETHEUS_PASSWORD", "PROMETHEUS_TOKEN"
"""Environment variables with the credentials of the server: a user with a password, or a bearer token."""

TIMEOUT = 10.0
"""Seconds for the answer to a query."""


class QueriesError(ValueError):
    """The file of queries cannot be used; the message has its path and the problems."""


class Query(BaseModel):
    """A query with its limits.

    name: for messages. query: PromQL; $canary is the name of the release. minimum, maximum: of each value that it
    returns. A query that returns nothing fails: `or vector(0)` gives it a value.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    query: Annotated[str, Field(min_length=1)]
    minimum: float | int | None = None
    maximum: float | int | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("minimum or maximum is required")
        return self

    def finding(self, values: list[float], release: str) -> Finding | None:
        """What is wrong with the values, None if nothing."""
        known = [value for value in values if not math.isnan(value)]
        for value in known:
            if self.minimum is not None and not value >= self.minimum:
                return failed(
                    "QueryBeyondLimit", f"{self.name} of {release}: {value:g} is below the minimum of {self.minimum:g}"
                )
            if self.maximum is not None and not value <= self.maximum:
                return failed(
                    "QueryBeyondLimit", f"{self.name} of {release}: {value:g} is above the maximum of {self.maximum:g}"
                )
        if not values:
            return inconclusive("QueryWithoutValue", f"{self.name} of {release}: the query returns nothing")
        if len(known) < len(values):
            return inconclusive("QueryWithoutValue", f"{self.name} of {release}: the query returns NaN")
        return None


class Queries(BaseModel):
    """A file of queries. prometheus: the address of the server, such as http://localhost:9090."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prometheus: Annotated[str, Field(pattern=r"^https?://")]
    queries: Annotated[list[Query], Field(min_length=1)]
    _errors: dict[str, ErrorCount] = PrivateAttr(default_factory=dict[str, ErrorCount])

    @staticmethod
    def read(path: Path) -> "Queries":
        """Read a file. Raises QueriesError."""
        try:
            return Queries.model_validate(yaml.safe_load(path.read_text()))
        except ValidationError as error:
            problems = "\n".join(
                f"  - {'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            )
            raise QueriesError(f"{path} is rejected:\n{problems}") from error
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: a date, an encoding
            raise QueriesError(f"{path} cannot be read: {error}") from error

    def begin(self) -> None:
        """Begin a step: errors of the one before do not count."""
        self._errors.clear()

    @property
    def has_errors(self) -> bool:
        """Whether the last answer to any query was an error."""
        return any(count.count for count in self._errors.values())

    def findings(self, release: str) -> Iterator[Finding]:
        """What is wrong with the canary. A query without an answer is an error when it is so several times in a row."""
        for query in self.queries:
            errors = self._errors.setdefault(query.name, ErrorCount("PrometheusUnanswered"))
            try:
                finding = query.finding(self._values(Template(query.query).safe_substitute(canary=release)), release)
                errors.succeeded()
            except (OSError, ValueError, LookupError) as error:
                errors.failed(f"{query.name} of {release}: {_reason(error)}")
                finding = errors.finding
            if finding:
                yield finding

    def _values(self, promql: str) -> list[float]:
        url = f"{self.prometheus.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
        request = urllib.request.Request(url)
        if authorization := _authorization():
            request.add_unredirected_header("Authorization", authorization)  # not to where a proxy redirects
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            data: Any = json.load(response)["data"]
        samples = [data["result"]] if data["resultType"] == "scalar" else [item["value"] for item in data["result"]]
        return [float(value) for _, value in samples]


def _authorization() -> str:
    """The header with the credentials of the environment, "" without any."""
    if token := os.environ.get(TOKEN):
        return f"Bearer {token}"
    if user := os.environ.get(USERNAME):
        pair = f"{user}:{os.environ.get(PASSWORD, '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (401, 403):
            return (
                f"Prometheus answers {error.code}; the environment variables {USERNAME} and {PASSWORD}, or {TOKEN}, "
                "have its credentials"
            )
        try:
            return f"Prometheus rejects the query: {json.load(error)['error']}"
        except (ValueError, LookupError):
            return f"Prometheus answers {error.code}"
    return f"Prometheus gives no answer: {error}"
