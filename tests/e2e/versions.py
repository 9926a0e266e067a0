"""The SRS version of an image, and its capabilities."""

from model.srs.conf import FORGETS_STREAMS_SINCE
from model.srs.versions import KEEPS_DEAD_STREAMS, Version, capabilities, format_version, parse_version


def version_of(image: str) -> str:
    """`4.0.6` for `ossrs/srs:v4.0.6`."""
    return format_version(_version(image))


def can_drain(image: str) -> bool:
    """Whether a graceful quit lets open connections finish."""
    return capabilities(_version(image)).drains


def has_exporter(image: str) -> bool:
    """Whether Prometheus can scrape it."""
    return capabilities(_version(image)).exporter


def serves_https(image: str) -> bool:
    """Whether it serves HTTPS."""
    return capabilities(_version(image)).https and can_drain(image)


def leaves_hls_files(image: str) -> bool:
    """Whether origins of this version leave the HLS files of a stream that has ended to the cleaner."""
    return _version(image) >= FORGETS_STREAMS_SINCE


def drops_dead_publishers(image: str) -> bool:
    """Whether an edge of this version drops an encoder when it can no longer forward to the origin."""
    return KEEPS_DEAD_STREAMS.fix(_version(image)) is None


def _version(image: str) -> Version:
    version = parse_version(image.rpartition(":")[2])
    assert version is not None, f"{image}: its tag names no SRS version"
    return version
