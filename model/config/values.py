"""The typed values of the stack config: durations, quantities, names and image references."""

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, cast

import durationpy
from kubernetes.utils.quantity import parse_quantity
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
"""RFC 1123 label, which Kubernetes requires for most names (Kubernetes docs, "Object Names and IDs")."""

RELEASE_NAME_MAX = 20
"""Characters of a release name: the longest name derived from it must stay a label of at most 63 characters,
and pod names add a ReplicaSet hash and a suffix."""


MAX_DURATION = timedelta(days=365)
"""Longer than any stream; Kubernetes counts some of them in 32 bits."""

_DURATION = re.compile(r"(\d{1,12}(\.\d{1,9})?(ns|us|µs|ms|s|m|h)){1,7}", re.ASCII)


def parse_duration(value: Any) -> timedelta:
    """Parse a Go duration such as `5s`, `1h30m` or `12h`.

    Raises ValueError for anything else, a bare number included: its unit would be a guess.
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("must be a duration with a unit, such as 5s, 10m, 12h or 1h30m")
    try:
        duration = durationpy.from_str(value)
    except (OverflowError, durationpy.DurationError):
        duration = timedelta.max
    assert isinstance(duration, timedelta)
    if duration > MAX_DURATION:
        raise ValueError(f"must be at most {format_duration(MAX_DURATION)} (a year)")
    return duration


def format_duration(value: timedelta) -> str:
    """Format a duration as in the stack config: 43200 seconds is `12h`."""
    text = str(durationpy.to_str(value))
    return re.sub(r"(?<=[hm])0[ms](0s)?$", "", text) if value else "0s"


def seconds(value: timedelta) -> int:
    """Whole seconds of a duration, for Kubernetes fields; fractions round up."""
    return -(-value // timedelta(seconds=1))


def _whole_seconds(value: timedelta) -> timedelta:
    if value % timedelta(seconds=1):
        raise ValueError("must be whole seconds: Kubernetes has no fractions here")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_whole_seconds),
    PlainSerializer(format_duration, return_type=str),
    Field(json_schema_extra={"type": "string", "format": "go-duration"}),
]
"""A length of time in whole seconds, written as a Go duration."""


_QUANTITY = re.compile(r"(\d{1,18}(\.\d{0,9})?|\.\d{1,9})(n|u|m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})?", re.ASCII)


def _quantity(unit: Decimal, minimum: str, maximum: str, examples: str) -> BeforeValidator:
    """A quantity within limits. unit: what it must be a multiple of."""
    allowed = f"must be a Kubernetes quantity above 0, such as {examples}"
    least, most = (parse_quantity(limit) for limit in (minimum, maximum))

    def check(value: Any) -> str:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        try:
            amount = parse_quantity(value) if isinstance(value, str) and _QUANTITY.fullmatch(value) else None
        except ValueError:
            amount = None
        if amount is None or amount <= Decimal(0):
            raise ValueError(allowed)
        if not least <= amount <= most or amount % unit:
            multiple = "" if unit == 1 else f" in steps of {unit.normalize():f}"
            raise ValueError(f"must be a quantity from {minimum} to {maximum}{multiple}, such as {examples}")
        return str(value)

    return BeforeValidator(check)


CpuQuantity = Annotated[str, _quantity(Decimal("0.001"), "1m", "1k", "500m or 2")]
"""Cores. Kubernetes has no finer amount than 1m (Kubernetes docs, "CPU resource units"), and no node has a thousand."""

LoadQuantity = Annotated[str, _quantity(Decimal("0.001"), "1m", "1M", "400 or 600m")]
"""The load of an edge: connections, or cores."""

MemoryQuantity = Annotated[str, _quantity(Decimal(1), "8Mi", "100Ti", "256Mi or 2Gi")]
"""Bytes. With less than 8Mi no container starts, and `256m` is a quarter of a byte."""

StorageQuantity = Annotated[str, _quantity(Decimal(1), "1Mi", "100Pi", "10Gi or 2Ti")]
"""Bytes of a volume."""


def _dns_label(value: str) -> str:
    if len(value) > 63 or not DNS_LABEL.fullmatch(value):
        raise ValueError(
            "must be a DNS label: at most 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
        )
    return value


DnsLabel = Annotated[str, AfterValidator(_dns_label)]
"""A name that Kubernetes accepts for a namespace."""


def is_subdomain(value: str) -> bool:
    """Whether a text is an RFC 1123 subdomain, which Kubernetes requires for the names of most objects."""
    return len(value) <= 253 and all(DNS_LABEL.fullmatch(label) for label in value.split("."))


def _subdomain(value: str) -> str:
    if not is_subdomain(value):
        raise ValueError("must be a DNS subdomain: labels of a-z, 0-9 and '-', separated by '.'")
    return value


Subdomain = Annotated[str, AfterValidator(_subdomain)]
"""A name that Kubernetes accepts for most objects."""

_NAME = re.compile(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", re.ASCII)

LABEL_KEY = "must be the key of a label, such as example.com/pool"
LABEL_VALUE = "must be the value of a label: at most 63 letters, digits, '-', '_' and '.'"


def is_qualified_name(value: str) -> bool:
    """Whether it may be the key of a label or an annotation (Kubernetes docs, "Labels and Selectors")."""
    prefix, slash, name = value.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or is_subdomain(prefix))


def is_label_value(value: str) -> bool:
    """Whether it may be the value of a label."""
    return not value or bool(_NAME.fullmatch(value))


def _release_name(value: str) -> str:
    if len(value) > RELEASE_NAME_MAX or not DNS_LABEL.fullmatch(value):
        raise ValueError(
            f"must be a release name: 1 to {RELEASE_NAME_MAX} of a-z, 0-9 and '-', starting and ending "
            "with a letter or digit, such as r6"
        )
    return value


ReleaseName = Annotated[str, AfterValidator(_release_name)]
"""The name of an edge release; it becomes part of object names and label values."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)"
_IMAGE = re.compile(
    rf"(?P<name>(?:(?:localhost|{_DOMAIN}(?:\.{_DOMAIN})+)(?::\d{{1,5}})?/|{_DOMAIN}:\d{{1,5}}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class ImageReference:
    """The parts of a container image reference (grammar of the OCI distribution specification)."""

    name: str
    tag: str | None
    digest: str | None


def parse_image(value: str) -> ImageReference:
    """Split an image reference such as `ossrs/srs:v4.0.6`.

    Raises ValueError for anything else, and without tag and digest: the node would then pull
    whatever `latest` is that day.
    """
    match = _IMAGE.fullmatch(value)
    if not match:
        raise ValueError("must be an image reference such as ossrs/srs:v4.0.6 or registry/name@sha256:…")
    if not match["tag"] and not match["digest"]:
        raise ValueError("must have a tag or a digest; without one the image is whatever `latest` is that day")
    return ImageReference(match["name"], match["tag"], match["digest"])


def _image(value: str) -> str:
    reference = parse_image(value)
    if reference.tag == "latest" and not reference.digest:
        raise ValueError("must not be `latest`: the same stack config must produce the same cluster; use a version")
    return value


Image = Annotated[str, AfterValidator(_image)]
"""A container image reference with a tag other than `latest`, or with a digest."""


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key of natural order: r5 before r6 before r10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts)


