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


def parse_duration(value: Any) -> timedelta:
    """Parse a Go duration such as `5s`, `1h30m` or `12h`.

    Raises ValueError for anything else, a bare number included: its unit would be a guess.
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+", value):
        raise ValueError("must be a duration with a unit, such as 5s, 10m, 12h or 1h30m")
    duration = durationpy.from_str(value)
    assert isinstance(duration, timedelta)
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


def _quantity(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    try:
        amount = parse_quantity(value) if isinstance(value, str) else None
    except ValueError:
        amount = None
    if amount is None or amount <= Decimal(0):
        raise ValueError("must be a Kubernetes quantity above 0, such as 500m, 2, 256Mi or 10Gi")
    return str(value)


Quantity = Annotated[str, BeforeValidator(_quantity)]
"""A Kubernetes resource quantity above 0."""


def _dns_label(value: str) -> str:
    if len(value) > 63 or not DNS_LABEL.fullmatch(value):
        raise ValueError(
            "must be a DNS label: at most 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
        )
    return value


DnsLabel = Annotated[str, AfterValidator(_dns_label)]
"""A name that Kubernetes accepts for a namespace."""


def _subdomain(value: str) -> str:
    if len(value) > 253 or not all(DNS_LABEL.fullmatch(label) for label in value.split(".")):
        raise ValueError("must be a DNS subdomain: labels of a-z, 0-9 and '-', separated by '.'")
    return value


Subdomain = Annotated[str, AfterValidator(_subdomain)]
"""A name that Kubernetes accepts for most objects."""


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


def yaml_text(value: Any) -> str:
    """A value as YAML on one line; strings in quotes, and `(absent)` for None."""
    match value:
        case None:
            return "(absent)"
        case bool():
            return str(value).lower()
        case dict():
            items = cast("dict[Any, Any]", value).items()
            return f"{{{', '.join(f'{key}: {yaml_text(item)}' for key, item in items)}}}"
        case list() | tuple():
            return f"[{', '.join(map(yaml_text, cast('list[Any]', value)))}]"
        case timedelta():
            return format_duration(value)
        case _:
            return repr(value)


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 pod`, `3 pods`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
