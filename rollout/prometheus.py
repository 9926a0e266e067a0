"""Prometheus queries as part of the analysis of a canary."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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

    def problem(self, values: list[float], release: str) -> str | None:
        """What is wrong with the values, None if nothing."""
        if not values:
            return f"{self.name} of {release}: the query returns nothing"
        for value in values:
            if self.minimum is not None and not value >= self.minimum:
                return f"{self.name} of {release}: {value:g} is below the minimum of {self.minimum:g}"
            if self.maximum is not None and not value <= self.maximum:
                return f"{self.name} of {release}: {value:g} is above the maximum of {self.maximum:g}"
        return None


class Queries(BaseModel):
    """A file of queries. prometheus: the address of the server, such as http://localhost:9090."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prometheus: Annotated[str, Field(pattern=r"^https?://")]
    queries: Annotated[list[Query], Field(min_length=1)]

    @staticmethod
    def read(path: Path) -> "Queries":
        """Read a file. Raises QueriesError."""
        try:
            return Queries.model_validate(yaml.safe_load(path.read_text()))
        except (OSError, yaml.YAMLError) as error:
            raise QueriesError(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            problems = "\n".join(
                f"  - {'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            )
            raise QueriesError(f"{path} is rejected:\n{problems}") from error

    def problems(self, release: str) -> Iterator[str]:
        """What is wrong with the canary; an unreachable Prometheus is, too."""
        for query in self.queries:
            try:
                problem = query.problem(self._values(Template(query.query).safe_substitute(canary=release)), release)
            except (OSError, ValueError, LookupError) as error:
                problem = f"{query.name} of {release}: {_reason(error)}"
            if problem:
                yield problem

    def _values(self, promql: str) -> list[float]:
        url = f"{self.prometheus.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            data: Any = json.load(response)["data"]
        samples = [data["result"]] if data["resultType"] == "scalar" else [item["value"] for item in data["result"]]
        return [float(value) for _, value in samples]


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        try:
            return f"Prometheus rejects the query: {json.load(error)['error']}"
        except (ValueError, LookupError):
            return f"Prometheus answers {error.code}"
    return f"Prometheus gives no answer: {error}"