UNREADABLE = re.compile("[\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that the API server cannot read: it decodes a server-side apply as YAML (YAML 1.2, "Character Set"). Those
below a space are escaped in JSON."""

READABLE = (
    "must be Unicode that YAML can have: no DEL, no control character from \\x80 to \\x9f, no half of a surrogate pair "
    "(\\ud800 to \\udfff), no \\ufffe and no \\uffff"
)


def visible(text: str) -> str:
    """A text on one line, in which no character can act on a terminal or a log: `\\n` for the end of a line."""
    return text if text.isprintable() else repr(text)[1:-1]


def yaml_text(value: Any) -> str:
    """A value as YAML on one line; strings in quotes, and `(absent)` for None."""
    match value:
        case None:
            return "(absent)"
        case bool():
            return str(value).lower()
        case dict():
            items = cast("dict[Any, Any]", value).items()
            return f"{{{', '.join(f'{visible(str(key))}: {yaml_text(item)}' for key, item in items)}}}"
        case list() | tuple():
            return f"[{', '.join(map(yaml_text, cast('list[Any]', value)))}]"
        case timedelta():
            return format_duration(value)
        case _:
            return repr(value)


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 pod`, `3 pods`, `2 batches`."""
    ending = "es" if noun.endswith(("ch", "s")) else "s"
    return f"{count} {noun}{'' if count == 1 else ending}"
